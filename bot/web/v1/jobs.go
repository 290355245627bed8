package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"pvebot/bot"
	"pvebot/bot/web/access"
	"pvebot/bot/web/orders"
	"pvebot/commands"
	"pvebot/provision"
)

// orderBody is an order: a line of chat, or a spec. VM names the VM of a spec
// by its number or name, for those that do not want to fill in spec.vm.
type orderBody struct {
	Line string          `json:"line"`
	Kind string          `json:"kind"`
	Spec json.RawMessage `json:"spec"`
	VM   string          `json:"vm"`
}

// strict decodes JSON whose fields must all be known: a typo in an order must
// not become a default.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more after the JSON")
		}
	}
	if err == nil {
		return nil
	}
	return &provision.Error{Kind: provision.Invalid, Say: "the body is not as it should be: " + strings.TrimPrefix(err.Error(), "json: "), Try: "GET " + Prefix + "/openapi.json", Err: err}
}

// request reads the line of b; nil when b has a spec instead.
func (b orderBody) request() (commands.Request, error) {
	switch {
	case b.Line == "":
		return nil, nil
	case b.Kind != "" || b.Spec != nil || b.VM != "":
		return nil, provision.Errorf(provision.Invalid, "send either a line or a kind with its spec")
	}
	req, err := commands.Parse(b.Line)
	if m, ok := errors.AsType[*commands.Mistake](err); ok {
		return nil, &provision.Error{Kind: provision.Invalid, Say: m.Say, Try: m.Try}
	}
	return req, err
}

// spec reads the spec of b.
func (a *API) spec(r *http.Request, b orderBody) (provision.Spec, error) {
	raw := b.Spec
	if raw == nil {
		raw = json.RawMessage("{}")
	}
	// What to do is the kind already, where a spec has a word for it.
	envelope, err := json.Marshal(map[string]any{"kind": b.Kind, "spec": map[string]string{"do": b.Kind}})
	if err != nil {
		return nil, err
	}
	empty, err := provision.UnmarshalSpec(envelope)
	if err != nil || b.Kind == "remind" {
		return nil, &provision.Error{Kind: provision.Invalid, Say: fmt.Sprintf("%.40q is nothing that can be ordered", b.Kind), Err: err}
	}
	into := reflect.New(reflect.TypeOf(empty))
	into.Elem().Set(reflect.ValueOf(empty))
	if err := strict(raw, into.Interface()); err != nil {
		return nil, err
	}
	spec := into.Elem().Interface().(provision.Spec)
	if spec.Kind() != b.Kind {
		return nil, provision.Errorf(provision.Invalid, "the spec is one of kind %.40q", spec.Kind())
	}
	target, about := spec.(provision.VMSpec)
	switch {
	case about && b.VM == "" && target.Target().VMID == 0:
		return nil, provision.Errorf(provision.Invalid, "which VM?")
	case about && b.VM == "" && target.Target().UUID == "" && target.Target().Name == "":
		b.VM = strconv.Itoa(target.Target().VMID) // whichever has the number now
	case b.VM == "":
		return spec, nil
	case !about || target.Target() != (provision.VMRef{}):
		return nil, provision.Errorf(provision.Invalid, "vm is for kinds that are about a VM, and instead of spec.vm")
	}
	vm, err := a.find(r, b.VM)
	if err != nil {
		return nil, err
	}
	ref, err := json.Marshal(map[string]any{"vm": vm.VMRef})
	if err == nil {
		err = json.Unmarshal(ref, into.Interface())
	}
	return into.Elem().Interface().(provision.Spec), err
}

var keyRE = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// orderKey makes orders that were sent twice one: the client says which are.
func orderKey(r *http.Request, by provision.Actor) (string, error) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return access.Platform + "/" + uuid.NewString(), nil
	}
	if !keyRE.MatchString(key) {
		return "", provision.Errorf(provision.Invalid, "Idempotency-Key: up to 64 letters, digits and . : _ -")
	}
	return by.Key() + "/" + key, nil
}

// order answers with the jobs that were made of an order. When some of several
// could not be, it says why.
func (a *API) order(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b orderBody
	if err := body(r, &b); err != nil {
		return err
	}
	key, err := orderKey(r, by)
	if err != nil {
		return err
	}
	jobs, err := a.place(r, by, b, key)
	if err != nil && len(jobs) == 0 {
		// What this key has ordered may stand in its own way by now.
		if jobs = a.ordered(r, by, b, key); len(jobs) == 0 {
			return err
		}
		err = nil
	}
	var out struct {
		Jobs    []jobWire `json:"jobs"`
		Refused *problem  `json:"refused,omitempty"`
	}
	for _, job := range jobs {
		out.Jobs = append(out.Jobs, wireJob(job))
	}
	if err != nil {
		p := problemOf(err)
		out.Refused = &p
	}
	w.Header().Set("Location", Prefix+"/jobs/"+out.Jobs[0].ID.String())
	return answer(w, http.StatusAccepted, out)
}

// ordered are the jobs that b with this key has led to already.
func (a *API) ordered(r *http.Request, by provision.Actor, b orderBody, key string) []provision.Job {
	req, err := b.request()
	if err != nil {
		return nil
	}
	jobs, err := a.Clerk.Ordered(r.Context(), by, req, key)
	if err != nil {
		a.Log.WarnContext(r.Context(), "api: can't look for what was ordered", "by", by.Key(), "err", err)
	}
	return jobs
}

// place makes jobs of b. When the error is about a later one, the first ones
// are there.
func (a *API) place(r *http.Request, by provision.Actor, b orderBody, key string) ([]provision.Job, error) {
	req, err := b.request()
	switch {
	case err != nil:
		return nil, err
	case req == nil:
		spec, err := a.spec(r, b)
		if err != nil {
			return nil, err
		}
		job, err := a.Clerk.Place(r.Context(), orders.Order{By: by, Spec: spec, Key: key, Text: b.Kind})
		if err != nil {
			return nil, err
		}
		return []provision.Job{job}, nil
	case bot.DryRun(req):
		return nil, &provision.Error{Kind: provision.Invalid, Say: "that only asks for a plan", Try: "POST " + Prefix + "/plans"}
	}
	return a.Clerk.PlaceLine(r.Context(), by, req, key)
}

// preview is the plan of b, and what the policy says about it.
func (a *API) preview(r *http.Request, by provision.Actor, b orderBody) (provision.Plan, commands.Verdict, error) {
	req, err := b.request()
	if err == nil && req != nil {
		return a.Clerk.PreviewLine(r.Context(), by, req)
	}
	var spec provision.Spec
	if err == nil {
		spec, err = a.spec(r, b)
	}
	if err != nil {
		return provision.Plan{}, commands.Verdict{}, err
	}
	return a.Clerk.Preview(r.Context(), by, spec, b.Kind)
}

// plan answers with what an order would do.
func (a *API) plan(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b orderBody
	if err := body(r, &b); err != nil {
		return err
	}
	p, v, err := a.preview(r, by, b)
	if err != nil {
		return err
	}
	lines := p.Lines
	if lines == nil {
		lines = []string{}
	}
	return answer(w, http.StatusOK, planWire{
		Title: p.Title, Verdict: p.Verdict, Lines: lines, Warnings: p.Warnings, Blockers: p.Blockers, Volumes: p.Volumes,
		Estimate: int64(p.Estimate.Seconds()), Digest: p.Digest, Gate: v.Gate, Rule: v.Rule,
	})
}

// number reads a number of the query, 0 when it is not there.
func number(r *http.Request, name string, limit int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, provision.Errorf(provision.Invalid, "%s is %.40q: a number up to %d", name, text, limit)
	}
	return n, nil
}

// numbers reads several.
func numbers(r *http.Request, limits map[string]int64) (map[string]int64, error) {
	got := map[string]int64{}
	for name, limit := range limits {
		n, err := number(r, name, limit)
		if err != nil {
			return nil, err
		}
		got[name] = n
	}
	return got, nil
}

// The bounds of numbers in queries.
const (
	maxPage = 1000
	maxVMID = 999_999_999
	maxID   = 1<<53 - 1 // what JavaScript counts exactly
)

func (a *API) jobs(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "jobs", nil); err != nil {
		return err
	}
	n, err := numbers(r, map[string]int64{"vmid": maxVMID, "limit": maxPage, "before": maxID})
	if err != nil {
		return err
	}
	f := provision.Filter{Cluster: a.Cluster, VMID: int(n["vmid"]), Limit: int(n["limit"]), Before: provision.JobID(n["before"])}
	for _, state := range r.URL.Query()["state"] {
		f.States = append(f.States, provision.State(state))
	}
	jobs, err := a.Store.Jobs(r.Context(), f)
	if err != nil {
		return err
	}
	wire := make([]jobWire, 0, len(jobs))
	for _, j := range jobs {
		wire = append(wire, wireJob(j))
	}
	return answer(w, http.StatusOK, map[string]any{"jobs": wire})
}

func jobID(r *http.Request) (provision.JobID, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, provision.Errorf(provision.Invalid, "%.40q is no job's number", r.PathValue("id"))
	}
	return provision.JobID(id), nil
}

// jobFor is the job that the path names, if by may see it.
func (a *API) jobFor(r *http.Request, by provision.Actor) (provision.Job, error) {
	if err := a.Clerk.MaySee(by, "jobs", nil); err != nil {
		return provision.Job{}, err
	}
	id, err := jobID(r)
	if err != nil {
		return provision.Job{}, err
	}
	return a.Store.Job(r.Context(), id)
}

func (a *API) job(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	job, err := a.jobFor(r, by)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wireJob(job))
}

// touch answers with what became of a job that somebody decided about.
func (a *API) touch(w http.ResponseWriter, r *http.Request, b any, do func(id provision.JobID) (provision.Job, error)) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	if b != nil {
		if err := body(r, b); err != nil {
			return err
		}
	}
	job, err := do(id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wireJob(job))
}

func (a *API) cancel(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	return a.touch(w, r, nil, func(id provision.JobID) (provision.Job, error) { return a.Clerk.Cancel(r.Context(), by, id) })
}

func (a *API) resolve(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		Do provision.Decision `json:"do"`
	}
	return a.touch(w, r, &b, func(id provision.JobID) (provision.Job, error) { return a.Clerk.Resolve(r.Context(), by, id, b.Do) })
}

func (a *API) vote(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		Yes    *bool  `json:"yes"`
		Digest string `json:"digest"`
	}
	return a.touch(w, r, &b, func(id provision.JobID) (provision.Job, error) {
		if b.Yes == nil {
			return provision.Job{}, provision.Errorf(provision.Invalid, "yes is missing: true or false")
		}
		return a.Clerk.Vote(r.Context(), by, id, *b.Yes, b.Digest)
	})
}

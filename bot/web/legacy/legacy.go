package legacy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"

	"pvebot/bot/web/access"
	"pvebot/bot/web/feed"
	"pvebot/bot/web/orders"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/sh"
)

// Engine is what the API needs of a [provision.Engine].
type Engine interface {
	provision.Inventory
	FindVM(ctx context.Context, word string) (provision.VM, error)
	VMs(ctx context.Context) ([]provision.VM, error)
}

// Cluster is what the API needs of a [cluster.Cluster].
type Cluster interface {
	// Status is a VM's power state now: running, stopped, paused, ...
	Status(ctx context.Context, node string, vmid int) (string, error)
}

// Clerk is what the API needs of an [orders.Clerk].
type Clerk interface {
	Place(ctx context.Context, o orders.Order) (provision.Job, error)
	MaySee(by provision.Actor, verb string, vm *provision.VM) error
}

// Config is what the API stands on. All but Clock and Log must be set.
type Config struct {
	Engine   Engine
	Cluster  Cluster
	Clerk    Clerk
	Source   feed.Source
	Gate     *access.Gate
	Settings provision.Settings // MainNode, Pool and the limits
	Clock    cluster.Clock
	Log      *slog.Logger
}

// API is the handler of /api/ and /sh/. It may be used by many goroutines.
type API struct {
	Config
	handler http.Handler
}

// New makes the API.
func New(cfg Config) *API {
	a := &API{Config: cfg}
	if a.Clock == nil {
		a.Clock = cluster.SystemClock{}
	}
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	a.handler = a.Gate.Handler(a.routes(), a.refuse)
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func (a *API) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) { text(w, "ok") })
	mux.HandleFunc("GET /sh/{file}", a.script)

	mux.HandleFunc("GET /api/vm/list", a.list)
	mux.HandleFunc("GET /api/vm/{id}/status", a.status)

	mux.Handle("POST /api/vm/install", a.change(a.install))
	mux.Handle("POST /api/vm/{id}/start", a.change(a.power("start", stopped)))
	mux.Handle("POST /api/vm/{id}/stop", a.change(a.power("stop", running)))
	mux.Handle("POST /api/vm/{id}/shutdown", a.change(a.power("shutdown", running)))
	mux.Handle("POST /api/vm/{id}/reboot", a.change(a.power("reboot", running)))
	mux.Handle("POST /api/vm/{id}/destroy", a.change(a.destroy))
	mux.Handle("POST /api/vm/{id}/set/cpu", a.change(a.setCPU))
	mux.Handle("POST /api/vm/{id}/set/memory", a.change(a.setMemory))
	mux.Handle("POST /api/vm/{id}/set/disk", a.change(a.setDisk))
	mux.Handle("POST /api/vm/{id}/set/node", a.change(a.setNode))
	return mux
}

// change is a handler that changes something; by asks for it. What it
// returns, unless nil, is told to the client.
type change func(w http.ResponseWriter, r *http.Request, by provision.Actor) error

func (a *API) change(do change) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := access.CallerOf(r.Context()).Actor
		if by == nil {
			status, err := a.Gate.NeedActor()
			a.refuse(w, r, status, err)
			return
		}
		if err := do(w, r, *by); err != nil {
			a.fail(w, r, err)
		}
	})
}

// fail answers with err, and the status of its kind.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		a.refuse(w, r, http.StatusRequestEntityTooLarge, provision.Errorf(provision.Invalid, "the body has more than %d bytes", tooLarge.Limit))
		return
	}
	if wait, ok := errors.AsType[*waiting](err); ok {
		writeJSON(w, http.StatusForbidden, refusal{Error: wait.Error(), Kind: provision.Denied, Job: wait.job})
		return
	}
	if why, late := access.Late(r.Context(), err); late {
		a.refuse(w, r, http.StatusGatewayTimeout, why)
		return
	}
	status := access.StatusOf(provision.KindOf(err))
	if status == http.StatusBadGateway { // the older system has none
		status = http.StatusInternalServerError
	}
	a.refuse(w, r, status, err)
}

// refusal is the answer to what is not done, or did not work.
type refusal struct {
	Success bool            `json:"success"` // never
	Error   string          `json:"error"`
	Kind    provision.Kind  `json:"kind"`
	Try     string          `json:"try,omitempty"`
	Job     provision.JobID `json:"job,omitempty"`
}

// refuse answers with the sentence for people; the cause is for the log.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	say, try := provision.Explain(err)
	kind := provision.KindOf(err)
	if kind == provision.Internal {
		say, try = "something went wrong in the bot", ""
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		a.Log.ErrorContext(r.Context(), "old API", "path", r.URL.Path, "err", err)
	}
	writeJSON(w, status, refusal{Error: say, Kind: kind, Try: try})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers, strings and structs of them
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a reader that went away needs no answer
}

func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, s)
}

// script serves the init script of a system, OS_VERSION.sh.
func (a *API) script(w http.ResponseWriter, r *http.Request) {
	m := scriptRE.FindStringSubmatch(r.PathValue("file"))
	if m == nil {
		a.fail(w, r, provision.Errorf(provision.NotFound, "scripts are called OS_VERSION.sh, like ubuntu_24.04.sh"))
		return
	}
	body, err := sh.Script(m[1], m[2])
	if err != nil {
		a.fail(w, r, &provision.Error{Kind: provision.NotFound, Say: "there is no script " + m[0], Err: err})
		return
	}
	w.Header().Set("Content-Type", "text/x-shellscript; charset=utf-8")
	_, _ = w.Write(body)
}

var (
	scriptRE = regexp.MustCompile(`^([a-z]+)_([0-9]+(?:\.[0-9]+)?)\.sh$`)
	idRE     = regexp.MustCompile(`^[1-9][0-9]{2,8}$`)
)

// vm is the VM that the path names.
func (a *API) vm(r *http.Request) (provision.VM, error) {
	word := r.PathValue("id")
	if !idRE.MatchString(word) {
		return provision.VM{}, provision.Errorf(provision.Invalid, "%s is no VMID", quote(word))
	}
	vm, err := a.Engine.FindVM(r.Context(), word)
	if err == nil && vm.Template {
		err = provision.Errorf(provision.Invalid, "%s is a template, not a VM", vm.VMRef)
	}
	return vm, err
}

// quote is text of a client for an error: short, and without what could fool
// a terminal.
func quote(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// powerOf is running or stopped, as the old system knew it.
func (a *API) powerOf(ctx context.Context, vm provision.VM) (string, error) {
	status, err := a.Cluster.Status(ctx, vm.Node, vm.VMID)
	if err != nil {
		return "", &provision.Error{Kind: provision.Unavailable, Say: "node " + vm.Node + " does not tell the state of " + vm.VMRef.String(), Err: err}
	}
	if status != stopped {
		return running, nil
	}
	return stopped, nil
}

// The power states that the old system knew.
const (
	running = "running"
	stopped = "stopped"
)

func (a *API) status(w http.ResponseWriter, r *http.Request) {
	vm, err := a.vm(r)
	if by := access.CallerOf(r.Context()).Actor; by != nil {
		if err == nil {
			err = a.Clerk.MaySee(*by, "show", &vm)
		} else { // who may look at none does not learn either which are there
			err = cmp.Or(a.Clerk.MaySee(*by, "show", nil), err)
		}
	}
	var state string
	if err == nil {
		state, err = a.powerOf(r.Context(), vm)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	text(w, state)
}

// body reads the JSON body into v. Fields that v does not have are left
// alone, as the old system did.
func body(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		return &provision.Error{Kind: provision.Invalid, Say: "the body can't be read", Err: err}
	}
	err = json.Unmarshal(data, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &provision.Error{Kind: provision.Invalid, Say: quote(wrong.Field) + " can't be " + wrong.Value, Err: err}
	}
	if err != nil {
		return &provision.Error{Kind: provision.Invalid, Say: "the body is no JSON", Err: err}
	}
	return nil
}

// place orders what req is about.
func (a *API) place(ctx context.Context, by provision.Actor, spec provision.Spec, req commands.Request) (provision.Job, error) {
	return a.Clerk.Place(ctx, orders.Order{By: by, Spec: spec, Key: access.Platform + "/" + uuid.NewString(), Text: commands.Format(req)})
}

// waiting says that a job waits for approval.
type waiting struct {
	job  provision.JobID
	gate provision.Gate
}

func (e *waiting) Error() string {
	return "job " + e.job.String() + " waits for " + approval(e.gate)
}

// finish waits for the end of the job that was ordered and answers ok.
func (a *API) finish(w http.ResponseWriter, r *http.Request, job provision.Job, err error) error {
	if err != nil {
		return err
	}
	if job.State == provision.StateWaiting && job.Order.Gate != nil {
		return &waiting{job.ID, *job.Order.Gate}
	}
	// A guest may take its time to shut down: longer than a server gives.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	job, err = feed.Await(r.Context(), a.Source, job.ID)
	if err != nil {
		return &provision.Error{Kind: provision.Unavailable, Say: "job " + job.ID.String() + " goes on without you", Err: err}
	}
	if job.State != provision.StateSucceeded {
		return verdict(job)
	}
	text(w, "ok")
	return nil
}

// verdict is why a job did not succeed.
func verdict(job provision.Job) error {
	p := job.Problem
	if p == nil {
		p = &provision.Problem{Kind: provision.Cancelled, Say: "job " + job.ID.String() + " was cancelled"}
	}
	say := p.Say
	if job.State == provision.StateParked {
		say += "; job " + job.ID.String() + " waits for somebody to decide what becomes of it"
	}
	return &provision.Error{Kind: p.Kind, Say: say, Try: p.Try, Err: errors.New(p.Cause)}
}

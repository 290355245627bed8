package v1

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"

	"github.com/goccy/go-yaml"

	"pvebot/bot/web/access"
	"pvebot/bot/web/feed"
	"pvebot/bot/web/orders"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// Prefix is where the API is.
const Prefix = "/api/v1"

// Engine is what the API needs of a [provision.Engine].
type Engine interface {
	provision.Inventory
	FindVM(ctx context.Context, word string) (provision.VM, error)
	VMs(ctx context.Context) ([]provision.VM, error)
	Snapshots(ctx context.Context, vm provision.VMRef) ([]cluster.VMSnapshot, error)
}

// Store is what the API needs of a [provision.Store].
type Store interface {
	feed.Source
	Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error)
	AuditRows(ctx context.Context, f provision.AuditFilter) iter.Seq2[provision.AuditRow, error]
}

// Clerk is what the API needs of an [orders.Clerk].
type Clerk interface {
	Place(ctx context.Context, o orders.Order) (provision.Job, error)
	PlaceLine(ctx context.Context, by provision.Actor, req commands.Request, key string) ([]provision.Job, error)
	Ordered(ctx context.Context, by provision.Actor, req commands.Request, key string) ([]provision.Job, error)
	Preview(ctx context.Context, by provision.Actor, spec provision.Spec, text string) (provision.Plan, commands.Verdict, error)
	PreviewLine(ctx context.Context, by provision.Actor, req commands.Request) (provision.Plan, commands.Verdict, error)
	Cancel(ctx context.Context, by provision.Actor, id provision.JobID) (provision.Job, error)
	Resolve(ctx context.Context, by provision.Actor, id provision.JobID, do provision.Decision) (provision.Job, error)
	Vote(ctx context.Context, by provision.Actor, id provision.JobID, yes bool, digest string) (provision.Job, error)
	MaySee(by provision.Actor, verb string, vm *provision.VM) error
}

// ClustersPath and a cluster's name is what comes before the path of an API that
// is about one of several.
const ClustersPath = "/clusters/"

// Config is what the API stands on. All but Cluster, Clock and Log must be set.
type Config struct {
	Engine   Engine
	Clusters []string // all that people can order in, the one meant by default first
	Cluster  string   // to which lists are narrowed; "": none
	Store    Store
	Clerk    Clerk
	Gate     *access.Gate
	Clock    cluster.Clock
	Log      *slog.Logger
}

// API is the handler of /api/v1/. It may be used by many goroutines.
type API struct {
	Config
	handler http.Handler
	frames  frames
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
	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.Handle(r.method+" "+Prefix+r.path, a.known(r.do))
	}
	mux.HandleFunc("GET "+Prefix+"/openapi.yaml", describe)
	mux.HandleFunc("GET "+Prefix+"/openapi.json", describeJSON)
	a.handler = a.Gate.Handler(mux, a.refuse)
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// handler answers a request of somebody known. The error, unless nil, is told
// to the client; nothing was written then.
type handler func(w http.ResponseWriter, r *http.Request, by provision.Actor) error

type route struct {
	method, path string
	do           handler
}

func (a *API) routes() []route {
	return []route{
		{"GET", "/jobs", a.jobs},
		{"POST", "/jobs", a.order},
		{"GET", "/jobs/{id}", a.job},
		{"POST", "/jobs/{id}/cancel", a.cancel},
		{"POST", "/jobs/{id}/resolve", a.resolve},
		{"POST", "/jobs/{id}/vote", a.vote},
		{"GET", "/jobs/{id}/events", a.jobEvents},
		{"GET", "/events", a.events},
		{"POST", "/plans", a.plan},
		{"GET", "/clusters", a.clusters},
		{"GET", "/vms", a.vms},
		{"GET", "/vms/{vm}", a.vm},
		{"GET", "/vms/{vm}/snapshots", a.snapshots},
		{"GET", "/nodes", a.nodes},
		{"GET", "/images", a.images},
		{"GET", "/audit", a.audit},
	}
}

func (a *API) known(do handler) http.Handler {
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

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		a.refuse(w, r, http.StatusRequestEntityTooLarge, provision.Errorf(provision.Invalid, "the body has more than %d bytes", tooLarge.Limit))
		return
	}
	if why, late := access.Late(r.Context(), err); late {
		a.refuse(w, r, http.StatusGatewayTimeout, why)
		return
	}
	a.refuse(w, r, access.StatusOf(provision.KindOf(err)), err)
}

// problem is the answer to what is not done. The cause is for the log.
type problem struct {
	Kind provision.Kind `json:"kind"`
	Say  string         `json:"say"`
	Try  string         `json:"try,omitempty"`
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		a.Log.ErrorContext(r.Context(), "api", "path", r.URL.Path, "err", err)
	}
	_ = answer(w, status, problemOf(err))
}

func problemOf(err error) problem {
	p := problem{Kind: provision.KindOf(err)}
	p.Say, p.Try = provision.Explain(err)
	if p.Kind == provision.Internal {
		p.Say, p.Try = "something went wrong in the bot", ""
	}
	return p
}

func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader that went away needs no answer
	return nil
}

// body reads the JSON body into v, which must have all of its fields.
func body(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		return &provision.Error{Kind: provision.Invalid, Say: "the body can't be read", Err: err}
	}
	return strict(data, v)
}

//go:embed openapi.yaml
var description []byte

// describe answers with the API's description.
func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	_, _ = w.Write(description) // a reader that went away needs no answer
}

// describeJSON is describe for those that read no YAML.
func describeJSON(w http.ResponseWriter, _ *http.Request) {
	doc, err := yaml.YAMLToJSON(description)
	if err != nil {
		panic(err) // embedded
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(doc)
}

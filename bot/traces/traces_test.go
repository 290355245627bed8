package traces

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// hurried is a clock whose sleeps take no time.
type hurried struct{ cluster.SystemClock }

func (hurried) Sleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

func install(t *testing.T, store provision.Store, key string, evs ...provision.Event) {
	t.Helper()
	_, err := store.Submit(t.Context(), provision.Order{
		Key: key, Cluster: "pve", By: provision.Actor{Platform: "web", ID: "1"}, Spec: provision.Install{OS: "ubuntu", PasswordHash: "$6$hidden"},
	}, []provision.StepState{{Phase: "VM creation", Name: "creating VM"}, {Phase: "VM initialization", Name: "starting VM"}})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := store.Claim(t.Context(), "test", provision.Wanted{Cluster: "pve"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Append(t.Context(), lease, evs...); err != nil {
		t.Fatal(err)
	}
}

// A job is one trace: tried again while the collector is busy, then complete.
func TestTrace(t *testing.T) {
	got := make(chan []byte, 10)
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/base/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer x y" {
			t.Errorf("%s with %v", r.URL.Path, r.Header)
		}
		if calls.Add(1) < 3 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		got <- body
	}))
	t.Cleanup(srv.Close)
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	headers, err := ParseHeaders("Authorization=Bearer%20x%20y")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Endpoint: srv.URL + "/base/", Headers: headers, Version: "v1", Clock: hurried{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	following := make(chan struct{})
	go func() { over <- s.Run(ctx, told{store, following}) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	<-following
	install(t, store, "one",
		provision.Event{Kind: provision.FactsSet, Facts: &provision.Facts{Node: "pve2", VMID: 107}},
		provision.Event{Kind: provision.StepStarted, Step: "creating VM"},
		provision.Event{Kind: provision.StepDone, Step: "creating VM"},
		provision.Event{Kind: provision.StepStarted, Step: "starting VM"},
		provision.Event{Kind: provision.StepFailed, Step: "starting VM", Text: "no memory"},
		provision.Event{Kind: provision.JobState, State: provision.StateUndoing, Err: &provision.Problem{Say: "no memory on pve2"}},
		provision.Event{Kind: provision.JobState, State: provision.StateFailed})

	body := <-got
	if strings.Contains(string(body), "hidden") {
		t.Errorf("a secret is in the trace: %s", body)
	}
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	spans := r.ResourceSpans[0].ScopeSpans[0].Spans
	byName := map[string]span{}
	for _, sp := range spans {
		byName[sp.Name] = sp
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(sp.TraceID) || !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(sp.SpanID) {
			t.Errorf("ids %q and %q", sp.TraceID, sp.SpanID)
		}
		if sp.TraceID != spans[0].TraceID || sp.Start > sp.End || (sp.Parent == "") != (sp.Name == "install") {
			t.Errorf("%+v", sp)
		}
	}
	root, creating, starting := byName["install"], byName["creating VM"], byName["starting VM"]
	if root.Status != (status{statusError, "no memory on pve2"}) || starting.Status != (status{statusError, "no memory"}) || creating.Status.Code != 0 {
		t.Errorf("statuses: %+v %+v %+v", root.Status, creating.Status, starting.Status)
	}
	if starting.Parent != root.SpanID || creating.SpanID == starting.SpanID {
		t.Errorf("the steps do not hang on the job: %+v", spans)
	}
	attributes, err := json.Marshal(root.Attributes)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"pvebot.vmid","value":{"intValue":"107"}`, `"pvebot.node","value":{"stringValue":"pve2"}`, `"pvebot.state","value":{"stringValue":"failed"}`} {
		if !strings.Contains(string(attributes), want) {
			t.Errorf("%s is not among %s", want, attributes)
		}
	}
}

// told is a store that tells when it is followed.
type told struct {
	provision.Store
	following chan struct{}
}

func (s told) Position(ctx context.Context) (provision.Position, error) {
	pos, err := s.Store.Position(ctx)
	close(s.following)
	return pos, err
}

// A collector that refuses is not asked again; one that is away is given up.
func TestRefused(t *testing.T) {
	for status, want := range map[int]int32{http.StatusBadRequest: 1, http.StatusUnauthorized: 1, http.StatusTooManyRequests: tries} {
		var calls atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(status)
		}))
		s, err := New(Config{Endpoint: srv.URL, Clock: hurried{}})
		if err != nil {
			t.Fatal(err)
		}
		job := provision.Job{ID: 1, State: provision.StateSucceeded, Order: provision.Order{Spec: provision.Install{OS: "ubuntu"}}}
		s.send(t.Context(), shelf{job: job}, provision.Event{Job: 1, State: provision.StateSucceeded})
		if calls.Load() != want {
			t.Errorf("status %d: asked %d times, want %d", status, calls.Load(), want)
		}
		srv.Close()
	}
}

// shelf has one job.
type shelf struct {
	Store
	job provision.Job
}

func (s shelf) Job(context.Context, provision.JobID) (provision.Job, error) { return s.job, nil }

func TestBadSettings(t *testing.T) {
	for _, endpoint := range []string{"", "localhost:4318", "ftp://x", "http://"} {
		if _, err := New(Config{Endpoint: endpoint}); err == nil {
			t.Errorf("%q is taken for a collector", endpoint)
		}
	}
	for _, list := range []string{"novalue", "=x", "a=%zz"} {
		if _, err := ParseHeaders(list); err == nil || strings.Contains(err.Error(), list) {
			t.Errorf("%q: %v", list, err)
		}
	}
	if h, err := ParseHeaders(" a=1 , b=x%2Cy,"); err != nil || len(h) != 2 || h["a"] != "1" || h["b"] != "x,y" {
		t.Errorf("%v %v", h, err)
	}
}

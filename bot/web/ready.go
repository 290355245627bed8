package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"pvebot/provision"
)

// Check is one thing that the bot needs to do its work.
type Check struct {
	Name string
	// Ask returns a few words about how it is, or an error, whose sentence is
	// shown to everybody. It gets three seconds.
	Ask func(ctx context.Context) (string, error)
}

const (
	checkTime = 3 * time.Second
	checkAge  = 2 * time.Second // an answer is as good for everybody who asks within
)

// Health is what /readyz answers.
type Health struct {
	Ready  bool      `json:"ready"`
	Checks []Checkup `json:"checks"`
}

// Checkup is how one Check went.
type Checkup struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Say  string `json:"say,omitempty"`
	Try  string `json:"try,omitempty"`
}

// readiness asks the checks, and not more often than makes sense.
type readiness struct {
	mu     sync.Mutex
	at     time.Time // the last answer was complete then
	last   Health
	asking chan struct{} // closed when the checks under way are over; nil: none are
}

// ask returns how all checks went; false when ctx ended before that was known.
func (w *Web) ask(ctx context.Context) (Health, bool) {
	r := &w.ready
	r.mu.Lock()
	if !r.at.IsZero() && w.cfg.Clock.Now().Sub(r.at) < checkAge {
		defer r.mu.Unlock()
		return r.last, true
	}
	asking := r.asking
	if asking == nil {
		asking = make(chan struct{})
		r.asking = asking
		// Others may get this answer, too: who asked first must not end it.
		w.handling.Go(func() { w.check(context.WithoutCancel(ctx), asking) })
	}
	r.mu.Unlock()
	select {
	case <-asking:
	case <-ctx.Done():
		return Health{Checks: []Checkup{}}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, true
}

// check runs the checks, keeps what they say and closes done.
func (w *Web) check(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	h := Health{Ready: true, Checks: make([]Checkup, len(w.cfg.Checks))}
	var asking sync.WaitGroup
	for i, c := range w.cfg.Checks {
		asking.Go(func() { h.Checks[i] = c.run(ctx) })
	}
	asking.Wait()
	for _, c := range h.Checks {
		h.Ready = h.Ready && c.OK
		if !c.OK {
			w.log.WarnContext(ctx, "not ready", "check", c.Name, "say", c.Say)
		}
	}
	w.ready.mu.Lock()
	defer w.ready.mu.Unlock()
	w.ready.last, w.ready.at, w.ready.asking = h, w.cfg.Clock.Now(), nil
	close(done)
}

func (c Check) run(ctx context.Context) Checkup {
	say, err := c.Ask(ctx)
	if err != nil {
		say, try := provision.Explain(err)
		return Checkup{Name: c.Name, Say: say, Try: try}
	}
	return Checkup{Name: c.Name, OK: true, Say: say}
}

// serveReady tells whether the bot can do its work: 200 or 503, and how each
// check went.
func (w *Web) serveReady(rw http.ResponseWriter, r *http.Request) {
	h, known := w.ask(r.Context())
	status := http.StatusOK
	if !known || !h.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(rw, status, h)
}

// serveHealth tells whether the process can do anything at all: a bot whose
// store does not answer can't.
func (w *Web) serveHealth(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	if _, err := w.cfg.Store.Position(ctx); err != nil {
		w.log.WarnContext(ctx, "not healthy", "err", err)
		http.Error(rw, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write([]byte("ok\n"))
}

package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"pvebot/cluster"
)

const (
	// progressGap is the shortest time between two stored progress events of
	// a step, so that the log of a job stays readable and cheap.
	progressGap = 2 * time.Second
	// logBatch is how many lines of detail travel in one event at the most.
	logBatch = 100
)

// errStale is why a change was refused: somebody else may have the job by now.
var errStale = errors.New("the lease is old")

// errCancelAsked is the cause with which a step is interrupted.
var errCancelAsked = errors.New("somebody asked for the job's end")

// Work is a running step's view of its job: it reads the spec and the facts,
// and what it learns it writes down at once. A Work belongs to one step;
// Progress and Log may be called from any goroutine.
type Work struct {
	h       *holder
	step    string
	resumed bool // an earlier worker began the step
	result  string

	mu   sync.Mutex
	last time.Time // of the latest progress event
}

// Job is the job as it stands.
func (w *Work) Job() Job { return w.h.job() }

// Facts are what the job knows so far.
func (w *Work) Facts() Facts { return w.h.job().Facts }

// Learn stores facts. What a step chose it stores before it acts on it.
func (w *Work) Learn(ctx context.Context, f Facts) error {
	return w.h.append(ctx, Event{Kind: FactsSet, Facts: &f})
}

// Result is what the finished step says in a few words.
func (w *Work) Result(format string, a ...any) { w.result = fmt.Sprintf(format, a...) }

// Progress tells how far the step is: a fraction from 0 to 1 (below 0:
// unknown) and a few words. Too frequent calls are dropped.
func (w *Work) Progress(ctx context.Context, fraction float64, text string) {
	w.mu.Lock()
	now := w.h.clock.Now()
	early := now.Sub(w.last) < progressGap
	if !early {
		w.last = now
	}
	w.mu.Unlock()
	if early {
		return
	}
	e := Event{Kind: StepProgress, Step: w.step, Text: text}
	if fraction >= 0 {
		e.Fraction = &fraction
	}
	if err := w.h.append(ctx, e); err != nil {
		w.h.log.Debug("progress was not stored", "err", err)
	}
}

// Log keeps lines of detail for the job's thread. They are stored in batches,
// at the latest before the step ends.
func (w *Work) Log(ctx context.Context, lines ...string) {
	w.log(ctx, nil, lines...)
}

// LogUpTo is Log of a line of a command's output, which goes on at next: with the
// line it is stored that it has been told.
func (w *Work) LogUpTo(ctx context.Context, next int64, line string) { w.log(ctx, &next, line) }

func (w *Work) log(ctx context.Context, next *int64, lines ...string) {
	if w.h.note(w.step, next, lines) {
		if err := w.h.append(ctx); err != nil {
			w.h.log.Debug("log lines were not stored yet", "err", err)
		}
	}
}

// told is how much of its command's output the step has told, and when it last
// did. Of a step that begins anew it is nothing.
func (w *Work) told(ctx context.Context) (Told, error) {
	switch t := w.Facts().Told; {
	case t.Step != w.step:
		return Told{}, nil
	case w.resumed:
		return t, nil
	}
	return Told{}, w.Learn(ctx, Facts{Told: Told{Step: w.step, At: w.h.clock.Now().UTC()}})
}

// Reserve takes the first free slot of a pool for the job.
func (w *Work) Reserve(ctx context.Context, pool string, slots ...string) (string, error) {
	return w.h.reserve(ctx, pool, slots...)
}

// Release gives a slot back; it stays taken for cooling.
func (w *Work) Release(ctx context.Context, pool, slot string, cooling time.Duration) error {
	return w.h.release(ctx, pool, slot, cooling)
}

// placesPrefix begins the pools of places that jobs queue for.
const placesPrefix = "places/"

// Queue waits for one of the n places at what, telling so on the card. The job has
// it until the step is done, see Step.Keeps. It gives back a place that it has elsewhere: jobs
// that wait for each other's would wait for ever.
func (w *Work) Queue(ctx context.Context, what string, n int, text string) error {
	pool := placesPrefix + what
	w.h.leave(ctx, pool)
	places := make([]string, n)
	for i := range places {
		places[i] = fmt.Sprint(i + 1)
	}
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		_, err := w.Reserve(ctx, pool, places...)
		if _, held := errors.AsType[*HeldError](err); !held {
			return err
		}
		if w.h.cancelled() != nil { // nothing has begun
			return errCancelAsked
		}
		w.Progress(ctx, -1, text)
		if err := w.h.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// leave gives the places back that the job queued for, but for one in the pool
// keep. One that can't be given back now is free at the end of the job.
func (h *holder) leave(ctx context.Context, keep string) {
	for _, held := range h.job().Slots {
		if !strings.HasPrefix(held.Pool, placesPrefix) || held.Pool == keep {
			continue
		}
		if err := h.release(ctx, held.Pool, held.Slot, 0); err != nil {
			h.log.Debug("a place was not given back", "place", held.Pool, "err", err)
		}
	}
}

// holder holds the lease of one job: the only writer of its sequence. Its
// methods may be called by many goroutines.
type holder struct {
	store   Store
	clock   cluster.Clock
	term    time.Duration // of the lease
	log     *slog.Logger
	changed func() // is called before the job moves on to another state

	mu        sync.Mutex
	lease     *Lease
	renewed   time.Time // when the last successful renewal was sent
	lines     []string  // not stored yet
	linesOf   string    // the step that they belong to
	upTo      *int64    // how much of a command's output they are
	flushed   time.Time
	cancelBy  *Actor
	lost      bool                    // the latest command's outcome is unknown, and it is no task that can be found again
	interrupt context.CancelCauseFunc // ends the running step's context
}

func newHolder(e *Engine, l *Lease) *holder {
	now := e.clock.Now()
	return &holder{
		store: e.store, clock: e.clock, term: e.lease, lease: l, renewed: now, flushed: now,
		log:      e.log.With("job", l.Job.ID),
		changed:  e.kit.view.drop,
		cancelBy: l.Job.CancelAsked,
	}
}

func (h *holder) job() Job {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease.Job
}

// about is the log for what is said about the job, with the node and the VM as
// far as they are known by now.
func (h *holder) about() *slog.Logger {
	facts := h.job().Facts
	log := h.log
	if facts.Node != "" {
		log = log.With("node", facts.Node)
	}
	if facts.VMID != 0 {
		log = log.With("vmid", facts.VMID)
	}
	return log
}

// adrift reports whether a command of ours may still run on its node.
func (h *holder) adrift() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// fence refuses changes once the lease is two thirds old: by then somebody
// else may soon own the job.
func (h *holder) fence() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if age := h.clock.Now().Sub(h.renewed); age > h.term*2/3 {
		return fmt.Errorf("%w: it was last renewed %s ago", errStale, age.Round(time.Millisecond))
	}
	return nil
}

// append stores events behind whatever lines wait, and renews the lease.
func (h *holder) append(ctx context.Context, evs ...Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lines) > 0 {
		text := strings.Join(h.lines, "\n")
		log := []Event{{Kind: StepLog, Step: h.linesOf, Text: text}}
		if h.upTo != nil {
			log = append(log, Event{Kind: FactsSet, Facts: &Facts{Told: Told{Step: h.linesOf, Offset: *h.upTo, At: h.clock.Now().UTC()}}})
		}
		evs = append(log, evs...)
	}
	if slices.ContainsFunc(evs, func(e Event) bool { return e.Kind == JobState }) {
		h.changed()
		h.ended(ctx, evs[len(evs)-1])
	}
	return h.insist(ctx, func(ctx context.Context) error {
		signal, err := h.store.Append(ctx, h.lease, evs...)
		if err == nil {
			h.lines, h.upTo, h.flushed = nil, nil, h.clock.Now()
			h.hear(signal.Cancel)
		}
		return err
	})
}

// insist makes a call of the store that renews the lease. A store that refuses
// is tried again, and one that is silent is waited for, until the lease is two
// thirds old; then the job is somebody else's. h.mu is held.
func (h *holder) insist(ctx context.Context, call func(context.Context) error) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		sent := h.clock.Now()
		patience, over := context.WithTimeout(ctx, max(h.term*2/3-sent.Sub(h.renewed), h.term/10))
		err := call(patience)
		over()
		if err == nil {
			h.renewed = sent
			return nil
		}
		_, held := errors.AsType[*HeldError](err)
		if held || errors.Is(err, ErrFenced) || ctx.Err() != nil || h.clock.Now().Sub(h.renewed) > h.term*2/3 {
			return err
		}
		h.log.Warn("the store refuses, trying again", "err", err)
		if err := h.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// hear remembers a cancel request and interrupts the running step, once.
func (h *holder) hear(by *Actor) {
	if by == nil || h.cancelBy != nil {
		return
	}
	h.cancelBy = by
	if h.interrupt != nil {
		h.interrupt(errCancelAsked)
	}
}

// cancelled is who asked for the job's end, nil when nobody did.
func (h *holder) cancelled() *Actor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cancelBy
}

// note keeps lines and reports whether it is time to store them.
func (h *holder) note(step string, next *int64, lines []string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.linesOf = step
	if next != nil {
		h.upTo = next
	}
	h.lines = append(h.lines, lines...)
	return len(h.lines) >= logBatch || h.clock.Now().Sub(h.flushed) >= progressGap
}

func (h *holder) reserve(ctx context.Context, pool string, slots ...string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var got string
	err := h.insist(ctx, func(ctx context.Context) (err error) {
		got, err = h.store.Reserve(ctx, h.lease, pool, slots...)
		return err
	})
	return got, err
}

func (h *holder) release(ctx context.Context, pool, slot string, cooling time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.insist(ctx, func(ctx context.Context) error { return h.store.Release(ctx, h.lease, pool, slot, cooling) })
}

// beat renews the lease every third of its term until ctx ends. When it can't,
// it ends the job's context through lost.
func (h *holder) beat(ctx context.Context, lost context.CancelCauseFunc) {
	for {
		if h.clock.Sleep(ctx, h.term/3) != nil {
			return
		}
		if err := h.append(ctx); err != nil && ctx.Err() == nil {
			lost(fmt.Errorf("lease of job %d: %w", h.job().ID, err))
			return
		}
	}
}

// interruptible returns a context for a step that a cancel request ends.
func (h *holder) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interrupt = cancel
	if h.cancelBy != nil {
		cancel(errCancelAsked)
	}
	return ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.interrupt = nil
		cancel(nil)
	}
}

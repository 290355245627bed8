package bot

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/cluster"
	"pvebot/provision"
)

// Store is what the bot needs of a [provision.Store].
type Store interface {
	Job(ctx context.Context, id provision.JobID) (provision.Job, error)
	Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error)
	Events(ctx context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error]
	Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error]
	Position(ctx context.Context) (provision.Position, error)

	SetCard(ctx context.Context, c provision.CardRef) error
	Cards(ctx context.Context, platform string) ([]provision.CardRef, error)
	Card(ctx context.Context, platform string, id provision.JobID) (provision.CardRef, bool, error)

	Accept(ctx context.Context, m provision.Inbox) (bool, error)
	Handled(ctx context.Context, platform, id string) error
	Unhandled(ctx context.Context, platform string) ([]provision.Inbox, error)

	Audit(ctx context.Context, r provision.AuditRow) error
	AuditRows(ctx context.Context, f provision.AuditFilter) iter.Seq2[provision.AuditRow, error]

	Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error)
	Resign(ctx context.Context, role, owner string) error
}

// FollowerConfig is what a Follower needs. All of it but Clock and Log is
// required.
type FollowerConfig struct {
	Store    Store
	Adapters []Adapter
	Owner    string        // of this process's roles; random, new in each process
	Clock    cluster.Clock // default: the system's
	Log      *slog.Logger  // default: discards
}

// Follower keeps the cards of jobs up to date. It is the only writer of a
// card after its first post, and one of its goroutines owns all cards of a
// platform: what is shown never goes backwards.
//
// Events only tell it that something changed. What is written is rendered from
// the job as the store has it at that moment, so that a slow platform is shown
// fewer states, never old ones.
//
// Of several bots on one store, one writes to a platform: the leader of the
// role cards/PLATFORM. A new leader renders all live cards again.
type Follower struct {
	store   Store
	clock   cluster.Clock
	log     *slog.Logger
	writers map[string]*writer
}

// NewFollower makes a Follower; Run makes it work.
func NewFollower(cfg FollowerConfig) *Follower {
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Follower{store: cfg.Store, clock: cfg.Clock, log: cfg.Log, writers: map[string]*writer{}}
	for _, a := range cfg.Adapters {
		f.writers[a.Name()] = newWriter(a, cfg)
	}
	return f
}

// Run follows until ctx ends. It returns after its goroutines and the writes
// that were on their way have ended.
func (f *Follower) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range f.writers {
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error { return f.read(ctx) })
	return g.Wait()
}

// Nudge says that the job's card on a platform is new, or shows something that
// no event tells (a cancel that was asked for). It never blocks.
func (f *Follower) Nudge(platform string, id provision.JobID) {
	if w, ok := f.writers[platform]; ok {
		w.hints.add(id, hint{card: true, adopt: true})
	}
}

// retryRead is how long a broken feed is left alone.
const retryRead = time.Second

// read feeds the events of all jobs to the writers as hints.
func (f *Follower) read(ctx context.Context) error {
	var pos provision.Position
	fresh := true // nothing was read yet, or what was missed is not kept
	for ctx.Err() == nil {
		var err error
		if fresh {
			if pos, err = f.store.Position(ctx); err == nil {
				fresh = false
				for _, w := range f.writers {
					w.hints.all()
				}
			}
		}
		if err == nil {
			pos, err = f.readFrom(ctx, pos)
		}
		if ctx.Err() != nil {
			break
		}
		fresh = fresh || errors.Is(err, provision.ErrPruned)
		f.log.WarnContext(ctx, "the event feed broke; following again", "after", pos, "err", err)
		if f.clock.Sleep(ctx, retryRead) != nil {
			break
		}
	}
	return nil
}

// readFrom reads until the feed breaks and returns the last position it saw.
func (f *Follower) readFrom(ctx context.Context, pos provision.Position) (provision.Position, error) {
	for ev, err := range f.store.Follow(ctx, pos) {
		if err != nil {
			return pos, err
		}
		pos = ev.Pos
		h := hintOf(ev)
		for _, w := range f.writers {
			w.hints.add(ev.Job, h)
		}
	}
	return pos, errors.New("the feed ended")
}

// hint says what an event may have changed of a job's card and thread.
type hint struct {
	card   bool            // the card looks different
	thread bool            // there is something to say
	adopt  bool            // look for the card even if the job is not known yet
	state  provision.State // the newest state, "" when it did not change
}

func hintOf(ev provision.Event) hint {
	switch ev.Kind {
	case provision.JobState:
		return hint{card: true, thread: true, adopt: true, state: ev.State}
	case provision.GateVoted, provision.StepStarted, provision.StepDone, provision.StepFailed,
		provision.StepUndoing, provision.StepUndone:
		return hint{card: true, thread: true}
	case provision.StepLog:
		return hint{thread: true}
	case provision.StepProgress, provision.FactsSet:
		return hint{card: true}
	case provision.JobAccepted, provision.SlotTaken, provision.SlotFreed:
	}
	return hint{}
}

// hints collects what a writer has not looked at yet. Adding never blocks, and
// a slow writer finds one merged hint per job.
type hints struct {
	mu      sync.Mutex
	jobs    map[provision.JobID]hint
	refresh bool
	wake    chan struct{} // holds a token while there is something
}

func newHints() *hints {
	return &hints{jobs: map[provision.JobID]hint{}, wake: make(chan struct{}, 1)}
}

func (h *hints) add(id provision.JobID, n hint) {
	if n == (hint{}) {
		return
	}
	h.mu.Lock()
	old := h.jobs[id]
	old.card = old.card || n.card
	old.thread = old.thread || n.thread
	old.adopt = old.adopt || n.adopt
	if n.state != "" {
		old.state = n.state
	}
	h.jobs[id] = old
	h.mu.Unlock()
	h.signal()
}

// all asks for a look at every live card.
func (h *hints) all() {
	h.mu.Lock()
	h.refresh = true
	h.mu.Unlock()
	h.signal()
}

func (h *hints) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take empties h.
func (h *hints) take() (jobs map[provision.JobID]hint, refresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	jobs, refresh = h.jobs, h.refresh
	h.jobs, h.refresh = map[provision.JobID]hint{}, false
	return jobs, refresh
}

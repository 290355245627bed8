package bottest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// Ledger is the store of a load test: jobs in memory, folded from their events
// as the real one does. Make one with [NewLedger]. All methods may be called
// concurrently.
type Ledger struct {
	bot.Store // what a follower does not call panics

	mu      sync.Mutex
	jobs    map[provision.JobID]*provision.Job
	events  map[provision.JobID][]provision.Event
	feed    []provision.Event
	cards   map[provision.JobID]provision.CardRef
	changed chan struct{} // closed and replaced when the feed grows
}

// NewLedger makes an empty one.
func NewLedger() *Ledger {
	return &Ledger{
		jobs: map[provision.JobID]*provision.Job{}, events: map[provision.JobID][]provision.Event{},
		cards: map[provision.JobID]provision.CardRef{}, changed: make(chan struct{}),
	}
}

// Add appends events to a job, which the first one makes.
func (l *Ledger) Add(id provision.JobID, evs ...provision.Event) provision.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	job := l.jobs[id]
	if job == nil {
		job = &provision.Job{}
		l.jobs[id] = job
	}
	for _, ev := range evs {
		ev.Job, ev.Seq, ev.Pos, ev.At = id, job.Seq+1, provision.Position(len(l.feed)+1), time.Now()
		if err := job.Apply(ev); err != nil {
			panic(err)
		}
		l.feed = append(l.feed, ev)
		l.events[id] = append(l.events[id], ev)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return l.copied(job)
}

func (l *Ledger) copied(j *provision.Job) provision.Job {
	c := *j
	c.Steps = slices.Clone(j.Steps)
	return c
}

// Job implements bot.Store.
func (l *Ledger) Job(_ context.Context, id provision.JobID) (provision.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copied(l.jobs[id]), nil
}

// Unshown is when the first event after seq happened; zero when there is none.
func (l *Ledger) Unshown(id provision.JobID, seq uint64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if evs := l.events[id]; int(seq) < len(evs) {
		return evs[seq].At
	}
	return time.Time{}
}

// Events implements bot.Store.
func (l *Ledger) Events(_ context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	l.mu.Lock()
	evs := l.events[id]
	l.mu.Unlock()
	return func(yield func(provision.Event, error) bool) {
		for _, ev := range evs[min(int(after), len(evs)):] {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// Follow implements bot.Store.
func (l *Ledger) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		for {
			l.mu.Lock()
			changed, news := l.changed, l.feed[int(after):]
			l.mu.Unlock()
			for _, ev := range news {
				after = ev.Pos
				if !yield(ev, nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(provision.Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// Position implements bot.Store.
func (l *Ledger) Position(context.Context) (provision.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return provision.Position(len(l.feed)), nil
}

// SetCard implements bot.Store.
func (l *Ledger) SetCard(_ context.Context, c provision.CardRef) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cards[c.Job] = c
	return nil
}

// Card implements bot.Store.
func (l *Ledger) Card(_ context.Context, _ string, id provision.JobID) (provision.CardRef, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.cards[id]
	return c, ok, nil
}

// Cards implements bot.Store.
func (l *Ledger) Cards(context.Context, string) ([]provision.CardRef, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(l.cards)), func(c provision.CardRef) bool { return c.Settled }), nil
}

// Lead implements bot.Store.
func (l *Ledger) Lead(context.Context, string, string, time.Duration) (bool, error) { return true, nil }

// Resign implements bot.Store.
func (l *Ledger) Resign(context.Context, string, string) error { return nil }

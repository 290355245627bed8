package metrics

import (
	"context"
	"iter"
	"sync"
	"time"

	"pvebot/provision"
)

// Follower is the feed of events, as a provision.Store has it.
type Follower interface {
	Job(ctx context.Context, id provision.JobID) (provision.Job, error)
	Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error]
	Position(ctx context.Context) (provision.Position, error)
}

// feed is what is remembered of the jobs that live.
type feed struct {
	mu   sync.Mutex
	live map[provision.JobID]*life
}

// life is a job that has not come to rest.
type life struct {
	cluster string
	verb    string
	created time.Time
	state   provision.State
	since   time.Time            // when it got there
	began   map[string]time.Time // steps that are under way
}

// retryFeed is how long a broken feed is left alone.
const retryFeed = 2 * time.Second

// count follows the feed from now on until ctx ends.
func (m *Metrics) count(ctx context.Context, store Store) {
	for ctx.Err() == nil {
		after, err := m.resume(ctx, store)
		if err == nil {
			for ev, ferr := range store.Follow(ctx, after) {
				if err = ferr; err != nil {
					break
				}
				m.see(ctx, store, ev)
			}
		}
		if ctx.Err() != nil {
			return
		}
		m.log.WarnContext(ctx, "metrics lost the feed of events; following again", "err", err)
		_ = m.clock.Sleep(ctx, retryFeed)
	}
}

// maxLive is how many live jobs are looked at in the beginning.
const maxLive = 10000

// resume learns which jobs live now, and returns the position from which on the
// feed tells the rest. That is asked first: what happens in between comes twice.
func (m *Metrics) resume(ctx context.Context, store Store) (provision.Position, error) {
	after, err := store.Position(ctx)
	if err != nil {
		return 0, err
	}
	jobs, err := store.Jobs(ctx, provision.Filter{States: live, Limit: maxLive})
	if err != nil {
		return 0, err
	}
	m.feed.mu.Lock()
	defer m.feed.mu.Unlock()
	clear(m.feed.live)
	for _, j := range jobs {
		if j.Order.Spec != nil {
			m.feed.live[j.ID] = lifeOf(j, j.Created)
		}
	}
	return after, nil
}

// see takes in an event.
func (m *Metrics) see(ctx context.Context, store Follower, ev provision.Event) {
	m.feed.mu.Lock()
	defer m.feed.mu.Unlock()
	l := m.feed.live[ev.Job]
	if l == nil {
		l = m.meet(ctx, store, ev)
		if l == nil {
			return
		}
		m.feed.live[ev.Job] = l
	}
	switch ev.Kind {
	case provision.JobAccepted, provision.JobState:
		if ev.State == "" {
			break
		}
		l.state, l.since = ev.State, ev.At
		if ev.State.Final() {
			m.jobs.WithLabelValues(l.cluster, l.verb, string(ev.State)).Inc()
			m.jobTime.WithLabelValues(l.cluster, l.verb, string(ev.State)).Observe(ev.At.Sub(l.created).Seconds())
			delete(m.feed.live, ev.Job)
		}
	case provision.StepStarted, provision.StepUndoing:
		l.began[ev.Step] = ev.At
	case provision.StepDone, provision.StepFailed, provision.StepUndone:
		if began, ok := l.began[ev.Step]; ok {
			result := map[provision.EventKind]string{
				provision.StepDone: "done", provision.StepFailed: "failed", provision.StepUndone: "undone",
			}[ev.Kind]
			m.stepTime.WithLabelValues(l.cluster, l.verb, ev.Step, result).Observe(ev.At.Sub(began).Seconds())
			delete(l.began, ev.Step)
		}
	case provision.GateVoted, provision.StepProgress, provision.StepLog, provision.FactsSet, provision.SlotTaken, provision.SlotFreed:
	}
}

// meet makes the life of a job that was not seen before; nil when it can't be
// read. m.feed.mu is held.
func (m *Metrics) meet(ctx context.Context, store Follower, ev provision.Event) *life {
	if ev.Kind == provision.JobAccepted && ev.Order != nil {
		return &life{cluster: ev.Order.Cluster, verb: ev.Order.Spec.Kind(), created: ev.At, began: map[string]time.Time{}}
	}
	job, err := store.Job(ctx, ev.Job)
	if err != nil || job.Order.Spec == nil {
		m.log.DebugContext(ctx, "metrics can't read a job", "job", ev.Job, "err", err)
		return nil
	}
	return lifeOf(job, ev.At)
}

// lifeOf is a job that has been in its state since then.
func lifeOf(job provision.Job, since time.Time) *life {
	l := &life{
		cluster: job.Order.Cluster, verb: job.Order.Spec.Kind(), created: job.Created, state: job.State, since: since, began: map[string]time.Time{},
	}
	for _, s := range job.Steps {
		if s.Status == provision.StepRunning {
			l.began[s.Name] = s.Started
		}
	}
	return l
}

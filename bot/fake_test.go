package bot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// memStore is a bot.Store that keeps jobs as the real one does, by folding
// events. Its clock is the bubble's.
type memStore struct {
	mu      sync.Mutex
	log     []provision.Event
	jobs    map[provision.JobID]*provision.Job
	byKey   map[string]provision.JobID
	cards   map[string]provision.CardRef
	inbox   map[string]provision.Inbox
	order   []string // of the inbox
	done    map[string]bool
	leaders map[string]leader
	changed chan struct{} // closed and replaced when the log grows
	audit   []provision.AuditRow
	fail    error // of every call but reading jobs
	breaks  bool  // the feed breaks once
}

type leader struct {
	owner string
	until time.Time
}

func newStore() *memStore {
	return &memStore{
		jobs: map[provision.JobID]*provision.Job{}, byKey: map[string]provision.JobID{},
		cards: map[string]provision.CardRef{}, inbox: map[string]provision.Inbox{}, done: map[string]bool{},
		leaders: map[string]leader{}, changed: make(chan struct{}),
	}
}

func now() time.Time { return cluster.SystemClock{}.Now() }

func cardKey(platform string, id provision.JobID) string { return platform + "/" + id.String() }

// submit makes a job of o, or finds the one that has its key.
func (s *memStore) submit(o provision.Order, steps ...provision.StepState) provision.Job {
	s.mu.Lock()
	if id, ok := s.byKey[o.Key]; ok {
		defer s.mu.Unlock()
		return clone(s.jobs[id])
	}
	id := provision.JobID(len(s.jobs) + 1)
	s.byKey[o.Key] = id
	s.jobs[id] = &provision.Job{}
	s.mu.Unlock()
	state := provision.StateQueued
	if o.Gate != nil {
		state = provision.StateWaiting
	}
	return s.add(id, provision.Event{Kind: provision.JobAccepted, Order: &o, State: state, Plan: steps})
}

// add appends events to a job.
func (s *memStore) add(id provision.JobID, evs ...provision.Event) provision.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	job := s.jobs[id]
	for _, ev := range evs {
		ev.Job, ev.Seq, ev.Pos, ev.At = id, job.Seq+1, provision.Position(len(s.log)+1), now()
		if err := job.Apply(ev); err != nil {
			panic(err)
		}
		s.log = append(s.log, ev)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return clone(job)
}

func clone(j *provision.Job) provision.Job {
	c := *j
	c.Steps = slices.Clone(j.Steps)
	return c
}

func (s *memStore) Job(_ context.Context, id provision.JobID) (provision.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j, ok := s.jobs[id]; ok {
		return clone(j), nil
	}
	return provision.Job{}, provision.Errorf(provision.NotFound, "there is no job %d", id)
}

func (s *memStore) Jobs(_ context.Context, f provision.Filter) ([]provision.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []provision.Job
	for id := provision.JobID(len(s.jobs)); id > 0; id-- {
		j := s.jobs[id]
		if (len(f.Keys) == 0 || slices.Contains(f.Keys, j.Order.Key)) &&
			(len(f.States) == 0 || slices.Contains(f.States, j.State)) && (f.VMID == 0 || f.VMID == j.Facts.VMID) && (f.Cluster == "" || f.Cluster == j.Order.Cluster) {
			out = append(out, clone(j))
		}
	}
	return out, nil
}

func (s *memStore) Events(_ context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		s.mu.Lock()
		log := slices.Clone(s.log)
		s.mu.Unlock()
		for _, ev := range log {
			if ev.Job == id && ev.Seq > after && !yield(ev, nil) {
				return
			}
		}
	}
}

func (s *memStore) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		for {
			s.mu.Lock()
			changed, fail := s.changed, s.fail
			if s.breaks {
				s.breaks, fail = false, provision.ErrPruned
			}
			log := slices.Clone(s.log[min(int(after), len(s.log)):])
			s.mu.Unlock()
			if fail != nil {
				yield(provision.Event{}, fail)
				return
			}
			for _, ev := range log {
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

func (s *memStore) Position(context.Context) (provision.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return provision.Position(len(s.log)), s.fail
}

func (s *memStore) SetCard(_ context.Context, c provision.CardRef) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if !json.Valid(c.Ref) {
		return fmt.Errorf("ref %q is no JSON", c.Ref)
	}
	s.cards[cardKey(c.Platform, c.Job)] = c
	return nil
}

func (s *memStore) Cards(_ context.Context, platform string) ([]provision.CardRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []provision.CardRef
	for _, c := range s.cards {
		if c.Platform == platform && !c.Settled {
			out = append(out, c)
		}
	}
	return out, s.fail
}

func (s *memStore) Card(_ context.Context, platform string, id provision.JobID) (provision.CardRef, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cards[cardKey(platform, id)]
	return c, ok, s.fail
}

func (s *memStore) card(platform string, id provision.JobID) provision.CardRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cards[cardKey(platform, id)]
}

func (s *memStore) Accept(_ context.Context, m provision.Inbox) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := m.Platform + "/" + m.ID
	if _, known := s.inbox[key]; known || s.fail != nil {
		return false, s.fail
	}
	s.inbox[key] = m
	s.order = append(s.order, key)
	return true, nil
}

func (s *memStore) Handled(_ context.Context, platform, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[platform+"/"+id] = true
	return s.fail
}

func (s *memStore) Unhandled(_ context.Context, platform string) ([]provision.Inbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []provision.Inbox
	for _, key := range s.order {
		if m := s.inbox[key]; m.Platform == platform && !s.done[key] {
			out = append(out, m)
		}
	}
	return out, s.fail
}

func (s *memStore) Audit(_ context.Context, r provision.AuditRow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Seq, r.At = int64(len(s.audit)+1), now()
	s.audit = append(s.audit, r)
	return s.fail
}

func (s *memStore) AuditRows(_ context.Context, f provision.AuditFilter) iter.Seq2[provision.AuditRow, error] {
	return func(yield func(provision.AuditRow, error) bool) {
		s.mu.Lock()
		rows := slices.Clone(s.audit)
		s.mu.Unlock()
		for _, r := range rows {
			if (f.By == nil || f.By.Same(r.By)) && (f.VMID == 0 || f.VMID == r.VMID) && (f.Cluster == "" || r.Cluster == "" || f.Cluster == r.Cluster) && !yield(r, nil) {
				return
			}
		}
	}
}

func (s *memStore) Lead(_ context.Context, role, owner string, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return false, s.fail
	}
	l := s.leaders[role]
	if l.owner != owner && now().Before(l.until) {
		return false, nil
	}
	s.leaders[role] = leader{owner, now().Add(ttl)}
	return true, nil
}

func (s *memStore) Resign(_ context.Context, role, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaders[role].owner == owner {
		delete(s.leaders, role)
	}
	return s.fail
}

// set changes the store's mood.
func (s *memStore) set(f func(*memStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	close(s.changed)
	s.changed = make(chan struct{})
}

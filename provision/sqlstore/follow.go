package sqlstore

import (
	"context"
	"iter"
	"slices"
	"sync"

	"pvebot/provision"
)

// hub keeps the newest events in memory and tells followers of new ones. One
// goroutine, tail, fills it; each follower reads from it at its own pace, and
// from the database what the hub has forgotten.
type hub struct {
	wake chan struct{} // the tail shall look; holds one

	mu      sync.Mutex
	recent  []provision.Event // those after from, to last, in order
	from    provision.Position
	last    provision.Position
	changed chan struct{} // closed, and replaced, by each change; closed for good with the hub
	closed  bool
}

// keep is how many events the hub holds at least, once there were so many.
const keep = 1024

func newHub(last provision.Position) *hub {
	return &hub{wake: make(chan struct{}, 1), from: last, last: last, changed: make(chan struct{})}
}

// poke makes the tail look for new events.
func (h *hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add appends evs, the next events of the feed.
func (h *hub) add(evs []provision.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent = append(h.recent, evs...)
	if n := len(h.recent) - keep; n > keep {
		h.from = h.recent[n-1].Pos
		h.recent = slices.Clone(h.recent[n:]) // followers may be reading the old one
	}
	h.last = evs[len(evs)-1].Pos
	h.tell()
}

// tell wakes all followers. h.mu is held.
func (h *hub) tell() {
	if h.closed {
		return
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.changed)
	}
}

func (h *hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// after returns the events after pos, and what is closed when there are more.
// known is false when the hub has forgotten some of them.
func (h *hub) after(pos provision.Position) (evs []provision.Event, known bool, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pos < h.from {
		return nil, false, h.changed
	}
	i, found := slices.BinarySearchFunc(h.recent, pos, func(e provision.Event, p provision.Position) int {
		return int(e.Pos - p)
	})
	if found {
		i++
	}
	return h.recent[i:len(h.recent):len(h.recent)], true, h.changed
}

// watch starts the hub's goroutines.
func (s *Store) watch(ctx context.Context) error {
	last, err := s.Position(ctx)
	if err != nil {
		return err
	}
	s.hub = newHub(last)
	s.bell = newBell()
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Go(func() { s.tail(ctx) })
	if s.listen != nil {
		s.running.Go(func() { s.listen(ctx) })
	}
	s.running.Go(func() {
		for s.clock.Sleep(ctx, s.dialect.poll) == nil {
			s.hub.poke()
			s.bell.ring()
		}
	})
	return nil
}

// tail moves new events from the database to the hub until ctx ends.
func (s *Store) tail(ctx context.Context) {
	for {
		select {
		case <-s.hub.wake:
		case <-ctx.Done():
			return
		}
		for {
			evs, err := s.events(ctx, `pos > $1 ORDER BY pos`, s.hub.last)
			if err != nil {
				if ctx.Err() == nil {
					s.log.Warn("reading new events failed; will look again", "in", s.dialect.poll, "err", err)
				}
				break
			}
			if len(evs) > 0 {
				s.hub.add(evs)
			}
			if len(evs) < page {
				break
			}
		}
	}
}

// Follow implements provision.Store.
func (s *Store) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		after := max(after, 0)
		for {
			if s.hub.isClosed() {
				yield(provision.Event{}, provision.ErrClosed)
				return
			}
			if ctx.Err() != nil {
				yield(provision.Event{}, context.Cause(ctx))
				return
			}
			evs, known, more := s.hub.after(after)
			if !known {
				var err error
				if evs, err = s.replay(ctx, after); err != nil {
					yield(provision.Event{}, err)
					return
				}
			}
			for i, e := range evs {
				if ctx.Err() != nil {
					break
				}
				e.More = i < len(evs)-1
				if !yield(e, nil) {
					return
				}
				after = e.Pos
			}
			if len(evs) > 0 || !known {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
	}
}

// replay reads the events after pos that the hub has forgotten.
func (s *Store) replay(ctx context.Context, pos provision.Position) ([]provision.Event, error) {
	evs, err := s.events(ctx, `pos > $1 ORDER BY pos`, pos)
	if err != nil {
		return nil, err
	}
	// Asked after the read: what was pruned before it is known by now.
	pruned, err := s.counter(ctx, "pruned")
	if err != nil {
		return nil, err
	}
	if pos < pruned {
		return nil, provision.ErrPruned
	}
	return evs, nil
}

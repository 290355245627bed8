package provision

import (
	"context"
	"time"
)

// A clock can jump: it is set, its machine was asleep, somebody's NTP was wrong
// for a moment. What can't be taken back is not done on the strength of it.

const (
	// maxDrift is by how much a clock may differ from how the time passed.
	maxDrift = time.Minute
	// maxApart is by how much this machine's clock and the store's may differ.
	maxApart = 5 * time.Minute
	// calm is for how long a clock has to go evenly to be relied upon, again or
	// at the start.
	calm = 10 * time.Minute
)

// steadiness watches the clocks. One goroutine uses it.
type steadiness struct {
	e      *Engine
	seen   time.Time // with its monotonic reading: when it looked last
	stored time.Time // the store's time then
	since  time.Time // with its monotonic reading: the clocks go evenly since then
	shaken bool      // they did not, and it is not long enough ago
}

// look compares how the clocks went since the last look with how the time
// passed. even: no jump is known of; sure: they have gone evenly for so long that
// they can be relied upon.
func (s *steadiness) look(ctx context.Context) (even, sure bool) {
	_, stored, err := s.e.store.Attended(ctx, s.e.kit.cluster.Name())
	now := s.e.clock.Now()
	if err != nil {
		return false, false // nothing could be done without a store either
	}
	first, passed := s.seen.IsZero(), now.Sub(s.seen)
	jumped := !first && (apart(wall(s.seen, now), passed, maxDrift) || apart(wall(s.stored, stored), passed, maxDrift))
	differ := apart(wall(stored, now), 0, maxApart)
	s.seen, s.stored = now, stored
	if jumped || differ {
		s.e.log.Warn("a clock is wrong, or was: nothing is ended by it before it has gone evenly for a while",
			"here", now.Round(0), "database", stored, "jumped", jumped, "for", calm)
		s.shaken = true
	}
	if first || jumped || differ {
		s.since = now
	}
	sure = now.Sub(s.since) >= calm
	s.shaken = s.shaken && !sure
	return !s.shaken, sure
}

// wall is the time between two readings of a clock, as people see it: without
// the monotonic ones.
func wall(from, to time.Time) time.Duration { return to.Round(0).Sub(from.Round(0)) }

func apart(a, b, limit time.Duration) bool { return a-b > limit || b-a > limit }

package slack

import (
	"sync"
	"time"

	"pvebot/cluster"
)

// memory knows the interactions that this process has taken, so that one which
// Slack delivers twice is done once and acknowledged twice. Across processes
// the desk's store does the same.
type memory struct {
	clock  cluster.Clock
	mu     sync.Mutex
	known  map[string]*taken
	pruned time.Time
}

// taken is an interaction; payload, that of its ack, is there once ready is
// closed.
type taken struct {
	at      time.Time
	ready   chan struct{}
	payload any
}

// memoryTime is how long an interaction is remembered: longer than a trigger
// or a socket in refresh lives.
const memoryTime = 10 * time.Minute

func newMemory(clock cluster.Clock) *memory {
	return &memory{clock: clock, known: map[string]*taken{}}
}

// take returns the interaction, and whether it is new.
func (m *memory) take(id string) (*taken, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if now.Sub(m.pruned) > time.Minute {
		m.pruned = now
		for k, t := range m.known {
			if now.Sub(t.at) > memoryTime {
				delete(m.known, k)
			}
		}
	}
	if t, ok := m.known[id]; ok {
		return t, false
	}
	t := &taken{at: now, ready: make(chan struct{})}
	m.known[id] = t
	return t, true
}

package provision

import "time"

// EngineStatus is how an engine is at a moment.
type EngineStatus struct {
	Cluster string
	Workers int
	Busy    int // workers that have a job
	// Renewed is when the oldest of its leases was renewed; zero without any.
	// A lease is given up at two thirds of its term.
	Renewed time.Time
	Lease   time.Duration // the term
	Slots   string        // the pool of VMIDs and addresses
	Room    int           // how many slots it has
}

// Status returns how the engine is.
func (e *Engine) Status() EngineStatus {
	e.mu.Lock()
	holders := make([]*holder, 0, len(e.holders))
	for _, h := range e.holders {
		holders = append(holders, h)
	}
	e.mu.Unlock()
	s := EngineStatus{
		Cluster: e.kit.cluster.Name(), Workers: e.workers, Busy: len(holders), Lease: e.lease,
		Slots: e.kit.slotPool(), Room: e.kit.settings.room(),
	}
	for _, h := range holders {
		if at := h.lastRenewal(); s.Renewed.IsZero() || at.Before(s.Renewed) {
			s.Renewed = at
		}
	}
	return s
}

// lastRenewal is when the last successful renewal was sent. An append that is
// under way holds it up, which is as long as the store takes.
func (h *holder) lastRenewal() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.renewed
}

package bot

import "time"

// Link is how an adapter's connection to its platform is.
type Link struct {
	Up      bool
	Since   time.Time // when it came up; zero while it is down
	Standby bool      // another bot has the connection, and this one waits
	Deaf    bool      // the platform takes connections and says nothing on them: nobody is heard
	Problem string    // of the last attempt to connect, "" when it worked
}

// Linked is an Adapter with a connection that may break. Link may be called by
// many goroutines at once.
type Linked interface{ Link() Link }

// PlatformStatus is how the cards of one platform are kept.
type PlatformStatus struct {
	Platform string
	Leads    bool      // this bot writes to it; what follows is zero when it does not
	Cards    int       // that may still change
	Behind   int       // cards and threads that do not show all there is
	Oldest   time.Time // since when the one that is furthest behind is; zero when none is
	Budget   float64   // writes that the platform would take now
	Quiet    time.Time // it wants to be left alone until then; zero when it never did

	// Since the start of the process.
	Writes   int // that landed
	Refused  int // that the platform was too busy for
	Failures int
}

// Status returns how the cards are kept, by platform. It may be called by many
// goroutines at once.
func (f *Follower) Status() []PlatformStatus {
	all := make([]PlatformStatus, 0, len(f.writers))
	for _, w := range f.writers {
		all = append(all, *w.status.Load())
	}
	return all
}

// tell publishes how the writer is.
func (w *writer) tell(leads bool) {
	s := PlatformStatus{
		Platform: w.adapter.Name(), Leads: leads,
		Writes: w.counts.landed, Refused: w.counts.refused, Failures: w.counts.failed,
	}
	if leads {
		s.Cards, s.Budget, s.Quiet = len(w.live), w.budget.now(w.clock.Now()), latest(w.notBefore, w.pause)
		for _, l := range w.live {
			for _, lane := range []*lane{&l.card, &l.thread} {
				if since := lane.behind; !since.IsZero() && hasRef(l.ref) {
					s.Behind++
					if s.Oldest.IsZero() || since.Before(s.Oldest) {
						s.Oldest = since
					}
				}
			}
		}
	}
	w.status.Store(&s)
}

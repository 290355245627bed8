package bot

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// The timings of a writer. A role is kept for roleTTL, renewed every
// roleRenew, and a leader that could not renew stops writing at roleStop: well
// before another one may begin.
const (
	roleTTL   = 10 * time.Second
	roleRenew = 3 * time.Second
	roleStop  = 7 * time.Second

	reconcileEvery = 2 * time.Second  // looks for cards that nobody hinted at
	reconcileTime  = time.Second      // of it is spent on reading before writes have their turn
	writeTimeout   = 15 * time.Second // of one call of an adapter
	shutdownGrace  = 5 * time.Second  // for writes on their way when the bot ends
	maxInFlight    = 4                // writes to one platform at a time

	backoffFirst = time.Second
	backoffMost  = time.Minute
	doubtMost    = 5 * time.Second // for what did not fail while other cards do
	aloneMost    = 3               // failures while others land, after which nothing is urgent
)

// writer owns the cards of one platform.
type writer struct {
	adapter Adapter
	store   Store
	clock   cluster.Clock
	log     *slog.Logger
	role    string
	owner   string
	hints   *hints
	status  atomic.Pointer[PlatformStatus]
	counts  struct{ landed, refused, failed int } // writes, of run's goroutine only
	renewed atomic.Pointer[time.Time]             // the role was ours then

	// Below: the state of one term as leader, touched by run's goroutine only.
	live      map[provision.JobID]*live
	tried     map[provision.JobID]bool // by the reconcile that is not through yet
	anew      bool                     // it shows all that it finds again
	budget    bucket
	notBefore time.Time                // the platform wants to be left alone until then
	failing   map[provision.JobID]bool // cards that failed since a write landed
	pause     time.Time                // lanes that failed rest until then, since failing has several
	doubt     time.Time                // the others rest until then
	inFlight  int
	results   chan result
	wg        sync.WaitGroup
}

func newWriter(a Adapter, cfg FollowerConfig) *writer {
	w := &writer{
		adapter: a, store: cfg.Store, clock: cfg.Clock,
		log:   cfg.Log.With("platform", a.Name()),
		role:  "cards/" + a.Name(),
		owner: cfg.Owner,
		hints: newHints(),
	}
	w.tell(false)
	return w
}

// run writes whenever it leads, until ctx ends.
func (w *writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		asked := w.clock.Now()
		led, err := w.store.Lead(ctx, w.role, w.owner, roleTTL)
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "can't ask who leads", "role", w.role, "err", err)
		}
		if led && err == nil {
			w.term(ctx, asked)
			continue
		}
		w.hints.take() // a term begins with a look at everything
		if w.clock.Sleep(ctx, roleRenew) != nil {
			break
		}
	}
	return nil
}

// term is one time as leader: since renewed, until the role lapses or ctx ends.
func (w *writer) term(ctx context.Context, renewed time.Time) {
	pace := w.adapter.Pace()
	w.live, w.tried, w.anew = map[provision.JobID]*live{}, map[provision.JobID]bool{}, false
	w.renewed.Store(&renewed)
	w.budget = newBucket(pace, w.clock.Now())
	w.notBefore, w.inFlight = time.Time{}, 0
	w.failing = map[provision.JobID]bool{}
	w.pause, w.doubt = time.Time{}, time.Time{}
	w.results = make(chan result, maxInFlight)
	w.hints.all()

	// Writes outlive ctx by a grace, since a post can't be repeated safely;
	// they do not outlive the role.
	hold, drop := context.WithCancel(context.WithoutCancel(ctx))
	terms, end := context.WithCancel(ctx)
	lost := make(chan struct{})
	w.wg.Go(func() { w.renew(terms, lost) })

	w.schedule(terms, hold, lost)
	w.tell(false)

	lapsed := ctx.Err() == nil
	end()
	if lapsed {
		drop()
		w.log.WarnContext(ctx, "lost the role; another bot writes from here on", "role", w.role)
	}
	w.drain(hold, drop)
	drop()
	w.wg.Wait()
	if !lapsed {
		resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), roleRenew)
		defer cancel()
		if err := w.store.Resign(resign, w.role, w.owner); err != nil {
			w.log.WarnContext(ctx, "can't give up the role", "role", w.role, "err", err)
		}
	}
}

// renew keeps the role, however busy schedule is. It ends when the role is
// another's, closing lost.
func (w *writer) renew(ctx context.Context, lost chan<- struct{}) {
	defer close(lost)
	for w.clock.Sleep(ctx, roleRenew) == nil {
		asked := w.clock.Now()
		try, cancel := context.WithTimeout(ctx, roleRenew)
		led, err := w.store.Lead(try, w.role, w.owner, roleTTL)
		cancel()
		switch {
		case err != nil: // the role may still be ours; roleStop decides
			w.log.WarnContext(ctx, "can't renew the role", "role", w.role, "err", err)
			continue
		case !led:
			return
		}
		w.renewed.Store(&asked)
	}
}

// lapses is when the role may be another's.
func (w *writer) lapses() time.Time { return w.renewed.Load().Add(roleStop) }

func (w *writer) lapsed() bool { return !w.clock.Now().Before(w.lapses()) }

// schedule decides what is written next, until the role lapses or ctx ends.
func (w *writer) schedule(ctx, hold context.Context, lost <-chan struct{}) {
	var due time.Time // for the next reconcile
	for ctx.Err() == nil && !w.lapsed() {
		jobs, refresh := w.hints.take()
		if refresh || !w.clock.Now().Before(due) {
			through := w.reconcile(ctx, refresh)
			if due = w.clock.Now(); through {
				due = due.Add(reconcileEvery)
			}
		}
		for id, h := range jobs {
			w.hear(ctx, id, h)
		}
		if w.lapsed() { // while it was read
			return
		}
		wake := w.start(hold)
		w.tell(true)
		wake = earliest(wake, w.lapses(), due)

		timer, stop := w.timer(ctx, wake.Sub(w.clock.Now()))
		select {
		case <-ctx.Done():
		case <-w.hints.wake:
		case <-timer:
		case r := <-w.results:
			w.apply(ctx, r)
		case <-lost:
			stop()
			return
		}
		stop()
	}
}

// drain waits for the writes that are on their way.
func (w *writer) drain(hold context.Context, drop context.CancelFunc) {
	timer, stop := w.timer(hold, shutdownGrace)
	defer stop()
	for w.inFlight > 0 {
		select {
		case <-w.results:
			w.inFlight--
		case <-timer:
			drop()
			timer = nil
		}
	}
}

// timer closes its channel after d. Stopping it early ends its goroutine.
func (w *writer) timer(ctx context.Context, d time.Duration) (<-chan struct{}, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	rang := make(chan struct{})
	w.wg.Go(func() {
		if w.clock.Sleep(ctx, d) == nil {
			close(rang)
		}
	})
	return rang, stop
}

// hear takes in a hint.
func (w *writer) hear(ctx context.Context, id provision.JobID, h hint) {
	l := w.live[id]
	if l == nil {
		if !h.adopt {
			return // the next reconcile finds it, if it has a card here
		}
		ref, ok, err := w.store.Card(ctx, w.adapter.Name(), id)
		if err != nil || !ok || ref.Settled && !hasRef(ref) {
			return // none, or one that was given up
		}
		l = w.adopt(ctx, ref)
		if l == nil {
			return
		}
	}
	if h.card {
		l.card.want(w.clock.Now())
	}
	if h.thread {
		l.thread.want(w.clock.Now())
	}
	if h.state != "" && h.state != l.state {
		l.state, l.urgent = h.state, true
		l.card.notBefore = time.Time{}
	}
}

// reconcile finds cards that no hint led to: after a restart, when the desk
// posted one through another bot, or when an event came before its card. It takes no
// longer than reconcileTime: false says that there is more to read.
func (w *writer) reconcile(ctx context.Context, refresh bool) bool {
	w.anew = w.anew || refresh
	refs, err := w.store.Cards(ctx, w.adapter.Name())
	if err != nil {
		if ctx.Err() == nil {
			w.log.WarnContext(ctx, "can't list the cards", "err", err)
		}
		return true
	}
	until := earliest(w.clock.Now().Add(reconcileTime), w.lapses())
	through := true
	for _, ref := range refs {
		l, again := w.live[ref.Job], refresh
		if l == nil && !w.tried[ref.Job] {
			if !w.clock.Now().Before(until) {
				through = false
				continue
			}
			w.tried[ref.Job] = true
			l, again = w.adopt(ctx, ref), w.anew
		}
		if l != nil && again {
			l.card.want(w.clock.Now())
			l.thread.want(w.clock.Now())
		}
	}
	if through {
		w.anew = false
		clear(w.tried)
	}
	return through
}

// adopt makes a stored card a live one; nil when its job can't be read now, or
// when it is settled and nothing came after.
func (w *writer) adopt(ctx context.Context, ref provision.CardRef) *live {
	job, err := w.store.Job(ctx, ref.Job)
	if err != nil {
		if ctx.Err() == nil {
			w.log.WarnContext(ctx, "can't read a card's job", "job", ref.Job, "err", err)
		}
		return nil
	}
	if ref.Settled && isSettled(job, ref) {
		return nil // the event that led here was shown and said before it was heard
	}
	l := &live{ref: ref, state: job.State, created: job.Created, urgent: atRest(job.State)}
	now := w.clock.Now()
	if ref.Shown < job.Seq || job.CancelAsked != nil || !hasRef(ref) {
		l.card.want(now)
	} else {
		l.card.served = now
	}
	if ref.Said < job.Seq {
		l.thread.want(now)
	}
	if job.State.Final() && !l.card.due && !l.thread.due {
		l.card.want(now) // only its settling is missing
	}
	w.live[ref.Job] = l
	return l
}

// start begins all writes that may begin now. It returns when to look again.
func (w *writer) start(hold context.Context) time.Time {
	for {
		now := w.clock.Now()
		if w.inFlight >= maxInFlight {
			return now.Add(reconcileEvery) // a result comes first
		}
		l, lane, wake := w.next(now)
		if l == nil {
			return wake
		}
		if now.Before(w.notBefore) {
			return w.notBefore
		}
		if at, ok := w.budget.take(now); !ok {
			return at
		}
		w.begin(hold, l, lane, now)
	}
}

// next picks the lane that is served next, or says when one will be ready:
// first what people wait for, the cards that came to rest; then whoever has
// waited longest. A lane that failed waits anew from the end of its back-off,
// behind what is as urgent; one that fails while others land is not urgent any
// more, or a card that is refused for ever would be first for ever.
func (w *writer) next(now time.Time) (*live, *lane, time.Time) {
	wake := now.Add(reconcileEvery)
	var best *live
	var first *lane
	var hurry int
	var waits time.Time
	offer := func(l *live, n *lane, at time.Time, urgent int) {
		since := n.served
		if n.failures > 0 {
			urgent, since, at = max(urgent-1, 0), latest(since, n.notBefore), latest(at, w.pause)
		}
		if n.alone >= aloneMost {
			urgent = 0
		}
		if at = latest(at, w.doubt); at.After(now) {
			wake = earliest(wake, at)
		} else if first == nil || urgent > hurry || urgent == hurry && since.Before(waits) {
			best, first, hurry, waits = l, n, urgent, since
		}
	}
	for _, l := range w.live {
		if l.busy {
			continue
		}
		gap := l.gap(w.budget.pace, now)
		if l.card.due && l.urgent {
			offer(l, &l.card, l.card.notBefore, 2)
		} else if l.card.due {
			offer(l, &l.card, l.card.readyAt(gap), 0)
		}
		if l.thread.due && hasRef(l.ref) {
			offer(l, &l.thread, l.thread.readyAt(2*gap), 0)
		}
	}
	return best, first, wake
}

func latest(t, u time.Time) time.Time {
	if u.After(t) {
		return u
	}
	return t
}

func earliest(t time.Time, more ...time.Time) time.Time {
	for _, u := range more {
		if u.Before(t) {
			t = u
		}
	}
	return t
}

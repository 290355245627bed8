package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// Config is what an Engine needs. Store, Cluster, Images and Guests are
// required.
type Config struct {
	Store    Store
	Cluster  *cluster.Cluster
	Images   *image.Catalogue
	Guests   GuestAccess
	Settings Settings
	Clock    cluster.Clock // default: the machine's
	Log      *slog.Logger  // default: none
	Owner    string        // names this bot in leases; unique among the bots of one store
	// Workers is how many jobs run at once, default 64: they mostly wait, for
	// PVE and for guests. What was begun before, here or by another bot, is gone
	// on with beyond that: others may wait for it.
	Workers int
	// Lease must be the store's lease term; default 30 s.
	Lease time.Duration
	// Patience is how long a parked job waits for a decision before it is
	// rolled back; default 30 min.
	Patience time.Duration
	// KeepEvents is how long the events of a job are kept after its end; 0:
	// for ever.
	KeepEvents time.Duration
}

// Engine runs jobs. All methods may be called concurrently.
type Engine struct {
	store      Store
	kit        *kit
	clock      cluster.Clock
	log        *slog.Logger
	owner      string
	workers    int
	lease      time.Duration
	patience   time.Duration
	keepEvents time.Duration
	planOf     func(Spec) (plan, error)
	wake       alarm

	mu      sync.Mutex
	holders map[JobID]*holder // of the jobs that run here
}

// NewEngine returns an engine; Run makes it work.
func NewEngine(c Config) *Engine {
	if c.Clock == nil {
		c.Clock = cluster.SystemClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers == 0 {
		c.Workers = 64
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Minute
	}
	k := newKit(c)
	return &Engine{
		store: c.Store, clock: c.Clock, log: c.Log, owner: c.Owner,
		workers: c.Workers, lease: c.Lease, patience: c.Patience, keepEvents: c.KeepEvents,
		kit: k, planOf: k.planOf,
		holders: map[JobID]*holder{},
	}
}

// Prepare fills in the defaults of spec and checks it against the settings and
// the cluster as it is now, so that a wrong order is refused before anything
// is touched. Its errors are *Error.
func (e *Engine) Prepare(ctx context.Context, spec Spec) (Spec, error) {
	return e.kit.prepare(ctx, spec)
}

// Submit makes o a job. An order with a Key that is known already returns the
// job of the first one.
func (e *Engine) Submit(ctx context.Context, o Order) (Job, error) {
	defer e.wake.ring()
	return e.kit.submit(ctx, o, e.planOf)
}

// busy says in words that another job has the VM.
func busy(err error) error {
	held, ok := errors.AsType[*HeldError](err)
	if !ok {
		return err
	}
	what := "this"
	if pool, ok := strings.CutPrefix(held.Pool, "vm/"); ok { // vm/CLUSTER/VMID, see claims
		what = "VM " + pool[strings.LastIndexByte(pool, '/')+1:]
	}
	return &Error{
		Kind: Busy, Say: fmt.Sprintf("job %d is busy with %s", held.By, what),
		Try: fmt.Sprintf("wait for it, or vm cancel %d", held.By), Err: err,
	}
}

// Cancel asks for a job's end.
func (e *Engine) Cancel(ctx context.Context, id JobID, by Actor) (Job, error) {
	job, err := e.store.Cancel(ctx, id, by)
	if err != nil {
		return job, err
	}
	e.wake.ring()
	if h := e.holder(id); h != nil { // it need not wait for the next heartbeat
		if err := h.append(ctx); err != nil {
			e.log.Debug("cancel request will be seen later", "job", id, "err", err)
		}
	}
	return job, nil
}

// Vote records a vote at a waiting job's gate.
func (e *Engine) Vote(ctx context.Context, v Vote) (Job, error) {
	defer e.wake.ring()
	return e.store.Vote(ctx, v)
}

// Resolve decides what becomes of a parked or failed job.
func (e *Engine) Resolve(ctx context.Context, r Resolution) (Job, error) {
	defer e.wake.ring()
	job, err := e.store.Resolve(ctx, r)
	return job, busy(err)
}

// Run works on jobs until ctx ends; then it lets go of them where they are and
// returns when all its goroutines have ended. Whoever runs next goes on.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.watch(ctx) })
	g.Go(func() error { return e.sweep(ctx) })
	g.Go(func() error { return e.endLives(ctx) })
	if e.keepEvents > 0 {
		g.Go(func() error { return e.prune(ctx) })
	}
	g.Go(func() error { return e.dispatch(ctx) })
	g.Go(func() error { return e.attend(ctx) })
	g.Go(func() error { return e.answer(ctx) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// dispatch claims jobs and starts a worker for each.
func (e *Engine) dispatch(ctx context.Context) error {
	var workers errgroup.Group
	defer workers.Wait() //nolint:errcheck // workers report by events
	var busy atomic.Int64
	for {
		lease, err := e.claim(ctx, func() bool { return busy.Load() >= int64(e.workers) })
		if err != nil {
			return err
		}
		busy.Add(1)
		workers.Go(func() error {
			defer func() { busy.Add(-1); e.wake.ring() }()
			e.work(ctx, lease)
			return nil
		})
	}
}

// claim waits for a job to do; while all workers are busy, for one that was
// begun before, as it may hold what they all wait for.
func (e *Engine) claim(ctx context.Context, full func() bool) (*Lease, error) {
	for {
		e.wake.reset()
		wanted := Wanted{Cluster: e.kit.cluster.Name(), Kinds: claimable, Begun: full()}
		lease, err := e.store.Claim(ctx, e.owner, wanted)
		if err == nil {
			return lease, nil
		}
		if !errors.Is(err, ErrNothing) && ctx.Err() == nil {
			e.log.Error("no job could be claimed", "err", err)
		}
		if err := e.wake.sleep(ctx, e.clock, e.nap(ctx, wanted)); err != nil {
			return nil, err
		}
	}
}

// nap is how long there is no job to claim, as far as can be seen: new jobs
// ring, leases run out silently.
func (e *Engine) nap(ctx context.Context, w Wanted) time.Duration {
	free, held, err := e.store.Free(ctx, w)
	switch {
	case err != nil:
		return e.lease / 6
	case !held:
		return e.lease
	}
	return max(free, e.lease/30) // somebody else may be at it right now
}

// watch rings when a job appears or becomes free, whoever caused it.
func (e *Engine) watch(ctx context.Context) error {
	for {
		after, err := e.store.Position(ctx)
		if err == nil {
			for ev, ferr := range e.store.Follow(ctx, after) {
				if err = ferr; err != nil {
					break
				}
				if ev.State == StateQueued || ev.State == StateUndoing {
					e.wake.ring()
				}
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.log.Warn("event feed broke, following again", "err", err)
		if err := e.clock.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// sweepEvery is how often it is looked for what is due.
const sweepEvery = 15 * time.Second

// sweep moves on the jobs whose time ran out.
func (e *Engine) sweep(ctx context.Context) error {
	began, clocks := e.clock.Now(), steadiness{e: e}
	for {
		if even, _ := clocks.look(ctx); even {
			e.sweepOnce(ctx, began)
		}
		if err := e.clock.Sleep(ctx, sweepEvery); err != nil {
			return err
		}
	}
}

// sweepOnce is sweep, once. A bot that was off has asked nobody: what was parked
// then has all its patience again.
func (e *Engine) sweepOnce(ctx context.Context, began time.Time) {
	patience := e.patience
	if e.clock.Now().Sub(began) < patience {
		patience = maxLife
	}
	if n, err := e.store.Sweep(ctx, patience); err != nil && ctx.Err() == nil {
		e.log.Error("sweep failed", "err", err)
	} else if n > 0 {
		e.wake.ring()
	}
}

// endLives moves on the VMs whose time ran out. It asks for each of them, which
// takes its time while nodes do not answer.
func (e *Engine) endLives(ctx context.Context) error {
	clocks := steadiness{e: e}
	var looked time.Time
	for {
		even, sure := clocks.look(ctx)
		leads, err := e.store.Lead(ctx, "lifetime/"+e.kit.cluster.Name(), e.owner, 3*sweepEvery)
		if err == nil && leads && even {
			began := e.clock.Now()
			if err := e.endOfLife(ctx, looked, sure); err != nil && ctx.Err() == nil {
				e.log.Error("end of life", "err", err)
			}
			looked = began
		} else {
			looked = time.Time{}
		}
		if err := e.clock.Sleep(ctx, sweepEvery); err != nil {
			return err
		}
	}
}

// pruneEvery is how often old events are deleted.
const pruneEvery = time.Hour

// prune deletes old events, if no other bot does.
func (e *Engine) prune(ctx context.Context) error {
	clocks := steadiness{e: e}
	for {
		pause := calm
		if _, sure := clocks.look(ctx); sure {
			pause = pruneEvery
			e.pruneOnce(ctx)
		}
		if err := e.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (e *Engine) pruneOnce(ctx context.Context) {
	leads, err := e.store.Lead(ctx, "retention", e.owner, pruneEvery/2)
	if err == nil && leads {
		var n int
		n, err = e.store.Prune(ctx, e.clock.Now().Add(-e.keepEvents))
		e.log.Info("old events are deleted", "events", n)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Error("old events can't be deleted", "err", err)
	}
}

func (e *Engine) holder(id JobID) *holder {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.holders[id]
}

func (e *Engine) hold(l *Lease) (*holder, func()) {
	h := newHolder(e, l)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.holders[l.Job.ID] = h
	return h, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.holders[l.Job.ID] == h {
			delete(e.holders, l.Job.ID)
		}
	}
}

// alarm lets one sleeper be woken early. A ring between reset and sleep is not
// lost.
type alarm struct {
	mu   sync.Mutex
	rung bool
	wake context.CancelFunc
}

func (a *alarm) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rung = false
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rung = true
	if a.wake != nil {
		a.wake()
	}
}

// sleep waits for d or a ring; its error is that of ctx.
func (a *alarm) sleep(ctx context.Context, clock cluster.Clock, d time.Duration) error {
	nap, wake := context.WithCancel(ctx)
	defer wake()
	a.mu.Lock()
	if a.rung {
		wake()
	}
	a.wake = wake
	a.mu.Unlock()
	_ = clock.Sleep(nap, d) // woken early is as good
	return context.Cause(ctx)
}

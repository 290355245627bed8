package provision_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

var alice = provision.Actor{Platform: "test", ID: "alice"}

// bench is an engine on a store of its own, without a cluster.
type bench struct {
	t      *testing.T
	store  provision.Store
	engine *provision.Engine
	trace  trace
	orders int
}

// trace is what the steps did, in order.
type trace struct {
	mu  sync.Mutex
	did []string
}

func (tr *trace) add(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.did = append(tr.did, what)
}

func (tr *trace) want(t *testing.T, want ...string) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !slices.Equal(tr.did, want) {
		t.Errorf("the steps did %q, want %q", tr.did, want)
	}
}

func openStore(t *testing.T, dir string) provision.Store {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+dir, sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func newBench(t *testing.T, store provision.Store) *bench {
	b := &bench{t: t, store: store}
	b.engine = provision.NewEngine(provision.Config{
		Store: store, Owner: "test", Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
	})
	return b
}

// step records what it is asked for; change, when set, is its effect.
func (b *bench) step(name string, change func(context.Context, *provision.Work) error) provision.Step {
	return provision.Step{
		Phase: "test", Name: name,
		Run: func(ctx context.Context, w *provision.Work) error {
			b.trace.add(name)
			if change != nil {
				return change(ctx, w)
			}
			return nil
		},
		Undo: func(context.Context, *provision.Work) error {
			b.trace.add("undo " + name)
			return nil
		},
	}
}

// start runs the engine until the test ends, or stop is called.
func (b *bench) start() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.engine.Run(ctx); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) submit(o provision.Order) provision.JobID {
	b.t.Helper()
	if o.Key == "" {
		o.Key = b.t.Name()
	}
	o.By = alice
	o.Spec = provision.Install{OS: "ubuntu", Version: "24.04", Cores: 1, MemoryMB: 1024, DiskMB: 16384}
	job, err := b.engine.Submit(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	return job.ID
}

// await waits until the job is in one of states.
func (b *bench) await(id provision.JobID, states ...provision.State) provision.Job {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute) // on a machine with much else to do
	defer cancel()
	for _, err := range b.store.Follow(ctx, 0) {
		job, jerr := b.store.Job(b.t.Context(), id)
		if jerr == nil && slices.Contains(states, job.State) {
			return job
		}
		if err != nil {
			b.t.Fatalf("job is %s (%v), not %v: %v", job.State, job.Problem, states, errors.Join(err, jerr))
		}
	}
	panic("unreachable")
}

func TestStepsRunInOrder(t *testing.T) {
	b := newBench(t, openStore(t, t.TempDir()))
	defer b.store.Close()
	b.engine.SetPlan(
		b.step("one", func(ctx context.Context, w *provision.Work) error {
			w.Log(ctx, "a line")
			w.Result("VM %d", 101)
			return w.Learn(ctx, provision.Facts{VMID: 101})
		}),
		b.step("two", nil),
	)
	b.start()
	job := b.await(b.submit(provision.Order{}), provision.StateSucceeded)
	b.trace.want(t, "one", "two")
	if s := job.Step("one"); s.Text != "VM 101" || s.Status != provision.StepOK || job.Facts.VMID != 101 {
		t.Errorf("the job is %+v", job)
	}
	var lines int
	for e, err := range b.store.Events(t.Context(), job.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == provision.StepLog && e.Text == "a line" {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("the line was stored %d times", lines)
	}
}

func TestFailureUndoesNewestFirst(t *testing.T) {
	b := newBench(t, openStore(t, t.TempDir()))
	defer b.store.Close()
	b.engine.SetPlan(
		b.step("one", nil),
		b.step("two", nil),
		b.step("three", func(context.Context, *provision.Work) error {
			return provision.Errorf(provision.Full, "the storage is full")
		}),
		b.step("four", nil),
	)
	b.start()
	job := b.await(b.submit(provision.Order{OnFailure: provision.OnFailureUndo}), provision.StateFailed)
	b.trace.want(t, "one", "two", "three", "undo three", "undo two", "undo one")
	if job.Problem == nil || job.Problem.Kind != provision.Full || job.Problem.Say != "the storage is full" {
		t.Errorf("the problem is %+v", job.Problem)
	}
}

func TestAPanicIsAFailure(t *testing.T) {
	b := newBench(t, openStore(t, t.TempDir()))
	defer b.store.Close()
	b.engine.SetPlan(b.step("one", func(context.Context, *provision.Work) error { panic("boom") }))
	b.start()
	if job := b.await(b.submit(provision.Order{}), provision.StateFailed); job.Problem.Kind != provision.Internal {
		t.Errorf("the problem is %+v", job.Problem)
	}
}

// A parked job goes on at the failed step when people say so.
func TestParkAndRetry(t *testing.T) {
	b := newBench(t, openStore(t, t.TempDir()))
	defer b.store.Close()
	broken := true
	b.engine.SetPlan(b.step("one", nil), b.step("two", func(context.Context, *provision.Work) error {
		if broken {
			return errors.New("not today")
		}
		return nil
	}))
	b.start()
	id := b.submit(provision.Order{OnFailure: provision.OnFailureAsk})
	b.await(id, provision.StateParked)
	broken = false
	if _, err := b.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.Retry}); err != nil {
		t.Fatal(err)
	}
	b.await(id, provision.StateSucceeded)
	b.trace.want(t, "one", "two", "two")
}

func TestParkAndDecide(t *testing.T) {
	for do, want := range map[provision.Decision][]string{
		provision.RollBack: {"one", "two", "undo two", "undo one"},
		provision.Keep:     {"one", "two"},
	} {
		t.Run(string(do), func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			defer b.store.Close()
			b.engine.SetPlan(b.step("one", nil), b.step("two", func(context.Context, *provision.Work) error { return errors.New("no") }))
			b.start()
			id := b.submit(provision.Order{OnFailure: provision.OnFailureAsk})
			b.await(id, provision.StateParked)
			if _, err := b.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: do}); err != nil {
				t.Fatal(err)
			}
			b.await(id, provision.StateFailed)
			b.trace.want(t, want...)
		})
	}
}

// A cancel interrupts a step that only waits; one that changes something is
// waited for. Both are undone.
func TestCancel(t *testing.T) {
	for _, interrupt := range []bool{true, false} {
		b := newBench(t, openStore(t, t.TempDir()))
		entered, release := make(chan struct{}), make(chan struct{})
		two := b.step("two", func(ctx context.Context, _ *provision.Work) error {
			close(entered)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-release:
				return nil
			}
		})
		two.Interrupt = interrupt
		b.engine.SetPlan(b.step("one", nil), two, b.step("three", nil))
		stop := b.start()
		id := b.submit(provision.Order{})
		<-entered
		if _, err := b.engine.Cancel(t.Context(), id, alice); err != nil {
			t.Fatal(err)
		}
		if !interrupt {
			close(release)
		}
		job := b.await(id, provision.StateCancelled)
		b.trace.want(t, "one", "two", "undo two", "undo one")
		if job.Problem == nil || job.Problem.Say != "cancelled by test/alice" {
			t.Errorf("the problem is %+v", job.Problem)
		}
		stop()
		b.store.Close()
	}
}

// An undo that can't be done parks the job, and can be tried again.
func TestUndoThatFails(t *testing.T) {
	b := newBench(t, openStore(t, t.TempDir()))
	defer b.store.Close()
	stuck := true
	one := b.step("one", nil)
	one.Undo = func(context.Context, *provision.Work) error {
		b.trace.add("undo one")
		if stuck {
			return provision.Errorf(provision.Conflict, "somebody sits on it")
		}
		return nil
	}
	b.engine.SetPlan(one, b.step("two", func(context.Context, *provision.Work) error { return errors.New("no") }))
	b.start()
	id := b.submit(provision.Order{})
	job := b.await(id, provision.StateParked)
	if job.Problem.Say != "one could not be undone: somebody sits on it" {
		t.Errorf("the problem is %+v", job.Problem)
	}
	stuck = false
	if _, err := b.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	b.await(id, provision.StateFailed)
	b.trace.want(t, "one", "two", "undo two", "undo one", "undo one")
}

// An engine that stops in the middle of a step leaves the job as it is; the
// next one looks whether the effect is there before it acts.
func TestResume(t *testing.T) {
	for _, done := range []bool{true, false} {
		dir := t.TempDir()
		b := newBench(t, openStore(t, dir))
		entered := make(chan struct{})
		first := true
		two := b.step("two", func(ctx context.Context, _ *provision.Work) error {
			if first {
				first = false
				close(entered)
				<-ctx.Done()
			}
			return context.Cause(ctx)
		})
		two.Changes = true
		two.Done = func(context.Context, *provision.Work) (bool, error) {
			b.trace.add("two?")
			return done, nil
		}
		plan := []provision.Step{b.step("one", nil), two, b.step("three", nil)}
		b.engine.SetPlan(plan...)
		stop := b.start()
		id := b.submit(provision.Order{})
		<-entered
		stop()
		b.store.Close()

		b.store = openStore(t, dir) // leases of the dead are void
		b.engine = newBench(t, b.store).engine
		b.engine.SetPlan(plan...)
		stop = b.start()
		b.await(id, provision.StateSucceeded)
		if done {
			b.trace.want(t, "one", "two", "two?", "three")
		} else {
			b.trace.want(t, "one", "two", "two?", "two", "three")
		}
		stop()
		b.store.Close()
	}
}

// A dead bot's job is taken over when its lease has run out, and not much later.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, openStore(t, t.TempDir()))
		defer b.store.Close()
		b.engine.SetPlan(b.step("one", nil))
		id := b.submit(provision.Order{})
		began := time.Now()
		if _, err := b.store.Claim(t.Context(), "dead", provision.Wanted{Cluster: "test"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // looks at a fixed pace would come too late
		stop := b.start()
		defer stop()
		for job := (provision.Job{}); !job.State.Final(); time.Sleep(100 * time.Millisecond) {
			var err error
			if job, err = b.store.Job(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 30*time.Second || took > 32*time.Second {
			t.Errorf("a lease of 30 s was taken over, and the job over, after %v", took)
		}
	})
}

// A job that others wait for goes on when its bot has died or put it down, also
// where those who wait have all workers: else they wait for ever.
func TestAwaitedJobGoesOn(t *testing.T) {
	for _, dead := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			defer b.store.Close()
			b.engine = provision.NewEngine(provision.Config{
				Store: b.store, Owner: "test", Workers: 1, Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
			})
			b.engine.SetPlan(b.step("one", func(ctx context.Context, w *provision.Work) error {
				return w.Queue(ctx, "here", 1, "waiting for a place")
			}))
			var leases [2]*provision.Lease
			for i := range leases {
				b.submit(provision.Order{Key: fmt.Sprint(i)})
				var err error
				if leases[i], err = b.store.Claim(t.Context(), "earlier", provision.Wanted{Cluster: "test"}); err != nil {
					t.Fatal(err)
				}
			}
			waits, has := leases[0], leases[1]
			if _, err := b.store.Reserve(t.Context(), has, "places/here", "1"); err != nil {
				t.Fatal(err)
			}
			putDown := []*provision.Lease{waits}
			if !dead {
				putDown = append(putDown, has)
			}
			for _, l := range putDown {
				if _, err := b.store.Append(t.Context(), l, provision.Event{Kind: provision.JobState, State: provision.StateQueued}); err != nil {
					t.Fatal(err)
				}
			}
			defer b.start()()
			for _, l := range leases {
				b.await(l.Job.ID, provision.StateSucceeded)
			}
		})
	}
}

// New jobs wait for a worker that is free. A job that is cancelled while it queues
// for a place does not begin.
func TestWaiting(t *testing.T) {
	for _, workers := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			defer b.store.Close()
			b.engine = provision.NewEngine(provision.Config{
				Store: b.store, Owner: "test", Workers: workers, Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
			})
			release := make(chan struct{})
			b.engine.SetPlan(b.step("one", func(ctx context.Context, w *provision.Work) error {
				if err := w.Queue(ctx, "here", 1, "waiting for a place"); err != nil {
					return err
				}
				b.trace.add(w.Job().Order.Key)
				<-release
				return nil
			}))
			defer b.start()()
			first := b.submit(provision.Order{Key: "first"})
			time.Sleep(time.Minute)
			second := b.submit(provision.Order{Key: "second"})
			time.Sleep(time.Minute)
			want := provision.StateRunning
			if workers == 1 {
				want = provision.StateQueued
			}
			if job, err := b.store.Job(t.Context(), second); err != nil || job.State != want {
				t.Errorf("with %d workers the second job is %s, %v; want %s", workers, job.State, err, want)
			}
			if _, err := b.engine.Cancel(t.Context(), second, alice); err != nil {
				t.Fatal(err)
			}
			b.await(second, provision.StateCancelled)
			close(release)
			b.await(first, provision.StateSucceeded)
			did := []string{"one", "first"}
			if workers == 2 {
				did = append(did, "one", "undo one")
			}
			b.trace.want(t, did...)
		})
	}
}

// A job has the place that it queued for until the step is done, or the next one
// where it keeps it, or until what the step did is undone; never while people
// decide, and never two.
func TestPlaces(t *testing.T) {
	no := errors.New("no")
	for name, tt := range map[string]struct {
		queues []string
		keeps  bool
		fails  bool
		dies   bool // with the effect there
		undoes bool // what failed
		within []string
		undo   []string // in the undo, which fails
		after  []string
	}{
		"done":   {queues: []string{"a"}, within: []string{"a"}},
		"failed": {queues: []string{"a"}, fails: true, within: []string{"a"}},
		"undone": {queues: []string{"a"}, fails: true, undoes: true, within: []string{"a"}, undo: []string{"a"}},
		"found":  {queues: []string{"a"}, dies: true, within: []string{"a"}},
		"kept":   {queues: []string{"a"}, keeps: true, within: []string{"a"}, after: []string{"a"}},
		"moved":  {queues: []string{"a", "b"}, within: []string{"b"}},
		"again":  {queues: []string{"a", "a"}, within: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			t.Cleanup(func() { b.store.Close() })
			has := func(w *provision.Work) (places []string) {
				for _, h := range w.Job().Slots {
					places = append(places, strings.TrimPrefix(h.Pool, "places/"))
				}
				return places
			}
			var within, undo, after []string
			died := make(chan struct{})
			one := b.step("one", func(ctx context.Context, w *provision.Work) error {
				for _, q := range tt.queues {
					if err := w.Queue(ctx, q, 1, "waiting"); err != nil {
						return err
					}
				}
				within = has(w)
				switch {
				case tt.fails:
					return no
				case tt.dies:
					close(died)
					<-ctx.Done()
				}
				return context.Cause(ctx)
			})
			one.Keeps, one.Changes = tt.keeps, true
			one.Done = func(context.Context, *provision.Work) (bool, error) { return true, nil }
			one.Undo = func(_ context.Context, w *provision.Work) error {
				undo = has(w)
				return no
			}
			b.engine.SetPlan(one, b.step("two", func(_ context.Context, w *provision.Work) error {
				after = has(w)
				return no
			}))
			stop := b.start()
			order := provision.Order{OnFailure: provision.OnFailureAsk}
			if tt.undoes {
				order.OnFailure = provision.OnFailureUndo
			}
			id := b.submit(order)
			if tt.dies {
				<-died
				stop()
				stop = b.start()
			}
			job := b.await(id, provision.StateParked)
			stop()
			if !slices.Equal(within, tt.within) || !slices.Equal(undo, tt.undo) || !slices.Equal(after, tt.after) {
				t.Errorf("within the step the job had %q, in its undo %q, after it %q; want %q, %q, %q", within, undo, after, tt.within, tt.undo, tt.after)
			}
			if len(job.Slots) > 0 {
				t.Errorf("while people decide it has %v", job.Slots)
			}
		})
	}
}

// A worker whose lease is old touches the cluster no more before it has renewed
// it.
func TestFence(t *testing.T) {
	clock := &handClock{now: time.Now()}
	b := newBench(t, openStore(t, t.TempDir()))
	t.Cleanup(func() { b.store.Close() }) // after the engine has ended
	b.engine = provision.NewEngine(provision.Config{
		Store: b.store, Owner: "test", Clock: clock, Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
	})
	late := 21 * time.Second
	var refused error
	b.engine.SetPlan(b.step("one", func(ctx context.Context, _ *provision.Work) error {
		if err := cluster.CheckFence(ctx, cluster.Cmd{Changes: true}); err != nil {
			return err
		}
		clock.advance(late)
		late = 0
		if err := cluster.CheckFence(ctx, cluster.Cmd{Changes: true}); err != nil {
			refused = err
			return fmt.Errorf("changing: %w", err)
		}
		return cluster.CheckFence(ctx, cluster.Cmd{})
	}))
	b.start()
	b.await(b.submit(provision.Order{}), provision.StateSucceeded)
	if !errors.Is(refused, cluster.ErrNotStarted) {
		t.Errorf("21 s after the last renewal a change was let through: %v", refused)
	}
	b.trace.want(t, "one", "one")
}

// What could not begin is begun again, in a while; a node that stays away fails
// the job.
func TestBeginAgain(t *testing.T) {
	for _, tt := range []struct {
		away int
		want provision.State
		did  []string
	}{
		{2, provision.StateSucceeded, []string{"one", "one", "one"}},
		{3, provision.StateFailed, []string{"one", "one", "one", "undo one"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			defer b.store.Close()
			away := tt.away
			b.engine.SetPlan(b.step("one", func(context.Context, *provision.Work) error {
				if away--; away >= 0 {
					return fmt.Errorf("pve1: %w", cluster.ErrNotStarted)
				}
				return nil
			}))
			stop := b.start()
			defer stop()
			began := time.Now()
			b.await(b.submit(provision.Order{}), tt.want)
			if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
				t.Errorf("%d times away: it took %v", tt.away, took)
			}
			b.trace.want(t, tt.did...)
		})
	}
}

// handClock is moved by hand; its sleepers only end with their contexts.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *handClock) Sleep(ctx context.Context, _ time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// What a failed step left is undone also when the job is cancelled between
// the decision to try it again and the next try.
func TestCancelAfterRetry(t *testing.T) {
	for _, failing := range []string{"one", "two"} {
		t.Run(failing, func(t *testing.T) {
			b := newBench(t, openStore(t, t.TempDir()))
			t.Cleanup(func() { b.store.Close() })
			fail := func(name string) func(context.Context, *provision.Work) error {
				return func(context.Context, *provision.Work) error {
					if name == failing {
						return errors.New("half of it is there")
					}
					return nil
				}
			}
			b.engine.SetPlan(b.step("one", fail("one")), b.step("two", fail("two")))
			stop := b.start()
			id := b.submit(provision.Order{OnFailure: provision.OnFailureAsk})
			b.await(id, provision.StateParked)
			stop() // the workers have something else to do
			if _, err := b.store.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.Retry}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.store.Cancel(t.Context(), id, alice); err != nil {
				t.Fatal(err)
			}
			b.start()
			b.await(id, provision.StateCancelled)
			if failing == "one" {
				b.trace.want(t, "one", "undo one")
			} else {
				b.trace.want(t, "one", "two", "undo two", "undo one")
			}
		})
	}
}

// A job of a kind that only a newer version knows waits for that one; the others
// go on.
func TestJobOfANewerVersion(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, openStore(t, dir))
	b.engine.SetPlan(b.step("one", nil))
	b.submit(provision.Order{Key: "newer"})
	mine := b.submit(provision.Order{Key: "mine"})
	b.store.Close()
	db, err := sql.Open("sqlite", "file:"+dir+"/pvebot.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE jobs SET kind = 'teleport', snapshot = replace(snapshot, '"install"', '"teleport"') WHERE id = 1`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	b.store = openStore(t, dir)
	t.Cleanup(func() { b.store.Close() })
	b.engine = newBench(t, b.store).engine
	b.engine.SetPlan(b.step("one", nil))
	b.start()
	b.await(mine, provision.StateSucceeded)
}

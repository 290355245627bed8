package provision_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// failing is a store that refuses the first calls of each kind.
type failing struct {
	provision.Store
	mu    sync.Mutex
	calls map[string]int
}

var errDiskFull = errors.New("database or disk is full")

func (f *failing) refuse(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[call]++; f.calls[call] <= 2 {
		return errDiskFull
	}
	return nil
}

func (f *failing) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	if err := f.refuse("append"); err != nil {
		return provision.Signal{}, err
	}
	return f.Store.Append(ctx, l, evs...)
}

func (f *failing) Reserve(ctx context.Context, l *provision.Lease, pool string, slots ...string) (string, error) {
	got, err := f.Store.Reserve(ctx, l, pool, slots...)
	if refused := f.refuse("reserve"); refused != nil {
		return "", refused // the answer gets lost
	}
	return got, err
}

func (f *failing) Release(ctx context.Context, l *provision.Lease, pool, slot string, cooling time.Duration) error {
	err := f.Store.Release(ctx, l, pool, slot, cooling)
	return errors.Join(f.refuse("release"), err)
}

// A bot that ends gives its jobs back, and another one goes on at once, long
// before the lease runs out.
func TestPutDown(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer store.Close()
	b := newBench(t, store)
	entered := make(chan struct{}, 2)
	var mu sync.Mutex
	first := true
	b.engine.SetPlan(b.step("one", func(ctx context.Context, _ *provision.Work) error {
		mu.Lock()
		waits := first
		first = false
		mu.Unlock()
		entered <- struct{}{}
		if waits {
			<-ctx.Done()
		}
		return context.Cause(ctx)
	}))
	stop := b.start()
	id := b.submit(provision.Order{})
	<-entered
	stop()
	if job, err := store.Job(t.Context(), id); err != nil || job.State != provision.StateQueued {
		t.Errorf("the job is %s, %v", job.State, err)
	}
	b.start()
	b.await(id, provision.StateSucceeded)
	b.trace.want(t, "one", "one")
}

// A bot that ends in the middle of an undo gives the job back too, unless it
// can't tell whether the command that it sent still runs: then the next one
// waits for the lease to run out.
func TestPutDownUndoing(t *testing.T) {
	for name, tt := range map[string]struct {
		ran   []cluster.Ran
		waits bool
	}{
		"nothing ran":    {},
		"a command ran":  {ran: []cluster.Ran{{Where: "pve1", Line: "qm destroy 100"}}},
		"a task runs":    {ran: []cluster.Ran{{Where: "pve1", Line: "qm destroy 100", Task: "t", Err: cluster.ErrLost}}},
		"a command runs": {ran: []cluster.Ran{{Where: "pve1", Line: "qm destroy 100", Err: cluster.ErrLost}}, waits: true},
		"it ran again": {ran: []cluster.Ran{
			{Where: "pve1", Line: "qm destroy 100", Err: cluster.ErrLost}, {Where: "pve1", Line: "qm destroy 100"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, t.TempDir())
			defer store.Close()
			b := newBench(t, store)
			entered := make(chan struct{}, 2)
			step := b.step("one", func(context.Context, *provision.Work) error { return errors.New("no") })
			var tries atomic.Int32
			step.Undo = func(ctx context.Context, w *provision.Work) error {
				b.trace.add(fmt.Sprintf("undo one, resumed %t", w.Resumed()))
				if tries.Add(1) > 1 {
					return nil
				}
				for _, r := range tt.ran {
					cluster.Tell(ctx, r)
				}
				entered <- struct{}{}
				<-ctx.Done()
				return context.Cause(ctx)
			}
			b.engine.SetPlan(step)
			stop := b.start()
			id := b.submit(provision.Order{OnFailure: provision.OnFailureUndo})
			<-entered
			stop()
			if tt.waits {
				if _, err := store.Claim(t.Context(), "another", provision.Wanted{Cluster: "test"}); !errors.Is(err, provision.ErrNothing) {
					t.Errorf("another bot claims the job: %v", err)
				}
				return
			}
			b.start()
			b.await(id, provision.StateFailed)
			b.trace.want(t, "one", "undo one, resumed false", "undo one, resumed true")
		})
	}
}

// Old events go; the jobs stay.
func TestRetention(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer store.Close()
	b := newBench(t, store)
	b.engine.SetPlan(b.step("one", nil))
	stop := b.start()
	id := b.submit(provision.Order{})
	b.await(id, provision.StateSucceeded)
	stop()
	b.engine = provision.NewEngine(provision.Config{
		Store: store, Owner: "test", Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}), KeepEvents: time.Nanosecond,
	})
	b.engine.Prune(t.Context())
	gone := false
	for _, err := range store.Events(t.Context(), id, 0) {
		if gone = errors.Is(err, provision.ErrPruned); err != nil && !gone {
			t.Fatal(err)
		}
	}
	if !gone {
		t.Error("the events are still there")
	}
	if job, err := store.Job(t.Context(), id); err != nil || job.State != provision.StateSucceeded {
		t.Errorf("the job %s, %v", job.State, err)
	}
}

// A store that is away for a moment is no failure of the job: what its worker
// wanted to write is written when the store is back.
func TestStoreTrouble(t *testing.T) {
	t.Parallel()
	b := newBench(t, &failing{Store: openStore(t, t.TempDir()), calls: map[string]int{}})
	defer b.store.Close()
	b.engine.SetPlan(b.step("one", func(ctx context.Context, w *provision.Work) error {
		if got, err := w.Reserve(ctx, "pool", "1", "2"); err != nil || got != "1" {
			t.Errorf("got the slot %q, %v", got, err)
		}
		return w.Release(ctx, "pool", "1", 0)
	}))
	b.start()
	id := b.submit(provision.Order{})
	if job := b.await(id, provision.StateSucceeded, provision.StateFailed); job.State != provision.StateSucceeded || len(job.Slots) > 0 {
		t.Errorf("the job %s with the slots %v: %+v", job.State, job.Slots, job.Problem)
	}
	b.trace.want(t, "one")
}

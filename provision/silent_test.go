package provision_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// silent is a store whose network swallows what is said, from some moment on:
// it does not answer, and does not refuse.
type silent struct {
	provision.Store
	gone atomic.Bool
	back chan struct{} // closed when TCP gives up
}

func (s *silent) swallow(ctx context.Context) error {
	if !s.gone.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.back:
		return errors.New("connection timed out")
	}
}

func (s *silent) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	if err := s.swallow(ctx); err != nil {
		return provision.Signal{}, err
	}
	return s.Store.Append(ctx, l, evs...)
}

func (s *silent) Attend(ctx context.Context, cluster, owner string, ttl time.Duration) error {
	if err := s.swallow(ctx); err != nil {
		return err
	}
	return s.Store.Attend(ctx, cluster, owner, ttl)
}

func (s *silent) Audit(ctx context.Context, r provision.AuditRow) error {
	if err := s.swallow(ctx); err != nil {
		return err
	}
	return s.Store.Audit(ctx, r)
}

// A worker whose store falls silent lets go of its job before another bot can
// have it.
func TestSilentStore(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	store, err := sqlstore.Open(t.Context(), t.TempDir(), sqlstore.Options{Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := &silent{Store: store, back: make(chan struct{})}
	b := &bench{t: t, store: s}
	b.engine = provision.NewEngine(provision.Config{
		Store: s, Owner: "test", Lease: lease, Workers: 1, Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
	})
	held := make(chan time.Duration, 1)
	b.engine.SetPlan(b.step("one", func(ctx context.Context, _ *provision.Work) error {
		began := time.Now()
		s.gone.Store(true)
		select {
		case <-ctx.Done():
		case <-time.After(5 * lease):
		}
		held <- time.Since(began)
		return ctx.Err()
	}))
	b.start()
	b.submit(provision.Order{})
	if d := <-held; d > lease {
		t.Errorf("the worker held on to its job for %v, with a lease of %v", d, lease)
	}
	s.gone.Store(false)
	close(s.back)
}

// A program that ends does not wait for a store that fell silent.
func TestEndWithSilentStore(t *testing.T) {
	t.Parallel()
	s := &silent{Store: openStore(t, t.TempDir()), back: make(chan struct{})}
	b := newBench(t, s)
	defer s.Store.Close()
	entered := make(chan struct{})
	b.engine.SetPlan(b.step("one", func(ctx context.Context, _ *provision.Work) error {
		s.gone.Store(true)
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}))
	stop := b.start()
	b.submit(provision.Order{})
	<-entered
	began := time.Now()
	give := time.AfterFunc(30*time.Second, func() { close(s.back) })
	stop()
	give.Stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the engine ended after %v", took)
	}
}

// darkNodes take no notice of whoever connects.
type darkNodes struct{ cluster.Nodes }

func (darkNodes) Names() []string                       { return []string{"pve1"} }
func (d darkNodes) Node(string) (cluster.Runner, error) { return d, nil }

func (darkNodes) Run(ctx context.Context, _ cluster.Cmd) (cluster.Result, error) {
	<-ctx.Done()
	return cluster.Result{}, fmt.Errorf("%w: %w", cluster.ErrNotStarted, context.Cause(ctx))
}

// A gate closes in time also while VMs whose end has come are asked for on nodes
// that do not answer.
func TestSweepWhileNodesAreDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, openStore(t, t.TempDir()))
		defer b.store.Close()
		b.engine = provision.NewEngine(provision.Config{
			Store: b.store, Owner: "test", Cluster: cluster.New(darkNodes{}, nil, cluster.Config{Name: "test"}),
		})
		for id := range 5 {
			if err := b.store.SaveVM(t.Context(), provision.VMRecord{
				Cluster: "test", VMID: 101 + id, UUID: fmt.Sprint(id), Owner: alice, Until: time.Now().Add(-time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
		}
		defer b.start()()
		began := time.Now()
		job := b.await(b.submit(provision.Order{Gate: &provision.Gate{Need: 1, Of: []string{"ops"}, Expires: began.Add(20 * time.Second)}}), provision.StateCancelled)
		if took := job.Ended.Sub(began); took > 40*time.Second {
			t.Errorf("the gate was closed after %v", took)
		}
	})
}

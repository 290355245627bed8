package provision_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/image"
	"pvebot/provision/sqlstore"
	"pvebot/provision/sqlstore/pgtest"
)

// sharedStore returns what opens one store, once for each bot: of its own on
// PostgreSQL where TEST_POSTGRES_URL says so, else the same one.
func sharedStore(t *testing.T) func() provision.Store {
	t.Helper()
	if os.Getenv("TEST_POSTGRES_URL") == "" {
		store := openStore(t, t.TempDir())
		t.Cleanup(func() { store.Close() })
		return func() provision.Store { return store }
	}
	url := pgtest.URL(t)
	return func() provision.Store {
		store, err := sqlstore.Open(t.Context(), url, sqlstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		return store
	}
}

// newWorker is a bot on store that works for a simulated cluster of its own.
func newWorker(t *testing.T, store provision.Store, name string) *site {
	t.Helper()
	s := newSite(t, pvesim.Options{})
	access := s.sim.Access()
	where := cluster.Config{Name: name, PVEEtc: access.PVEEtc, RunDir: access.RunDir, BootIDFile: access.BootIDFile}
	s.pve = cluster.New(s.pve.Nodes(), cluster.NewTasks(s.pve.Nodes(), where), where)
	s.bench.store = store
	s.engine = provision.NewEngine(provision.Config{
		Store: store, Owner: name, Cluster: s.pve, Images: image.Default(), Settings: s.settings, Guests: s.guests,
	})
	return s
}

// TestRemoteClusters: a bot that reaches no cluster has two worked for by
// others, and they do not get in each other's way.
func TestRemoteClusters(t *testing.T) {
	t.Parallel()
	open := sharedStore(t)
	front := open()
	sites := map[string]*site{}
	for _, name := range []string{"taipei", "berlin"} {
		sites[name] = newWorker(t, open(), name)
		sites[name].start()
	}
	ctx := t.Context()
	for name, s := range sites {
		far := provision.NewRemote(front, name)
		awaitAnswers(t, front, name)
		spec, err := far.Prepare(ctx, ubuntu())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if here, err := s.engine.Prepare(ctx, ubuntu()); err != nil || !reflect.DeepEqual(here, spec) {
			t.Errorf("%s: prepared from afar: %+v, here: %+v, %v", name, spec, here, err)
		}
		if _, err := far.Prepare(ctx, provision.Install{OS: "plan9"}); provision.KindOf(err) != provision.NotFound {
			t.Errorf("%s: plan9: %v", name, err)
		}
		plan, err := far.Preview(ctx, spec)
		if here, herr := s.engine.Preview(ctx, spec); err != nil || herr != nil || plan.Digest != here.Digest {
			t.Errorf("%s: the plan from afar is %+v, here %+v (%v, %v)", name, plan, here, err, herr)
		}
		job, err := far.Submit(ctx, provision.Order{Key: name, By: alice, Spec: spec, OnFailure: provision.OnFailureUndo})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.await(job.ID, provision.StateSucceeded)
	}
	// Both have made the same VMID; each VM is its own cluster's.
	taipei, berlin := provision.NewRemote(front, "taipei"), provision.NewRemote(front, "berlin")
	vm, err := taipei.FindVM(ctx, vmidOf(t, front, "taipei"))
	if err != nil || vm.Owner == nil || !vm.Owner.Same(alice) || vm.UUID == "" {
		t.Fatalf("taipei has %+v, %v", vm, err)
	}
	other, err := berlin.FindVM(ctx, vmidOf(t, front, "berlin"))
	if err != nil || other.VMID != vm.VMID || other.UUID == vm.UUID {
		t.Fatalf("berlin has %+v, %v; taipei has %+v", other, err, vm)
	}
	if _, err := berlin.Prepare(ctx, provision.Destroy{VM: vm.VMRef}); provision.KindOf(err) != provision.Conflict {
		t.Errorf("berlin would destroy taipei's VM: %v", err)
	}
	spec, err := taipei.Prepare(ctx, provision.Destroy{VM: vm.VMRef})
	if err != nil {
		t.Fatal(err)
	}
	job, err := taipei.Submit(ctx, provision.Order{Key: "destroy", By: alice, Spec: spec, OnFailure: provision.OnFailureUndo})
	if err != nil {
		t.Fatal(err)
	}
	sites["taipei"].await(job.ID, provision.StateSucceeded)
	if _, err := taipei.FindVM(ctx, fmt.Sprint(vm.VMID)); provision.KindOf(err) != provision.NotFound {
		t.Errorf("taipei still has it: %v", err)
	}
	if _, err := berlin.FindVM(ctx, fmt.Sprint(vm.VMID)); err != nil {
		t.Errorf("berlin lost its VM: %v", err)
	}
	if list, err := berlin.Snapshots(ctx, other.VMRef); err != nil || len(list) != 0 {
		t.Errorf("snapshots: %v, %v", list, err)
	}
	here, herr := sites["berlin"].engine.Resources(ctx)
	if there, err := berlin.Resources(ctx); err != nil || herr != nil || len(there.Nodes) != len(here.Nodes) || len(there.Storages) != len(here.Storages) {
		t.Errorf("resources: %+v, %v", there, err)
	}
	if images, err := berlin.Images(ctx); err != nil || len(images) == 0 {
		t.Errorf("images: %v, %v", images, err)
	}
}

// vmidOf is the VMID that the first job of a cluster made.
func vmidOf(t *testing.T, store provision.Store, name string) string {
	t.Helper()
	jobs, err := store.Jobs(t.Context(), provision.Filter{Cluster: name})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs of %s: %v, %v", name, jobs, err)
	}
	return fmt.Sprint(jobs[0].Facts.VMID)
}

// awaitAnswers waits until the engine of a cluster answers: it may still be
// starting, so the test stands in for it as who attends.
func awaitAnswers(t *testing.T, store provision.Store, name string) {
	t.Helper()
	if err := store.Attend(t.Context(), name, "test", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := provision.NewRemote(store, name).Images(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestUnattended: where nobody works, nothing is ordered and nobody is kept
// waiting.
func TestUnattended(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer store.Close()
	far := provision.NewRemote(store, "taipei")
	refused := func(words string, err error) {
		t.Helper()
		if provision.KindOf(err) != provision.Unavailable || !errors.Is(err, provision.ErrUnattended) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	install := provision.Install{OS: "ubuntu", Version: "24.04", Cores: 1, MemoryMB: 1024, DiskMB: 16384}
	order := provision.Order{Key: "1", By: alice, Spec: install}
	_, err := far.Submit(t.Context(), order)
	refused("nobody works for cluster taipei at the moment, and nobody ever did", err)
	_, err = far.Prepare(t.Context(), install)
	refused("nobody ever did", err)

	stop := without(t, store, "taipei").start()
	awaitAnswers(t, store, "taipei")
	stop()
	if err := store.Attend(t.Context(), "taipei", "test", 0); err != nil {
		t.Fatal(err)
	}
	_, err = far.VMs(t.Context())
	refused("the last bot left", err)
	_, err = far.Submit(t.Context(), order)
	refused("bot left", err)
	_, err = far.Resolve(t.Context(), provision.Resolution{Job: 1, By: alice, Do: provision.Retry})
	refused("bot left", err)
	if jobs, err := store.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("jobs: %v, %v", jobs, err)
	}
}

// without is a bot that works for a cluster without any node.
func without(t *testing.T, store provision.Store, name string) *bench {
	b := newBench(t, store)
	b.engine = provision.NewEngine(provision.Config{
		Store: store, Owner: "worker", Cluster: cluster.New(nil, nil, cluster.Config{Name: name}), Images: image.Default(),
	})
	return b
}

// TestStrangeQuestions: what another version asks is answered in words.
func TestStrangeQuestions(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer store.Close()
	without(t, store, "test").start()
	awaitAnswers(t, store, "test")
	for _, q := range []string{`{"about":"weather"}`, `[]`, `{"about":"prepare"}`, `{"about":"snapshots"}`, `{"about":"preview","spec":{"kind":"x"}}`, `{"about":"vms"}`} {
		answer, err := store.Ask(t.Context(), "test", []byte(q))
		if err != nil || !strings.Contains(string(answer), `"problem"`) {
			t.Errorf("%s: %s, %v", q, answer, err)
		}
	}
	if _, err := provision.NewRemote(store, "test").VMs(t.Context()); provision.KindOf(err) != provision.Internal {
		t.Errorf("a cluster without nodes: %v", err) // a nil cluster.Nodes panics
	}
}

package provision_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// dying is a store whose worker dies after the effect of some steps, before it
// can say that they are done: once for each step.
type dying struct {
	provision.Store
	mu    sync.Mutex
	steps []string
}

func (d *dying) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	for _, e := range evs {
		if e.Kind != provision.StepDone {
			continue
		}
		d.mu.Lock()
		i := slices.Index(d.steps, e.Step)
		if i >= 0 {
			d.steps = slices.Delete(d.steps, i, i+1)
		}
		d.mu.Unlock()
		if i >= 0 {
			return provision.Signal{}, provision.ErrFenced
		}
	}
	return d.Store.Append(ctx, l, evs...)
}

// A worker that dies while it waits for a guest, or when it has seen it, leaves
// a job that goes on: nobody waits for a boot that has been, nor boots again.
func TestResumeAroundBoots(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Boot: time.Millisecond}})
	const lease = 500 * time.Millisecond
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	d := &dying{Store: store, steps: []string{"waiting for ready", "SSH initialization", "rebooting VM"}}
	s.store, s.lease = d, lease
	s.engine = s.newEngine()
	s.start()
	install := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed)
	if install.State != provision.StateSucceeded || len(d.steps) > 0 {
		t.Fatalf("the install %s: %+v; nobody died at %q", install.State, install.Problem, d.steps)
	}
	d.steps = []string{"noting boot id", "rebooting VM", "waiting for SSH"}
	spec, err := s.engine.Prepare(t.Context(), provision.Power{Do: "reboot", VM: provision.VMRef{VMID: install.Facts.VMID}})
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: "reboot", By: alice, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	if job = s.await(job.ID, provision.StateSucceeded, provision.StateFailed, provision.StateParked); job.State != provision.StateSucceeded {
		t.Fatalf("the reboot %s: %+v", job.State, job.Problem)
	}
	reboots := 0
	for _, r := range s.sim.Ran() {
		if strings.HasPrefix(r.String(), "qm reboot") {
			reboots++
		}
	}
	if reboots != 1 {
		t.Errorf("the VM was rebooted %d times", reboots)
	}
}

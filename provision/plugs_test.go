package provision_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// offClock is a clock that is wrong.
type offClock struct {
	cluster.Clock
	by time.Duration
}

func (c offClock) Now() time.Time { return c.Clock.Now().Add(c.by) }

// TestPlugs pulls a plug of a node while it does the one thing that matters.
// The order is carried out or undone, and nothing is left.
func TestPlugs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pull func(s *pvesim.Sim, node string)
		off  time.Duration // the nodes' clocks
		want []provision.State
	}{
		"connection cut": {pull: func(s *pvesim.Sim, node string) { s.Cut(node) }, want: []provision.State{provision.StateSucceeded}},
		"node rebooted": {
			pull: func(s *pvesim.Sim, node string) { _ = s.Reboot(node) },
			want: []provision.State{provision.StateFailed, provision.StateSucceeded},
		},
		// Nobody can tell whose the torso is: people are asked, and the slot stays taken.
		"node rebooted, its clock is late": {
			pull: func(s *pvesim.Sim, node string) { _ = s.Reboot(node) }, off: -time.Hour,
			want: []provision.State{provision.StateParked, provision.StateSucceeded},
		},
		"node rebooted, its clock is early": {
			pull: func(s *pvesim.Sim, node string) { _ = s.Reboot(node) }, off: time.Hour,
			want: []provision.State{provision.StateFailed, provision.StateSucceeded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pvesim.Options{
				Clock: offClock{cluster.SystemClock{}, tt.off}, Latency: pvesim.Latency{Alloc: 20 * time.Millisecond, Import: 300 * time.Millisecond},
			})
			var once sync.Once
			var pulling sync.WaitGroup
			s.sim.OnCommand(func(r pvesim.Ran) {
				if strings.HasPrefix(r.String(), "qm create") {
					once.Do(func() {
						pulling.Go(func() {
							time.Sleep(100 * time.Millisecond) // in the middle of the import, or not: both are fine
							tt.pull(s.sim, r.Node)
						})
					})
				}
			})
			s.start()
			job := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
			pulling.Wait()
			if !slices.Contains(tt.want, job.State) {
				t.Errorf("the job %s: %+v", job.State, job.Problem)
			}
			if job.State == provision.StateParked {
				if _, there := s.sim.VM(job.Facts.VMID); !there || len(job.Slots) == 0 {
					t.Errorf("it asks about a VM that is not there, or holds no slot: %+v", job)
				}
				return
			}
			made := 0
			if job.State == provision.StateSucceeded {
				made = 1
			}
			s.clean(made)
		})
	}
}

// An answer that gets lost after a VM was destroyed is no reason to do it
// again, nor to fail.
func TestPlugAfterDestroy(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	made := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed)
	s.sim.Lose(made.Facts.Node, "qm destroy")
	spec, err := s.engine.Prepare(t.Context(), provision.Destroy{VM: provision.VMRef{VMID: made.Facts.VMID}})
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: "destroy", By: alice, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	if job = s.await(job.ID, provision.StateSucceeded, provision.StateFailed, provision.StateParked); job.State != provision.StateSucceeded {
		t.Errorf("the job %s: %+v", job.State, job.Problem)
	}
	s.clean(0)
}

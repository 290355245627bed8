package provision_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// A snapshot of that name that somebody else took meanwhile stays.
func TestSnapshotOfSomebodyElse(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	id := s.do(provision.Snapshot{VM: s.vm(101), Name: "before"}, nil)
	s.byHand("pve1", "qm", "snapshot", "101", "before", "--description", "carol's")
	s.start()
	s.await(id, provision.StateParked, provision.StateSucceeded)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(id, provision.StateFailed)
	list, err := s.engine.Snapshots(t.Context(), s.vm(101))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, l := range list {
		found = found || l.Name == "before" && l.Description == "carol's"
	}
	if !found || s.ran("qm delsnapshot") > 0 {
		t.Errorf("her snapshot is gone: %+v", list)
	}
}

// A snapshot that is still being taken when the undo begins goes, too.
func TestUndoOfASnapshotThatRuns(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	dir := t.TempDir()
	s.store.Close()
	s.store = openStore(t, dir)
	s.engine = s.newEngine()
	began := make(chan struct{}, 9)
	s.sim.OnCommand(func(r pvesim.Ran) {
		if strings.HasPrefix(r.String(), "qm snapshot 101") {
			began <- struct{}{}
		}
	})
	release := s.sim.Hold("qm snapshot 101")
	stop := s.start()
	id := s.do(provision.Snapshot{VM: s.vm(101), Name: "before"}, nil)
	<-began
	stop()
	s.store.Close()
	s.store = openStore(t, dir)
	s.engine = s.newEngine()
	if _, err := s.engine.Cancel(t.Context(), id, alice); err != nil {
		t.Fatal(err)
	}
	defer s.start()()
	time.AfterFunc(300*time.Millisecond, release)
	s.await(id, provision.StateCancelled)
	if ran := s.sim.Running(); len(ran) > 0 {
		t.Errorf("%q still run", ran)
	}
	if list, err := s.engine.Snapshots(t.Context(), s.vm(101)); err != nil || len(list) > 0 {
		t.Errorf("left behind: %+v, %v", list, err)
	}
}

// A VM that ran already when its start began is not switched off by the undo.
func TestUndoOfAStartOfWhatRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.settings.Stall = 200 * time.Millisecond
	vm := s.vm(103)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 103, UUID: vm.UUID, Owner: alice, User: "nobody", Job: 1, IP: netip.MustParseAddr("192.168.0.103"),
	}); err != nil {
		t.Fatal(err)
	}
	s.engine = s.newEngine()
	s.sim.NeverBoot(103)
	id := s.do(provision.Power{Do: "start", VM: vm}, nil)
	s.byHand("pve3", "qm", "start", "103") // somebody was quicker
	s.start()
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	t.Logf("%s: %+v", job.State, job.Problem)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(id, provision.StateFailed)
	if vm, _ := s.sim.VM(103); !vm.Running {
		t.Error("the VM that ran before was switched off hard")
	}
}

// A clone whose node restarts while its first disk is copied leaves nothing.
func TestCloneWhoseNodeRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Clone: time.Minute}})
	s.start()
	id := s.do(provision.Clone{VM: s.vm(103), Name: "copy"}, nil)
	vmid := 0
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if n := len(s.sim.Orphans()); n > 0 { // the disk has been made, and is being filled
			break
		}
	}
	for _, v := range s.sim.VMs() {
		if v.Lock == "clone" {
			vmid = v.VMID
		}
	}
	t.Log("torso", vmid, s.sim.Orphans())
	if err := s.sim.Reboot("pve3"); err != nil {
		t.Fatal(err)
	}
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	t.Logf("%s: %+v", job.State, job.Problem)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	job = s.await(id, provision.StateFailed, provision.StateParked)
	t.Logf("%s: %+v", job.State, job.Problem)
	if vm, there := s.sim.VM(vmid); there {
		t.Errorf("the half clone is still there: %+v", vm)
	}
	s.clean(0)
}

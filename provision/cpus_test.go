package provision_test

import (
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// refusal is why an order is not taken, "" when it is.
func (s *site) refusal(spec provision.Spec) string {
	s.t.Helper()
	_, err := s.engine.Prepare(s.t.Context(), spec)
	if err == nil {
		return ""
	}
	say, _ := provision.Explain(err)
	return say
}

// What people order are CPUs, whatever the VM makes them of; its option cores is
// for each of its sockets.
func TestSetCPUsOfAVMWithSockets(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.SetOption(103, "sockets", "2")
	s.sim.SetOption(103, "cores", "2")
	s.start()
	if vm, err := s.engine.FindVM(t.Context(), "103"); err != nil || vm.Cores != 4 {
		t.Errorf("two sockets of two cores are shown as %d CPUs, %v", vm.Cores, err)
	}
	if got := s.refusal(provision.Set{VM: s.vm(103), Cores: 3}); got != "old-wiki (VM 103) has 2 sockets, and 3 CPUs can't be shared out among them" {
		t.Errorf("3 CPUs on two sockets: %q", got)
	}
	job := s.succeeds(s.do(provision.Set{VM: s.vm(103), Cores: 6}, nil))
	if vm, _ := s.sim.VM(103); vm.Options["cores"] != "3" {
		t.Errorf("6 CPUs on two sockets are %s cores each", vm.Options["cores"])
	}
	if step := job.Step("finalizing"); !strings.HasPrefix(step.Text, "6 CPUs, ") {
		t.Errorf("it is told as %q", step.Text)
	}

	s.sim.FailOnce("qm disk resize", 255, "no space left on device")
	id := s.do(provision.Set{VM: s.vm(103), Cores: 8, GrowMB: 1024}, nil)
	s.await(id, provision.StateParked)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(id, provision.StateFailed)
	if vm, _ := s.sim.VM(103); vm.Options["cores"] != "3" {
		t.Errorf("the undo leaves %s cores each", vm.Options["cores"])
	}

	s.sim.SetOption(103, "vcpus", "2")
	if got := s.refusal(provision.Set{VM: s.vm(103), Cores: 4}); !strings.Contains(got, "has 2 of 6 CPUs") || !strings.Contains(got, "vcpus") {
		t.Errorf("CPUs of a VM with vcpus: %q", got)
	}
	if vm, err := s.engine.FindVM(t.Context(), "103"); err != nil || vm.Cores != 2 {
		t.Errorf("two of six CPUs are shown as %d, %v", vm.Cores, err)
	}
}

// PVE starts no VM that has more CPUs than its node, and says so only then. No
// order leads there.
func TestNoVMWithMoreCPUsThanItsNode(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.SetOption(103, "sockets", "2")
	for _, tt := range []struct {
		name string
		spec provision.Spec
		want string // part of the refusal
	}{
		{"a new VM", provision.Install{OS: "ubuntu", Cores: 64}, "node pve3 has 8 CPUs, and no VM on it can have more: 64 are too many"},
		{"a new VM where it was ordered", provision.Install{OS: "ubuntu", Cores: 12, Node: "pve3"}, "node pve3 has 8 CPUs"},
		{"a change", provision.Set{VM: s.vm(103), Cores: 10}, "node pve3 has 8 CPUs, and no VM on it can have more: 10 are too many"},
	} {
		if got := s.refusal(tt.spec); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := s.refusal(provision.Install{OS: "ubuntu", Cores: 12}); got != "" {
		t.Errorf("12 CPUs are there on pve1 and pve2: %s", got)
	}

	s.sim.SetOption(103, "cores", "8")
	if got := s.refusal(provision.Power{Do: "start", VM: s.vm(103)}); !strings.Contains(got, "16 are too many") {
		t.Errorf("the start of 2 sockets of 8 on 8 CPUs: %q", got)
	}
	s.sim.SetOption(101, "cores", "12")
	if got := s.refusal(provision.Migrate{VM: s.vm(101), To: "pve3"}); !strings.Contains(got, "node pve3 has 8 CPUs") {
		t.Errorf("12 CPUs go to a node with 8 while they run: %q", got)
	}
	s.sim.SetOption(103, "cores", "9")
	s.sim.Move(103, "pve1")
	plan, err := s.engine.Preview(t.Context(), provision.Migrate{VM: s.vm(103), To: "pve3"})
	if err != nil || len(plan.Blockers) > 0 || !strings.Contains(strings.Join(plan.Warnings, "; "), "18 are too many; it will not start there") {
		t.Errorf("a VM that is off goes to a smaller node with %+v, %v", plan, err)
	}
}

// A drain takes a VM to where it can run.
func TestDrainToANodeWithTheCPUs(t *testing.T) {
	t.Parallel()
	nodes := pvesim.DefaultNodes()
	nodes[2].Memory = 256 << 30 // most room is where the fewest CPUs are
	s := newSite(t, pvesim.Options{Nodes: nodes})
	s.sim.SetOption(101, "sockets", "3")
	spec, err := s.engine.Prepare(t.Context(), provision.Drain{Node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	if to := spec.(provision.Drain).Moves[0].To; to != "pve2" {
		t.Errorf("12 CPUs go to %s, of all nodes", to)
	}
}

// A VM that runs is not taken back to CPUs that its node does not have: it would
// stay off.
func TestRollbackToMoreCPUsThanTheNodeHas(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.Move(103, "pve1")
	s.byHand("pve1", "qm", "set", "103", "--cores", "12")
	s.byHand("pve1", "qm", "snapshot", "103", "large")
	s.byHand("pve1", "qm", "set", "103", "--cores", "2")
	s.sim.Move(103, "pve3")
	back := provision.Rollback{VM: s.vm(103), Name: "large"}
	if got := s.refusal(back); got != "" {
		t.Errorf("a VM that is off may go back: %s", got)
	}
	s.byHand("pve3", "qm", "start", "103")
	if got := s.refusal(back); !strings.Contains(got, "could not run as it was at large: node pve3 has 8 CPUs, and no VM on it can have more: 12 are too many") {
		t.Errorf("a VM that runs: %q", got)
	}
}

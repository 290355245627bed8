package provision_test

import (
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// VMs are not drained to a node that is being drained itself, nor to one that is
// not the bot's; and what fits one by one need not fit together.
func TestDrainTargets(t *testing.T) {
	t.Parallel()
	nodes := pvesim.DefaultNodes()
	nodes[1].Memory = nodes[2].Memory / 2 // most room is on pve3
	s := newSite(t, pvesim.Options{Nodes: nodes})
	s.do(provision.Drain{Node: "pve3"}, nil) // queued
	spec, err := s.engine.Prepare(t.Context(), provision.Drain{Node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spec.(provision.Drain).Moves {
		if m.To == "pve3" {
			t.Errorf("%s goes to pve3, which is being drained", m.VM)
		}
	}
}

func TestDrainNeedsRoomForAll(t *testing.T) {
	t.Parallel()
	guest := func(id int) pvesim.GuestSpec {
		return pvesim.GuestSpec{VMID: id, Node: "pve1", Name: "big", Cores: 1, MemoryMB: 40 << 10, Disk: 8 << 30, Running: true}
	}
	nodes := pvesim.DefaultNodes()[:2]
	nodes[0].Memory, nodes[1].Memory = 128<<30, 64<<30
	s := newSite(t, pvesim.Options{Nodes: nodes, Guests: []pvesim.GuestSpec{guest(101), guest(102)}, Statd: -1})
	spec, err := s.engine.Prepare(t.Context(), provision.Drain{Node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.engine.Preview(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) == 0 {
		t.Errorf("80G go to a node with 64G without a word: %+v", p)
	}
}

// A drain leaves alone the nodes that the bot can't reach.
func TestDrainToOurNodes(t *testing.T) {
	t.Parallel()
	nodes := pvesim.DefaultNodes()
	nodes[1].Memory = nodes[2].Memory / 2 // most room is on pve3
	s := newSite(t, pvesim.Options{Nodes: nodes})
	access := s.sim.Access()
	var targets []cluster.Target
	for _, name := range []string{"pve1", "pve2"} {
		targets = append(targets, cluster.Target{Name: name, Addr: access.Addrs[name]})
	}
	ours, err := cluster.Connect(cluster.NodesConfig{Targets: targets, Signers: []ssh.Signer{access.Signer}, HostKeys: s.sim.HostKeys()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	where := cluster.Config{Name: "sim", PVEEtc: access.PVEEtc, RunDir: access.RunDir, BootIDFile: access.BootIDFile}
	s.pve = cluster.New(ours, cluster.NewTasks(ours, where), where)
	s.engine = s.newEngine()
	s.start()
	id := s.do(provision.Drain{Node: "pve1"}, nil)
	job := s.await(id, provision.StateSucceeded, provision.StateParked, provision.StateFailed)
	vm, _ := s.sim.VM(101)
	if job.State != provision.StateSucceeded {
		t.Errorf("the drain %s: %+v; the VM is on %s", job.State, job.Problem, vm.Node)
	}
}

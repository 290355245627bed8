package provision_test

import (
	"strings"
	"testing"

	"pvebot/alloc"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// withBridges is a cluster where vmbr1 and the vnet lab are on pve3 alone, and
// two networks use them.
func withBridges(t *testing.T) *site {
	t.Helper()
	nodes := pvesim.DefaultNodes()
	nodes[2].Bridges = []string{"vmbr0", "vmbr1"}
	s := newSite(t, pvesim.Options{Nodes: nodes, VNets: []pvesim.VNetSpec{{Name: "lab", Nodes: []string{"pve3"}}}})
	for i, bridge := range []string{"vmbr1", "lab", "nowhere"} {
		pool, err := alloc.NewDynamic(bridge, 5000+100*i, 5099+100*i)
		if err != nil {
			t.Fatal(err)
		}
		s.settings.Networks = append(s.settings.Networks, provision.Network{Name: bridge, Bridge: bridge, Pool: pool})
	}
	s.engine = s.newEngine()
	return s
}

// agent is an image that can tell an address which DHCP gave.
func agent(network string) provision.Install {
	return provision.Install{OS: "rocky", Network: network}
}

// A VM goes only to a node that has its bridge or vnet, and who orders it where
// that is not is told so before anything is made.
func TestPlacedWhereTheBridgeIs(t *testing.T) {
	t.Parallel()
	s := withBridges(t)
	for _, bridge := range []string{"vmbr1", "lab"} {
		p, err := s.engine.Preview(t.Context(), agent(bridge))
		if err != nil {
			t.Errorf("%s: %v", bridge, err)
			continue
		}
		if !strings.HasPrefix(p.Lines[0], "on pve3: ") || !strings.Contains(p.Lines[0], "node pve1 has no bridge "+bridge+" that is up") {
			t.Errorf("%s is only on pve3, and the plan says %q", bridge, p.Lines[0])
		}
		spec := agent(bridge)
		spec.Node = "pve1"
		if got := s.refusal(spec); got != "node pve1 has no bridge "+bridge+" that is up" {
			t.Errorf("on pve1 without %s: %q", bridge, got)
		}
	}
	if got := s.refusal(agent("nowhere")); !strings.HasPrefix(got, "no node can take it: node pve1 has no bridge nowhere that is up; ") {
		t.Errorf("a bridge that no node has: %q", got)
	}
	if len(s.changed()) > 0 {
		t.Errorf("something was done: %v", s.changed())
	}
}

// A bridge that was missing is looked for again soon: somebody may have made it.
func TestBridgesAreReadOnce(t *testing.T) {
	t.Parallel()
	s := withBridges(t)
	for range 3 {
		if got := s.refusal(ubuntu()); got != "" {
			t.Fatal(got)
		}
	}
	if n := s.ran("pvesh get /nodes/pve1/network"); n != 1 {
		t.Errorf("a node is asked %d times for bridges that it has", n)
	}
}

// A node that does not say which bridges it has is not taken to have none.
func TestBridgesThatNobodyKnows(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	for range 3 {
		s.sim.FailOnce("pvesh get /nodes/pve1/network", 255, "no such thing")
		s.sim.FailOnce("pvesh get /nodes/pve2/network", 255, "no such thing")
		s.sim.FailOnce("pvesh get /nodes/pve3/network", 255, "no such thing")
	}
	p, err := s.engine.Preview(t.Context(), ubuntu())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Warnings, "; "); !strings.Contains(got, "which bridges node pve") || !strings.Contains(got, "is not known: node pve") {
		t.Errorf("the plan warns of %q", got)
	}
}

// Migrations, drains and starts know the bridges too.
func TestBridgesOfVMsThatAreThere(t *testing.T) {
	t.Parallel()
	s := withBridges(t)
	s.sim.SetOption(103, "net1", "virtio=BC:24:11:00:00:99,bridge=lab")
	p, err := s.engine.Preview(t.Context(), provision.Migrate{VM: s.vm(103), To: "pve1"})
	if err != nil || !strings.Contains(strings.Join(p.Warnings, "; "), "pve1 has no bridge lab for net1: it will not start there") {
		t.Errorf("a VM that is off: %+v, %v", p, err)
	}
	s.byHand("pve3", "qm", "start", "103")
	if got := s.refusal(provision.Migrate{VM: s.vm(103), To: "pve1"}); !strings.Contains(got, "pve1 has no bridge lab for net1") {
		t.Errorf("a VM that runs: %q", got)
	}
	if got := s.refusal(provision.Drain{Node: "pve3"}); !strings.Contains(got, "has no bridge lab for net1") {
		t.Errorf("a drain: %q", got)
	}
	s.byHand("pve3", "qm", "stop", "103")
	s.sim.Move(103, "pve2")
	if got := s.refusal(provision.Power{Do: "start", VM: s.vm(103)}); got != "node pve2 has no bridge lab for net1 of old-wiki (VM 103) that is up" {
		t.Errorf("a start: %q", got)
	}

	s.sim.SetOption(101, "net0", "virtio=BC:24:11:00:00:98,bridge=vmbr1")
	spec, err := s.engine.Prepare(t.Context(), provision.Drain{Node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	if to := spec.(provision.Drain).Moves[0].To; to != "pve3" {
		t.Errorf("a VM on vmbr1 is drained to %s", to)
	}
}

package provision_test

import (
	"strings"
	"testing"

	"pvebot/alloc"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// What can't be had is refused before anything is made: memory, disks, names and
// addresses, for all VMs of an order together.
func TestInstallsThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	install := func(change func(*provision.Install)) provision.Install {
		spec := ubuntu()
		change(&spec)
		return spec
	}
	several := func(n int) *provision.Several { return &provision.Several{Count: n} }
	for _, tt := range []struct {
		name string
		spec provision.Spec
		want string // part of the refusal; "" for none
	}{
		{"a disk that no storage can hold", install(func(i *provision.Install) { i.DiskMB = 100 << 20 }), "storage local-lvm on pve1 has 800G in all, which is too little for a disk of 100T"},
		{"more memory than the node has", install(func(i *provision.Install) { i.MemoryMB, i.Node = 128<<10, "pve1" }), "node pve1 has 64G of memory in all, too little for 128G"},
		{"too many at once", install(func(i *provision.Install) { i.MemoryMB, i.Several = 16<<10, several(20) }), "there is room for 7 of the 20 VMs: no node can take it: "},
		{"as many as fit", install(func(i *provision.Install) { i.MemoryMB, i.Several = 16<<10, several(7) }), ""},
		{"a name that a VM has", install(func(i *provision.Install) { i.Name = "GitLab" }), "GitLab is the name of VM 101 on pve1 already"},
		{"a name that a container has", install(func(i *provision.Install) { i.Name = "dns" }), "dns is the name of container 120 on pve2 already"},
		{"a name that gets a number", install(func(i *provision.Install) { i.Name, i.NumberName = "gitlab", true }), ""},
		{"a copy's name", provision.Clone{VM: s.vm(103), Name: "gitlab"}, "gitlab is the name of VM 101 on pve1 already"},
		{"more memory than its node has", provision.Set{VM: s.vm(103), MemoryMB: 100 << 10}, "node pve3 has 32G of memory in all, too little for 100G"},
		{"a disk that grows beyond its storage", provision.Set{VM: s.vm(103), GrowMB: 2 << 20}, "storage local-lvm on pve3 has 800G in all, which is too little for a disk of 2T"},
	} {
		got := s.refusal(tt.spec)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		_, err := s.engine.Preview(t.Context(), tt.spec)
		say := ""
		if err != nil {
			say, _ = provision.Explain(err)
		}
		if say != got {
			t.Errorf("%s: the plan says %q, the order %q", tt.name, say, got)
		}
	}
	if len(s.changed()) > 0 {
		t.Errorf("something was done: %v", s.changed())
	}
}

// The VMs of a count are numbered past the names that are taken, also those of
// jobs that wait for their turn.
func TestNamesOfSeveralVMs(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Statd: -1})
	s.byHand("pve1", "qm", "set", "101", "--name", "web-2")
	spec := ubuntu()
	spec.Name = "web-3"
	s.mustOrder(spec) // queued
	spec.Name, spec.Several = "web", &provision.Several{Count: 3}
	ready, err := s.engine.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ready.(provision.Install).Several.Names, " "); got != "web-1 web-4 web-5" {
		t.Errorf("they are called %s", got)
	}
	if _, err := s.engine.Submit(t.Context(), provision.Order{Key: "several", By: alice, Spec: ready}); provision.KindOf(err) != provision.Invalid {
		t.Errorf("a plan for three VMs became one order: %v", err)
	}
	spec.Several, spec.Name = nil, "web-3"
	if got := s.refusal(spec); got != "web-3 is the name of what job 1 makes already" {
		t.Errorf("the name of a VM that is not there yet: %q", got)
	}
}

// What a network has left counts for all VMs of an order, and so does what jobs
// before it will take.
func TestAddressesForSeveralVMs(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	var err error
	if s.settings.Pool, err = alloc.NewPool("192.168.0.1", 130, 132); err != nil {
		t.Fatal(err)
	}
	s.engine = s.newEngine()
	s.mustOrder(ubuntu()) // queued
	spec := ubuntu()
	spec.Several = &provision.Several{Count: 3}
	if got := s.refusal(spec); !strings.Contains(got, "has 2 free addresses, too few for 3 VMs: 1 held") {
		t.Errorf("three VMs for two addresses: %q", got)
	}
	s.mustOrder(ubuntu())
	s.mustOrder(ubuntu())
	if got := s.refusal(ubuntu()); !strings.Contains(got, "no free address in ") {
		t.Errorf("a VM without an address left: %q", got)
	}
}

// A thin storage hands out more than it has. What its disks may take is named.
func TestThinStorageThatIsPromisedTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	spec := ubuntu()
	spec.DiskMB, spec.Node = 790<<10, "pve1"
	p, err := s.engine.Preview(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(p.Warnings, "; "), "storage local-lvm on pve1 has 800G, and its disks may take 862G with this: it fills up when they are used"; !strings.Contains(got, want) {
		t.Errorf("the plan warns of %q, want %q", got, want)
	}
	p, err = s.engine.Preview(t.Context(), provision.Set{VM: s.vm(101), GrowMB: 735 << 10})
	if err != nil || !strings.Contains(strings.Join(p.Warnings, "; "), "its disks may take 807G with this") {
		t.Errorf("a disk that grows: %q, %v", p.Warnings, err)
	}
	if p, err = s.engine.Preview(t.Context(), ubuntu()); err != nil || len(p.Warnings) > 0 {
		t.Errorf("a VM that fits: %q, %v", p.Warnings, err)
	}
}

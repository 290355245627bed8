package provision_test

import (
	"net/netip"
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// TestTextsBeyondASCII: PVE 9 has no locale over SSH, where what is beyond ASCII in
// its arguments would be lost.
func TestTextsBeyondASCII(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	defer s.start()()
	s.byHand("pve1", "qm", "snapshot", "101", "by-hand", "--description", "zażółć")
	spec, err := s.engine.Prepare(t.Context(), provision.Snapshot{VM: s.vm(101), Name: "before"})
	if err != nil {
		t.Fatal(err)
	}
	josé := provision.Actor{Platform: "http", ID: "josé – 漢 100%"}
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: "josé", By: josé, Spec: spec, OnFailure: provision.OnFailureAsk})
	if err != nil {
		t.Fatal(err)
	}
	s.succeeds(job.ID)
	about := map[string]string{}
	list, err := s.engine.Snapshots(t.Context(), s.vm(101))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		about[l.Name] = l.Description
	}
	if want := "by pvebot for http/josé – 漢 100% (job 1)"; about["before"] != want {
		t.Errorf("it is about %q, want %q", about["before"], want)
	}
	if !strings.Contains(about["by-hand"], "\uFFFD") {
		t.Errorf("the simulation understands %q, which PVE does not", about["by-hand"])
	}
}

// TestAddressOfARunningGuest: PVE writes an address that is changed while the VM
// runs at once, and the guest has the old one until its next cold start.
func TestAddressOfARunningGuest(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Empty: true, Guests: []pvesim.GuestSpec{
		{VMID: 120, Node: "pve1", Name: "web", IP: "192.168.0.120/24", Cores: 1, MemoryMB: 512, Disk: 1 << 30, Options: map[string]string{"ide2": "local-lvm:vm-120-cloudinit,media=cdrom"}},
	}})
	s.byHand("pve1", "qm", "start", "120")
	s.byHand("pve1", "qm", "set", "120", "--ipconfig0", "ip=192.168.0.121/24,gw=192.168.0.1")
	inUse := func(addr string) bool {
		t.Helper()
		all, err := s.pve.Addresses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[netip.MustParseAddr(addr)] == 120
	}
	if !inUse("192.168.0.120") || !inUse("192.168.0.121") {
		t.Error("the address that the guest has, or the one that it will have, counts as free")
	}
	s.byHand("pve1", "qm", "stop", "120")
	s.byHand("pve1", "qm", "start", "120")
	if inUse("192.168.0.120") || !inUse("192.168.0.121") {
		t.Error("after a cold start the old address counts, or the new one does not")
	}
}

// TestConfiguringKeepsTheMAC: PVE makes a new MAC whenever a network card is set
// without one, also when the step is done again.
func TestConfiguringKeepsTheMAC(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Empty: true})
	defer s.start()()
	s.mustTemplate("pve1", "ubuntu", "")
	s.sim.Lose("pve1", "qm set") // it happens, and nobody hears of it
	job := s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve1"})
	v, _ := s.sim.VM(job.Facts.VMID)
	card, _, _ := strings.Cut(v.Options["net0"], ",")
	sets := 0
	for _, r := range s.sim.Ran() {
		if line := r.String(); strings.HasPrefix(line, "qm set") && strings.Contains(line, "--net0") {
			if sets++; !strings.Contains(line, "--net0 "+card+",") {
				t.Errorf("the card is %s, and it was set by %s", card, line)
			}
		}
	}
	if sets == 0 || !strings.HasPrefix(card, "virtio=") {
		t.Errorf("the card %s was set %d times", card, sets)
	}
}

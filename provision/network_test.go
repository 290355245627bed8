package provision_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"pvebot/alloc"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

const twoNetworks = `
- name: dmz
  cidr: 10.20.0.0/24
  gateway: 10.20.0.1
  range: 10.20.0.50-10.20.0.59
  ids: "5000"
  bridge: vmbr1
  vlan: 20
  dns: [10.20.0.2, 1.1.1.1]
- name: office
  dhcp: true
  ids: 6000-6009
`

func defaultPool(t *testing.T) alloc.Pool {
	t.Helper()
	pool, err := alloc.NewPool("192.168.0.1", 100, 254)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestParseNetworks(t *testing.T) {
	list, err := provision.ParseNetworks([]byte(twoNetworks), defaultPool(t))
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if n := list[0]; n.Name != "dmz" || n.Bridge != "vmbr1" || n.VLAN != 20 || n.Nameserver != "10.20.0.2 1.1.1.1" || n.Pool.String() != "10.20.0.50-59" || n.Pool.End != 5009 {
		t.Errorf("%+v", n)
	}
	if n := list[1]; !n.Pool.Dynamic() || n.Bridge != "vmbr0" || n.Pool.Size() != 10 {
		t.Errorf("%+v", n)
	}
	dmz, _, _ := strings.Cut(twoNetworks, "- name: office")
	for name, tt := range map[string]struct{ file, want string }{
		"unknown key":    {dmz + "  colour: red\n", "line 10: there is no key colour here"},
		"no name":        {"- dhcp: true\n  ids: 6000-6009\n", "is no name for a network"},
		"twice":          {dmz + strings.Replace(dmz, "5000", "7000", 1), "there are two of that name"},
		"common ids":     {twoNetworks + "- name: x\n  dhcp: true\n  ids: 6009-6010\n", "in common with network office"},
		"default's ids":  {"- name: x\n  dhcp: true\n  ids: 200-300\n", "in the default network, 192.168.0.100-254 (ids 100-254)"},
		"default's nets": {strings.NewReplacer("10.20.0", "192.168.0", ".50-", ".200-", ".59", ".210").Replace(dmz), "in the default network"},
		"a bad bridge":   {strings.Replace(dmz, "vmbr1", "a/b", 1), `"a/b" is no bridge`},
		"a bad vlan":     {strings.Replace(dmz, "vlan: 20", "vlan: 4095", 1), "vlan is 4095"},
		"a bad dns":      {strings.Replace(dmz, "1.1.1.1", "dns.lan", 1), `dns has "dns.lan"`},
		"a bad range":    {strings.Replace(dmz, "50-10", "50 10", 1), "two addresses"},
		"range of ids":   {strings.Replace(dmz, `"5000"`, "5000-5009", 1), "only the VMID of the first address"},
		"no ids":         {strings.Replace(dmz, `"5000"`, `""`, 1), `ids is ""`},
		"dhcp and cidr":  {"- name: x\n  dhcp: true\n  cidr: 10.0.0.0/8\n  ids: 600-700\n", "with dhcp: true there is no cidr"},
		"dhcp, one id":   {"- name: x\n  dhcp: true\n  ids: \"600\"\n", "a range of VMIDs"},
		"no gateway":     {strings.Replace(dmz, "  gateway: 10.20.0.1\n", "", 1), `gateway is "": an address such as 10.20.0.1, or none`},
		"outside":        {strings.Replace(dmz, "gateway: 10.20.0.1", "gateway: 10.21.0.1", 1), "add routed: true"},
		"only IPv6":      {"- name: x\n  cidr: fd00::/64\n  gateway: fd00::1\n  range: fd00::1-fd00::9\n  ids: \"600\"\n", "is no IPv4 address"},
		"static IPv6":    {dmz + "  ipv6: fd00::/64\n", "gives out no IPv6 addresses of its own"},
		"octal":          {strings.Replace(dmz, "vlan: 20", "vlan: 020", 1), "line 2: network 1 (dmz): vlan is 020: it is a number between 1 and 4094"},
		"no number":      {strings.Replace(dmz, "vlan: 20", "vlan: twenty", 1), "vlan is twenty"},
		"all at once":    {dmz + "- name: X\n  dhcp: true\n  ids: 600-700\n- name: y\n  dhcp: true\n  ids: none\n", "\nline 13: network 3 (y): ids is"},
		"no YAML":        {"! 0000000000000000000000000000", "this is no list of networks"},
	} {
		if _, err := provision.ParseNetworks([]byte(tt.file), defaultPool(t)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
}

func networked(t *testing.T) *site {
	s := newSite(t, pvesim.Options{Bridges: []string{"vmbr0", "vmbr1"}})
	var err error
	if s.settings.Networks, err = provision.ParseNetworks([]byte(twoNetworks), defaultPool(t)); err != nil {
		t.Fatal(err)
	}
	s.engine = s.newEngine()
	s.start()
	return s
}

// A VM of a named network has its VMID, address, bridge, VLAN and nameservers.
func TestNamedNetwork(t *testing.T) {
	t.Parallel()
	s := networked(t)
	job := s.mustInstall(provision.Install{OS: "ubuntu", Network: "dmz"})
	f := job.Facts
	if f.VMID < 5000 || f.VMID > 5009 || f.IP != netip.AddrFrom4([4]byte{10, 20, 0, byte(50 + f.VMID - 5000)}) {
		t.Errorf("VM %d has %s", f.VMID, f.IP)
	}
	vm, _ := s.sim.VM(f.VMID)
	for option, want := range map[string]string{
		"ipconfig0": "ip=" + f.IP.String() + "/24,gw=10.20.0.1", "nameserver": "10.20.0.2 1.1.1.1",
	} {
		if vm.Options[option] != want {
			t.Errorf("%s is %q, want %q", option, vm.Options[option], want)
		}
	}
	if net := vm.Options["net0"]; !strings.HasSuffix(net, ",bridge=vmbr1,tag=20") {
		t.Errorf("net0 is %q", net)
	}
	if job := s.mustInstall(provision.Install{OS: "ubuntu"}); job.Facts.VMID > 254 {
		t.Errorf("VM %d is in the default network", job.Facts.VMID)
	}
	for say, spec := range map[string]provision.Install{
		"there is no network lan; there are dmz, office":                                                                             {OS: "ubuntu", Network: "lan"},
		"id 101 is outside 5000-5009, the ids whose addresses are given out":                                                         {OS: "ubuntu", Network: "dmz", VMID: 101},
		"in network office DHCP gives the addresses, and the image of Debian 13 (trixie) has no guest agent that could tell its own": {OS: "debian", Network: "office"},
	} {
		_, err := s.order(spec)
		if got, _ := provision.Explain(orNil(err)); got != say {
			t.Errorf("%+v: %q, want %q", spec, got, say)
		}
	}
}

// What guests are told of their address follows the network: a routed one, a
// link of two, one without a gateway, and IPv6 beside IPv4.
func TestAddressOfEachNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	var err error
	if s.settings.Networks, err = provision.ParseNetworks([]byte(`
- {name: public, cidr: 203.0.113.64/29, gateway: 198.51.100.1, routed: true, range: 203.0.113.64-203.0.113.71, ids: "5000"}
- {name: link, cidr: 10.20.0.8/31, gateway: 10.20.0.8, range: 10.20.0.8-10.20.0.9, ids: "6000"}
- {name: island, cidr: 10.30.0.0/24, gateway: none, range: 10.30.0.5-10.30.0.5, ids: "7000", ipv6: auto}
`), defaultPool(t)); err != nil {
		t.Fatal(err)
	}
	s.engine = s.newEngine()
	s.start()
	for network, want := range map[string]string{
		"public": "^ip=203[.]0[.]113[.](6[4-9]|7[01])/32,gw=198[.]51[.]100[.]1$",
		"link":   "^ip=10[.]20[.]0[.]9/31,gw=10[.]20[.]0[.]8$",
		"island": "^ip=10[.]30[.]0[.]5/24,ip6=auto$",
	} {
		vm, _ := s.sim.VM(s.mustInstall(provision.Install{OS: "ubuntu", Network: network}).Facts.VMID)
		if got := vm.Options["ipconfig0"]; !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("in %s it is %q", network, got)
		}
	}
}

// Where DHCP gives the address, the guest agent tells it.
func TestDHCP(t *testing.T) {
	t.Parallel()
	s := networked(t)
	job := s.mustInstall(provision.Install{OS: "rocky", Network: "office"})
	vm, _ := s.sim.VM(job.Facts.VMID)
	if job.Facts.VMID < 6000 || vm.Options["ipconfig0"] != "ip=dhcp" || job.Facts.IP != vm.IP || !vm.IP.IsValid() {
		t.Errorf("VM %d with %q has %s, and we know %s", job.Facts.VMID, vm.Options["ipconfig0"], vm.IP, job.Facts.IP)
	}
	if r, ok, err := s.store.VMRecord(t.Context(), s.pve.Name(), job.Facts.VMID); !ok || err != nil || r.IP != vm.IP {
		t.Errorf("the record is %+v, %v", r, err)
	}
}

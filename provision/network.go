package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/cluster/textfile"
	"pvebot/cluster/yamlfile"
	"pvebot/provision/image"
)

// Network is where a new VM can be: a bridge with its addresses.
type Network struct {
	Name       string // "" for the default one
	Pool       alloc.Pool
	Bridge     string
	VLAN       int    // 0: untagged
	IPv6       string // what guests do beside IPv4: "auto" (SLAAC), "dhcp" or ""
	Nameserver string // "": the node's own
}

// networkFile is a network in the operator's file.
type networkFile struct {
	Name    string          `yaml:"name"`
	CIDR    string          `yaml:"cidr"`
	Gateway string          `yaml:"gateway"`
	Routed  bool            `yaml:"routed"`
	IPv6    string          `yaml:"ipv6"`
	Range   string          `yaml:"range"`
	DHCP    bool            `yaml:"dhcp"`
	IDs     yamlfile.Word   `yaml:"ids"`
	Bridge  string          `yaml:"bridge"`
	VLAN    yamlfile.Word   `yaml:"vlan"`
	DNS     []yamlfile.Word `yaml:"dns"`
}

var (
	networkName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	bridgeName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$`)
)

// ParseNetworks reads the operator's networks:
//
//   - name: dmz
//     cidr: 10.20.0.0/24
//     gateway: 10.20.0.1   # or none; with routed: true it is outside of cidr
//     range: 10.20.0.50-10.20.0.99
//     ids: "5000"       # VMID of the first address, the next one is 5001
//     bridge: vmbr1
//     vlan: 20
//     dns: [10.20.0.2]
//     ipv6: auto        # or dhcp: what guests do beside IPv4
//   - name: office
//     dhcp: true        # the guest agent tells the address
//     ids: 6000-6099
//     bridge: vmbr0
//
// No two may have VMIDs or addresses in common, nor with the default network.
// The error tells all that is wrong.
func ParseNetworks(file []byte, def alloc.Pool) ([]Network, error) {
	entries, err := yamlfile.List[networkFile](file, "networks")
	if err != nil {
		return nil, err
	}
	var networks []Network
	var errs []error
	for i, e := range entries {
		n, err := e.Value.network()
		if err == nil {
			err = n.apart(networks, def)
		}
		if err != nil {
			errs = append(errs, &textfile.Error{Line: e.Line, Say: fmt.Sprintf("network %d (%s): %v", i+1, e.Value.Name, err), Err: err})
			continue
		}
		networks = append(networks, n)
	}
	return networks, errors.Join(errs...)
}

func (e networkFile) network() (Network, error) {
	n := Network{Name: e.Name, Bridge: cmp.Or(e.Bridge, "vmbr0"), IPv6: e.IPv6, Nameserver: strings.Join(yamlfile.Texts(e.DNS), " ")}
	var err error
	if n.VLAN, err = e.vlan(); err != nil {
		return n, err
	}
	switch {
	case !networkName.MatchString(n.Name):
		return n, fmt.Errorf("%q is no name for a network: lower-case letters, digits and hyphens", n.Name)
	case !bridgeName.MatchString(n.Bridge):
		return n, fmt.Errorf("%q is no bridge, such as vmbr0", n.Bridge)
	case n.IPv6 != "" && n.IPv6 != "auto" && n.IPv6 != "dhcp":
		return n, fmt.Errorf("ipv6 is %q: auto (router advertisements) or dhcp; the bot gives out no IPv6 addresses of its own", n.IPv6)
	case e.DHCP && (e.CIDR != "" || e.Gateway != "" || e.Range != "" || e.Routed):
		return n, errors.New("with dhcp: true there is no cidr, gateway, range or routed")
	}
	for _, s := range e.DNS {
		if _, err := netip.ParseAddr(string(s)); err != nil {
			return n, fmt.Errorf("dns has %q, which is no address", s)
		}
	}
	from, to, isRange := strings.Cut(string(e.IDs), "-")
	start, err := strconv.Atoi(strings.TrimSpace(from))
	if err != nil {
		return n, fmt.Errorf("ids is %q: the VMID of the first address, such as 5000", e.IDs)
	}
	if e.DHCP {
		end, err := strconv.Atoi(strings.TrimSpace(to))
		if err != nil || !isRange {
			return n, fmt.Errorf("ids is %q: with dhcp it is a range of VMIDs, such as 6000-6099", e.IDs)
		}
		n.Pool, err = alloc.NewDynamic(n.Name, start, end)
		return n, err
	}
	if isRange {
		return n, fmt.Errorf("ids is %q: only the VMID of the first address, the others follow", e.IDs)
	}
	r, err := e.addresses(start)
	if err == nil {
		n.Pool, err = alloc.NewRange(n.Name, r)
	}
	return n, err
}

// vlan is the VLAN's tag, 0 for none. 020 is refused: to YAML it is 16.
func (e networkFile) vlan() (int, error) {
	if e.VLAN == "" || e.VLAN == "0" {
		return 0, nil
	}
	tag, err := strconv.Atoi(string(e.VLAN))
	if err != nil || e.VLAN[0] == '0' || tag < 1 || tag > 4094 {
		return 0, fmt.Errorf("vlan is %s: it is a number between 1 and 4094", e.VLAN)
	}
	return tag, nil
}

// noGateway is said rather than left out: whoever forgets the gateway would get
// VMs that reach nothing.
const noGateway = "none"

func (e networkFile) addresses(ids int) (alloc.Range, error) {
	r := alloc.Range{Routed: e.Routed, IDs: ids}
	var err error
	if r.Prefix, err = netip.ParsePrefix(e.CIDR); err != nil {
		return r, fmt.Errorf("cidr is %q: an IPv4 network such as 10.20.0.0/24", e.CIDR)
	}
	if e.Gateway != noGateway {
		if r.Gateway, err = netip.ParseAddr(e.Gateway); err != nil {
			return r, fmt.Errorf("gateway is %q: an address such as 10.20.0.1, or %s", e.Gateway, noGateway)
		}
	}
	first, last, ok := strings.Cut(e.Range, "-")
	var err1, err2 error
	r.First, err1 = netip.ParseAddr(strings.TrimSpace(first))
	r.Last, err2 = netip.ParseAddr(strings.TrimSpace(last))
	if !ok || err1 != nil || err2 != nil {
		return r, fmt.Errorf("range is %q: two addresses, such as 10.20.0.50-10.20.0.99", e.Range)
	}
	return r, nil
}

// apart says what n has in common with another network.
func (n Network) apart(others []Network, def alloc.Pool) error {
	if n.Pool.Overlaps(def) {
		return fmt.Errorf("VMIDs or addresses of it are in the default network, %s (ids %d-%d)", def, def.Start, def.End)
	}
	for _, o := range others {
		if n.Name == o.Name {
			return errors.New("there are two of that name")
		}
		if n.Pool.Overlaps(o.Pool) {
			return fmt.Errorf("it has VMIDs or addresses in common with network %s", o.Name)
		}
	}
	return nil
}

// network finds a network by its name; "" is the default one.
func (c Settings) network(name string) (Network, error) {
	if name == "" {
		return Network{Pool: c.Pool, Bridge: c.Bridge, Nameserver: c.Nameserver}, nil
	}
	names := make([]string, len(c.Networks))
	for i, n := range c.Networks {
		if n.Name == name {
			return n, nil
		}
		names[i] = n.Name
	}
	return Network{}, &Error{
		Kind: NotFound, Say: fmt.Sprintf("there is no network %s; there are %s", name, cmp.Or(strings.Join(names, ", "), "none but the default one")),
		Try: "leave --network out for the default one",
	}
}

// networkOf is the network that a VMID belongs to: the default one if it is in
// none.
func (c Settings) networkOf(vmid int) Network {
	if i := slices.IndexFunc(c.Networks, func(n Network) bool { return n.Pool.Has(vmid) }); i >= 0 {
		return c.Networks[i]
	}
	n, _ := c.network("") // is always there
	return n
}

// ipConfig is what a slot's VM is told of its address.
func (n Network) ipConfig(vmid int, ip netip.Addr) string {
	config := "ip=dhcp"
	if !n.Pool.Dynamic() {
		config = "ip=" + n.Pool.CIDR(alloc.Slot{VMID: vmid, IP: ip})
		if n.Pool.Gateway.IsValid() {
			config += ",gw=" + n.Pool.Gateway.String()
		}
	}
	if n.IPv6 != "" {
		config += ",ip6=" + n.IPv6
	}
	return config
}

// suits says why an image can't go to the network.
func (n Network) suits(img image.Image) error {
	if n.Pool.Dynamic() && !img.Agent {
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("in network %s DHCP gives the addresses, and the image of %s has no guest agent that could tell its own", n.Name, img.Title),
			Try: "another network, or an image with the agent",
		}
	}
	return nil
}

// addressPatience is how long a guest may take until its agent tells an
// address.
const addressPatience = 10 * time.Minute

// learnAddress asks the guest agent for the address that DHCP gave to the VM.
func (k *kit) learnAddress(ctx context.Context, w *Work) error {
	f := w.Facts()
	if f.IP.IsValid() || !k.settings.networkOf(f.VMID).Pool.Dynamic() {
		return nil
	}
	node, c, err := k.ownVM(ctx, w)
	if err != nil {
		return err
	}
	began := k.clock.Now()
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		addrs, err := k.cluster.GuestAddresses(ctx, node, f.VMID, c.MAC())
		if err != nil && !errors.Is(err, cluster.ErrNoAgent) {
			return unreachable("node "+node, err)
		}
		if len(addrs) > 0 {
			w.Log(ctx, fmt.Sprintf("DHCP gave it %s", addrs[0]))
			return w.Learn(ctx, Facts{IP: addrs[0]})
		}
		if k.clock.Now().Sub(began) > addressPatience {
			return &Error{Kind: Failed, Say: "the guest agent has not told an address", Try: fmt.Sprintf("is there a DHCP server? qm terminal %d shows the console", f.VMID), Err: err}
		}
		if err := k.offMeanwhile(ctx, node, f.VMID); err != nil {
			return k.guestTrouble(w, f.VMID, err)
		}
		w.Progress(ctx, -1, "waiting for the guest agent to tell the address that DHCP gave")
		if err := k.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// room is how many slots all networks have together.
func (c Settings) room() int {
	n := c.Pool.Size()
	for _, net := range c.Networks {
		n += net.Pool.Size()
	}
	return n
}

package pvesim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// networkTypes are what /nodes/N/network can be asked for.
var networkTypes = []string{
	"bridge", "bond", "eth", "alias", "vlan", "fabric", "OVSBridge", "OVSBond", "OVSPort", "OVSIntPort", "vnet",
	"any_bridge", "any_local_bridge", "include_sdn",
}

// nodeNetwork lists the node's network devices: a card, and the bridges, the
// first of which has the node's address. PVE: vnets are there only for those
// who ask for any_bridge, any_local_bridge or include_sdn.
func (r *request) nodeNetwork() (any, error) {
	want := r.opts["type"]
	if want != "" && !slices.Contains(networkTypes, want) {
		return nil, r.bad(255, "type", notIn(want, networkTypes))
	}
	sdn := want == "include_sdn"
	bridges := want == "any_bridge" || want == "any_local_bridge"
	list := []object{}
	if want == "" || sdn || want == "eth" {
		list = append(list, object{
			"iface": "eno1", "type": "eth", "active": 1, "exists": 1, "method": "manual", "method6": "manual", "priority": 3,
			"families": []string{"inet"},
		})
	}
	if want == "" || sdn || bridges || want == "bridge" {
		list = append(list, r.node.bridges()...)
	}
	if sdn || bridges {
		for _, v := range r.sim.opts.VNets {
			if v.on(r.node) {
				list = append(list, object{"iface": v.Name, "type": "vnet", "active": "1"})
			}
		}
	}
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.sim.shuffle(list), nil
}

// bridges are those of the node's own configuration.
func (n *node) bridges() []object {
	var list []object
	for i, name := range n.spec.Bridges {
		o := object{
			"iface": name, "type": "bridge", "active": 1, "autostart": 1, "method": "manual", "method6": "manual", "priority": 4 + i,
			"bridge_ports": "eno1", "bridge_stp": "off", "bridge_fd": "0", "families": []string{"inet"},
		}
		if i == 0 {
			ip := n.spec.IP
			o["method"], o["address"], o["netmask"] = "static", ip.String(), "24"
			o["cidr"], o["gateway"] = netip.PrefixFrom(ip, 24).String(), n.sim.opts.Gateway.Addr().String()
		}
		list = append(list, o)
	}
	return list
}

// hasBridge says whether VMs of the node can be plugged into it.
func (n *node) hasBridge(name string) bool {
	return slices.Contains(n.spec.Bridges, name) ||
		slices.ContainsFunc(n.sim.opts.VNets, func(v VNetSpec) bool { return v.Name == name && v.on(n) })
}

func (v VNetSpec) on(n *node) bool { return len(v.Nodes) == 0 || slices.Contains(v.Nodes, n.name) }

// listVNets is GET /cluster/sdn/vnets: what is configured, wherever it is.
func (r *request) listVNets() (any, error) {
	list := []object{}
	for _, v := range r.sim.opts.VNets {
		list = append(list, object{"vnet": v.Name, "zone": v.Zone, "type": "vnet", "digest": digestOf(v.Name + v.Zone)})
	}
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.sim.shuffle(list), nil
}

// ping is the command `ping`: 0 when somebody answered, 1 when nobody did, 2
// when it could not try.
func (c *call) ping() error {
	target, count, quiet := "", 1, false
	for i := 0; i < len(c.argv); i++ {
		w := c.argv[i]
		switch {
		case !strings.HasPrefix(w, "-"):
			target = w
		case w == "-q":
			quiet = true
		case w == "-n" || w == "-4" || w == "-A":
		case len(w) >= 2 && strings.ContainsRune("cWwiIs", rune(w[1])):
			value := w[2:]
			if value == "" && i+1 < len(c.argv) {
				i++
				value = c.argv[i]
			}
			if w[1] == 'c' {
				n, err := strconv.Atoi(value)
				if err != nil || n < 1 {
					return failStatus(2, "ping: invalid argument: '%s'", value)
				}
				count = n
			}
		default:
			return failStatus(2, "ping: invalid option -- '%s'", strings.TrimLeft(w, "-"))
		}
	}
	ip, err := netip.ParseAddr(target)
	if err != nil {
		return failStatus(2, "ping: %s: Name or service not known", target)
	}
	if err := c.out(fmt.Sprintf("PING %s (%s) 56(84) bytes of data.", ip, ip)); err != nil {
		return err
	}
	alive := c.sim.answers(ip)
	got := 0
	for i := range count {
		if !alive {
			if err := c.sim.sleep(c.ctx, c.sim.opts.Latency.PingLost); err != nil {
				return err
			}
			continue
		}
		got++
		if !quiet {
			if err := c.out(fmt.Sprintf("64 bytes from %s: icmp_seq=%d ttl=64 time=0.214 ms", ip, i+1)); err != nil {
				return err
			}
		}
	}
	err = c.out(fmt.Sprintf("\n--- %s ping statistics ---\n%d packets transmitted, %d received, %d%% packet loss, time 0ms",
		ip, count, got, (count-got)*100/count))
	if err == nil && got == 0 {
		return statusError(1)
	}
	return err
}

// answers says whether something answers at ip, and remembers that it did.
func (s *Sim) answers(ip netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := ip == s.opts.Gateway.Addr() || slices.Contains(s.opts.Answering, ip)
	for _, n := range s.nodes {
		alive = alive || n.spec.IP == ip && n.online()
	}
	for _, v := range s.vms {
		alive = alive || v.ip == ip && v.running && v.node.online() && s.up(v)
	}
	s.pings[ip] = alive
	return alive
}

// up says whether the guest's network is there. A guest without a system of
// its own here is taken to have booted long ago.
func (s *Sim) up(v *vm) bool {
	if s.hooks.neverBoots(v.id) {
		return false
	}
	return v.guest == nil || s.now().Sub(v.booted) >= s.bootTime(v)/2
}

// ip is the command `ip`, as far as its table of neighbours.
func (c *call) ip() error {
	if !slices.ContainsFunc(c.argv, func(w string) bool { return strings.HasPrefix("neighbour", w) && len(w) >= 1 }) {
		return fail("Object \"%s\" is unknown, try \"ip help\".", strings.Join(c.argv, " "))
	}
	c.sim.mu.Lock()
	var b strings.Builder
	for ip, alive := range c.sim.pings {
		if alive {
			fmt.Fprintf(&b, "%s dev vmbr0 lladdr bc:24:11:00:00:%02x REACHABLE\n", ip, ip.As16()[15])
		} else {
			fmt.Fprintf(&b, "%s dev vmbr0 FAILED\n", ip)
		}
	}
	c.sim.mu.Unlock()
	return c.out(b.String())
}

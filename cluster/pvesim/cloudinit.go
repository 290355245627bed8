package pvesim

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// What cloud-init is told of a VM, as `qm cloudinit dump` prints it.

func (v *vm) userData() string {
	var b strings.Builder
	name := v.opts["name"]
	if name == "" {
		name = v.hostname()
	}
	fmt.Fprintf(&b, "#cloud-config\nhostname: %s\nmanage_etc_hosts: true\nfqdn: %s\n", v.hostname(), name)
	if u := v.opts["ciuser"]; u != "" {
		fmt.Fprintf(&b, "user: %s\n", u)
	}
	if p := v.opts["cipassword"]; p != "" {
		fmt.Fprintf(&b, "password: %s\n", p)
	}
	if keys, err := url.PathUnescape(v.opts["sshkeys"]); err == nil && keys != "" {
		b.WriteString("ssh_authorized_keys:\n")
		for k := range strings.Lines(keys) {
			if k = strings.TrimSpace(k); k != "" {
				fmt.Fprintf(&b, "  - %s\n", k)
			}
		}
	}
	b.WriteString("chpasswd:\n  expire: False\n")
	if v.opts["ciuser"] != "root" {
		b.WriteString("users:\n  - default\n")
	}
	if v.opts["ciupgrade"] != "0" {
		b.WriteString("package_upgrade: true\n")
	}
	return b.String()
}

// macOf is the MAC address of a network card: virtio=BC:24:11:...,bridge=vmbr0.
func macOf(nic string) string {
	model, _, _ := strings.Cut(nic, ",")
	_, mac, _ := strings.Cut(model, "=")
	return mac
}

// networkConfig: a network without its ipconfig gets no entry.
func (v *vm) networkConfig() string {
	var b strings.Builder
	b.WriteString("version: 1\nconfig:\n")
	for i := range 32 {
		nic, ip := v.opts[fmt.Sprint("net", i)], v.opts[fmt.Sprint("ipconfig", i)]
		if nic == "" || ip == "" {
			continue
		}
		mac := macOf(nic)
		fmt.Fprintf(&b, "    - type: physical\n      name: eth%d\n      mac_address: '%s'\n      subnets:\n", i, strings.ToLower(mac))
		if prop(ip, "ip") == "dhcp" {
			b.WriteString("      - type: dhcp4\n")
		}
		if p, err := netip.ParsePrefix(prop(ip, "ip")); err == nil {
			fmt.Fprintf(&b, "      - type: static\n        address: '%s'\n        netmask: '%s'\n", p.Addr(), net.IP(net.CIDRMask(p.Bits(), 32)))
			if gw := prop(ip, "gw"); gw != "" {
				fmt.Fprintf(&b, "        gateway: '%s'\n", gw)
			}
		}
	}
	b.WriteString("    - type: nameserver\n      address:\n")
	servers := splitTags(v.opts["nameserver"])
	if len(servers) == 0 {
		servers = []string{"192.168.0.1"} // the node's own
	}
	for _, s := range servers {
		fmt.Fprintf(&b, "      - '%s'\n", s)
	}
	if d := v.opts["searchdomain"]; d != "" {
		fmt.Fprintf(&b, "      search:\n      - '%s'\n", d)
	}
	return b.String()
}

// instanceID changes with anything that cloud-init is told.
func (v *vm) instanceID() string { return digestOf(v.userData() + v.networkConfig()) }

func (c *call) qmCloudinitDump(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var text string
	if err == nil {
		switch a.values["type"] {
		case "user":
			text = v.userData()
		case "network":
			text = v.networkConfig()
		case "meta":
			text = "instance-id: " + v.instanceID() + "\n"
		}
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(text + "\n")
}

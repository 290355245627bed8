package pvesim

import (
	"net/netip"
	"strings"
)

// agent makes sure that a VM's guest agent answers.
func (c *call) agent(vmid string) (*vm, error) {
	c.sim.mu.Lock()
	v, err := c.find(vmid)
	if err == nil {
		switch {
		case !strings.HasPrefix(strings.TrimPrefix(v.opts["agent"], "enabled="), "1"):
			err = fail("No QEMU guest agent configured")
		case !v.running:
			err = failStatus(25, "VM %d is not running", v.id)
		}
	}
	answers := err == nil && v.guest != nil && v.guest.Agent()
	c.sim.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !answers {
		if err := c.sim.sleep(c.ctx, c.sim.opts.Latency.AgentLost); err != nil {
			return nil, err
		}
		return nil, failStatus(25, "QEMU guest agent is not running")
	}
	return v, nil
}

// qmGuestCmd is `qm guest cmd`: two of the agent's commands.
func (c *call) qmGuestCmd(a args) error {
	v, err := c.agent(a.values["vmid"])
	if err != nil {
		return err
	}
	switch cmd := a.values["command"]; cmd {
	case "ping":
		return nil
	case "network-get-interfaces":
		return c.out(string(toJSON(c.sim.interfaces(v), "   ")))
	default:
		return fail("%s is not simulated", cmd)
	}
}

// qmGuestExec is `qm guest exec`, as far as its refusals: nothing runs in a
// guest this way.
func (c *call) qmGuestExec(a args) error {
	if _, err := c.agent(a.values["vmid"]); err != nil {
		return err
	}
	return fail("guest exec is not simulated")
}

// interfaces are a guest's networks as its agent tells them: the loopback and
// those with a configuration.
func (s *Sim) interfaces(v *vm) []object {
	s.mu.Lock()
	defer s.mu.Unlock()
	address := func(a, kind string, prefix int) object {
		return object{"ip-address": a, "ip-address-type": kind, "prefix": prefix}
	}
	list := []object{{
		"name": "lo", "hardware-address": "00:00:00:00:00:00",
		"ip-addresses": []object{address("127.0.0.1", "ipv4", 8), address("::1", "ipv6", 128)},
	}}
	_, mac, _ := strings.Cut(strings.SplitN(v.opts["net0"], ",", 2)[0], "=")
	eth := object{"name": "eth0", "hardware-address": strings.ToLower(mac)}
	if v.ip.IsValid() {
		bits := s.opts.Gateway.Bits()
		if p, err := netip.ParsePrefix(prop(v.opts["ipconfig0"], "ip")); err == nil {
			bits = p.Bits()
		}
		eth["ip-addresses"] = []object{address("fe80::be24:11ff:fe00:1", "ipv6", 64), address(v.ip.String(), "ipv4", bits)}
	}
	return append(list, eth)
}

// agentPing is POST .../agent/ping, agentInterfaces GET
// .../agent/network-get-interfaces.
func (r *request) agentPing() (any, error) {
	_, err := r.agent(r.parts[1])
	return object{"result": object{}}, err
}

func (r *request) agentInterfaces() (any, error) {
	v, err := r.agent(r.parts[1])
	if err != nil {
		return nil, err
	}
	return object{"result": r.sim.interfaces(v)}, nil
}

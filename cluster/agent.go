package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoAgent: the guest agent of the VM does not answer, or there is none.
var ErrNoAgent = errors.New("the guest agent does not answer")

// GuestAddresses are the IPv4 addresses that a running VM's guest agent tells of
// the interface with a MAC: none while DHCP has not answered. ErrNoAgent when
// the agent does not answer.
func (c *Cluster) GuestAddresses(ctx context.Context, node string, vmid int, mac string) ([]netip.Addr, error) {
	if err := checkVMID(vmid); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdAgentInterfaces(vmid))
	if refused := new(ExitError); errors.As(err, &refused) {
		return nil, fmt.Errorf("addresses of VM %d: %w: %w", vmid, ErrNoAgent, err)
	}
	if err != nil {
		return nil, fmt.Errorf("addresses of VM %d: %w", vmid, err)
	}
	return decodeInterfaces(res.Stdout, mac)
}

// MAC is the address of the VM's first network interface, "" when it has none.
func (c VMConfig) MAC() string {
	model, _, _ := strings.Cut(c.Options["net0"], ",")
	_, mac, _ := strings.Cut(model, "=")
	return mac
}

// decodeInterfaces reads the answer to network-get-interfaces: `qm` prints the
// list, the API wraps it.
func decodeInterfaces(data []byte, mac string) ([]netip.Addr, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		wrapped, err := decode[fields](data)
		if err != nil {
			return nil, err
		}
		list = wrapped.objects("result")
	}
	var addrs []netip.Addr
	for _, i := range list {
		if !strings.EqualFold(i.text("hardware-address"), mac) {
			continue // a bridge of containers, say
		}
		for _, a := range i.objects("ip-addresses") {
			ip, err := netip.ParseAddr(a.text("ip-address"))
			if err == nil && ip.Is4() && ip.IsGlobalUnicast() {
				addrs = append(addrs, ip)
			}
		}
	}
	return addrs, nil
}

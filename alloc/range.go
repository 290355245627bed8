package alloc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

const (
	// maxSlots is how large a pool can be: larger ones are better cut up.
	maxSlots = 4096
	// maxVMID is the last one that PVE takes.
	maxVMID = 999_999_999
)

// Range describes a pool of IPv4 addresses to NewRange.
type Range struct {
	Prefix      netip.Prefix // the network
	Gateway     netip.Addr   // invalid: the network has none
	Routed      bool         // the gateway is outside the network, which is routed to single addresses
	First, Last netip.Addr   // both included
	IDs         int          // VMID of First; the next address has the next one
}

// NewRange returns the pool of the range's addresses. Its errors are for the
// operator.
func NewRange(name string, r Range) (Pool, error) {
	addrs := []netip.Addr{r.Prefix.Addr(), r.First, r.Last}
	if r.Gateway.IsValid() {
		addrs = append(addrs, r.Gateway)
	}
	for _, a := range addrs {
		if !a.Is4() {
			return Pool{}, fmt.Errorf("%s is no IPv4 address", a)
		}
	}
	prefix, gateway, first, last := r.Prefix.Masked(), r.Gateway, r.First, r.Last
	if err := r.reachable(prefix); err != nil {
		return Pool{}, err
	}
	n := int64(number(last)) - int64(number(first)) + 1
	switch {
	case !prefix.Contains(first) || !prefix.Contains(last):
		return Pool{}, fmt.Errorf("the range %s-%s is not in %s", first, last, prefix)
	case n < 1:
		return Pool{}, fmt.Errorf("the range %s-%s ends before it begins", first, last)
	case n > maxSlots:
		return Pool{}, fmt.Errorf("the range %s-%s has %d addresses: %d at most", first, last, n, maxSlots)
	case !r.Routed && (reserved(prefix, first) || reserved(prefix, last)):
		return Pool{}, fmt.Errorf("the range %s-%s has the network's own or its broadcast address in it", first, last)
	case n == 1 && first == gateway:
		return Pool{}, fmt.Errorf("in the range %s-%s there is only the gateway", first, last)
	}
	return Pool{Name: name, Gateway: gateway, Routed: r.Routed, Prefix: prefix, First: first, Start: r.IDs, End: r.IDs + int(n) - 1}.checkVMIDs()
}

// reachable says why the VMs could not reach their gateway.
func (r Range) reachable(prefix netip.Prefix) error {
	inside := prefix.Contains(r.Gateway)
	switch {
	case r.Routed && !r.Gateway.IsValid():
		return errors.New("a routed network needs a gateway")
	case r.Routed && inside:
		return fmt.Errorf("the gateway %s is in %s, so that the network is not a routed one", r.Gateway, prefix)
	case r.Routed && !r.Gateway.IsGlobalUnicast(), inside && reserved(prefix, r.Gateway):
		return fmt.Errorf("no router can have the address %s", r.Gateway)
	case r.Gateway.IsValid() && !inside && !r.Routed:
		return fmt.Errorf("the gateway %s is not in %s; where the provider routes the addresses to a gateway outside, add routed: true", r.Gateway, prefix)
	}
	return nil
}

// reserved reports whether a is the address of the network itself or its
// broadcast address. A /31 and a /32 have neither (RFC 3021).
func reserved(prefix netip.Prefix, a netip.Addr) bool {
	return prefix.Bits() < 31 && (a == prefix.Addr() || number(a) == number(prefix.Addr())|^uint32(0)>>prefix.Bits())
}

// NewDynamic returns the pool of the VMIDs from start to end, both included, in
// a network where DHCP gives the addresses.
func NewDynamic(name string, start, end int) (Pool, error) {
	if end < start || end-start >= maxSlots {
		return Pool{}, fmt.Errorf("ids are %d-%d: the smaller one first, and %d at most", start, end, maxSlots)
	}
	return Pool{Name: name, Start: start, End: end}.checkVMIDs()
}

func (p Pool) checkVMIDs() (Pool, error) {
	if p.Start < minVMID || p.End > maxVMID {
		return Pool{}, fmt.Errorf("ids are %d-%d: Proxmox VE's go from %d to %d", p.Start, p.End, minVMID, maxVMID)
	}
	return p, nil
}

// Dynamic reports whether DHCP gives the pool's addresses: its slots have none.
func (p Pool) Dynamic() bool { return !p.First.IsValid() }

// Has reports whether vmid is one of the pool's.
func (p Pool) Has(vmid int) bool { return p.Start <= vmid && vmid <= p.End }

// Overlaps reports whether two pools have a VMID or an address in common.
func (p Pool) Overlaps(q Pool) bool {
	if p.Start <= q.End && q.Start <= p.End {
		return true
	}
	return !p.Dynamic() && !q.Dynamic() && (p.has(q.First) || q.has(p.First))
}

// has reports whether a is between the pool's first address and its last.
func (p Pool) has(a netip.Addr) bool {
	return p.First.IsValid() && a.Is4() && number(p.First) <= number(a) && int64(number(a)) <= int64(number(p.First))+int64(p.End-p.Start)
}

// number is an IPv4 address as one.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// plus is the address n after a.
func plus(a netip.Addr, n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(a)+uint32(n))
	return netip.AddrFrom4(b)
}

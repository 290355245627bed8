package alloc

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	// maxSlots is how large a pool can be: larger ones are better cut up.
	maxSlots = 4096
	// maxVMID is the last one that PVE takes.
	maxVMID = 999_999_999
)

// NewRange returns the pool of the addresses from first to last, both included,
// in the network prefix behind gateway. The VMID of first is ids, the next
// address has the next one. IPv4 only. Its errors are for the operator.
func NewRange(name string, prefix netip.Prefix, gateway, first, last netip.Addr, ids int) (Pool, error) {
	for _, a := range []netip.Addr{prefix.Addr(), gateway, first, last} {
		if !a.Is4() {
			return Pool{}, fmt.Errorf("%s is no IPv4 address", a)
		}
	}
	prefix = prefix.Masked()
	n := int64(number(last)) - int64(number(first)) + 1
	switch {
	case !prefix.Contains(gateway):
		return Pool{}, fmt.Errorf("the gateway %s is not in %s", gateway, prefix)
	case !prefix.Contains(first) || !prefix.Contains(last):
		return Pool{}, fmt.Errorf("the range %s-%s is not in %s", first, last, prefix)
	case n < 1:
		return Pool{}, fmt.Errorf("the range %s-%s ends before it begins", first, last)
	case n > maxSlots:
		return Pool{}, fmt.Errorf("the range %s-%s has %d addresses: %d at most", first, last, n, maxSlots)
	case first == prefix.Addr() || number(last) == number(prefix.Addr())|^uint32(0)>>prefix.Bits():
		return Pool{}, fmt.Errorf("the range %s-%s has the network's own or its broadcast address in it", first, last)
	case n == 1 && first == gateway:
		return Pool{}, fmt.Errorf("in the range %s-%s there is only the gateway", first, last)
	}
	return Pool{Name: name, Gateway: gateway, Prefix: prefix, First: first, Start: ids, End: ids + int(n) - 1}.checkVMIDs()
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

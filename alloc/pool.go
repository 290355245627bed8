package alloc

import (
	"fmt"
	"net/netip"
)

// The usual range of a pool, both ends included.
const (
	DefaultStart = 100
	DefaultEnd   = 254
)

const (
	// minVMID is the first VMID that PVE hands out; it keeps those below for
	// itself.
	minVMID = 100
	// prefixBits: the VMID is an address's last octet, so a network is a /24.
	prefixBits = 24
	// lastHost is followed by the broadcast address.
	lastHost = 254
)

// Slot is a VMID and the address that comes with it.
type Slot struct {
	VMID int
	IP   netip.Addr
}

// Pool is a range of slots in one network: the VMIDs go up with the addresses,
// one by one. Make it with NewPool, NewRange or NewDynamic. A Pool is a plain
// value, comparable and safe to share.
type Pool struct {
	Name    string       // of the pool, as ledgers keep it: its prefix
	Gateway netip.Addr   // never a slot; invalid when the network has none
	Routed  bool         // the gateway is outside the network: each address stands alone
	Prefix  netip.Prefix // of the network
	First   netip.Addr   // the address of Start; invalid when DHCP gives addresses
	Start   int          // first VMID
	End     int          // last VMID, included
}

// NewPool returns the pool in gateway's /24 network with the VMIDs from start
// to end, both included. Its errors tell the operator what to set, by the names
// of the settings: GATEWAY, ASSIGN_IP_START, ASSIGN_IP_END.
func NewPool(gateway string, start, end int) (Pool, error) {
	gw, err := netip.ParseAddr(gateway)
	if err != nil || !gw.Is4() {
		return Pool{}, fmt.Errorf("GATEWAY is %q: set it to the guests' gateway, an IPv4 address such as 192.168.0.1", gateway)
	}
	if !gw.IsGlobalUnicast() {
		return Pool{}, fmt.Errorf("GATEWAY is %s, which no router can have: set it to the guests' gateway, such as 192.168.0.1", gw)
	}
	if host := hostOf(gw); host == 0 || host > lastHost {
		return Pool{}, fmt.Errorf("GATEWAY is %s, the network or broadcast address of its /24: set it to the guests' gateway, such as %s",
			gw, withHost(gw, 1))
	}
	switch {
	case start < minVMID:
		return Pool{}, fmt.Errorf("ASSIGN_IP_START is %d: set it to %d or more, where Proxmox VE's VMIDs begin", start, minVMID)
	case end > lastHost:
		return Pool{}, fmt.Errorf("ASSIGN_IP_END is %d: set it to %d or less, the last address of a /24", end, lastHost)
	case start > end:
		return Pool{}, fmt.Errorf("ASSIGN_IP_START is %d and ASSIGN_IP_END %d: set the start to the smaller of the two", start, end)
	case start == end && start == hostOf(gw):
		return Pool{}, fmt.Errorf("from ASSIGN_IP_START to ASSIGN_IP_END there is only the gateway %s: widen the range", gw)
	}
	prefix := netip.PrefixFrom(gw, prefixBits).Masked()
	return Pool{Name: prefix.String(), Gateway: gw, Prefix: prefix, First: withHost(gw, start), Start: start, End: end}, nil
}

// Slot returns the slot of vmid, *RangeError when the pool has none.
func (p Pool) Slot(vmid int) (Slot, error) {
	if vmid < p.Start || vmid > p.End {
		return Slot{}, &RangeError{Pool: p, VMID: vmid}
	}
	if !p.First.IsValid() {
		return Slot{VMID: vmid}, nil
	}
	ip := plus(p.First, vmid-p.Start)
	if ip == p.Gateway {
		return Slot{}, &RangeError{Pool: p, VMID: vmid}
	}
	return Slot{VMID: vmid, IP: ip}, nil
}

// CIDR is the slot's address with the length of the network's prefix, as
// ipconfig wants it: 192.168.0.101/24. In a routed network it is a /32, since
// nothing but the gateway is reached directly.
func (p Pool) CIDR(s Slot) string {
	if p.Routed {
		return netip.PrefixFrom(s.IP, s.IP.BitLen()).String()
	}
	return netip.PrefixFrom(s.IP, p.Prefix.Bits()).String()
}

// String is the pool's range for people: 192.168.0.100-254.
func (p Pool) String() string {
	if !p.First.IsValid() {
		return fmt.Sprintf("ids %d-%d", p.Start, p.End)
	}
	last := plus(p.First, p.End-p.Start)
	if withHost(p.First, hostOf(last)) == last {
		return fmt.Sprintf("%s-%d", p.First, hostOf(last))
	}
	return fmt.Sprintf("%s-%s", p.First, last)
}

// Size is how many slots the pool has.
func (p Pool) Size() int {
	n := p.End - p.Start + 1
	if p.has(p.Gateway) {
		n--
	}
	return n
}

// candidates are all slots of the pool, from both ends by turns: people who
// number machines by hand tend to fill a range from one end, and either end
// may be theirs.
func (p Pool) candidates() []Slot {
	slots := make([]Slot, 0, p.End-p.Start+1)
	add := func(vmid int) {
		if s, err := p.Slot(vmid); err == nil {
			slots = append(slots, s)
		}
	}
	for low, high := p.Start, p.End; low <= high; low, high = low+1, high-1 {
		add(low)
		if high != low {
			add(high)
		}
	}
	return slots
}

// hostOf is the last octet of an IPv4 address.
func hostOf(a netip.Addr) int {
	return int(a.As4()[3])
}

// withHost is an IPv4 address with its last octet replaced.
func withHost(a netip.Addr, host int) netip.Addr {
	b := a.As4()
	b[3] = byte(host)
	return netip.AddrFrom4(b)
}

package alloc

import (
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // an invalid one is what some tests want
	return a
}

func TestNewRange(t *testing.T) {
	for _, tt := range []struct {
		prefix, gateway, first, last string
		ids                          int
		want                         string // the pool, or a part of the error
	}{
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.50", "10.20.0.99", 5000, "10.20.0.50-99"},
		{"10.20.0.7/23", "10.20.0.1", "10.20.0.250", "10.20.1.10", 5000, "10.20.0.250-10.20.1.10"},
		{"10.20.0.0/29", "10.20.0.1", "10.20.0.1", "10.20.0.6", 100, "10.20.0.1-6"},
		{"10.20.0.0/24", "10.21.0.1", "10.20.0.50", "10.20.0.99", 5000, "the gateway 10.21.0.1 is not in 10.20.0.0/24"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.1.50", "10.20.1.99", 5000, "is not in 10.20.0.0/24"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.99", "10.20.0.50", 5000, "ends before it begins"},
		{"10.0.0.0/8", "10.20.0.1", "10.20.0.99", "10.90.0.50", 5000, "4096 at most"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.0", "10.20.0.50", 5000, "the network's own"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.9", "10.20.0.255", 5000, "broadcast"},
		{"10.20.0.0/24", "10.20.0.9", "10.20.0.9", "10.20.0.9", 5000, "only the gateway"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.50", "10.20.0.99", 99, "Proxmox VE's go from 100"},
		{"10.20.0.0/24", "10.20.0.1", "10.20.0.50", "10.20.0.99", 999_999_990, "to 999999999"},
		{"fd00::/64", "fd00::1", "fd00::50", "fd00::99", 5000, "is no IPv4 address"},
		{"10.20.0.0/24", "fd00::1", "10.20.0.50", "10.20.0.99", 5000, "is no IPv4 address"},
		{"10.20.0.0/24", "10.20.0.0", "10.20.0.50", "10.20.0.99", 5000, "no router can have the address 10.20.0.0"},
		{"10.20.0.0/24", "", "10.20.0.50", "10.20.0.99", 5000, "10.20.0.50-99"},
		{"10.20.0.8/31", "10.20.0.8", "10.20.0.8", "10.20.0.9", 5000, "10.20.0.8-9"},
	} {
		p, err := NewRange("dmz", Range{Prefix: netip.MustParsePrefix(tt.prefix), Gateway: addr(tt.gateway), First: addr(tt.first), Last: addr(tt.last), IDs: tt.ids})
		got := p.String
		if err != nil {
			got = err.Error
		}
		if !strings.Contains(got(), tt.want) {
			t.Errorf("%+v: %q", tt, got())
		}
	}
}

// Every address of a range has a VMID of its own, in order; the gateway has
// none.
func TestRangeSlots(t *testing.T) {
	p, err := NewRange("dmz", Range{
		Prefix: netip.MustParsePrefix("10.20.0.0/23"), Gateway: addr("10.20.1.0"), First: addr("10.20.0.254"), Last: addr("10.20.1.3"), IDs: 5000,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.candidates(); len(got) != 5 || p.Size() != 5 {
		t.Errorf("%d candidates, size %d: %v", len(got), p.Size(), got)
	}
	for vmid, want := range map[int]string{5000: "10.20.0.254/23", 5001: "10.20.0.255/23", 5003: "10.20.1.1/23", 5005: "10.20.1.3/23"} {
		if s, err := p.Slot(vmid); err != nil || p.CIDR(s) != want {
			t.Errorf("%d is %v, %v; want %s", vmid, s, err, want)
		}
	}
	for _, vmid := range []int{4999, 5002, 5006} {
		if s, err := p.Slot(vmid); err == nil {
			t.Errorf("%d is %v", vmid, s)
		}
	}
}

// What providers route to a gateway outside the network stands alone: each
// address is a /32, and the first and the last one can be used, too.
func TestRoutedRange(t *testing.T) {
	routed := Range{
		Prefix: netip.MustParsePrefix("203.0.113.64/29"), Gateway: addr("198.51.100.1"), Routed: true,
		First: addr("203.0.113.64"), Last: addr("203.0.113.71"), IDs: 5000,
	}
	p, err := NewRange("public", routed)
	if err != nil || p.Size() != 8 || len(p.candidates()) != 8 {
		t.Fatalf("%+v, %v", p, err)
	}
	if s, err := p.Slot(5007); err != nil || p.CIDR(s) != "203.0.113.71/32" {
		t.Errorf("%v, %v", s, err)
	}
	for gateway, want := range map[string]string{
		"":             "a routed network needs a gateway",
		"203.0.113.65": "so that the network is not a routed one",
		"224.0.0.1":    "no router can have the address",
	} {
		routed.Gateway = addr(gateway)
		if _, err := NewRange("public", routed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("gateway %q: %v; want %s", gateway, err, want)
		}
	}
}

// Where DHCP gives the addresses nothing is probed, and slots have none.
func TestDynamic(t *testing.T) {
	p, err := NewDynamic("office", 6000, 6002)
	if err != nil || !p.Dynamic() || p.String() != "ids 6000-6002" || p.Size() != 3 {
		t.Fatalf("%v, %v", p, err)
	}
	a, l := &Allocator{Pool: p, Prober: noProber(t)}, &ledger{}
	taken := Taken{VMIDs: span(6000, 6000, "VM")}
	for range 2 {
		if s, err := a.Take(t.Context(), taken, 0, l); err != nil || s.IP.IsValid() || s.VMID < 6001 {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if _, err := a.Take(t.Context(), taken, 0, l); err == nil || err.Error() != "no free address in ids 6000-6002: 1 used by VMs, 2 held" {
		t.Error(err)
	}
	for _, bad := range [][2]int{{6000, 5999}, {1, 50}, {100, 99_999}} {
		if p, err := NewDynamic("x", bad[0], bad[1]); err == nil {
			t.Errorf("%v is a pool", p)
		}
	}
}

func TestOverlaps(t *testing.T) {
	pool := func(first, last string, ids int) Pool {
		p, err := NewRange("p", Range{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Gateway: addr("10.0.0.1"), First: addr(first), Last: addr(last), IDs: ids})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := pool("10.0.1.0", "10.0.1.9", 1000)
	dhcp, _ := NewDynamic("d", 2000, 2009)
	for _, tt := range []struct {
		b    Pool
		want bool
	}{
		{pool("10.0.1.10", "10.0.1.19", 1010), false},
		{pool("10.0.1.9", "10.0.1.19", 1010), true},
		{pool("10.0.1.10", "10.0.1.19", 1009), true},
		{pool("10.0.0.9", "10.0.2.9", 3000), true},
		{dhcp, false},
		{mustPool(t, "192.168.0.1", 100, 254), false},
	} {
		if got := a.Overlaps(tt.b); got != tt.want || tt.b.Overlaps(a) != got {
			t.Errorf("%v and %v overlap: %v", a, tt.b, got)
		}
	}
}

package alloc

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func mustPool(t testing.TB, gateway string, start, end int) Pool {
	t.Helper()
	p, err := NewPool(gateway, start, end)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ExampleNewPool() {
	pool, err := NewPool("192.168.0.1", DefaultStart, DefaultEnd)
	if err != nil {
		fmt.Println(err)
		return
	}
	slot, err := pool.Slot(101)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pool, slot.VMID, pool.CIDR(slot))
	_, err = NewPool("192.168.0.1", 20, 99)
	fmt.Println(err)
	// Output:
	// 192.168.0.100-254 101 192.168.0.101/24
	// ASSIGN_IP_START is 20: set it to 100 or more, where Proxmox VE's VMIDs begin
}

func TestNewPool(t *testing.T) {
	tests := []struct {
		gateway    string
		start, end int
		want       string // the pool, or a part of the error
	}{
		{"192.168.0.1", 100, 254, "192.168.0.100-254"},
		{"10.1.2.254", 100, 254, "10.1.2.100-254"},
		{"10.1.2.3", 200, 200, "10.1.2.200-200"},
		{"", 100, 254, `GATEWAY is ""`},
		{"gateway.lan", 100, 254, "an IPv4 address such as"},
		{"192.168.0.1/24", 100, 254, "an IPv4 address such as"},
		{"192.168.0.01", 100, 254, "an IPv4 address such as"},
		{"fe80::1", 100, 254, "an IPv4 address such as"},
		{"::ffff:192.168.0.1", 100, 254, "an IPv4 address such as"},
		{"0.0.0.0", 100, 254, "which no router can have"},
		{"127.0.0.1", 100, 254, "which no router can have"},
		{"224.0.0.5", 100, 254, "which no router can have"},
		{"192.168.0.0", 100, 254, "such as 192.168.0.1"},
		{"192.168.0.255", 100, 254, "such as 192.168.0.1"},
		{"192.168.0.1", 99, 254, "ASSIGN_IP_START is 99: set it to 100 or more"},
		{"192.168.0.1", -1, 254, "ASSIGN_IP_START is -1"},
		{"192.168.0.1", 100, 255, "ASSIGN_IP_END is 255: set it to 254 or less"},
		{"192.168.0.1", 201, 200, "ASSIGN_IP_START is 201 and ASSIGN_IP_END 200"},
		{"192.168.0.150", 150, 150, "only the gateway 192.168.0.150"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d %d", tt.gateway, tt.start, tt.end), func(t *testing.T) {
			p, err := NewPool(tt.gateway, tt.start, tt.end)
			got := p.String
			if err != nil {
				if p != (Pool{}) {
					t.Errorf("a pool beside an error: %+v", p)
				}
				got = err.Error
			}
			if !strings.Contains(got(), tt.want) {
				t.Errorf("got %q, want %q", got(), tt.want)
			}
		})
	}
}

func TestPoolSlot(t *testing.T) {
	p := mustPool(t, "10.0.7.120", 110, 130)
	tests := []struct {
		vmid int
		want string
	}{
		{110, "10.0.7.110/24"},
		{130, "10.0.7.130/24"},
		{109, "id 109 is outside 110-130, the ids whose addresses are given out"},
		{131, "id 131 is outside 110-130, the ids whose addresses are given out"},
		{-120, "id -120 is outside 110-130, the ids whose addresses are given out"},
		{110 + 256, "id 366 is outside 110-130, the ids whose addresses are given out"},
		{120, "id 120 would have the gateway's address 10.0.7.120"},
	}
	for _, tt := range tests {
		s, err := p.Slot(tt.vmid)
		if err != nil {
			if _, ok := errors.AsType[*RangeError](err); !ok || err.Error() != tt.want {
				t.Errorf("Slot(%d): %T %v, want %s", tt.vmid, err, err, tt.want)
			}
			continue
		}
		if got := p.CIDR(s); got != tt.want || s.VMID != tt.vmid {
			t.Errorf("Slot(%d) = %+v, %s; want %s", tt.vmid, s, got, tt.want)
		}
	}
}

func TestCandidatesComeFromBothEnds(t *testing.T) {
	var got []int
	for _, s := range mustPool(t, "10.0.0.102", 100, 106).candidates() {
		got = append(got, s.VMID)
	}
	if want := "[100 106 101 105 104 103]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// checkPool holds every pool to its promises.
func checkPool(t *testing.T, p Pool) {
	t.Helper()
	network, broadcast := withHost(p.Gateway, 0), withHost(p.Gateway, 255)
	seen := make(map[Slot]bool)
	for _, s := range p.candidates() {
		if seen[s] {
			t.Errorf("%v: %+v twice", p, s)
		}
		seen[s] = true
		switch {
		case s.VMID < 100 || s.VMID < p.Start || s.VMID > p.End:
			t.Errorf("%v: VMID of %+v is out of range", p, s)
		case int(s.IP.As4()[3]) != s.VMID:
			t.Errorf("%v: %+v: the last octet is not the VMID", p, s)
		case !p.Prefix.Contains(s.IP) || !p.Prefix.Contains(p.Gateway):
			t.Errorf("%v: %+v is outside the network", p, s)
		case s.IP == p.Gateway || s.IP == network || s.IP == broadcast:
			t.Errorf("%v: %+v has a reserved address", p, s)
		}
		if prefix, err := netip.ParsePrefix(p.CIDR(s)); err != nil || prefix.Addr() != s.IP || prefix.Masked() != p.Prefix {
			t.Errorf("%v: CIDR of %+v is %s (%v)", p, s, p.CIDR(s), err)
		}
	}
	size := p.End - p.Start + 1
	if _, err := p.Slot(hostOf(p.Gateway)); err != nil && hostOf(p.Gateway) >= p.Start && hostOf(p.Gateway) <= p.End {
		size--
	}
	if len(seen) != size || size == 0 {
		t.Errorf("%v has %d slots, want %d", p, len(seen), size)
	}
}

func TestEveryPool(t *testing.T) {
	for start := 100; start <= 254; start += 7 {
		for end := start; end <= 254; end += 11 {
			for _, gw := range []int{1, start, end, (start + end) / 2, 254} {
				if start == end && gw == start {
					continue
				}
				checkPool(t, mustPool(t, fmt.Sprintf("172.16.9.%d", gw), start, end))
			}
		}
	}
}

func FuzzNewPool(f *testing.F) {
	f.Add("192.168.0.1", 100, 254)
	f.Add("192.168.0.150", 150, 150)
	f.Add("10.0.0.0/8", 0, 0)
	f.Add("::ffff:10.0.0.1", 300, -1)
	f.Add("fe80::1%eth0", 100, 100)
	f.Fuzz(func(t *testing.T, gateway string, start, end int) {
		p, err := NewPool(gateway, start, end)
		if err != nil {
			if !strings.Contains(err.Error(), "GATEWAY") && !strings.Contains(err.Error(), "ASSIGN_IP_") {
				t.Errorf("the error does not name what to set: %v", err)
			}
			return
		}
		checkPool(t, p)
	})
}

package cluster

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestGuestAddresses(t *testing.T) {
	const (
		eth  = `{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"fe80::1","ip-address-type":"ipv6","prefix":64},{"ip-address":"10.1.2.3","ip-address-type":"ipv4","prefix":24}]}`
		lo   = `{"name":"lo","hardware-address":"00:00:00:00:00:00","ip-addresses":[{"ip-address":"127.0.0.1","ip-address-type":"ipv4","prefix":8}]}`
		dock = `{"name":"docker0","hardware-address":"02:42:00:00:00:01","ip-addresses":[{"ip-address":"172.17.0.1","ip-address-type":"ipv4","prefix":16}]}`
		bare = `{"name":"eth0","hardware-address":"bc:24:11:00:00:01"}`
		link = `{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"169.254.3.4","ip-address-type":"ipv4","prefix":16}]}`
	)
	for answer, want := range map[string][]netip.Addr{
		"[" + lo + "," + dock + "," + eth + "]":  {netip.MustParseAddr("10.1.2.3")},
		`{"result":[` + lo + "," + eth + "]}":    {netip.MustParseAddr("10.1.2.3")},
		"[" + lo + "," + bare + "," + dock + "]": nil,
		"[" + lo + "," + link + "]":              nil,
	} {
		c, _ := one(replies{"qm guest cmd 101 network-get-interfaces": says(answer)})
		if got, err := c.GuestAddresses(t.Context(), "pve1", 101, "BC:24:11:00:00:01"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
	c, _ := one(replies{"qm guest cmd 101 network-get-interfaces": refuses(25, "QEMU guest agent is not running")})
	if _, err := c.GuestAddresses(t.Context(), "pve1", 101, ""); !errors.Is(err, ErrNoAgent) {
		t.Errorf("%v", err)
	}
	if got := (VMConfig{Options: map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"}}).MAC(); got != "BC:24:11:00:00:01" {
		t.Errorf("the MAC is %s", got)
	}
}

package access

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Addrs is a list of networks.
type Addrs []netip.Prefix

// ParseAddrs reads the list of addresses and networks of the setting called
// name: 192.168.0.5, 10.0.0.0/8, ::1. 0.0.0.0 means every address.
func ParseAddrs(name, list string) (Addrs, error) {
	var all Addrs
	for _, item := range split(list) {
		if item == "0.0.0.0" || item == "::" {
			all = append(all, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
			continue
		}
		if a, err := netip.ParseAddr(item); err == nil {
			a = a.Unmap()
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is neither an address nor a network: write 192.168.0.5 or 192.168.0.0/24", name, item)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// has reports whether a is in one of the networks.
func (l Addrs) has(a netip.Addr) bool {
	for _, p := range l {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Everybody reports whether one of the networks has every address.
func (l Addrs) Everybody() bool {
	return slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// lists reports whether a is meant by one of the networks, and not just let in
// by one that has everybody in it.
func (l Addrs) lists(a netip.Addr) bool {
	for _, p := range l {
		if p.Bits() > 0 && p.Contains(a) {
			return true
		}
	}
	return false
}

// ParseOrigins reads ALLOW_ORIGINS: https://ops.example.com, separated by
// commas. There is no word for all of them.
func ParseOrigins(list string) ([]string, error) {
	var all []string
	for _, item := range split(list) {
		u, err := url.Parse(item)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != strings.ToLower(item) {
			return nil, fmt.Errorf("ALLOW_ORIGINS: %q is no origin: write a scheme and a host, like https://ops.example.com", item)
		}
		all = append(all, strings.ToLower(item))
	}
	return all, nil
}

// forwarding are the headers that proxies add.
var forwarding = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-Port", "X-Real-Ip", "Via",
}

// client is the address that r comes from, and whether a proxy that is not
// known stands in between: then nobody knows who is behind it.
func (g *Gate) client(r *http.Request) (addr netip.Addr, hidden bool, err error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false, err
	}
	addr = peer.Addr().Unmap().WithZone("")
	if !g.cfg.TrustedProxies.has(addr) {
		for _, name := range forwarding {
			hidden = hidden || len(r.Header.Values(name)) > 0
		}
		return addr, hidden, nil
	}
	// Each proxy appends whom it heard from, so the last one that is not ours
	// is the client; what stands before it anybody can write.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if hop == "" {
			continue
		}
		a, err := netip.ParseAddr(hop)
		if err != nil {
			return netip.Addr{}, false, fmt.Errorf("X-Forwarded-For: %q is no address", hop)
		}
		addr = a.Unmap().WithZone("")
		if !g.cfg.TrustedProxies.has(addr) {
			break
		}
	}
	return addr, false, nil
}

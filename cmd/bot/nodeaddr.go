package main

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// hostName is a name that an address can have: labels of letters, digits, hyphens
// and, as many networks have them, underscores.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// checkNodeAddr says what is wrong with the value of a NODE_ setting: host[:port]
// of the node's SSH server. "" is that nothing is.
func checkNodeAddr(name, value string) string {
	fault := func(format string, a ...any) string {
		return fmt.Sprintf("%s%s is %q: ", nodePrefix, name, value) + fmt.Sprintf(format, a...)
	}
	addr, isURL := value, false
	if scheme, rest, ok := strings.Cut(value, "://"); ok && !strings.Contains(scheme, "@") {
		addr, isURL = strings.TrimRight(rest, "/"), true
	}
	user, addr, named := cutUser(addr)
	host, port := splitAddr(addr)
	if !isHost(host) {
		return fault("write the host name or address of the node's SSH server, and :PORT where that is not 22, like 192.0.2.11 or [2001:db8::11]:2222")
	}
	plain := net.JoinHostPort(host, port)
	if port == "" || isURL {
		plain = host
	}
	switch n, err := strconv.Atoi(port); {
	case isURL:
		return fault("this is the address of a page; the bot speaks SSH: write %s", plain)
	case port == "8006":
		return fault("8006 is the port of the node's page; the bot speaks SSH: write %s", host)
	case named:
		return fault("the user is of a setting of its own: write %s, and SSH_USER=%s", plain, user)
	case port != "" && (err != nil || n < 1 || n > 65535):
		return fault("a port is a number from 1 to 65535")
	}
	return ""
}

func cutUser(addr string) (user, rest string, ok bool) {
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i], addr[i+1:], true
	}
	return "", addr, false
}

// splitAddr splits host[:port]. An IPv6 address needs brackets only before a port.
func splitAddr(addr string) (host, port string) {
	if host, port, err := net.SplitHostPort(addr); err == nil {
		return host, port
	}
	if n := len(addr); n > 1 && addr[0] == '[' && addr[n-1] == ']' {
		return addr[1 : n-1], ""
	}
	return addr, ""
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && hostName.MatchString(s)
}

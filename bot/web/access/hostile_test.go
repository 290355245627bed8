package access

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"pvebot/provision"
)

// FuzzGate: whatever headers come, a stranger who has no token stays one, and
// only proxies that are known are believed.
func FuzzGate(f *testing.F) {
	const token = "0123456789abcdef0123456789abcdef"
	f.Add("192.0.2.7:1", "", "localhost", "X-Forwarded-For", "127.0.0.1")
	f.Add("192.0.2.7:1", "Bearer x", "bot.example.com", "X-Real-Ip", "::1")
	f.Add("10.0.0.1:1", "Basic "+token, "localhost", "X-Forwarded-For", "192.0.2.7, 127.0.0.1,,")
	f.Add("[::ffff:127.0.0.1%eth0]:80", "bearer", "[::1]:80", "Forwarded", "for=127.0.0.1")
	f.Add("127.0.0.1", "", "", "", "")
	proxies, err := ParseAddrs("TRUSTED_PROXIES", "10.0.0.1")
	if err != nil {
		f.Fatal(err)
	}
	inside, err := ParseAddrs("ALLOW_IPS", "127.0.0.1, 10.0.0.0/8")
	if err != nil {
		f.Fatal(err)
	}
	gates := map[string]*Gate{}
	for name, cfg := range map[string]Config{
		"tokens": {Tokens: []Token{NewToken("ci", "ops", token)}, TrustedProxies: proxies},
		"legacy": {AllowIPs: inside, LegacyRole: "clients", TrustedProxies: proxies},
	} {
		if gates[name], err = New(cfg); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, peer, authorization, host, header, value string) {
		for name, g := range gates {
			r := httptest.NewRequest("POST", "/api/vm/101/stop", nil)
			r.RemoteAddr, r.Host = peer, host
			r.Header = http.Header{http.CanonicalHeaderKey(header): {value}, "Authorization": {authorization}}
			passed, from := false, netip.Addr{}
			if p, err := netip.ParseAddrPort(peer); err == nil {
				from = p.Addr().Unmap().WithZone("")
			}
			g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				passed = true
				c := CallerOf(r.Context())
				switch {
				case name == "tokens" && c.Actor != nil && !strings.Contains(authorization+value, token):
					t.Errorf("%q from %q with %q: %q is %+v", authorization, peer, header, value, c.Actor)
				case name == "legacy" && !inside.has(c.Addr):
					t.Errorf("%v came in", c.Addr)
				case c.Addr != from && !proxies.has(from):
					t.Errorf("%s with %q: %q is taken for %v", peer, header, value, c.Addr)
				}
			}), func(_ http.ResponseWriter, _ *http.Request, status int, err error) {
				if passed || status < 400 || status >= 500 || provision.KindOf(err) != provision.Denied {
					t.Errorf("refused with %d: %v", status, err)
				}
			}).ServeHTTP(httptest.NewRecorder(), r)
		}
	})
}

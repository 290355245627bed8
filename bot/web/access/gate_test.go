package access

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pvebot/commands"
	"pvebot/provision"
)

const (
	good = "0123456789abcdef0123456789abcdef"
	bad  = "fedcba9876543210fedcba9876543210"
)

func addrs(t *testing.T, list string) Addrs {
	t.Helper()
	all, err := ParseAddrs("ALLOW_IPS", list)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Who gets in, as whom, and what the others are told.
func TestGate(t *testing.T) {
	tokens := []Token{NewToken("ci", "ops", good)}
	const local, far = "127.0.0.1:4711", "192.0.2.7:4711"
	open, listed, proxied := Config{}, Config{AllowIPs: addrs(t, "192.0.2.7"), LegacyRole: "ops"}, Config{
		Tokens: tokens, TrustedProxies: addrs(t, "10.0.0.1"), AllowIPs: addrs(t, "192.0.2.0/24"),
	}
	everybody := Config{AllowIPs: addrs(t, "0.0.0.0"), LegacyRole: "ops"}
	shared, behind := Config{Shared: true}, Config{TrustedProxies: addrs(t, "127.0.0.1")}
	pages := Config{AllowOrigins: []string{"https://ops.example.com"}, AllowHosts: []string{"bot.example.com"}}
	for _, tt := range []struct {
		name    string
		cfg     Config
		peer    string
		headers []string
		want    string // the actor, "" for one who may look
		status  int    // of a refusal
	}{
		{"this machine", open, local, nil, "http/local", 0},
		{"this machine, IPv6", open, "[::1]:1", nil, "http/local", 0},
		{"behind an unknown proxy on this machine", open, local, []string{"X-Forwarded-For", "127.0.0.1"}, "", 401},
		{"from elsewhere", open, far, nil, "", 401},
		{"from elsewhere, lying", open, far, []string{"X-Forwarded-For", "127.0.0.1"}, "", 401},

		{"this machine, where people log in", shared, local, nil, "", 401},
		{"this machine, where people log in and programs have tokens", Config{Tokens: tokens, Shared: true}, local, nil, "", 401},
		{"this machine, which is a proxy", behind, local, nil, "", 401},
		{"through this machine, which is a proxy", behind, local, []string{"X-Forwarded-For", "127.0.0.1"}, "", 401},
		{"this machine, which is listed, where people log in", Config{Shared: true, AllowIPs: addrs(t, "127.0.0.1")}, local, nil, "", 0},
		{"listed, through an unknown proxy", listed, far, []string{"Forwarded", "for=198.51.100.9"}, "", 401},
		{"through an unknown proxy that says nothing but its name", open, local, []string{"Via", "1.1 proxy"}, "", 401},
		{"through an unknown proxy that says the scheme", open, local, []string{"X-Forwarded-Proto", "https"}, "", 401},

		{"token", Config{Tokens: tokens}, far, []string{"Authorization", "Bearer " + good}, "http/ci", 0},
		{"wrong token", Config{Tokens: tokens}, local, []string{"Authorization", "Bearer " + bad}, "", 401},
		{"wrong scheme", Config{Tokens: tokens}, local, []string{"Authorization", "Basic " + good}, "", 401},
		{"this machine, where there are tokens", Config{Tokens: tokens}, local, nil, "", 0},

		{"listed address", listed, far, nil, "http/legacy", 0},
		{"another address", listed, "192.0.2.8:1", nil, "", 403},
		{"another address, lying", listed, "192.0.2.8:1", []string{"X-Forwarded-For", "192.0.2.7"}, "", 403},
		{"everybody", everybody, far, nil, "", 0},

		{"through our proxy", proxied, "10.0.0.1:1", []string{"X-Forwarded-For", "192.0.2.7"}, "", 0},
		{"through our proxy, with a token", proxied, "10.0.0.1:1", []string{"X-Forwarded-For", "192.0.2.7", "Authorization", "Bearer " + good}, "http/ci", 0},
		{"through our proxy, lying to it", proxied, "10.0.0.1:1", []string{"X-Forwarded-For", "192.0.2.7, 198.51.100.9"}, "", 403},
		{"through our proxy, with nonsense", proxied, "10.0.0.1:1", []string{"X-Forwarded-For", "localhost"}, "", 403},

		{"our page", pages, local, []string{"Origin", "https://ops.example.com"}, "http/local", 0},
		{"another page", pages, local, []string{"Origin", "https://evil.example"}, "", 403},
		{"another page, as browsers say it", pages, local, []string{"Sec-Fetch-Site", "cross-site"}, "", 403},
		{"by our name", pages, local, []string{"Host", "bot.example.com"}, "http/local", 0},
		{"by a name that was made to point here", pages, local, []string{"Host", "evil.example"}, "", 421},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/api/vm/101/stop", nil)
			r.RemoteAddr = tt.peer
			for i := 0; i < len(tt.headers); i += 2 {
				if r.Header.Set(tt.headers[i], tt.headers[i+1]); tt.headers[i] == "Host" {
					r.Host = tt.headers[i+1]
				}
			}
			who, status := "", 0
			rec := httptest.NewRecorder()
			g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if a := CallerOf(r.Context()).Actor; a != nil {
					who = a.Key()
				}
			}), func(_ http.ResponseWriter, _ *http.Request, s int, err error) {
				if status = s; provision.KindOf(err) != provision.Denied {
					t.Errorf("refused with %v", err)
				}
			}).ServeHTTP(rec, r)
			if who != tt.want || status != tt.status {
				t.Errorf("it is %q, refused with %d; want %q, %d", who, status, tt.want, tt.status)
			}
			if allowed := rec.Header().Get("Access-Control-Allow-Origin"); (allowed != "") != (tt.name == "our page") || allowed == "*" {
				t.Errorf("allowed is the origin %q", allowed)
			}
		})
	}
}

// A browser that asks first is answered for pages that may, without credentials.
func TestPreflight(t *testing.T) {
	g, err := New(Config{AllowOrigins: []string{"https://ops.example.com"}, Tokens: []Token{NewToken("ci", "ops", good)}})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]int{"https://ops.example.com": http.StatusNoContent, "https://evil.example": http.StatusForbidden} {
		r := httptest.NewRequestWithContext(t.Context(), "OPTIONS", "http://localhost/api/v1/jobs", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		rec := httptest.NewRecorder()
		g.Handler(http.NotFoundHandler(), func(w http.ResponseWriter, _ *http.Request, s int, _ error) { w.WriteHeader(s) }).ServeHTTP(rec, r)
		if h := rec.Header(); rec.Code != want || (h.Get("Access-Control-Allow-Origin") == origin) != (want == http.StatusNoContent) || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", origin, rec.Code, h)
		}
	}
}

// Tokens and addresses get the roles that the settings say, and no others.
func TestEnroll(t *testing.T) {
	policy := commands.Policy{Roles: []commands.Role{{Name: "ops", Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}}}}}
	may := func(p commands.Policy, id string) bool {
		return p.Decide(commands.Question{Actor: provision.Actor{Platform: Platform, ID: id}, Verb: "destroy"}).Allow
	}
	open, err := Enroll(policy, Config{})
	if err != nil || !may(open, localID) || may(open, legacyID) || may(open, "ci") {
		t.Errorf("without settings: %v, %+v", err, open.Roles)
	}
	for _, cfg := range []Config{{Shared: true}, {TrustedProxies: addrs(t, "10.0.0.1")}} {
		if shared, err := Enroll(policy, cfg); err != nil || may(shared, localID) {
			t.Errorf("%+v: this machine may do everything: %v", cfg, err)
		}
	}
	closed, err := Enroll(policy, Config{Tokens: []Token{NewToken("ci", "ops", good)}})
	if err != nil || may(closed, localID) || !may(closed, "ci") || len(policy.Roles[0].People) > 0 {
		t.Errorf("with a token: %v, %+v", err, closed.Roles)
	}
	for _, cfg := range []Config{{Tokens: []Token{NewToken("ci", "boss", good)}}, {LegacyRole: "boss"}} {
		if _, err := Enroll(policy, cfg); err == nil {
			t.Errorf("%+v has a role that is not there", cfg)
		}
	}
}

// What a refusal says, people can act upon.
func TestRefusalsSayWhatToSet(t *testing.T) {
	for _, cfg := range []Config{{Shared: true}, {TrustedProxies: addrs(t, "127.0.0.1")}, {}} {
		g, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/api/vm/list", nil)
		r.RemoteAddr = "127.0.0.1:1"
		if cfg.trustsHere() {
			r.Header.Set("X-Forwarded-For", "192.0.2.7")
		}
		g.Handler(http.NotFoundHandler(), func(_ http.ResponseWriter, _ *http.Request, status int, err error) {
			if _, try := provision.Explain(err); status != http.StatusUnauthorized || !strings.Contains(try, "API_TOKENS") {
				t.Errorf("%+v: %d, try %q", cfg, status, try)
			}
		}).ServeHTTP(httptest.NewRecorder(), r)
	}
}

// A proxy is believed about the connection behind it if it is one of ours.
func TestSecureBehindAProxy(t *testing.T) {
	g, err := New(Config{TrustedProxies: addrs(t, "10.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]bool{"10.0.0.1:1": true, "10.0.0.2:1": false} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/login", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-For", "192.0.2.7")
		if got := g.Secure(r); got != want {
			t.Errorf("%s: %t", peer, got)
		}
		if got := g.From(r); (got == "192.0.2.7") != want {
			t.Errorf("%s is taken for %s", peer, got)
		}
	}
}

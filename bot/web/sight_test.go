package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/web/access"
	"pvebot/provision"
)

// gate makes a gate of lists of addresses.
func gate(t *testing.T, allow, proxies string) *access.Gate {
	t.Helper()
	ips, err := access.ParseAddrs("ALLOW_IPS", allow)
	if err != nil {
		t.Fatal(err)
	}
	known, err := access.ParseAddrs("TRUSTED_PROXIES", proxies)
	if err != nil {
		t.Fatal(err)
	}
	g, err := access.New(access.Config{AllowIPs: ips, TrustedProxies: known})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// paths are a request for each route of w, with its placeholders filled in.
func paths(w *Web) []string {
	var all []string
	for _, r := range w.routes() {
		all = append(all, strings.NewReplacer("{$}", "", "{name}", "page.js", "messages/{id}", "messages/m0000000000000a", "{id}", "1").Replace(r.pattern))
	}
	return all
}

// asked is how w answers METHOD path.
func asked(t *testing.T, w *Web, what string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	method, path, _ := strings.Cut(what, " ")
	r := request(method, "http://localhost"+path, strings.NewReader(`{"id":"interaction","text":"/vm list","button":"b","form":"f"}`))
	r.Header.Set("Content-Type", "application/json")
	change(r)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// ALLOW_IPS is for every page, the login too; only how the bot is may be asked
// from anywhere.
func TestAddressesThatAreNotAllowed(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Secret: testSecret, Gate: gate(t, "10.9.9.9, 198.51.100.7", "10.0.0.1")})
	for _, what := range append(paths(w), "GET /nope") {
		for name, from := range map[string][2]string{
			"elsewhere":                    {"192.0.2.1:1", ""},
			"elsewhere, lying":             {"192.0.2.1:1", "10.9.9.9"},
			"elsewhere, through our proxy": {"10.0.0.1:1", "192.0.2.1"},
		} {
			rec := asked(t, w, what, func(r *http.Request) {
				if r.RemoteAddr = from[0]; from[1] != "" {
					r.Header.Set("X-Forwarded-For", from[1])
				}
			})
			if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "your address is not allowed here") {
				t.Errorf("%s from %s: %d %.100s", what, name, rec.Code, rec.Body)
			}
		}
	}
	for peer, header := range map[string]string{"10.9.9.9:1": "", "10.0.0.1:1": "198.51.100.7"} {
		if rec := asked(t, w, "GET /login", func(r *http.Request) { r.RemoteAddr = peer; r.Header.Set("X-Forwarded-For", header) }); !strings.Contains(rec.Body.String(), "used up") {
			t.Errorf("who is allowed, from %s: %d %.100s", peer, rec.Code, rec.Body)
		}
	}
	for _, what := range []string{"GET /healthz", "GET /readyz"} {
		if rec := asked(t, w, what, func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }); rec.Code != http.StatusOK {
			t.Errorf("%s: %d", what, rec.Code)
		}
	}
}

// Without a secret the page is for who surely sits at this machine.
func TestNobodyIsLocalBehindAProxy(t *testing.T) {
	behind := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, tt := range map[string]struct {
		gate   *access.Gate
		change func(*http.Request)
	}{
		"an unknown proxy names the client":   {nil, behind("X-Forwarded-For", "198.51.100.9")},
		"an unknown proxy names this machine": {nil, behind("Forwarded", "for=127.0.0.1")},
		"an unknown proxy names itself":       {nil, behind("Via", "1.1 proxy")},
		"another machine":                     {nil, func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }},
		"a known proxy":                       {gate(t, "", "127.0.0.1"), behind("X-Forwarded-For", "127.0.0.1")},
		"a known proxy that names nobody":     {gate(t, "", "127.0.0.1"), func(*http.Request) {}},
	} {
		w := New(Config{Store: newMemory(), Inventory: threeNodes, Gate: tt.gate})
		for i, what := range paths(w) {
			if w.routes()[i].open {
				continue
			}
			if rec := asked(t, w, what, tt.change); rec.Code != http.StatusUnauthorized || !strings.Contains(rec.Body.String(), "LOGIN_SECRET") {
				t.Errorf("%s, %s: %d %.200s", name, what, rec.Code, rec.Body)
			}
		}
		if rec := asked(t, w, "GET /", func(r *http.Request) { tt.change(r); r.Header.Set("Accept", "text/html") }); !strings.Contains(rec.Body.String(), "LOGIN_SECRET") {
			t.Errorf("%s: a person reads %.300s", name, rec.Body)
		}
	}
}

// A login that has no role sees nothing of what others do, by no route, and one
// that may order but not see all jobs sees its own.
func TestLoginWithoutARole(t *testing.T) {
	mem := newMemory()
	mem.accept(t, 1, "creating VM") // web/local's
	local := provision.Actor{Platform: Platform, ID: "local"}
	w := start(t, Config{
		Store: mem, Inventory: threeNodes, Secret: testSecret,
		MaySee: func(by provision.Actor, verb, _ string) error {
			if by.ID == "boss" {
				return nil
			}
			return provision.Errorf(provision.Denied, "you may not use %s", verb)
		},
	}, script{})
	job, _ := mem.Job(t.Context(), 1)
	ref, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, bot.Show(job, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Say(t.Context(), ref, []string{"a line of the thread"}); err != nil {
		t.Fatal(err)
	}
	w.panel.refresh(t.Context())
	w.panel.refreshSite(t.Context(), w.panel.sites[0])
	id, _ := locate(ref)
	secrets := []string{"creating VM", "a line of the thread", "build-runner", "pve2"}
	ask := func(who provision.Actor, path string) string {
		rec := asked(t, w.Web, "GET "+path, func(r *http.Request) { r.Header.Set("Cookie", session(w.Web, who)) })
		return rec.Body.String()
	}
	person := func(id string) provision.Actor { return provision.Actor{Platform: Platform, ID: id, Name: id} }
	for _, path := range []string{"/", "/chat/jobs/1", "/chat/jobs/2", "/chat/messages/" + id + "/thread", "/chat/complete?text=/vm+"} {
		for _, secret := range secrets {
			if body := ask(person("nobody"), path); strings.Contains(body, secret) {
				t.Errorf("%s shows %q to somebody without a role", path, secret)
			}
		}
	}
	if page := ask(person("nobody"), "/"); !strings.Contains(page, "you may not use list") || !strings.Contains(page, "you may not use jobs") {
		t.Errorf("nobody says why there is nothing to see: %s", page)
	}
	if one, two := ask(person("nobody"), "/chat/jobs/1"), ask(person("nobody"), "/chat/jobs/2"); one != two {
		t.Errorf("it shows which jobs there are: %s, %s", one, two)
	}
	for path, want := range map[string]string{"/": "build-runner", "/chat/jobs/1": "creating VM", "/chat/messages/" + id + "/thread": "a line of the thread"} {
		if body := ask(person("boss"), path); !strings.Contains(body, want) {
			t.Errorf("%s does not show %q to who may see it: %s", path, want, body)
		}
	}
	for _, path := range []string{"/chat/jobs/1", "/chat/messages/" + id + "/thread"} {
		if body := ask(local, path); strings.Contains(body, "you may not") || strings.Contains(body, "not there any more") {
			t.Errorf("%s does not show somebody their own job: %s", path, body)
		}
	}

	blind := w.sightOf(requestOf(person("nobody")))
	if n := w.room.since(0, blind); len(n.updates) != 0 {
		t.Errorf("the stream of somebody without a role has %v", n.updates)
	}
	if n := w.room.since(0, w.sightOf(requestOf(local))); len(n.updates) == 0 {
		t.Error("the stream of who ordered the job has nothing")
	}
}

// requestOf is one that came through the login as who.
func requestOf(who provision.Actor) *http.Request {
	r := request("GET", "http://localhost/", nil)
	return r.WithContext(withActor(r.Context(), who))
}

// Where people log in and nobody says what they may see, they see nothing.
func TestSecretWithoutAPolicy(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Secret: testSecret})
	if s := w.sightOf(requestOf(provision.Actor{Platform: Platform, ID: "alice"})); s.jobs || len(s.blind) != len(w.panels()) {
		t.Errorf("%+v", s)
	}
}

// A login link works once over all bots on a store and all their starts, and
// what is too old is not kept.
func TestLinkOnceOverRestarts(t *testing.T) {
	clock := &wound{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	mem := newMemory()
	page := func() *Web {
		return New(Config{Store: mem, Inventory: threeNodes, Secret: testSecret, Clock: clock})
	}
	take := func(w *Web, link string) int {
		_, query, _ := strings.Cut(link, "?")
		r := request(http.MethodPost, "http://localhost/login", strings.NewReader(query))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		return rec.Code
	}
	alice := provision.Actor{Platform: Platform, ID: "alice"}
	one, two := page(), page()
	link := LoginLink("http://localhost", testSecret, alice, clock.now)
	if got := take(one, link); got != http.StatusSeeOther {
		t.Fatalf("a fresh link: %d", got)
	}
	for name, w := range map[string]*Web{"another bot": two, "the bot after a restart": page()} {
		if got := take(w, link); got != http.StatusForbidden {
			t.Errorf("used again at %s: %d", name, got)
		}
		_, query, _ := strings.Cut(link, "?")
		if rec := get(t, w, "/login?"+query); rec.Code != http.StatusForbidden {
			t.Errorf("looked at again at %s: %d", name, rec.Code)
		}
	}
	early := LoginLink("http://localhost", testSecret, alice, clock.now.Add(-time.Minute))
	if got := take(page(), early); got != http.StatusSeeOther {
		t.Errorf("a link from before the start: %d", got)
	}
	clock.now = clock.now.Add(linkLife)
	if got := take(one, LoginLink("http://localhost", testSecret, alice, clock.now)); got != http.StatusSeeOther {
		t.Errorf("a link of later: %d", got)
	}
	if marks, _ := mem.Unhandled(t.Context(), takenLinks); len(marks) != 1 {
		t.Errorf("%d links are remembered, one can still be taken", len(marks))
	}

	link = LoginLink("http://localhost", testSecret, alice, clock.now)
	mem.broken = http.ErrHandlerTimeout
	if got := take(one, link); got != http.StatusServiceUnavailable {
		t.Errorf("a store that does not answer: %d", got)
	}
	mem.broken = nil
	mem.forgetful = true // its first try was lost, and another's came in between
	if got := take(one, link); got != http.StatusForbidden {
		t.Errorf("a link whose mark is somebody else's: %d", got)
	}
}

package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// request is one from this machine.
func request(method, target string, body io.Reader) *http.Request {
	return requestIn(context.Background(), method, target, body)
}

func requestIn(ctx context.Context, method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, target, body)
	r.RemoteAddr = "127.0.0.1:4711"
	return r
}

// get asks a page that does not run.
func get(t testing.TB, w *Web, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := request(http.MethodGet, "http://localhost"+target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func TestHeaders(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Version: "v9"})
	for _, path := range []string{"/", "/chat/jobs/1", "/nope", "/login", "/healthz", "/assets/page.js"} {
		h := get(t, w, path).Header()
		if got := h.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: %q", path, got)
		}
		if got := h.Get("Cache-Control"); got != "no-store" && !strings.HasPrefix(path, "/assets/") {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
	page := get(t, w, "/").Body.String()
	for _, bad := range []string{"<style", " style=", "onclick=", "<script>", "http://", "https://"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
}

func TestAssets(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes})
	rec := get(t, w, "/assets/page.css")
	if rec.Code != http.StatusOK || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/css") {
		t.Errorf("%d %s", rec.Code, rec.Header())
	}
	if again := get(t, w, "/assets/page.css", "If-None-Match", rec.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("asked again: %d", again.Code)
	}
	for _, path := range []string{"/assets/", "/assets/nope", "/assets/..%2fweb.go", "/assets/%2e%2e/web.go"} {
		if rec := get(t, w, path); rec.Code == http.StatusOK {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

func TestHosts(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes, AllowHosts: []string{"bot.example.org"}})
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200,
		"bot.example.org": 200, "Bot.Example.org:443": 200,
		"192.168.0.11:8080": 200, "[fd00::11]:8080": 200, "[::]": 421,
		"evil.example": 421, "evil.example:8080": 421, "bot.example.org.evil.example": 421, "127.0.0.1.evil.example": 421, "": 421, "0.0.0.0": 421,
	} {
		if got := get(t, w, "/", "Host", host).Code; got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
	if got := get(t, New(Config{Store: newMemory(), Inventory: threeNodes, AllowHosts: []string{"*"}}), "/", "Host", "any").Code; got != 200 {
		t.Errorf("*: %d", got)
	}
}

// TestForeignWrites: another site can neither write, nor dress its write up.
func TestForeignWrites(t *testing.T) {
	var calls []bot.Inbound
	w := start(t, Config{}, script{triage: func(_ context.Context, in bot.Inbound) bot.Ack {
		calls = append(calls, in)
		return bot.Ack{}
	}})
	body := commandBody("/vm list")
	for name, header := range map[string][]string{
		"cross-site fetch":  {"Sec-Fetch-Site", "cross-site"},
		"same-site sibling": {"Sec-Fetch-Site", "same-site"},
		"foreign origin":    {"Origin", "http://evil.example"},
		"null origin":       {"Origin", "null"},
		"a form":            {"Content-Type", "application/x-www-form-urlencoded"},
		"text":              {"Content-Type", "text/plain"},
		"rebound name":      {"Host", "evil.example"},
	} {
		for _, path := range []string{"/chat/command", "/chat/click", "/chat/submit"} {
			if res := post(t, w.url+path, body, header...); res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("%s to %s: %s", name, path, res.Status)
			}
		}
	}
	if len(calls) != 0 {
		t.Errorf("the handler was called: %+v", calls)
	}
	if res := post(t, w.url+"/chat/command", body, "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
		t.Errorf("our own page: %s", res.Status)
	}
	if len(calls) != 1 {
		t.Errorf("%d calls", len(calls))
	}
}

func TestBadBodies(t *testing.T) {
	w := start(t, Config{}, script{triage: func(context.Context, bot.Inbound) bot.Ack {
		t.Error("the handler was called")
		return bot.Ack{}
	}})
	long := strings.Repeat("x", 5000)
	for _, c := range []struct{ path, body string }{
		{"/chat/command", ``},
		{"/chat/command", `{`},
		{"/chat/command", `[]`},
		{"/chat/command", `{"text":"/vm list"}`},
		{"/chat/command", `{"id":"a b","text":"/vm list"}`},
		{"/chat/command", `{"id":"` + long + `","text":"/vm list"}`},
		{"/chat/command", `{"id":"interaction","text":" "}`},
		{"/chat/command", `{"id":"interaction","text":"` + long + `"}`},
		{"/chat/command", `{"id":"interaction","text":"` + strings.Repeat("x", 1<<20) + `"}`},
		{"/chat/click", `{"id":"interaction","button":"b","message":"../../etc"}`},
		{"/chat/click", `{"id":"interaction","button":"","message":"m0000000000000a"}`},
		{"/chat/click", `{"id":"interaction","button":"` + long + `","message":"m0000000000000a"}`},
		{"/chat/submit", `{"id":"interaction","fields":{"a":"b"}}`},
		{"/chat/submit", `{"id":"interaction","form":"f","fields":{"a":1}}`},
	} {
		res := post(t, w.url+c.path, c.body)
		answer, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), `"say":`) {
			t.Errorf("%s %.60s: %s %s", c.path, c.body, res.Status, answer)
		}
	}
	for path, want := range map[string]int{
		"/chat/jobs/0": 400, "/chat/jobs/x": 400, "/chat/jobs/9": 404, "/chat/jobs/99999999999999999999": 400, "/chat/complete?text=" + long: 400,
		"/chat/complete?text=%ff": 400, "/chat/messages/m1/thread": 404, "/nope": 404,
	} {
		if got := get(t, w.Web, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, path := range []string{"/", "/chat/jobs/1", "/chat/events"} {
		if res := post(t, w.url+path, `{}`); res.StatusCode != http.StatusMethodNotAllowed && res.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %s", path, res.Status)
		}
	}
}

// TestTwice: a browser that did not hear the answer sends the same again.
func TestTwice(t *testing.T) {
	ids := map[string]int{}
	w := start(t, Config{}, script{triage: func(_ context.Context, in bot.Inbound) bot.Ack {
		ids[in.ID]++
		return bot.Ack{}
	}})
	body := commandBody("/vm list")
	for range 2 {
		if res := post(t, w.url+"/chat/command", body); res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
	}
	if len(ids) != 1 {
		t.Errorf("one interaction has the ids %v", ids)
	}
	if all, _, _ := w.room.snapshot(sight{key: "web/local", jobs: true}); len(all) != 1 {
		t.Errorf("the line is there %d times", len(all))
	}
}

func TestAckUpdate(t *testing.T) {
	w := start(t, Config{}, script{triage: func(context.Context, bot.Inbound) bot.Ack {
		return bot.Ack{Update: &bot.Card{Title: "clicked"}}
	}})
	ref, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, bot.Card{Title: "fresh"})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := locate(ref)
	if res := post(t, w.url+"/chat/click", `{"id":"interaction","button":"b","message":"`+id+`"}`); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if ms := (screen{w.Web}).Messages(provision.Conversation{}); len(ms) != 1 || !strings.Contains(ms[0].Text, "clicked") {
		t.Errorf("after the click: %q", ms)
	}
}

func TestNobodyRuns(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes})
	r := request(http.MethodPost, "http://localhost/chat/command", strings.NewReader(commandBody("/vm list")))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a write before Run: %d", rec.Code)
	}
	if got := get(t, w, "/chat/complete?text=x").Code; got != http.StatusServiceUnavailable {
		t.Errorf("completion before Run: %d", got)
	}
}

func TestHealth(t *testing.T) {
	mem := newMemory()
	w := New(Config{Store: mem, Inventory: threeNodes, Secret: testSecret})
	if rec := get(t, w, "/healthz"); rec.Code != http.StatusOK || rec.Body.String() != "ok\n" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	mem.broken = errors.New("disk gone: /var/lib/secret")
	if rec := get(t, w, "/healthz"); rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestListen(t *testing.T) {
	run := func(cfg Config) error {
		cfg.Store, cfg.Inventory = newMemory(), threeNodes
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return New(cfg).Run(ctx, script{})
	}
	world, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := run(Config{Listener: world}); provision.KindOf(err) != provision.Invalid {
		t.Errorf("open to the world: %v", err)
	}
	if err := run(Config{Listener: listener(t), Secret: []byte("short")}); provision.KindOf(err) != provision.Invalid {
		t.Errorf("a short secret: %v", err)
	}
	taken := listener(t)
	defer func() { _ = taken.Close() }()
	if err := run(Config{Addr: taken.Addr().String()}); provision.KindOf(err) != provision.Unavailable {
		t.Errorf("a taken port: %v", err)
	}
	world, err = net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	w := New(Config{Listener: world})
	_, port, _ := net.SplitHostPort(world.Addr().String())
	if got, want := w.URL(), "http://127.0.0.1:"+port; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
	if err := run(Config{Listener: world, Secret: testSecret}); err != nil {
		t.Errorf("with a secret: %v", err)
	}
}

// wound is a clock that tests turn.
type wound struct {
	cluster.SystemClock
	now time.Time
}

func (c *wound) Now() time.Time { return c.now }

func TestLogin(t *testing.T) {
	clock := &wound{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Secret: testSecret, Clock: clock})
	alice := provision.Actor{Platform: "slack", ID: "U1", Name: "alice"}
	for _, path := range []string{"/", "/chat/jobs/1", "/chat/events", "/chat/complete?text=x", "/chat/messages/m0000000000000a/thread"} {
		if got := get(t, w, path).Code; got != http.StatusUnauthorized {
			t.Errorf("%s without a login: %d", path, got)
		}
	}
	if rec := get(t, w, "/", "Accept", "text/html"); rec.Code != http.StatusUnauthorized || !strings.Contains(rec.Body.String(), "login link") {
		t.Errorf("a person without a login: %d %s", rec.Code, rec.Body)
	}

	link := LoginLink("http://localhost/", testSecret, alice, clock.now)
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	take := func(link string) *httptest.ResponseRecorder {
		u, _ := url.Parse(link)
		r := request(http.MethodPost, "http://localhost/login", strings.NewReader(u.RawQuery))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		return rec
	}
	for range 2 { // looking does not use it up
		if rec := get(t, w, u.RequestURI()); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "Go on as alice") || len(rec.Result().Cookies()) != 0 {
			t.Errorf("looking at the link: %d %s", rec.Code, rec.Body)
		}
	}
	rec := take(link)
	cookies := rec.Result().Cookies()
	if rec.Code != http.StatusSeeOther || len(cookies) != 1 {
		t.Fatalf("taking the link: %d %s", rec.Code, rec.Body)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("the cookie is %s", c)
	}
	if rec := get(t, w, "/", "Cookie", c.Name+"="+c.Value); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are alice") {
		t.Errorf("with the cookie: %d", rec.Code)
	}
	if rec := take(link); rec.Code != http.StatusForbidden {
		t.Errorf("taking the link again: %d", rec.Code)
	}
	if rec := get(t, w, u.RequestURI()); rec.Code != http.StatusForbidden {
		t.Errorf("looking at a used link: %d", rec.Code)
	}

	stale := LoginLink("http://localhost", testSecret, alice, clock.now.Add(-2*linkLife))
	foreign := LoginLink("http://localhost", []byte("another secret of the length"), alice, clock.now)
	for name, link := range map[string]string{"stale": stale, "foreign": foreign, "empty": "http://localhost/login"} {
		if rec := take(link); rec.Code != http.StatusForbidden {
			t.Errorf("a %s link: %d", name, rec.Code)
		}
	}
	// A link is no session and a session no link.
	ticket := u.Query().Get("ticket")
	if rec := get(t, w, "/", "Cookie", cookieName+"="+ticket); rec.Code != http.StatusUnauthorized {
		t.Errorf("a link as session: %d", rec.Code)
	}
	if rec := take("http://localhost/login?ticket=" + url.QueryEscape(c.Value)); rec.Code != http.StatusForbidden {
		t.Errorf("a session as link: %d", rec.Code)
	}
	for _, value := range []string{"", ".", "x.y", c.Value[1:], c.Value + "A", strings.Replace(c.Value, ".", "..", 1)} {
		if rec := get(t, w, "/", "Cookie", cookieName+"="+value); rec.Code != http.StatusUnauthorized {
			t.Errorf("cookie %q: %d", value, rec.Code)
		}
	}
	clock.now = clock.now.Add(sessionLife)
	if rec := get(t, w, "/", "Cookie", c.Name+"="+c.Value); rec.Code != http.StatusUnauthorized {
		t.Errorf("an old session: %d", rec.Code)
	}
}

// The card of a job that was ordered elsewhere can be looked at, and answered.
func TestCardOfAJob(t *testing.T) {
	mem := newMemory()
	mem.accept(t, 7, "creating VM")
	w := New(Config{Store: mem, Inventory: threeNodes})
	res := get(t, w, "/chat/jobs/7")
	if body := res.Body.String(); res.Code != http.StatusOK || !strings.Contains(body, "creating VM") || !strings.Contains(body, `data-button="v1.cancel.7."`) {
		t.Errorf("%d %s", res.Code, body)
	}
	for path, want := range map[string]int{"/chat/jobs/8": http.StatusNotFound, "/chat/jobs/x": http.StatusBadRequest} {
		if res := get(t, w, path); res.Code != want {
			t.Errorf("%s: %d, want %d", path, res.Code, want)
		}
	}
}

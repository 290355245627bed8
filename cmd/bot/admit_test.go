package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// asked is how a bot at base answers a GET, with headers.
func asked(t *testing.T, url string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ALLOW_IPS keeps others from everything but the question how the bot is, and
// nothing of what the page once showed beside the APIs is there.
func TestAllowIPsIsForAllOfHTTP(t *testing.T) {
	t.Parallel()
	base := serveHTTP(t, "ALLOW_IPS=10.9.9.9", "LOGIN_SECRET="+strings.Repeat("s", 32))
	for _, path := range []string{
		"/", "/login", "/login?ticket=x", "/assets/page.js", "/chat/events", "/chat/jobs/1", "/metrics", "/nope",
		"/api/health", "/api/vm/list", "/api/v1/jobs", "/api/v1/openapi.json", "/sh/ubuntu_24.04.sh",
		"/events", "/jobs", "/jobs/1", "/jobs/1/events", "/vms", "/nodes",
	} {
		if status, text := asked(t, base+path); status != http.StatusForbidden || !strings.Contains(text, "your address is not allowed here") {
			t.Errorf("%s: %d %.200s", path, status, text)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _ := asked(t, base+path); status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// A stranger who comes through a proxy on the bot's machine is not taken for a
// program of this machine.
func TestThisMachineNeedsATokenWhereOthersCome(t *testing.T) {
	t.Parallel()
	base := serveHTTP(t, "LOGIN_SECRET="+strings.Repeat("s", 32))
	for _, path := range []string{"/api/vm/list", "/api/v1/vms", "/metrics"} {
		if status, text := asked(t, base+path); status != http.StatusUnauthorized || !strings.Contains(text, "LOGIN_SECRET") {
			t.Errorf("with a login secret, %s: %d %s", path, status, text)
		}
	}
	if status, text := asked(t, base+"/"); status != http.StatusUnauthorized {
		t.Errorf("the page: %d %s", status, text)
	}
	alone := serveHTTP(t)
	for _, path := range []string{"/api/vm/list", "/api/v1/vms", "/"} {
		if status, text := asked(t, alone+path); status != http.StatusOK {
			t.Errorf("this machine alone, %s: %d %s", path, status, text)
		}
		if status, text := asked(t, alone+path, "X-Forwarded-For", "198.51.100.9"); status != http.StatusUnauthorized || !strings.Contains(text, "TRUSTED_PROXIES") {
			t.Errorf("this machine alone, through a proxy, %s: %d %s", path, status, text)
		}
	}
	for _, path := range []string{"/events", "/jobs", "/jobs/1", "/jobs/1/events", "/vms", "/nodes"} {
		if status, text := asked(t, alone+path); status != http.StatusNotFound {
			t.Errorf("%s, which is not documented: %d %s", path, status, text)
		}
	}
}

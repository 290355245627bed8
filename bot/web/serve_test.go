package web

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
)

// running is a page on a socket of its own.
type running struct {
	*Web
	url  string
	stop func()
}

// start runs a page until the test ends, with h behind it.
func start(t testing.TB, cfg Config, h bot.Handler) *running {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = newMemory()
	}
	if cfg.Inventory == nil {
		cfg.Inventory = threeNodes
	}
	if cfg.Listener == nil {
		cfg.Listener = listener(t)
	}
	w := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, h) }()
	var once bool
	stop := func() {
		if once {
			return
		}
		once = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	awaitHandler(t, w)
	return &running{w, w.URL(), stop}
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// awaitHandler waits until Run has begun: a write before that is refused.
func awaitHandler(t testing.TB, w *Web) {
	t.Helper()
	eventually(t, "the page to run", func() bool {
		_, _, done, ok := w.begin()
		if ok {
			done()
		}
		return ok
	})
}

// eventually polls until cond holds; only a failing test waits long.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// sse is one event of a stream.
type sse struct{ id, event, data string }

// reader reads a stream.
type reader struct {
	t    testing.TB
	res  *http.Response
	scan *bufio.Scanner
}

// read opens a stream; after "" sends no Last-Event-ID.
func read(t testing.TB, url, lastID string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a test that waits in vain fails then
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("%s: %s %s", url, res.Status, got)
	}
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 4<<20)
	return &reader{t, res, scan}
}

// next is the next event; false at the stream's end.
func (r *reader) next() (sse, bool) {
	var ev sse
	var data []string
	for r.scan.Scan() {
		line := r.scan.Text()
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && data != nil:
			ev.data = strings.Join(data, "\n")
			return ev, true
		case line == "", strings.HasPrefix(line, ":"), field == "retry":
		case field == "id":
			ev.id = value
		case field == "event":
			ev.event = value
		case field == "data":
			data = append(data, value)
		default:
			r.t.Errorf("no line of a stream: %q", line)
		}
	}
	return sse{}, false
}

// until reads on to an event that match likes.
func (r *reader) until(what string, match func(sse) bool) sse {
	r.t.Helper()
	for {
		ev, ok := r.next()
		if !ok {
			r.t.Fatalf("the stream ended before %s", what)
		}
		if match(ev) {
			return ev
		}
	}
}

// has matches events of a kind with text in them.
func has(event, text string) func(sse) bool {
	return func(ev sse) bool { return ev.event == event && strings.Contains(ev.data, text) }
}

var sent int

// post sends a body to the page as its script does.
func post(t testing.TB, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func commandBody(text string) string {
	sent++
	return fmt.Sprintf(`{"id":"interaction-%d","text":%q}`, sent, text)
}

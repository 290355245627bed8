package web

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/provision"
)

func TestReady(t *testing.T) {
	var asked atomic.Int32
	broken := atomic.Bool{}
	clock := &wound{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Clock: clock, Checks: []Check{
		{Name: "store", Ask: func(context.Context) (string, error) { asked.Add(1); return "answers", nil }},
		{Name: "nodes", Ask: func(context.Context) (string, error) {
			if broken.Load() {
				return "", &provision.Error{Kind: provision.Unavailable, Say: "no node answers", Try: "look", Err: errors.New("secret detail")}
			}
			return "3 of 3 online", nil
		}},
	}})
	ask := func(want int) Health {
		t.Helper()
		rec := get(t, w, "/readyz")
		var h Health
		if err := json.Unmarshal(rec.Body.Bytes(), &h); err != nil || rec.Code != want {
			t.Fatalf("status %d, want %d; %v: %s", rec.Code, want, err, rec.Body)
		}
		if strings.Contains(rec.Body.String(), "secret") {
			t.Errorf("the cause is shown: %s", rec.Body)
		}
		return h
	}
	if h := ask(http.StatusOK); !h.Ready || len(h.Checks) != 2 || h.Checks[1].Say != "3 of 3 online" || !h.Checks[0].OK {
		t.Errorf("%+v", h)
	}
	broken.Store(true)
	if ask(http.StatusOK); asked.Load() != 1 {
		t.Error("who asks often makes the checks run often")
	}
	clock.now = clock.now.Add(checkAge)
	if h := ask(http.StatusServiceUnavailable); h.Ready || !h.Checks[0].OK || h.Checks[1].OK || h.Checks[1].Try != "look" {
		t.Errorf("%+v", h)
	}
	broken.Store(false)
	clock.now = clock.now.Add(checkAge)
	ask(http.StatusOK)
}

// Who asks while the checks take their time gets the answer of those that are
// under way, and waits for it no longer than they want to.
func TestReadyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		w := New(Config{Store: newMemory(), Inventory: threeNodes, Checks: []Check{
			{Name: "nodes", Ask: func(ctx context.Context) (string, error) {
				asked.Add(1)
				<-ctx.Done()
				return "", ctx.Err()
			}},
		}})
		ask := func(patience time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, requestIn(ctx, http.MethodGet, "http://localhost/readyz", nil))
			if rec.Code != http.StatusServiceUnavailable {
				t.Errorf("status %d", rec.Code)
			}
			return time.Since(began)
		}
		var probes sync.WaitGroup
		for range 10 {
			probes.Go(func() {
				if took := ask(2 * time.Second); took > 2*time.Second {
					t.Errorf("a probe that gives up after 2 s was held for %v", took)
				}
			})
			time.Sleep(time.Second)
		}
		probes.Wait()
		if n := asked.Load(); n > 3 {
			t.Errorf("the checks ran %d times in 10 s", n)
		}
		time.Sleep(time.Minute)
		if took := ask(time.Minute); took != checkTime {
			t.Errorf("an answer took %v", took)
		}
		time.Sleep(time.Second)
		if took := ask(time.Minute); took != 0 {
			t.Errorf("an answer of a second ago was not good any more: the next one took %v", took)
		}
	})
}

// Metrics are the handler's own business, login or not.
func TestMetricsRoute(t *testing.T) {
	told := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("pvebot_x 1\n")) })
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Metrics: told, Secret: []byte("0123456789abcdef")})
	if rec := get(t, w, "/metrics"); rec.Code != http.StatusOK || rec.Body.String() != "pvebot_x 1\n" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := get(t, New(Config{Store: newMemory(), Inventory: threeNodes}), "/metrics"); rec.Code != http.StatusNotFound {
		t.Errorf("without metrics: %d", rec.Code)
	}
}

// A bot without a page says how it is, wherever it listens, and nothing else.
func TestBare(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	told := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("pvebot_x 1\n")) })
	w := New(Config{Bare: true, Store: newMemory(), Metrics: told, Listener: l})
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- w.Run(ctx, nil) }()
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusOK,
		"/": http.StatusNotFound, "/vms": http.StatusNotFound, "/login": http.StatusNotFound, "/api/v1/jobs": http.StatusNotFound,
	} {
		resp, err := http.Get(w.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

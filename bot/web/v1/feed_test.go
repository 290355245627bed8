package v1_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pvebot/bot/web/access"
	v1 "pvebot/bot/web/v1"
	"pvebot/cluster"
	"pvebot/provision"
)

// pruned is a store that keeps nothing from before position 7.
type pruned struct{ v1.Store }

func (pruned) Position(context.Context) (provision.Position, error) { return 7, nil }

func (pruned) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		if after < 7 {
			yield(provision.Event{}, provision.ErrPruned)
			return
		}
		if yield(provision.Event{ID: "a", Job: 1, Seq: 9, Pos: 8, Kind: provision.StepDone, Step: "creating VM"}, nil) {
			<-ctx.Done()
			yield(provision.Event{}, context.Cause(ctx))
		}
	}
}

// anybody may see everything.
type anybody struct{ v1.Clerk }

func (anybody) MaySee(provision.Actor, string, *provision.VM) error { return nil }

// wound is a clock whose waits are over when the test says so.
type wound struct {
	cluster.SystemClock
	ticks chan struct{}
}

func (h wound) Sleep(ctx context.Context, _ time.Duration) error {
	select {
	case <-h.ticks:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A reader who asks for what is not kept any more is told so and goes on from
// now; a silent stream shows that it lives.
func TestPrunedAndSilent(t *testing.T) {
	gate, err := access.New(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	clock := wound{ticks: make(chan struct{})}
	server := httptest.NewServer(v1.New(v1.Config{Store: pruned{}, Clerk: anybody{}, Gate: gate, Clock: clock}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", "3")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text string
	buf := make([]byte, 4096)
	read := func(want string) {
		t.Helper()
		for !strings.Contains(text, want) {
			n, err := resp.Body.Read(buf)
			text += string(buf[:n])
			if err != nil && err != io.EOF || n == 0 {
				t.Fatalf("%q did not come, but %q, %v", want, text, err)
			}
		}
	}
	read("id: 7\nevent: reset\ndata: {\"pos\":7}\n\n")
	read("id: 8\nevent: step.done\ndata: {")
	clock.ticks <- struct{}{}
	read("\n\n: hb\n\n")
}

// towns is a store with jobs in two clusters, and an event of a job that it does
// not keep any more.
type towns struct{ v1.Store }

func (towns) Position(context.Context) (provision.Position, error) { return 0, nil }

func (towns) Job(_ context.Context, id provision.JobID) (provision.Job, error) {
	town := map[provision.JobID]string{1: "taipei", 2: "berlin"}[id]
	if town == "" {
		return provision.Job{}, provision.Errorf(provision.NotFound, "there is no job %d", id)
	}
	return provision.Job{ID: id, Order: provision.Order{Cluster: town}}, nil
}

func (towns) Follow(context.Context, provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		for i, id := range []provision.JobID{1, 2, 3, 2, 1} {
			if !yield(provision.Event{Job: id, Pos: provision.Position(i + 1), Kind: provision.JobState, State: provision.StateSucceeded}, nil) {
				return
			}
		}
		yield(provision.Event{}, io.ErrUnexpectedEOF)
	}
}

// The events of one cluster are those of its jobs.
func TestEventsOfACluster(t *testing.T) {
	gate, err := access.New(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for town, want := range map[string]int{"": 5, "taipei": 2, "berlin": 2, "tokyo": 0} {
		server := httptest.NewServer(v1.New(v1.Config{Store: towns{}, Clerk: anybody{}, Gate: gate, Cluster: town}))
		defer server.Close()
		resp, err := http.Get(server.URL + "/api/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(body), "event: job.state"); n != want {
			t.Errorf("%d events of %q, want %d:\n%s", n, town, want, body)
		}
	}
}

package v1_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot/web/access"
	v1 "pvebot/bot/web/v1"
	"pvebot/provision"
)

// memory is a store of jobs and their events.
type memory struct {
	v1.Store
	mu      sync.Mutex
	events  []provision.Event
	jobs    map[provision.JobID]*provision.Job
	pruned  provision.Position // Follow after an older one fails
	changed chan struct{}
}

func newMemory() *memory {
	return &memory{jobs: map[provision.JobID]*provision.Job{}, changed: make(chan struct{})}
}

// append folds an event into its job.
func (m *memory) append(t testing.TB, ev provision.Event) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[ev.Job]
	if j == nil {
		j = &provision.Job{}
		m.jobs[ev.Job] = j
	}
	ev.Seq, ev.Pos, ev.At = j.Seq+1, provision.Position(len(m.events)+1), time.Now().UTC()
	if err := j.Apply(ev); err != nil {
		t.Fatal(err)
	}
	m.events = append(m.events, ev)
	close(m.changed)
	m.changed = make(chan struct{})
}

// accept begins a job with a plan: two events.
func (m *memory) accept(t testing.TB, id provision.JobID, step string) {
	t.Helper()
	m.append(t, provision.Event{
		Job: id, Kind: provision.JobAccepted, State: provision.StateQueued, Plan: []provision.StepState{{Phase: "VM creation", Name: step}},
		Order: &provision.Order{
			Key: "k" + id.String(), Cluster: "taipei", Text: "/vm install ubuntu", By: provision.Actor{Platform: "web", ID: "local"},
			Spec: provision.Install{OS: "ubuntu", Version: "24.04", Cores: 2, MemoryMB: 2048, DiskMB: 16384},
		},
	})
	m.append(t, provision.Event{Job: id, Kind: provision.JobState, State: provision.StateRunning})
}

func (m *memory) Position(context.Context) (provision.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return provision.Position(len(m.events)), nil
}

func (m *memory) Job(_ context.Context, id provision.JobID) (provision.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		return *j, nil
	}
	return provision.Job{}, provision.Errorf(provision.NotFound, "there is no job %d", id)
}

func (m *memory) Events(_ context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		m.mu.Lock()
		all := slices.Clone(m.events)
		m.mu.Unlock()
		for _, ev := range all {
			if ev.Job == id && ev.Seq > after && !yield(ev, nil) {
				return
			}
		}
	}
}

func (m *memory) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		for {
			m.mu.Lock()
			pruned, changed := after < m.pruned, m.changed
			news := slices.Clone(m.events[min(int(after), len(m.events)):])
			m.mu.Unlock()
			if pruned {
				yield(provision.Event{}, provision.ErrPruned)
				return
			}
			for _, ev := range news {
				if !yield(ev, nil) {
					return
				}
				after = ev.Pos
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(provision.Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// streams is the API with mem behind it.
func streams(t testing.TB, mem *memory) *v1.API {
	t.Helper()
	gate, err := access.New(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return v1.New(v1.Config{Store: mem, Clerk: anybody{}, Gate: gate})
}

// listening serves api; what comes back asks its streams.
func listening(t *testing.T, api http.Handler) func(path, lastID string) *reader {
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a test that waits in vain fails then
	t.Cleanup(cancel)
	return func(path, lastID string) *reader {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if lastID != "" {
			req.Header.Set("Last-Event-ID", lastID)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		scan := bufio.NewScanner(res.Body)
		scan.Buffer(nil, 1<<20)
		return &reader{res, scan}
	}
}

type reader struct {
	res  *http.Response
	scan *bufio.Scanner
}

// next is the next event; false at the stream's end.
func (r *reader) next() (ev event, ok bool) {
	for r.scan.Scan() {
		field, value, _ := strings.Cut(r.scan.Text(), ": ")
		switch field {
		case "":
			if ev.data != "" {
				return ev, true
			}
		case "id":
			ev.id = value
		case "event":
			ev.event = value
		case "data":
			ev.data = value
		}
	}
	return ev, false
}

// TestTenFollowers: ten readers of one job see every event, once and in order,
// whenever they come and however often their line breaks.
func TestTenFollowers(t *testing.T) {
	mem := newMemory()
	read := listening(t, streams(t, mem))
	mem.accept(t, 1, "creating VM")
	mem.accept(t, 2, "another job")
	const logs = 60
	want := uint64(2 + 1 + logs + 1 + 1)

	var readers sync.WaitGroup
	seen := make([][]uint64, 10)
	for i := range seen {
		r := read("/jobs/1/events", "")
		readers.Go(func() {
			for {
				ev, ok := r.next()
				if !ok {
					t.Errorf("follower %d: the stream broke off", i)
					return
				}
				if ev.event == "close" {
					return
				}
				seq, err := strconv.ParseUint(ev.id, 10, 64)
				var body provision.Event
				if err2 := json.Unmarshal([]byte(ev.data), &body); err != nil || err2 != nil || body.Seq != seq || string(body.Kind) != ev.event || body.Job != 1 {
					t.Errorf("follower %d: %+v, %v, %v", i, ev, err, err2)
				}
				seen[i] = append(seen[i], seq)
				if i%2 == 1 && seq%13 == 0 && seq < want { // this one's line breaks now and then
					_ = r.res.Body.Close()
					r = read("/jobs/1/events", ev.id)
				}
			}
		})
	}
	mem.append(t, provision.Event{Job: 1, Kind: provision.StepStarted, Step: "creating VM"})
	for n := range logs {
		mem.append(t, provision.Event{Job: 1, Kind: provision.StepLog, Step: "creating VM", Text: fmt.Sprint("line ", n)})
		mem.append(t, provision.Event{Job: 2, Kind: provision.StepLog, Step: "another job", Text: "not for these readers"})
	}
	mem.append(t, provision.Event{Job: 1, Kind: provision.StepDone, Step: "creating VM"})
	mem.append(t, provision.Event{Job: 1, Kind: provision.JobState, State: provision.StateSucceeded})
	readers.Wait()
	var all []uint64
	for seq := range want {
		all = append(all, seq+1)
	}
	for i, got := range seen {
		if !slices.Equal(got, all) {
			t.Errorf("follower %d saw %v", i, got)
		}
	}
}

// TestStreamOfRetriedJob: a failure that was followed by a retry does not end
// the stream.
func TestStreamOfRetriedJob(t *testing.T) {
	mem := newMemory()
	api := streams(t, mem)
	mem.accept(t, 1, "creating VM")
	for _, state := range []provision.State{provision.StateParked, provision.StateFailed, provision.StateQueued, provision.StateRunning} {
		mem.append(t, provision.Event{Job: 1, Kind: provision.JobState, State: state})
	}
	r := listening(t, api)("/jobs/1/events?after=3", "")
	for _, want := range []string{"4", "5", "6"} {
		if ev, ok := r.next(); !ok || ev.id != want {
			t.Fatalf("got %+v, %v, want event %s", ev, ok, want)
		}
	}
	mem.append(t, provision.Event{Job: 1, Kind: provision.JobState, State: provision.StateSucceeded})
	if ev, _ := r.next(); ev.id != "7" {
		t.Errorf("got %+v, want event 7", ev)
	}
	if ev, _ := r.next(); ev.event != "close" || ev.id != "" {
		t.Errorf("got %+v, want close", ev)
	}
	if ev, ok := r.next(); ok {
		t.Errorf("%+v after close", ev)
	}
	// A browser comes back all the same: 204 tells it to stop.
	if rec := lookAt(api, "/jobs/1/events", "7"); rec.Code != http.StatusNoContent {
		t.Errorf("coming back after close: %d", rec.Code)
	}
}

// TestStreamOverPrunedFeed: the feed is only a hint for a job's stream.
func TestStreamOverPrunedFeed(t *testing.T) {
	mem := newMemory()
	read := listening(t, streams(t, mem))
	mem.accept(t, 1, "creating VM")
	mem.pruned = 3 // beyond where a follower of now would begin
	r := read("/jobs/1/events", "")
	for _, want := range []string{"1", "2", "3"} {
		if ev, ok := r.next(); !ok || ev.id != want {
			t.Fatalf("got %+v, want event %s", ev, want)
		}
		if want == "2" {
			mem.append(t, provision.Event{Job: 1, Kind: provision.StepStarted, Step: "creating VM"})
		}
	}
}

// The stream of all jobs begins where its reader says, or now.
func TestFirehoseBegins(t *testing.T) {
	mem := newMemory()
	read := listening(t, streams(t, mem))
	mem.accept(t, 1, "creating VM")
	all, live, late := read("/events?after=0", ""), read("/events", ""), read("/events", "1")
	mem.accept(t, 2, "creating VM")
	for i, want := range []string{"1", "2", "3", "4"} {
		if ev, _ := all.next(); ev.id != want {
			t.Errorf("from the start: event %d has id %q", i, ev.id)
		}
		if i >= 1 {
			if ev, _ := late.next(); ev.id != want {
				t.Errorf("after 1: event %d has id %q", i, ev.id)
			}
		}
		if i >= 2 {
			if ev, _ := live.next(); ev.id != want || !strings.Contains(ev.data, `"job":2`) {
				t.Errorf("from now: event %d is %+v", i, ev)
			}
		}
	}
}

// No stream tells a cause, which is for the operator.
func TestStreamsKeepCauses(t *testing.T) {
	mem := newMemory()
	mem.accept(t, 1, "creating VM")
	why := &provision.Problem{Kind: provision.Failed, Say: "the storage is full", Cause: "lvcreate: /dev/secret"}
	mem.append(t, provision.Event{Job: 1, Kind: provision.StepFailed, Step: "creating VM", Err: why})
	mem.append(t, provision.Event{Job: 1, Kind: provision.JobState, State: provision.StateUndoing, Err: why})
	read := listening(t, streams(t, mem))
	for _, path := range []string{"/events?after=2", "/jobs/1/events?after=2"} {
		if ev, _ := read(path, "").next(); !strings.Contains(ev.data, "the storage is full") || strings.Contains(ev.data, "secret") {
			t.Errorf("%s: %+v", path, ev)
		}
	}
}

// lookAt asks once.
func lookAt(api http.Handler, path, lastID string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "http://localhost/api/v1"+path, nil)
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header["Last-Event-Id"] = []string{lastID}
	api.ServeHTTP(rec, r)
	return rec
}

// FuzzLastEventID asks a stream to go on after anything; the answer is a
// stream or a refusal.
func FuzzLastEventID(f *testing.F) {
	mem := newMemory()
	mem.accept(f, 1, "creating VM")
	mem.append(f, provision.Event{Job: 1, Kind: provision.JobState, State: provision.StateSucceeded})
	api := streams(f, mem)
	for _, s := range []string{"0", "1", "3", "4", "-1", "18446744073709551615", "18446744073709551616", "1e3", " 1", "1\r\n", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		switch rec := lookAt(api, "/jobs/1/events", id); rec.Code {
		case 200:
			if !strings.HasSuffix(rec.Body.String(), "event: close\ndata: {}\n\n") {
				t.Errorf("%q: %s", id, rec.Body)
			}
		case 204:
		case 400:
			if !strings.HasPrefix(rec.Body.String(), `{"kind":`) {
				t.Errorf("%q: %s", id, rec.Body)
			}
		default:
			t.Errorf("%q: %d %s", id, rec.Code, rec.Body)
		}
	})
}

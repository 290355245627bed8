package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/web/feed"
	"pvebot/provision"
)

// TestTenFollowers: ten readers of one job see every event, once and in order,
// whenever they come and however often their line breaks.
func TestTenFollowers(t *testing.T) {
	mem := newMemory()
	w := start(t, Config{Store: mem}, script{})
	mem.accept(t, 1, "creating VM")
	mem.accept(t, 2, "another job")
	const logs = 60
	want := uint64(2 + 1 + logs + 1 + 1)

	var readers sync.WaitGroup
	seen := make([][]uint64, 10)
	for i := range seen {
		r := read(t, w.url+"/jobs/1/events", "")
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
					r = read(t, w.url+"/jobs/1/events", ev.id)
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

// TestJobStreamOfRetriedJob: a failure that was followed by a retry does not
// end the stream.
func TestJobStreamOfRetriedJob(t *testing.T) {
	mem := newMemory()
	w := start(t, Config{Store: mem}, script{})
	mem.accept(t, 1, "creating VM")
	for _, state := range []provision.State{provision.StateParked, provision.StateFailed, provision.StateQueued, provision.StateRunning} {
		mem.append(t, provision.Event{Job: 1, Kind: provision.JobState, State: state})
	}
	r := read(t, w.url+"/jobs/1/events?after=3", "")
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
	req := httptest.NewRequest(http.MethodGet, "http://localhost/jobs/1/events", nil)
	req.Header.Set("Last-Event-ID", "7")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, req)
	if rec.Code != http.StatusNoContent {
		t.Errorf("coming back after close: %d", rec.Code)
	}
}

// TestJobStreamOverPrunedFeed: the feed is only a hint for a job's stream.
func TestJobStreamOverPrunedFeed(t *testing.T) {
	mem := newMemory()
	w := start(t, Config{Store: mem}, script{})
	mem.accept(t, 1, "creating VM")
	mem.mu.Lock()
	mem.pruned = 3 // beyond where a follower of now would begin
	mem.mu.Unlock()
	r := read(t, w.url+"/jobs/1/events", "")
	r.until("the second event", func(ev sse) bool { return ev.id == "2" })
	mem.append(t, provision.Event{Job: 1, Kind: provision.StepStarted, Step: "creating VM"})
	r.until("the third event", func(ev sse) bool { return ev.id == "3" })
}

func TestFirehose(t *testing.T) {
	mem := newMemory()
	w := start(t, Config{Store: mem}, script{})
	mem.accept(t, 1, "creating VM")
	all := read(t, w.url+"/events?after=0", "")
	live := read(t, w.url+"/events", "")
	late := read(t, w.url+"/events", "1")
	mem.accept(t, 2, "creating VM")
	for i, want := range []string{"1", "2", "3", "4"} {
		ev, _ := all.next()
		if ev.id != want {
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
	w.stop()
	if ev, ok := all.next(); ok {
		t.Errorf("%+v after the end", ev)
	}
}

func TestFirehoseOfPrunedEvents(t *testing.T) {
	mem := newMemory()
	w := start(t, Config{Store: mem}, script{})
	mem.accept(t, 1, "creating VM")
	mem.mu.Lock()
	mem.pruned = 2
	mem.mu.Unlock()
	r := read(t, w.url+"/events", "1")
	if ev, _ := r.next(); ev.event != "reset" || ev.id != "2" {
		t.Errorf("got %+v, want a reset to 2", ev)
	}
	mem.append(t, provision.Event{Job: 1, Kind: provision.StepStarted, Step: "creating VM"})
	if ev, _ := r.next(); ev.id != "3" {
		t.Errorf("got %+v, want event 3", ev)
	}
}

// metronome is a clock whose sleepers wake when the test says so.
type metronome struct{ beats chan struct{} }

func (m metronome) Now() time.Time { return time.Now() }

func (m metronome) Sleep(ctx context.Context, d time.Duration) error {
	if d != feed.Heartbeat {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	select {
	case <-m.beats:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestHeartbeats(t *testing.T) {
	mem := newMemory()
	mem.accept(t, 1, "creating VM")
	clock := metronome{make(chan struct{})}
	w := start(t, Config{Store: mem, Clock: clock}, script{})
	ctx, cancel := context.WithCancel(t.Context())
	var beating sync.WaitGroup
	beating.Go(func() {
		for {
			select {
			case clock.beats <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	})
	defer func() { cancel(); beating.Wait() }()
	for _, path := range []string{"/events", "/jobs/1/events?after=2"} {
		r := read(t, w.url+path, "")
		for r.scan.Scan() && r.scan.Text() != ": hb" {
			if text := r.scan.Text(); text != "" && text != "retry: 1000" {
				t.Errorf("%s: %q before the heartbeat", path, text)
			}
		}
		if r.scan.Text() != ": hb" {
			t.Errorf("%s: no heartbeat", path)
		}
		_ = r.res.Body.Close()
	}
	r := read(t, w.url+"/chat/events", "")
	r.until("the first beat", has("beat", ""))
	r.until("the second beat", has("beat", ""))
}

// TestSlowReader: a reader that reads nothing holds up nobody, and is given
// up by the end at the latest.
func TestSlowReader(t *testing.T) {
	w := start(t, Config{}, script{})
	slow := read(t, w.url+"/chat/events", "")
	quick := read(t, w.url+"/chat/events", "")
	big := strings.Repeat("a long text ", 500)
	ref, err := w.Post(t.Context(), provision.Conversation{Platform: Platform}, bot.Card{Job: 1, Title: "card"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 { // about 12 MB, more than sockets hold
		if err := w.Edit(t.Context(), ref, bot.Card{Job: 1, Title: fmt.Sprintf("card %d.", i), Text: big}); err != nil {
			t.Fatal(err)
		}
	}
	quick.until("the last edit", has("message", "card 1999."))
	// The slow one missed states, not the end.
	slow.until("the last edit", has("message", "card 1999."))
	w.stop()
}

func TestChatStream(t *testing.T) {
	w := start(t, Config{}, script{})
	where := provision.Conversation{Platform: Platform}
	first := read(t, w.url+"/chat/events", "")
	ref, err := w.Post(t.Context(), where, bot.Card{Job: 1, Title: "one"})
	if err != nil {
		t.Fatal(err)
	}
	shown := false
	got := first.until("a cursor after the card", func(ev sse) bool { // panels may come in the same batch
		shown = shown || has("message", "one")(ev)
		return shown && ev.id != ""
	})
	_ = first.res.Body.Close()
	// While nobody looks, much happens.
	if err := w.Say(t.Context(), ref, []string{"a line"}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := w.Edit(t.Context(), ref, bot.Card{Job: 1, Title: fmt.Sprint("edit ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	second := read(t, w.url+"/chat/events", got.id)
	var messages, lines int
	second.until("the end of what was missed", func(ev sse) bool {
		switch {
		case has("message", "edit 4")(ev):
			messages++
		case ev.event == "message":
			t.Errorf("an overtaken state: %s", ev.data)
		case ev.event == "lines":
			lines++
		}
		return lines > 0 // they come after their message
	})
	if messages != 1 || lines != 1 {
		t.Errorf("what was missed came as %d messages and %d pieces of thread, want one each", messages, lines)
	}
	// The same card again is no change.
	seen := w.room.since(0, "").version
	if err := w.Edit(t.Context(), ref, bot.Card{Job: 1, Title: "edit 4"}); err != nil {
		t.Fatal(err)
	}
	if n := w.room.since(seen, ""); slices.ContainsFunc(n.updates, func(u update) bool { return u.event == "message" }) {
		t.Errorf("showing the same card again is news: %v", n.updates)
	}
	// Another process's cursor means nothing: everything comes.
	third := read(t, w.url+"/chat/events", "another.99")
	third.until("the card", has("message", "edit 4"))
}

// TestUnfinishedBatch: a line that breaks in the middle of a batch loses
// nothing, since only the last event of it carries a cursor.
func TestUnfinishedBatch(t *testing.T) {
	w := start(t, Config{}, script{})
	where := provision.Conversation{Platform: Platform}
	ref, _ := w.Post(t.Context(), where, bot.Card{Job: 1, Title: "one"})
	cursor := w.room.cursor(w.room.since(0, "").version)
	_ = w.Say(t.Context(), ref, []string{"early line"})
	_, _ = w.Post(t.Context(), where, bot.Card{Job: 2, Title: "two"})
	_ = w.Say(t.Context(), ref, []string{"late line"})
	r := read(t, w.url+"/chat/events", cursor)
	lines := r.until("the lines", func(ev sse) bool {
		if ev.event != "lines" && ev.id != "" {
			t.Errorf("a cursor in the middle of a batch: %+v", ev)
		}
		return ev.event == "lines"
	})
	if !strings.Contains(lines.data, "early line") || !strings.Contains(lines.data, "late line") {
		t.Errorf("of two lines came %s", lines.data)
	}
}

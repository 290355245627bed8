package web

import (
	"bufio"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

func TestRoomKeepsTheNewest(t *testing.T) {
	r := newRoom(cluster.SystemClock{})
	for i := range keepMessages + 10 {
		r.post(bot.Card{Title: fmt.Sprintf("card %d.", i)}, "")
	}
	all, _, _ := r.snapshot("")
	if len(all) != keepMessages || !strings.Contains(string(all[0]), "card 10.") {
		t.Errorf("%d messages, the first is %s", len(all), all[0])
	}
}

func TestThreadKeepsTheNewest(t *testing.T) {
	r := newRoom(cluster.SystemClock{})
	id := r.post(bot.Card{Job: 1}, "")
	for i := range 3 {
		lines := make([]string, keepLines/2)
		for n := range lines {
			lines[n] = fmt.Sprintf("line %d of %d.", n, i)
		}
		r.say(id, lines)
	}
	html, ok := r.thread(id, "")
	if !ok || strings.Count(string(html), "<p class=\"line ") != keepLines || strings.Contains(string(html), "of 0.") ||
		!strings.Contains(string(html), "1000 earlier lines") || !strings.Contains(string(html), `data-n="3000"`) {
		t.Errorf("the thread is %.500s", html)
	}
}

// TestPrivate: what is for one is in no other's page, stream or thread.
func TestPrivate(t *testing.T) {
	r := newRoom(cluster.SystemClock{})
	id := r.post(bot.Card{Title: "secret"}, "web/alice")
	r.say(id, []string{"secret line"})
	r.hear("k", provision.Actor{Platform: Platform, ID: "alice"}, "secret words")
	for viewer, want := range map[string]int{"web/alice": 2, "web/bob": 0, "": 0} {
		if all, _, _ := r.snapshot(viewer); len(all) != want {
			t.Errorf("%q sees %d messages", viewer, len(all))
		}
		if n := r.since(0, viewer); (len(n.updates) > 0) != (want > 0) {
			t.Errorf("%q hears of %d changes", viewer, len(n.updates))
		}
		if _, ok := r.thread(id, viewer); ok != (want > 0) {
			t.Errorf("%q sees the thread: %v", viewer, ok)
		}
	}
}

func TestIDsRiseAndTell(t *testing.T) {
	r := newRoom(cluster.SystemClock{})
	last := ""
	for range 1000 {
		id := r.newID()
		if id <= last || !wellFormed(id) || timeOf(id).IsZero() {
			t.Fatalf("%q after %q", id, last)
		}
		last = id
	}
}

func FuzzResume(f *testing.F) {
	r := newRoom(cluster.SystemClock{})
	r.post(bot.Card{}, "")
	for _, s := range []string{"", ".", "1", r.epoch, r.epoch + ".", r.epoch + ".1", r.epoch + ".2", r.epoch + ".-1", r.epoch + ".1.1", "x.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		if got := r.resume(cursor); got > 1 || got == 1 && !strings.HasPrefix(cursor, r.epoch+".") {
			t.Errorf("%q resumes at %d", cursor, got)
		}
	})
}

// FuzzLastEventID asks all streams to go on after anything; the answer is a
// stream or a refusal.
func FuzzLastEventID(f *testing.F) {
	mem := newMemory()
	mem.accept(f, 1, "creating VM")
	mem.append(f, provision.Event{Job: 1, Kind: provision.JobState, State: provision.StateSucceeded})
	w := New(Config{Store: mem, Inventory: threeNodes})
	for _, s := range []string{"0", "1", "3", "4", "-1", "18446744073709551615", "18446744073709551616", "1e3", " 1", "1\r\n", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://localhost/jobs/1/events", nil)
		r.Header["Last-Event-Id"] = []string{id}
		w.ServeHTTP(rec, r)
		switch body := rec.Body.String(); rec.Code {
		case 200:
			if !strings.HasSuffix(body, "event: close\ndata: {}\n\n") {
				t.Errorf("%q: %s", id, body)
			}
		case 204:
		case 400:
			if !strings.HasPrefix(body, `{"error":`) {
				t.Errorf("%q: %s", id, body)
			}
		default:
			t.Errorf("%q: %d %s", id, rec.Code, body)
		}
	})
}

// FuzzStream: whatever is sent, a reader gets exactly one event, with the data
// in it but for the kind of its line ends.
func FuzzStream(f *testing.F) {
	f.Add("1", "message", "plain")
	f.Add("1\nevent: close", "mess\rage", "a\r\n\r\nevent: close\rdata: {}\n\n")
	f.Fuzz(func(t *testing.T, id, event, data string) {
		rec := httptest.NewRecorder()
		s, err := openStream(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(id, event, []byte(data)); err != nil {
			t.Fatal(err)
		}
		body := strings.TrimPrefix(rec.Body.String(), "retry: 1000\n\n")
		if strings.Contains(body, "\r") || strings.Count(body, "\n\n") != 1 || !strings.HasSuffix(body, "\n\n") {
			t.Fatalf("not one event: %q", body)
		}
		var got []string
		for scan := bufio.NewScanner(strings.NewReader(body)); scan.Scan(); {
			if line, ok := strings.CutPrefix(scan.Text(), "data: "); ok {
				got = append(got, line)
			}
		}
		want := strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
		if len(data) < 60000 && strings.Join(got, "\n") != want {
			t.Errorf("data %q came as %q", data, got)
		}
	})
}

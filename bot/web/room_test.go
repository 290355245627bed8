package web

import (
	"fmt"
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
	all, _, _ := r.snapshot(sight{jobs: true})
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
	html, ok := r.thread(id, sight{jobs: true})
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
		if all, _, _ := r.snapshot(sight{key: viewer, jobs: true}); len(all) != want {
			t.Errorf("%q sees %d messages", viewer, len(all))
		}
		if n := r.since(0, sight{key: viewer, jobs: true}); (len(n.updates) > 0) != (want > 0) {
			t.Errorf("%q hears of %d changes", viewer, len(n.updates))
		}
		if _, ok := r.thread(id, sight{key: viewer, jobs: true}); ok != (want > 0) {
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

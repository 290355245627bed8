package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/web/feed"
	"pvebot/provision"
)

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
	clock := metronome{make(chan struct{})}
	w := start(t, Config{Clock: clock}, script{})
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
	seen := w.room.since(0, sight{jobs: true}).version
	if err := w.Edit(t.Context(), ref, bot.Card{Job: 1, Title: "edit 4"}); err != nil {
		t.Fatal(err)
	}
	if n := w.room.since(seen, sight{jobs: true}); slices.ContainsFunc(n.updates, func(u update) bool { return u.event == "message" }) {
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
	cursor := w.room.cursor(w.room.since(0, sight{jobs: true}).version)
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

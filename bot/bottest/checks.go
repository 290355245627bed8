package bottest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

func checkPost(t testing.TB, h Harness) {
	r := h.rig(t)
	c := card(1, "Install ubuntu 24.04: web-1", "Step 1 of 2: creating VM")
	c.Fields = []bot.Field{{Name: "VMID", Value: "101"}, {Name: "ssh", Value: "ssh ubuntu@192.168.0.101", Code: true}}
	if ref := r.post(t, c); len(ref) == 0 {
		t.Error("Post returned an empty ref")
	}
	r.sees(t, "Install ubuntu 24.04: web-1", "creating VM", "101", "ssh ubuntu@192.168.0.101")
	if n := len(r.Screen.Messages(r.Where)); n != 1 {
		t.Errorf("one post made %d messages", n)
	}
}

func checkEdit(t testing.TB, h Harness) {
	r := h.rig(t)
	ref := r.post(t, card(1, "first title", "one"))
	c := card(1, "second title", "two")
	c.Steps[0].Status = provision.StepOK
	if err := r.Adapter.Edit(t.Context(), ref, c); err != nil {
		t.Fatalf("Edit: %v", err)
	}
	r.sees(t, "second title")
	all := r.Screen.Messages(r.Where)
	if len(all) != 1 {
		t.Fatalf("an edit made %d messages of one", len(all))
	}
	if !r.Forever && strings.Contains(all[0].Text, "first title") {
		t.Errorf("the old card is still seen: %q", all[0].Text)
	}
}

func checkEditTwice(t testing.TB, h Harness) {
	r := h.rig(t)
	c := card(1, "the title", "one")
	ref := r.post(t, c)
	for range 2 {
		if err := r.Adapter.Edit(t.Context(), ref, c); err != nil {
			t.Fatalf("Edit with the same card: %v", err)
		}
	}
	r.sees(t, "the title")
	all := r.Screen.Messages(r.Where)
	if len(all) != 1 || strings.Count(all[0].Text, "the title") != 1 {
		t.Errorf("the same card is seen more than once: %q", all)
	}
}

func checkGone(t testing.TB, h Harness) {
	r := h.rig(t)
	if r.Delete == nil {
		t.Skip("messages can't be deleted here")
		return
	}
	ref := r.post(t, card(1, "the title", "one"))
	r.sees(t, "the title")
	r.Delete()
	if err := r.Adapter.Edit(t.Context(), ref, card(1, "changed", "two")); !errors.Is(err, bot.ErrGone) {
		t.Errorf("Edit of a deleted message: %v, want ErrGone", err)
	}
}

func checkSay(t testing.TB, h Harness) {
	r := h.rig(t)
	ref := r.post(t, card(1, "the title", "one"))
	var want []string
	for i := range 4 {
		lines := []string{fmt.Sprintf("line %d a", i), fmt.Sprintf("line %d b", i)}
		want = append(want, lines...)
		if err := r.Adapter.Say(t.Context(), ref, lines); err != nil {
			t.Fatalf("Say: %v", err)
		}
	}
	r.until(t, "the thread", func() bool {
		all := r.Screen.Messages(r.Where)
		return len(all) > 0 && len(all[0].Thread) >= len(want)
	})
	all := r.Screen.Messages(r.Where)
	if len(all) != 1 {
		t.Errorf("thread lines made %d messages of one", len(all))
	}
	got := all[0].Thread
	if len(got) != len(want) {
		t.Fatalf("thread has %d lines, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("thread line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func (r Rig) someone() provision.Actor {
	if len(r.People) > 0 {
		return r.People[0]
	}
	return r.Only
}

func checkWhisper(t testing.TB, h Harness) {
	r := h.rig(t)
	script := &handler{handle: func(ctx context.Context, in bot.Inbound) {
		c := bot.Card{Title: "for you alone", Tone: bot.Bad, Text: "not allowed"}
		if err := r.Adapter.Whisper(ctx, in, c); err != nil && ctx.Err() == nil {
			t.Errorf("Whisper: %v", err)
		}
	}}
	r.running(t, script)
	r.Type(r.someone(), "w1", "list")
	r.until(t, "the whisper", func() bool {
		got := r.Screen.Whispers(r.someone())
		return len(got) > 0 && hasAll(got[len(got)-1], "for you alone", "not allowed")
	})
	if len(r.People) > 1 {
		if got := r.Screen.Whispers(r.People[1]); len(got) > 0 {
			t.Errorf("somebody else sees the whisper: %q", got)
		}
	}
	for _, m := range r.Screen.Messages(r.Where) {
		if len(r.People) > 1 && strings.Contains(m.Text, "for you alone") {
			t.Errorf("everybody sees the whisper: %q", m.Text)
		}
	}
}

func checkDelivery(t testing.TB, h Harness) {
	r := h.rig(t)
	script := &handler{}
	stop := r.running(t, script)
	by := r.someone()
	r.Type(by, "d1", "/vm list")
	r.Type(by, "d2", "/vm show web-1")
	r.until(t, "both lines", func() bool { return len(script.seen("handle")) >= 2 })
	stop() // after which nothing more can come
	triaged, handled := script.seen("triage"), script.seen("handle")
	if len(triaged) != 2 || len(handled) != 2 {
		t.Fatalf("two lines were triaged %d times and handled %d times", len(triaged), len(handled))
	}
	ids := map[string]bool{}
	for i, want := range []string{"list", "show web-1"} {
		in := triaged[i]
		ids[in.ID] = true
		switch {
		case in.Kind != bot.Command:
			t.Errorf("kind is %q, want %q", in.Kind, bot.Command)
		case !strings.Contains(in.Text, want):
			t.Errorf("text is %q, want %q", in.Text, want)
		case in.Platform != r.Adapter.Name():
			t.Errorf("platform is %q, want the adapter's name %q", in.Platform, r.Adapter.Name())
		case in.Where.Platform != r.Adapter.Name():
			t.Errorf("conversation is on platform %q, want %q", in.Where.Platform, r.Adapter.Name())
		case in.By.Key() != by.Key():
			t.Errorf("by %s, want %s", in.By.Key(), by.Key())
		case in.At.IsZero():
			t.Error("the time is missing")
		}
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("two interactions have the ids %v", ids)
	}
}

func checkAckFirst(t testing.TB, h Harness) {
	r := h.rig(t)
	by := r.someone()
	early := make(chan bool, 1)
	script := &handler{
		triage: func(context.Context, bot.Inbound) bot.Ack {
			return bot.Ack{Whisper: &bot.Card{Title: "taken", Text: "at once"}}
		},
		handle: func(context.Context, bot.Inbound) { early <- len(r.Screen.Whispers(by)) == 0 },
	}
	r.running(t, script)
	r.Type(by, "a1", "/vm help")
	select {
	case tooEarly := <-early:
		if tooEarly {
			t.Error("Handle was called before the ack was sent")
		}
	case <-t.Context().Done():
		t.Fatal("Handle was not called")
	}
	r.until(t, "the ack", func() bool { return hasAll(strings.Join(r.Screen.Whispers(by), "\n"), "taken", "at once") })
}

func checkPress(t testing.TB, h Harness) {
	r := h.rig(t)
	if r.Press == nil {
		t.Skip("there are no buttons here")
		return
	}
	script := &handler{}
	r.running(t, script)
	r.post(t, card(1, "the title", "one"))
	r.sees(t, "the title")
	r.Press(r.someone(), "p1", "Cancel")
	r.until(t, "the press", func() bool { return len(script.seen("handle")) > 0 })
	in := script.seen("handle")[0]
	if in.Kind != bot.Click || in.Button != "v1.cancel.1." {
		t.Errorf("press came as kind %q, button %q", in.Kind, in.Button)
	}
	if in.By.Key() != r.someone().Key() {
		t.Errorf("pressed by %s, want %s", in.By.Key(), r.someone().Key())
	}
}

// Nasty is text that must be shown as text: escape sequences, markup and
// mentions of several platforms, markup of pages, characters that turn text
// around.
const Nasty = "\x1b[31mred\x1b]0;title\a\x00 <!channel> <@U1> @everyone *bold* `tick` ```fence``` " +
	"<script>alert(1)</script> [x](http://evil.example) \u202etxt.exe\nnext \xff\xfe end"

func checkInert(t testing.TB, h Harness) {
	r := h.rig(t)
	c := card(1, "title "+Nasty, "text "+Nasty)
	c.Steps[0].Text = Nasty
	c.Fields = []bot.Field{{Name: "name " + Nasty, Value: Nasty}}
	c.Lines = []string{Nasty}
	c.Table = &bot.Table{Head: []string{Nasty}, Rows: [][]string{{Nasty}}}
	c.Footer = Nasty
	ref := r.post(t, c)
	if err := r.Adapter.Say(t.Context(), ref, []string{Nasty}); err != nil {
		t.Fatalf("Say: %v", err)
	}
	// The words are all there, and nothing that acts is.
	r.sees(t, "red", "bold", "fence", "alert(1)", "everyone", "end")
	all := r.Screen.Messages(r.Where)
	if len(all) != 1 {
		t.Fatalf("%d messages, want 1", len(all))
	}
	for _, text := range append(all[0].Thread, all[0].Text) {
		if !utf8.ValidString(text) {
			t.Errorf("broken UTF-8 is shown: %q", text)
		}
		if strings.ContainsAny(text, "\x1b\a\x00\u202e") {
			t.Errorf("control characters are shown: %q", text)
		}
	}
}

func checkLong(t testing.TB, h Harness) {
	r := h.rig(t)
	long := strings.Repeat("\u00e4\u4e16", 20_000)
	c := card(1, "the title", long)
	for i := range 60 {
		c.Lines = append(c.Lines, fmt.Sprint(i)+long)
		c.Fields = append(c.Fields, bot.Field{Name: fmt.Sprint(i) + long, Value: long})
	}
	ref := r.post(t, c)
	if err := r.Adapter.Say(t.Context(), ref, []string{long}); err != nil {
		t.Fatalf("Say: %v", err)
	}
	r.sees(t, "the title", "\u00e4")
	all := r.Screen.Messages(r.Where)
	marked := false
	for _, text := range append(all[0].Thread, all[0].Text) {
		if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
			t.Error("a character was cut in two")
		}
		marked = marked || strings.Contains(text, bot.Ellipsis) || strings.Contains(text, "...")
	}
	if !marked {
		t.Error("nothing says that text was cut")
	}
}

func checkConcurrent(t testing.TB, h Harness) {
	r := h.rig(t)
	refs := []bot.Ref{r.post(t, card(1, "title-1 fresh", "")), r.post(t, card(2, "title-2 fresh", ""))}
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			for n := range 20 {
				c := card(provision.JobID(i+1), fmt.Sprintf("title-%d edit-%d.", i+1, n), "")
				if err := edit(t.Context(), r.Adapter, ref, c); err != nil {
					t.Errorf("Edit: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	r.until(t, "both last edits", func() bool {
		var text strings.Builder
		for _, m := range r.Screen.Messages(r.Where) {
			text.WriteString(m.Text)
		}
		return hasAll(text.String(), "title-1 edit-19.", "title-2 edit-19.")
	})
}

// edit waits when the platform is busy, as a Follower does.
func edit(ctx context.Context, a bot.Adapter, ref bot.Ref, c bot.Card) error {
	for {
		err := a.Edit(ctx, ref, c)
		busy, ok := errors.AsType[*bot.BusyError](err)
		if !ok {
			return err
		}
		if err := (cluster.SystemClock{}).Sleep(ctx, busy.After); err != nil {
			return err
		}
	}
}

func checkEnd(t testing.TB, h Harness) {
	r := h.rig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered := make(chan struct{})
	var mu sync.Mutex
	ended := false
	script := &handler{handle: func(ctx context.Context, _ bot.Inbound) {
		close(entered)
		<-ctx.Done()
		// A Run that does not wait returns in this time.
		_ = (cluster.SystemClock{}).Sleep(context.WithoutCancel(ctx), 30*time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		ended = true
	}}
	done := make(chan error, 1)
	go func() { done <- r.Adapter.Run(ctx, script) }()
	r.Type(r.someone(), "e1", "/vm list")
	<-entered
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !ended {
		t.Error("Run returned before its handlers had ended")
	}
}

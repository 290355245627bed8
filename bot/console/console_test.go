package console

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/provision"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

var me = provision.Actor{Platform: Platform, ID: "me", Name: "alice"}

// paper is an Out that is no terminal.
type paper struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// eyes read messages off a console: all of it is one message, but for the
// lines of threads.
type eyes struct{ out fmt.Stringer }

func (e eyes) Messages(provision.Conversation) []bottest.Message {
	var m bottest.Message
	var text []string
	for line := range strings.Lines(e.out.String()) {
		line = strings.TrimRight(line, "\n")
		if _, said, ok := strings.Cut(line, "  | "); ok {
			m.Thread = append(m.Thread, said)
		} else {
			text = append(text, line)
		}
	}
	m.Text = strings.Join(text, "\n")
	if m.Text == "" && m.Thread == nil {
		return nil
	}
	return []bottest.Message{m}
}

func (e eyes) Whispers(provision.Actor) []string {
	if s := e.out.String(); strings.TrimSpace(s) != "" {
		return []string{s}
	}
	return nil
}

func rig(t testing.TB, out interface {
	io.Writer
	fmt.Stringer
}, tty bool,
) bottest.Rig {
	in, hand := io.Pipe()
	t.Cleanup(func() { hand.Close() })
	width := 300
	c := New(Config{
		In: in, Out: out, TTY: tty, Details: true, Actor: me,
		Width: func() int { return width }, Height: func() int { return 400 },
	})
	typed := func(line string) {
		if _, err := io.WriteString(hand, line+"\n"); err != nil {
			t.Errorf("typing: %v", err)
		}
	}
	return bottest.Rig{
		Adapter: c, Screen: eyes{out}, Where: c.Where(), Only: me, Forever: !tty,
		Type: func(_ provision.Actor, _, line string) { typed(line) },
		Press: func(_ provision.Actor, _, label string) {
			c.mu.Lock()
			number := 0
			for _, b := range c.cards[len(c.cards)-1].card.Buttons {
				if b.Label == label {
					number = c.numbers[b.ID]
				}
			}
			c.mu.Unlock()
			if !strings.Contains(out.String(), fmt.Sprintf("(%d) %s", number, label)) {
				t.Errorf("the screen does not tell how to press %s", label)
			}
			typed(fmt.Sprint(number))
		},
	}
}

func TestConformancePlain(t *testing.T) {
	bottest.Run(t, bottest.Harness{New: func(t testing.TB) bottest.Rig { return rig(t, &paper{}, false) }})
}

func TestConformanceTTY(t *testing.T) {
	bottest.Run(t, bottest.Harness{New: func(t testing.TB) bottest.Rig { return rig(t, newTerm(300, 400), true) }})
}

func now() time.Time { return cluster.SystemClock{}.Now() }

// film plays an install, which takes 20 s, on c. Each frame is a scene of it.
func film(t *testing.T, c *Console, at provision.JobID, frame func(name string)) {
	t.Helper()
	begin := now()
	steps := []bot.CardStep{
		{Phase: "preparation", Title: "checking VMID"},
		{Phase: "preparation", Title: "assigning IP"},
		{Phase: "OS preparation", Title: "downloading OS image"},
		{Phase: "VM creation", Title: "creating VM"},
		{Phase: "VM creation", Title: "importing disk image"},
		{Phase: "VM initialization", Title: "waiting for ready"},
		{Phase: "VM initialization", Title: "finalizing"},
	}
	seq := uint64(0)
	card := func() bot.Card {
		seq++
		c := bot.Card{
			Job: at, Seq: seq, Title: "Install ubuntu 24.04: web-1", Tone: bot.Busy, Text: "Waiting for a free worker.",
			Footer: fmt.Sprintf("job %d, asked by you", at), Started: begin, Elapsed: now().Sub(begin),
			Buttons: []bot.Button{{ID: fmt.Sprintf("v1.cancel.%d.", at), Label: "Cancel", Style: bot.Danger, Confirm: "Really?"}},
		}
		for i, s := range steps {
			if s.Status == provision.StepRunning {
				s.Elapsed = now().Sub(s.Started)
				c.Text = fmt.Sprintf("Step %d of %d: %s", i+1, len(steps), s.Title)
			}
			c.Steps = append(c.Steps, s)
		}
		return c
	}
	ref, err := c.Post(t.Context(), c.Where(), card())
	if err != nil {
		t.Fatal(err)
	}
	frame("queued")
	edit := func(card bot.Card) {
		if err := c.Edit(t.Context(), ref, card); err != nil {
			t.Fatal(err)
		}
	}
	for i := range steps {
		steps[i].Status, steps[i].Started = provision.StepRunning, now()
		edit(card())
		for n := range 4 {
			time.Sleep(700 * time.Millisecond)
			steps[i].Fraction, steps[i].Text = float64(n+1)/5, fmt.Sprintf("%d of 5", n+1)
			edit(card())
		}
		time.Sleep(50 * time.Millisecond)
		frame(fmt.Sprintf("step %d", i+1))
		steps[i].Status, steps[i].Fraction, steps[i].Text = provision.StepOK, 0, "fine"
		steps[i].Elapsed = now().Sub(steps[i].Started)
	}
	last := card()
	last.Tone, last.Final, last.Buttons = bot.Good, true, nil
	last.Text = "web-1 is ready: VMID 101, IP 192.168.0.101, user ubuntu, installed in 20s."
	last.Fields = []bot.Field{
		{Name: "VMID", Value: "101"}, {Name: "IP", Value: "192.168.0.101"},
		{Name: "ssh", Value: "ssh ubuntu@192.168.0.101", Code: true},
	}
	edit(last)
	frame("end")
}

func ticking(t *testing.T, c *Console) func() {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.tick(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestPlainFilm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &paper{}
		c := New(Config{Out: out, Actor: me})
		defer ticking(t, c)()
		film(t, c, 1, func(string) {})
		golden(t, "plain", out.String())
		if strings.Contains(out.String(), "\x1b") {
			t.Error("escape sequences where no terminal is")
		}
	})
}

// One message changes in place, in a wide terminal and in a narrow and low one.
func TestTTYFilm(t *testing.T) {
	for name, size := range map[string][2]int{"wide": {100, 40}, "usual": {80, 24}, "low": {60, 12}, "tiny": {30, 5}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := newTerm(size[0], size[1])
				fmt.Fprint(out, "$ bot demo\n")
				c := New(Config{
					Out: out, TTY: true, Actor: me,
					Width: func() int { return size[0] }, Height: func() int { return size[1] },
				})
				defer ticking(t, c)()
				var b strings.Builder
				film(t, c, 1, func(scene string) {
					synctest.Wait()
					if scene == "queued" || scene == "step 1" || scene == "step 5" || scene == "end" {
						fmt.Fprintf(&b, "== %s\n%s", scene, out)
					}
					if scene == "end" {
						return
					}
					if n := strings.Count(out.String(), "Install ubuntu 24.04"); n != 1 {
						t.Errorf("%s: the message is there %d times:\n%s", scene, n, out)
					}
				})
				golden(t, "tty/"+name, b.String())
				if bad := out.troubles(); len(bad) > 0 {
					t.Errorf("the terminal did not like %q", bad[:1])
				}
				if n := strings.Count(out.String(), "Install ubuntu 24.04"); n != 1 {
					t.Errorf("the message was left %d times:\n%s", n, out)
				}
				if !strings.HasPrefix(out.String(), "$ bot demo\nInstall") {
					t.Errorf("what was there before is gone:\n%s", out)
				}
			})
		})
	}
}

// Clocks tick between edits, and stand still when nothing runs.
func TestTTYTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTerm(80, 24)
		c := New(Config{Out: out, TTY: true, Actor: me, NoColor: true})
		defer ticking(t, c)()
		card := bot.Card{
			Job: 1, Title: "Install", Tone: bot.Busy, Footer: "job 1", Elapsed: time.Second,
			Steps: []bot.CardStep{{Phase: "p", Title: "downloading", Status: provision.StepRunning, Started: now(), Elapsed: time.Second}},
		}
		ref, err := c.Post(t.Context(), c.Where(), card)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Second + 50*time.Millisecond)
		synctest.Wait()
		if got := out.String(); !strings.Contains(got, "downloading    3.0s") || !strings.Contains(got, "job 1, 3.0s") {
			t.Errorf("after two seconds:\n%s", got)
		}
		if n := out.writes; n < 8 || n > 22 {
			t.Errorf("%d drawings in two seconds", n)
		}
		card.Steps[0].Status, card.Tone = provision.StepBad, bot.Asking
		if err := c.Edit(t.Context(), ref, card); err != nil {
			t.Fatal(err)
		}
		n := out.writes
		time.Sleep(time.Minute)
		synctest.Wait()
		if out.writes != n {
			t.Error("a card at rest is drawn again and again")
		}
	})
}

// Several jobs share the screen, each ends above those that go on.
func TestTTYMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTerm(80, 24)
		c := New(Config{Out: out, TTY: true, Actor: me})
		defer ticking(t, c)()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { film(t, c, provision.JobID(i+1), func(string) {}) })
		}
		wg.Wait()
		got := out.String()
		for i := range 3 {
			if n := strings.Count(got, fmt.Sprintf("job %d, asked by you", i+1)); n != 1 {
				t.Errorf("job %d is there %d times", i+1, n)
			}
		}
		if bad := out.troubles(); len(bad) > 0 {
			t.Errorf("the terminal did not like %q", bad[:1])
		}
	})
}

// A terminal that gets narrower leaves no garbage.
func TestTTYResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTerm(100, 50)
		c := New(Config{Out: out, TTY: true, Actor: me, Width: out.columns, Height: func() int { return 50 }})
		defer ticking(t, c)()
		film(t, c, 1, func(scene string) {
			if scene == "step 3" {
				out.resize(40)
			}
		})
		if n := strings.Count(out.String(), "Install ubuntu"); n != 1 {
			t.Errorf("the message is there %d times:\n%s", n, out)
		}
	})
}

// Wide characters are counted as the two columns they take.
func TestTTYWideRunes(t *testing.T) {
	out := newTerm(40, 24)
	c := New(Config{Out: out, TTY: true, Actor: me, Width: out.columns})
	wide := strings.Repeat("\u4e16\u754c", 30)
	ref, err := c.Post(t.Context(), c.Where(), bot.Card{Title: wide, Text: wide, Tone: bot.Busy})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := c.Edit(t.Context(), ref, bot.Card{Title: wide, Text: "e\u0301" + wide, Tone: bot.Busy}); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, out)
	}
}

func TestColours(t *testing.T) {
	card := bot.Card{Title: "title", Tone: bot.Good, Text: "done", Final: true}
	for name, cfg := range map[string]Config{
		"colours": {TTY: true}, "": {TTY: true, NoColor: true}, "no terminal": {},
	} {
		out := &paper{}
		cfg.Out, cfg.Actor = out, me
		if _, err := New(cfg).Post(t.Context(), provision.Conversation{}, card); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "\x1b[32m"); got != (name == "colours") {
			t.Errorf("%q: coloured: %v", name, got)
		}
	}
}

// A terminal that is gone ends what is shown, not the program.
func TestBrokenOut(t *testing.T) {
	in, out := io.Pipe()
	in.Close()
	c := New(Config{Out: out, Actor: me})
	if _, err := c.Post(t.Context(), c.Where(), bot.Card{Title: "t"}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Post to a closed terminal: %v", err)
	}
}

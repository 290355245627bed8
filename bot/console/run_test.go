package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &paper{}
		in, hand := io.Pipe()
		c := New(Config{In: in, Out: out, Actor: me})
		if _, err := c.Post(t.Context(), c.Where(), bot.Card{Job: 1, Title: "t", Buttons: []bot.Button{
			{ID: "a", Label: "Keep"}, {ID: "b", Label: "Roll back", Confirm: "Undo everything?"},
		}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		h := &desk{}
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, h) }()
		for _, line := range []string{"2", "9", "2", "list", "2", "2", "1", ""} {
			if _, err := io.WriteString(hand, line+"\n"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		cancel()
		hand.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// The line between the two presses takes the question back.
		if want := []string{"b", "list", "b", "a"}; !slices.Equal(h.got(), want) {
			t.Errorf("came in: %q, want %q", h.got(), want)
		}
		if got := out.String(); !strings.Contains(got, "Undo everything? Type 2 again") || !strings.Contains(got, "There is no button 9.") {
			t.Errorf("the screen says:\n%s", got)
		}
	})
}

// desk is a handler that plays what act tells.
type desk struct {
	ack bot.Ack
	act func(context.Context, bot.Inbound)
	mu  sync.Mutex
	ins []string
}

func (d *desk) Triage(context.Context, bot.Inbound) bot.Ack { return d.ack }

func (d *desk) Handle(ctx context.Context, in bot.Inbound) {
	d.mu.Lock()
	d.ins = append(d.ins, in.Text+in.Button)
	d.mu.Unlock()
	if d.act != nil {
		d.act(ctx, in)
	}
}

func (d *desk) got() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ins)
}

func TestRunLine(t *testing.T) {
	end := func(tone bot.Tone, text string) func(*testing.T, *Console) func(context.Context, bot.Inbound) {
		return func(t *testing.T, c *Console) func(context.Context, bot.Inbound) {
			return func(ctx context.Context, _ bot.Inbound) {
				for i := range 2 {
					card := bot.Card{Job: provision.JobID(i + 1), Title: "Install", Tone: bot.Busy, Text: "going on"}
					ref, err := c.Post(ctx, c.Where(), card)
					if err != nil {
						t.Error(err)
					}
					go func() {
						time.Sleep(time.Duration(i+1) * time.Minute)
						card.Tone, card.Text, card.Final = bot.Good, "it runs", true
						if i == 1 {
							card.Tone, card.Text, card.Final = tone, text, tone != bot.Asking
						}
						if err := c.Edit(context.WithoutCancel(ctx), ref, card); err != nil {
							t.Error(err)
						}
					}()
				}
			}
		}
	}
	whisper := func(tone bot.Tone) func(*testing.T, *Console) func(context.Context, bot.Inbound) {
		return func(t *testing.T, c *Console) func(context.Context, bot.Inbound) {
			return func(ctx context.Context, in bot.Inbound) {
				if err := c.Whisper(ctx, in, bot.Card{Title: "answer", Tone: tone, Text: "no image of windows"}); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for name, test := range map[string]struct {
		act   func(*testing.T, *Console) func(context.Context, bot.Inbound)
		ack   bot.Ack
		cards int
		err   string
	}{
		"good":      {act: end(bot.Good, "it runs"), cards: 2},
		"failed":    {act: end(bot.Bad, "no space left"), cards: 2, err: "job 2: no space left"},
		"cancelled": {act: end(bot.Plain, "bob cancelled it"), cards: 2, err: "job 2: bob cancelled it"},
		"parked":    {act: end(bot.Asking, "somebody must decide"), cards: 2, err: "job 2: somebody must decide"},
		"answered":  {act: whisper(bot.Plain)},
		"refused":   {act: whisper(bot.Bad), err: "no image of windows"},
		"mistake":   {ack: bot.Ack{Whisper: &bot.Card{Tone: bot.Bad, Text: "no command destory"}}, err: "no command destory"},
		"help":      {ack: bot.Ack{Whisper: &bot.Card{Text: "help"}}},
		"form": {
			ack: bot.Ack{Form: &bot.Form{ID: "install", Fields: []bot.FormField{{Name: "os", Required: true, Options: []bot.Choice{{Value: "ubuntu"}}}, {Name: "cpu"}}}},
			err: "Say it in one line: /vm install OS",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &paper{}
				c := New(Config{Out: out, Actor: me})
				h := &desk{ack: test.ack}
				if test.act != nil {
					h.act = test.act(t, c)
				}
				cards, err := c.RunLine(t.Context(), h, "/vm install ubuntu")
				if len(cards) != test.cards {
					t.Errorf("%d cards, want %d", len(cards), test.cards)
				}
				failure, ok := errors.AsType[*Failure](err)
				switch {
				case test.err == "" && err != nil:
					t.Errorf("error %v", err)
				case test.err != "" && (!ok || failure.Error() != test.err):
					t.Errorf("error %v, want %s", err, test.err)
				}
				if out.String() == "" {
					t.Error("nothing was shown")
				}
			})
		})
	}
}

func TestRunLineCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Out: &paper{}, Actor: me})
		ctx, cancel := context.WithCancel(t.Context())
		h := &desk{act: func(ctx context.Context, _ bot.Inbound) {
			if _, err := c.Post(ctx, c.Where(), bot.Card{Job: 1, Title: "t", Tone: bot.Busy}); err != nil {
				t.Error(err)
			}
			cancel()
		}}
		if _, err := c.RunLine(ctx, h, "/vm install ubuntu"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// A message of an earlier process is not taken for one of ours, though each begins
// to count anew.
func TestRefsOfAnotherProcess(t *testing.T) {
	c := New(Config{Out: io.Discard})
	ours, err := c.Post(t.Context(), c.Where(), bot.Card{Job: 1, Title: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []bot.Ref{bot.Ref(`"ANOTHER/0"`), bot.Ref("0"), bot.Ref("null"), bot.Ref(`"x"`)} {
		if err := c.Edit(t.Context(), ref, bot.Card{Job: 1, Title: "t"}); !errors.Is(err, bot.ErrGone) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := c.Edit(t.Context(), ours, bot.Card{Job: 1, Title: "t"}); err != nil {
		t.Error(err)
	}
	if !json.Valid(ours) {
		t.Errorf("%s can't be stored", ours)
	}
}

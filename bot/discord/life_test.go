package discord_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/provision"
)

func opt(name string, value any) discordfake.Option {
	return discordfake.Option{Name: name, Value: value}
}

// only is the one message of a channel.
func only(t testing.TB, fake *discordfake.Fake, channel string) discordfake.Message {
	t.Helper()
	all := fake.Messages(channel)
	if len(all) != 1 {
		t.Fatalf("%d messages, want one: %+v", len(all), all)
	}
	return all[0]
}

// The card of an install is the answer to its command, and is edited as long
// as the job lives, which is longer than an interaction does.
func TestCardIsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		var ref bot.Ref
		var err error
		h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
			time.Sleep(5 * time.Second)
			if m := only(t, fake, discordfake.Ops); !m.Thinking {
				t.Error("nothing says that the bot is thinking")
			}
			ref, err = d.Post(ctx, in.Where, card(1, "Install ubuntu"))
			if _, err := d.Post(ctx, in.Where, card(2, "Install ubuntu, the second")); err != nil {
				t.Errorf("Post: %v", err)
			}
		}}
		running(t, d, fake, h)
		out, ferr := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install", opt("os", "ubuntu"), opt("cpu", 4), opt("ttl", "7d"))
		if ferr != nil || out.Kind != "deferred" {
			t.Fatalf("%+v, %v", out, ferr)
		}
		if in := h.Last(t); in.Kind != bot.Command || in.Text != "install ubuntu --cpu 4 --ttl 7d" {
			t.Errorf("it came as %s %q", in.Kind, in.Text)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for _, wait := range []time.Duration{time.Minute, 20 * time.Minute, 2 * time.Hour, 48 * time.Hour} {
			time.Sleep(wait)
			if err := d.Edit(t.Context(), ref, card(1, "after "+wait.String())); err != nil {
				t.Errorf("Edit after %v: %v", wait, err)
			}
		}
		all := fake.Messages(discordfake.Ops)
		if len(all) != 2 || !strings.Contains(all[0].Text, "after 48h") {
			t.Errorf("messages: %+v", all)
		}
	})
}

// Edits of old messages have a limit that no header tells: they get slower, and
// each lands.
func TestOldMessagesAreEditedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		ref, err := d.Post(t.Context(), ops, card(1, "fresh"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		for i := range 9 {
			c := card(1, fmt.Sprint("edit-", i))
			var busy *bot.BusyError
			for err = d.Edit(t.Context(), ref, c); errors.As(err, &busy); err = d.Edit(t.Context(), ref, c) {
				time.Sleep(busy.After)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if m := only(t, fake, discordfake.Ops); m.Edits != 9 || !strings.Contains(m.Text, "edit-8") {
			t.Errorf("%d edits, now %q", m.Edits, m.Text)
		}
		for _, c := range fake.Journal("PATCH") {
			if c.Status == 429 {
				t.Error("an edit was too fast")
			}
		}
		// Discord may be narrower than we think.
		fake.Break(discordfake.Fault{Method: "PATCH", Times: 1, Status: 429, Code: 30046, After: 4})
		time.Sleep(time.Minute)
		began := time.Now()
		if err := d.Edit(t.Context(), ref, card(1, "at last")); err != nil || time.Since(began) < 4*time.Second {
			t.Errorf("after 30046: %v, %v", time.Since(began), err)
		}
	})
}

func TestWhispers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
			if strings.HasPrefix(in.Text, "start") {
				time.Sleep(20 * time.Minute) // the token is gone
			}
			if err := d.Whisper(ctx, in, bot.Card{Title: "about " + in.Text}); err != nil {
				t.Errorf("Whisper: %v", err)
			}
		}}
		running(t, d, fake, h)
		for _, tc := range []struct {
			verb string
			opts []discordfake.Option
		}{{"list", nil}, {"install", []discordfake.Option{opt("os", "beos")}}, {"jobs", nil}, {"start", []discordfake.Option{opt("vm", "web-1")}}} {
			if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, tc.verb, tc.opts...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(30 * time.Minute)
		var got []string
		for _, m := range fake.Whispers(discordfake.Alice) {
			got = append(got, m.Text)
		}
		if want := []string{"about list", "about install beos", "about jobs", "about start web-1"}; !slices.Equal(got, want) {
			t.Errorf("whispers: %q, want %q", got, want)
		}
		for _, m := range fake.Messages(discordfake.Ops) {
			// Only a token could take this back, and there is none.
			if !m.Thinking || len(fake.Messages(discordfake.Ops)) > 1 {
				t.Errorf("everybody sees %+v", m)
			}
		}
		if n := len(fake.Whispers(discordfake.Bob)); n != 0 {
			t.Errorf("Bob sees %d whispers", n)
		}
	})
}

// An answer that Discord does not take is given with less in it.
func TestRefusedAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		fake.Forbid(discordfake.Ops, "darn")
		h := &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack { return bot.Ack{Whisper: &bot.Card{Title: "darn"}} }}
		running(t, d, fake, h)
		if _, err := d.Post(t.Context(), ops, card(1, "the title")); err != nil {
			t.Fatal(err)
		}
		if out, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "help"); err != nil || out.Kind != "deferred" {
			t.Errorf("%+v, %v", out, err)
		}
		if out, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, only(t, fake, discordfake.Ops).ID, "Cancel"); err != nil || out.Kind != "later" {
			t.Errorf("%+v, %v", out, err)
		}
		time.Sleep(time.Second)
		got := fake.Whispers(discordfake.Alice)
		if len(got) != 2 || got[0].Text != "Discord does not let me show this answer." || got[1].Text != got[0].Text {
			t.Errorf("%+v", got)
		}
	})
}

// A process that takes over what another left answers by the stored reply.
func TestWhisperAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleepToDiscord()
		l, dial := bottest.Pipe()
		fake := discordfake.New(discordfake.Config{})
		fake.Start(l)
		defer fake.Close()
		make := func() *discord.Discord {
			d, err := discord.New(discord.Config{Token: "fake-token", APIURL: fake.URL(), Dial: dial, Log: logTo()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			return d
		}
		for i, verb := range []string{"list", "reboot"} {
			h := &bottest.Script{}
			h.OnHandle = func(ctx context.Context, _ bot.Inbound) { <-ctx.Done() } // it dies
			first := make()
			stop := running(t, first, fake, h)
			if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, verb); err != nil {
				t.Fatal(err)
			}
			stop()
			if err := make().Whisper(t.Context(), h.Last(t), bot.Card{Title: "sorry " + verb}); err != nil {
				t.Errorf("Whisper: %v", err)
			}
			got := fake.Whispers(discordfake.Alice)
			if len(got) != i+1 || got[i].Text != "sorry "+verb || len(fake.Messages(discordfake.Ops)) != 0 {
				t.Errorf("%s: %+v, all see %+v", verb, got, fake.Messages(discordfake.Ops))
			}
		}
	})
}

// world is a server with one card.
type world struct {
	d    *discord.Discord
	fake *discordfake.Fake
	ref  bot.Ref
	id   string // of the card's message
}

func (w world) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%v", err)
	}
}

func (w world) wantGone(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, bot.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
}

func TestThreads(t *testing.T) {
	final := card(1, "done")
	final.Final = true
	text := func(w world) string {
		var all []string
		for _, m := range only(t, w.fake, discordfake.Ops).Thread {
			all = append(all, m.Text)
		}
		return strings.Join(all, "\n")
	}
	for name, test := range map[string]func(t *testing.T, w world){
		"archived at the end": func(t *testing.T, w world) {
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			w.must(t, w.d.Edit(t.Context(), w.ref, final))
			if m := only(t, w.fake, discordfake.Ops); !m.Archived {
				t.Error("the thread is open after the last word of the card")
			}
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"two"}))
			if m := only(t, w.fake, discordfake.Ops); !m.Archived || text(w) != "one\ntwo" {
				t.Errorf("archived %v, %q", m.Archived, text(w))
			}
		},
		"put away by Discord": func(t *testing.T, w world) {
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			w.fake.Lock(w.id, false)
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"two"}))
			w.fake.Break(discordfake.Fault{Method: "POST", Path: w.id + "/messages", Times: 1, Status: 400, Code: 50083})
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"three"}))
			if text(w) != "one\ntwo\nthree" {
				t.Errorf("%q", text(w))
			}
		},
		"locked": func(t *testing.T, w world) {
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			w.fake.Lock(w.id, true)
			w.wantGone(t, w.d.Say(t.Context(), w.ref, []string{"two"}))
			w.must(t, w.d.Edit(t.Context(), w.ref, card(1, "the card does not need it")))
		},
		"deleted, and made again": func(t *testing.T, w world) {
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			w.fake.DeleteChannel(w.id)
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"two"}))
			if text(w) != "two" {
				t.Errorf("%q", text(w))
			}
		},
		"the card was deleted": func(t *testing.T, w world) {
			w.fake.Delete(discordfake.Ops, w.id)
			w.wantGone(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
		},
		"not allowed": func(t *testing.T, w world) {
			w.fake.Deny(discordfake.Ops, discordfake.CreateThreads)
			w.wantGone(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
		},
		"too many": func(t *testing.T, w world) {
			w.fake.Break(discordfake.Fault{Method: "POST", Path: "/threads", Status: 400, Code: 160006})
			w.wantGone(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
		},
		"there already": func(t *testing.T, w world) {
			w.fake.Break(discordfake.Fault{Method: "POST", Path: w.id + "/messages", Times: 1, Status: 404, Code: 10003})
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			w.fake.Break(discordfake.Fault{Method: "POST", Path: w.id + "/messages", Times: 1, Status: 404, Code: 10003})
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"two"}))
			if text(w) != "one\ntwo" {
				t.Errorf("%q", text(w))
			}
		},
		"words that AutoMod blocks": func(t *testing.T, w world) {
			w.fake.Forbid(discordfake.Ops, "darn")
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"darn"}))
			c := final
			c.Text = "darn it"
			w.must(t, w.d.Edit(t.Context(), w.ref, c))
			if m := only(t, w.fake, discordfake.Ops); !strings.Contains(text(w), "does not let me") || !strings.Contains(m.Text, "Job 1") || len(m.Buttons) != 1 {
				t.Errorf("%q in the thread of %+v", text(w), m)
			}
		},
		"the card stands in a thread": func(t *testing.T, w world) {
			w.must(t, w.d.Say(t.Context(), w.ref, []string{"one"}))
			where := provision.Conversation{Platform: "discord", Channel: w.id}
			inner, err := w.d.Post(t.Context(), where, card(2, "inner"))
			w.must(t, err)
			w.must(t, w.d.Say(t.Context(), inner, []string{"below it"}))
			w.fake.Lock(w.id, false)
			w.must(t, w.d.Edit(t.Context(), inner, card(2, "woken")))
			if !strings.Contains(text(w), "woken") || !strings.Contains(text(w), "below it") {
				t.Errorf("%q", text(w))
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
				ref, err := d.Post(t.Context(), ops, card(1, "the title"))
				if err != nil {
					t.Fatal(err)
				}
				test(t, world{d, fake, ref, only(t, fake, discordfake.Ops).ID})
			})
		})
	}
}

// tardy is a handler whose store takes its time.
type tardy struct {
	mu  sync.Mutex
	did []string
}

func (h *tardy) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.did = append(h.did, what)
}

func (h *tardy) Triage(context.Context, bot.Inbound) bot.Ack {
	time.Sleep(2 * time.Second)
	h.note("triaged")
	return bot.Ack{}
}

func (h *tardy) Handle(context.Context, bot.Inbound) { h.note("handled") }
func (h *tardy) Drop(context.Context, bot.Inbound)   { h.note("dropped") }

// An interaction that died while it was being stored is dropped once it is.
func TestDeadInteractionIsDroppedWhenItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &tardy{}
		stop := running(t, d, fake, h)
		fake.Break(discordfake.Fault{Path: "/callback", Status: 404, Code: 10062})
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install", opt("os", "ubuntu")); !errors.Is(err, discordfake.ErrTimeout) {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		stop()
		if want := []string{"triaged", "dropped"}; !slices.Equal(h.did, want) {
			t.Errorf("it was %q, want %q", h.did, want)
		}
	})
}

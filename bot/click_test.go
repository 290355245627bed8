package bot_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/commands"
	"pvebot/provision"
)

func onlyFor(t *testing.T, who ...string) func(*bot.DeskConfig) {
	p, err := commands.AdminsPolicy(who)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *bot.DeskConfig) { c.Policy = p }
}

func TestDeskPolicy(t *testing.T) {
	inHouse(t, func(h *house) {
		if ack := h.say(bob, "/vm install ubuntu"); ack.Whisper == nil || ack.Whisper.Title != "Not allowed" {
			t.Errorf("ack %+v", ack)
		}
		h.say(bob, "/vm show web-1")
		h.hears(bob, "Not allowed")
		h.say(alice, "/vm install ubuntu")
		h.say(bob, "/vm cancel 1")
		h.hears(bob, "Not allowed")
		h.press(bob, "Cancel")
		h.hears(bob, "Not allowed")
		if h.engine.orders != 1 || h.state(1) != provision.StateQueued {
			t.Errorf("%d orders, job 1 is %s", h.engine.orders, h.state(1))
		}
	}, onlyFor(t, "memory:U1"))
	inHouse(t, func(h *house) { // a policy that nobody wrote denies
		h.say(alice, "/vm list")
		h.hears(alice, "Not allowed")
	}, func(c *bot.DeskConfig) { c.Policy = commands.Policy{} })
}

func TestDeskCancel(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		h.press(bob, "Cancel")
		h.hears(bob, "Job 1 is cancelled.")
		if h.state(1) != provision.StateCancelled || !h.chat.Cards()[0].Final {
			t.Errorf("job 1 is %s", h.state(1))
		}
		h.say(alice, "/vm install ubuntu")
		h.store.add(2, begun...)
		h.say(alice, "/vm cancel 2")
		h.hears(alice, "stops at the next safe place")
		if c := h.chat.Cards()[1]; !strings.Contains(c.Text, "alice cancelled it") {
			t.Errorf("the card says %q", c.Text)
		}
	})
}

func TestDeskParked(t *testing.T) {
	for label, want := range map[string]provision.State{
		"Retry": provision.StateQueued, "Roll back": provision.StateUndoing, "Keep for debugging": provision.StateFailed,
	} {
		inHouse(t, func(h *house) {
			h.say(alice, "/vm install ubuntu")
			h.store.add(1, with(failing, trouble(provision.StateParked))...)
			synctest.Wait()
			c := h.chat.Cards()[0]
			h.press(bob, label)
			h.hears(bob, "As you say")
			if got := h.state(1); got != want {
				t.Errorf("%s: job 1 is %s, want %s", label, got, want)
			}
			for _, b := range c.Buttons { // the old card's buttons, pressed late
				h.send(bot.Inbound{Kind: bot.Click, By: alice, Button: b.ID})
				h.hears(alice, "came too late")
			}
			if got := h.state(1); got != want {
				t.Errorf("%s: a late click made it %s", label, got)
			}
		})
	}
}

// A double click on Retry does not try again what fails a second time.
func TestDeskDoubleRetry(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		h.store.add(1, with(failing, trouble(provision.StateParked))...)
		synctest.Wait()
		retry := h.chat.Cards()[0].Buttons[0].ID
		h.send(bot.Inbound{Kind: bot.Click, By: alice, Button: retry})
		h.store.add(1, state(provision.StateRunning), step(provision.StepStarted, 3, ""),
			step(provision.StepFailed, 3, "again"), trouble(provision.StateParked))
		h.send(bot.Inbound{Kind: bot.Click, By: alice, Button: retry})
		h.hears(alice, "came too late")
		if got := h.state(1); got != provision.StateParked {
			t.Errorf("job 1 is %s", got)
		}
	})
}

func TestDeskVotes(t *testing.T) {
	carol := provision.Actor{Platform: "memory", ID: "U3", Name: "carol"}
	policy := commands.Policy{
		Roles: []commands.Role{
			{Name: "user", People: []commands.Member{{}}, Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}}}},
			{Name: "ops", People: []commands.Member{{Platform: "memory", ID: "U1"}, {Platform: "memory", ID: "U2"}}},
		},
		Approvals: []commands.Approval{{Verbs: []string{"install"}, Of: []string{"ops"}}},
	}
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		if got := h.state(1); got != provision.StateWaiting {
			t.Fatalf("job 1 is %s", got)
		}
		c := h.chat.Cards()[0]
		h.press(alice, "Approve")
		h.hears(alice, "Not allowed", "yourself")
		h.press(carol, "Approve")
		h.hears(carol, "Not allowed", "Only ops")
		if got := h.state(1); got != provision.StateWaiting {
			t.Fatalf("job 1 is %s", got)
		}
		h.press(bob, "Approve")
		h.hears(bob, "Your vote counts")
		if got := h.state(1); got != provision.StateQueued {
			t.Errorf("job 1 is %s", got)
		}
		for _, b := range c.Buttons[:2] { // late: both have an answer, neither counts
			h.send(bot.Inbound{Kind: bot.Click, By: bob, Button: b.ID})
			h.hears(bob, "does not wait for votes")
		}
		h.say(alice, "/vm install ubuntu")
		h.press(bob, "Reject")
		if got := h.state(2); got != provision.StateCancelled {
			t.Errorf("job 2 is %s", got)
		}
	}, func(c *bot.DeskConfig) { c.Policy = policy })
}

// Whatever a button's id says, it is answered and harms nobody.
func TestDeskForgedButtons(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		for _, id := range []string{
			"", "v1", "v1.cancel", "v1.destroy.1.", "v2.cancel.1.", "v1.cancel.-1.", "v1.cancel.1.x.y", "v1.cancel.01.",
			"v1.retry.99999999999999999999.1", "v1.cancel.77.", "v1.retry.1.zzz", "v1.approve.1.zzz", "\x00", strings.Repeat("v1.", 5000),
		} {
			before := len(h.chat.Whispered(bob))
			h.send(bot.Inbound{Kind: bot.Click, By: bob, Button: id})
			if len(h.chat.Whispered(bob)) != before+1 {
				t.Errorf("button %.20q was not answered", id)
			}
		}
		if got := h.state(1); got != provision.StateQueued {
			t.Errorf("job 1 is %s", got)
		}
	})
}

// What was taken and not handled when the bot died is handled when it is back.
func TestDeskRecover(t *testing.T) {
	inHouse(t, func(h *house) {
		put := func(id, line string, at time.Time) {
			in := bot.Inbound{Platform: "memory", ID: id, Kind: bot.Command, By: alice, Where: ops, Text: line, At: at}
			data, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.store.Accept(h.t.Context(), provision.Inbox{Platform: "memory", ID: id, Data: data, At: at}); err != nil {
				t.Fatal(err)
			}
		}
		put("old", "/vm install debian", now().Add(-time.Hour))
		put("fresh", "/vm install ubuntu", now().Add(-time.Minute))
		// This one was submitted and shown, only the last mark is missing.
		h.send(bot.Inbound{ID: "done", Kind: bot.Command, By: alice, Text: "/vm install ubuntu"})
		h.store.set(func(s *memStore) { delete(s.done, "memory/done") })
		if _, err := h.store.Accept(h.t.Context(), provision.Inbox{Platform: "memory", ID: "junk", Data: json.RawMessage(`"?"`), At: now()}); err != nil {
			t.Fatal(err)
		}
		h.stop()
		time.Sleep(time.Second)
		h.open()
		if err := h.desk.Recover(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(h.chat.Cards()); n != 2 {
			t.Errorf("%d cards, want those of done and fresh", n)
		}
		h.hears(alice, "I was away")
		if left, _ := h.store.Unhandled(h.t.Context(), "memory"); len(left) != 0 {
			t.Errorf("left over: %d", len(left))
		}
	})
}

// The chat fails while an order is taken: the job runs, its card comes later.
func TestDeskPostFails(t *testing.T) {
	inHouse(t, func(h *house) {
		h.chat.Deny(func(bottest.Call) error { return errors.New("bad gateway") })
		h.say(alice, "/vm install ubuntu")
		if got := h.state(1); got != provision.StateQueued {
			t.Fatalf("job 1 is %s", got)
		}
		h.chat.Deny(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(h.chat.Cards()); n != 1 {
			t.Errorf("%d cards, want 1", n)
		}
		h.chat.Deny(func(c bottest.Call) error {
			if c.Op == "post" {
				return bot.ErrGone
			}
			return nil
		})
		h.say(alice, "/vm install ubuntu")
		h.hears(alice, "job 2 runs without a message")
	})
}

// Without a store nothing is promised.
func TestDeskStoreDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.store.set(func(s *memStore) { s.fail = errors.New("disk full") })
		ack := h.say(alice, "/vm install ubuntu")
		if ack.Whisper == nil || !strings.Contains(ack.Whisper.Text, "I took none") {
			t.Errorf("ack %+v", ack)
		}
		if h.engine.orders != 0 {
			t.Error("an order was taken")
		}
	})
}

// A secret in a line is neither stored nor shown.
func TestDeskSecret(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu --key '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----'")
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		for _, m := range h.store.inbox {
			if strings.Contains(string(m.Data), "b3Blbn") {
				t.Error("the secret is stored")
			}
		}
		for _, c := range h.chat.Whispered(alice) {
			if strings.Contains(page(c), "b3Blbn") {
				t.Error("the secret is shown")
			}
		}
	})
}

func TestDeskOnFailure(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		job, err := h.store.Job(h.t.Context(), 1)
		if err != nil || job.Order.OnFailure != provision.OnFailureUndo {
			t.Errorf("on failure %q, %v", job.Order.OnFailure, err)
		}
	}, func(c *bot.DeskConfig) {
		c.OnFailure = map[string]provision.OnFailure{"memory": provision.OnFailureUndo}
	})
}

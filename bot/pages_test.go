package bot_test

import (
	"encoding/base32"
	"fmt"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/provision"
)

// leaves is a platform that shows tables three rows at a time.
type leaves struct{ *bottest.Memory }

func (leaves) PageRows() int { return 3 }

// inLeaves runs f in a house on a platform of pages, with seven VMs.
func inLeaves(t *testing.T, f func(*house)) {
	inHouse(t, func(h *house) {
		h.engine.mu.Lock()
		h.engine.vms = nil
		for i := range 7 {
			h.engine.vms = append(h.engine.vms, provision.VM{
				VMRef: provision.VMRef{VMID: 101 + i, Name: fmt.Sprint("vm-", i+1), Node: "pve1"}, Type: "qemu", Status: "running",
			})
		}
		h.engine.mu.Unlock()
		h.stop()
		h.open(func(cfg *bot.DeskConfig) { cfg.Adapters = []bot.Adapter{leaves{h.chat}} })
		f(h)
	})
}

// newest is the last private answer.
func (h *house) newest(by provision.Actor) bot.Card {
	all := h.chat.Whispered(by)
	return all[len(all)-1]
}

func (h *house) turn(by provision.Actor, label string) {
	h.t.Helper()
	for _, b := range h.newest(by).Buttons {
		if b.Label == label {
			h.send(bot.Inbound{Kind: bot.Click, By: by, Button: b.ID})
			return
		}
	}
	h.t.Fatalf("no button %q on %+v", label, h.newest(by))
}

func TestPages(t *testing.T) {
	inLeaves(t, func(h *house) {
		shows := func(instead bool, from, to int, footer string, buttons ...string) {
			h.t.Helper()
			c := h.newest(alice)
			text := page(c)
			for i := 1; i <= 7; i++ {
				if strings.Contains(text, fmt.Sprint("vm-", i)) != (i >= from && i <= to) {
					h.t.Errorf("want vm-%d to vm-%d, got\n%s", from, to, text)
				}
			}
			var labels []string
			for _, b := range c.Buttons {
				labels = append(labels, b.Label)
			}
			if c.Footer != footer || strings.Join(labels, ",") != strings.Join(buttons, ",") || c.Instead != instead {
				h.t.Errorf("footer %q, buttons %q, instead %v", c.Footer, labels, c.Instead)
			}
		}
		h.say(alice, "/vm list")
		shows(false, 1, 3, "7 VMs, page 1 of 3", "Next")
		h.turn(alice, "Next")
		shows(true, 4, 6, "7 VMs, page 2 of 3", "Previous", "Next")
		h.turn(alice, "Next")
		shows(true, 7, 7, "7 VMs, page 3 of 3", "Previous")
		h.turn(alice, "Previous")
		shows(true, 4, 6, "7 VMs, page 2 of 3", "Previous", "Next")

		// A page that is gone is the last one, and no page at all is all.
		h.engine.mu.Lock()
		h.engine.vms = h.engine.vms[:3]
		h.engine.mu.Unlock()
		h.turn(alice, "Next")
		shows(true, 1, 3, "3 VMs")
	})
}

// What a button says is not trusted: it asks, like a line that is typed.
func TestForgedPages(t *testing.T) {
	inLeaves(t, func(h *house) {
		text := base32.StdEncoding.WithPadding(base32.NoPadding)
		for _, id := range []string{
			"p1.1." + text.EncodeToString([]byte("/vm install ubuntu")),
			"p1.1." + text.EncodeToString([]byte("/vm destroy vm-1")),
			"p1.1." + text.EncodeToString([]byte("what?")),
			"p1.0." + text.EncodeToString([]byte("/vm list")),
			"p1.-1." + text.EncodeToString([]byte("/vm list")),
			"p1.01." + text.EncodeToString([]byte("/vm list")),
			"p1.99999999999999999999." + text.EncodeToString([]byte("/vm list")),
			"p1.1.!", "p1.1", "p1",
		} {
			before := len(h.chat.Whispered(bob))
			h.send(bot.Inbound{Kind: bot.Click, By: bob, Button: id})
			if got := h.chat.Whispered(bob); len(got) != before+1 || got[before].Tone != bot.Bad {
				h.t.Errorf("button %.40q was answered with %+v", id, got[before:])
			}
		}
		if jobs, _ := h.store.Jobs(h.t.Context(), provision.Filter{}); len(jobs) != 0 {
			h.t.Errorf("%d jobs were ordered", len(jobs))
		}
	})
}

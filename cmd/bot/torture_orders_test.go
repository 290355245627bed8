package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/cmd/bot/torture"
	"pvebot/provision"
)

// torturePolicy makes some migrations wait for somebody else.
const torturePolicy = `
roles:
  boss: {members: torture/boss, allow: [{verbs: all, scope: all}]}
  dev: {members: torture/dev, allow: [{verbs: all, scope: all}]}
approvals:
  - {verbs: migrate, of: [boss]}
`

var (
	boss = provision.Actor{Platform: torture.Platform, ID: "boss", Name: "boss"}
	dev  = provision.Actor{Platform: torture.Platform, ID: "dev", Name: "dev"}
)

// tortured is an order, and what the world looks like when it is carried out.
type tortured struct {
	id    string
	kind  string
	line  string
	title string           // its card's begins so
	vm    string           // its card names
	guest pvesim.GuestSpec // that is there for it; none when VMID is 0
	after *tortured        // is over before this one is placed
	said  string           // the last message that has the line
	// end is how it is to end; one that is cancelled may be too quick for that.
	end    provision.State
	cancel string // when this step has begun
	// want checks the guest; nil: it is as it was.
	want func(v pvesim.VMState, there bool) bool
}

const diskSize = int64(4) << 30

// ordersOf makes n orders of all kinds. Each has a VM of its own, or one that
// an earlier order made, so that they alone decide what becomes of it.
func ordersOf(n int) []*tortured {
	kinds := []string{
		"install", "reboot", "cancelled install", "set", "migrate", "install", "stop", "start",
		"destroy", "shutdown", "rejected migrate", "live migrate",
	}
	orders := make([]*tortured, n)
	for i := range orders {
		o := &tortured{id: strconv.Itoa(i), kind: kinds[i%len(kinds)], end: provision.StateSucceeded, vm: fmt.Sprintf("g%d", i)}
		orders[i] = o
		o.guest = pvesim.GuestSpec{
			VMID: 300 + i, Node: "pve1", Name: o.vm, Cores: 1, MemoryMB: 128, Disk: diskSize,
			Running: o.kind == "shutdown" || o.kind == "live migrate",
		}
		switch o.kind {
		case "install", "cancelled install":
			o.guest = pvesim.GuestSpec{}
			o.line, o.title = fmt.Sprintf("/vm install ubuntu --name %s --cpu 1 --ram 512M", o.vm), "Install"
			if o.kind != "install" {
				o.end = provision.StateCancelled
				steps := []string{"creating VM", "waiting for ready", "SSH initialization", "importing disk image"}
				o.cancel = steps[i/len(kinds)%len(steps)]
			}
		case "reboot", "stop", "start":
			o.guest, o.after = pvesim.GuestSpec{}, orders[i-1]
			o.vm = o.after.vm
			o.line, o.title = fmt.Sprintf("/vm %s %s", o.kind, o.vm), strings.ToUpper(o.kind[:1])+o.kind[1:]
		case "shutdown":
			o.line, o.title = "/vm shutdown "+o.vm, "Shut down"
			o.want = func(v pvesim.VMState, there bool) bool { return there && !v.Running }
		case "set":
			o.line, o.title = fmt.Sprintf("/vm set %s --cpu 3 --disk +1G", o.vm), "Change"
			o.want = func(v pvesim.VMState, there bool) bool {
				return there && v.Options["cores"] == "3" && strings.Contains(v.Options["scsi0"], "size=5G")
			}
		case "migrate", "rejected migrate", "live migrate":
			o.line, o.title = fmt.Sprintf("/vm migrate %s pve2", o.vm), "Migrate"
			if o.end = provision.StateCancelled; o.kind != "rejected migrate" {
				o.end = provision.StateSucceeded
				o.want = func(v pvesim.VMState, there bool) bool {
					return there && v.Node == "pve2" && v.Running == o.guest.Running
				}
			}
		case "destroy":
			o.line, o.title = "/vm destroy "+o.vm, "Destroy"
			o.want = func(_ pvesim.VMState, there bool) bool { return !there }
		}
	}
	return orders
}

func guestsOf(orders []*tortured) (guests []pvesim.GuestSpec) {
	for _, o := range orders {
		if o.guest.VMID != 0 {
			guests = append(guests, o.guest)
		}
	}
	return guests
}

// over waits until o's card says that it is over; false: ctx ended before.
func (o *tortured) over(ctx context.Context, chat *torture.Chat) bool {
	for {
		cards, changed := chat.Cards()
		for _, c := range cards {
			if c.Final && o.shownBy(c) {
				return true
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// place says the line, as people do who get an answer: when they are told that
// it did not work, they say it again.
func (o *tortured) place(ctx context.Context, t *testing.T, chat *torture.Chat) {
	if o.after != nil && !o.after.over(ctx, chat) {
		return
	}
	for try := 1; ; try++ {
		o.said = fmt.Sprintf("order-%s-%d", o.id, try)
		in := bot.Inbound{ID: o.said, Kind: bot.Command, By: dev, Text: o.line}
		if err := chat.Deliver(ctx, in); err != nil {
			if ctx.Err() == nil {
				t.Errorf("%s: %v", o.line, err)
			}
			return
		}
		why, refused := o.refused(ctx, chat)
		if !refused {
			return
		}
		t.Logf("%s, said for the %d. time: %s", o.line, try, why)
	}
}

// refused waits until what was said last has a card, or was answered in
// private that it did not work, and why.
func (o *tortured) refused(ctx context.Context, chat *torture.Chat) (why string, refused bool) {
	for {
		cards, changed := chat.Cards()
		if slices.ContainsFunc(cards, o.shownBy) {
			return "", false
		}
		for _, a := range chat.Answers() {
			if a.To == o.said && a.Card.Tone == bot.Bad {
				return a.Card.Text, true
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", false
		}
	}
}

// decide plays the people who are asked something: it confirms, approves,
// rejects and cancels as the orders say, until the last has ended.
func decide(ctx context.Context, t *testing.T, chat *torture.Chat, orders []*tortured) {
	asked := map[string]bool{}
	press := func(c bot.Card, o *tortured, by provision.Actor, label string) {
		id := fmt.Sprintf("%s-%s", label, o.id)
		if asked[id] {
			return
		}
		for _, b := range c.Buttons {
			if b.Label == label {
				asked[id] = true
				if err := chat.Deliver(ctx, bot.Inbound{ID: id, Kind: bot.Click, By: by, Button: b.ID}); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		}
	}
	for {
		cards, changed := chat.Cards()
		final := map[provision.JobID]bool{}
		for _, c := range cards {
			o := orderOf(c, orders)
			switch {
			case o == nil:
				t.Errorf("a card of an unknown job: %s", c.Title)
			case c.Final:
				final[c.Job] = true
			case o.kind == "destroy":
				press(c, o, dev, "Destroy")
			case o.kind == "rollback":
				press(c, o, dev, "Roll back")
			case o.kind == "rejected migrate":
				press(c, o, boss, "Reject")
			case strings.Contains(o.kind, "migrate"):
				press(c, o, boss, "Approve")
			case o.cancel != "" && reached(c, o.cancel):
				press(c, o, dev, "Cancel")
			}
		}
		if len(final) == len(orders) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// reached reports whether a card shows that a step was begun.
func reached(c bot.Card, step string) bool {
	i := slices.IndexFunc(c.Steps, func(s bot.CardStep) bool { return s.Title == step })
	return i >= 0 && c.Steps[i].Status != provision.StepPending
}

// orderOf is the order whose card c is.
func orderOf(c bot.Card, orders []*tortured) *tortured {
	i := slices.IndexFunc(orders, func(o *tortured) bool { return o.shownBy(c) })
	if i < 0 {
		return nil
	}
	return orders[i]
}

// shownBy reports whether c is o's card.
func (o *tortured) shownBy(c bot.Card) bool {
	return strings.HasPrefix(c.Title, o.title) && slices.Contains(strings.FieldsFunc(c.Title, func(r rune) bool { return r == ' ' || r == ':' }), o.vm)
}

// leftover compares the cluster with what the orders should have made of it.
func leftover(t *testing.T, sim *pvesim.Sim, store provision.Store, orders []*tortured) {
	t.Helper()
	jobs, err := store.Jobs(t.Context(), provision.Filter{Limit: 10 * len(orders)})
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]provision.Job{}
	made := map[int]provision.Job{} // by VMID
	for _, j := range jobs {
		byKey[j.Order.Key] = j
		if _, ok := j.Order.Spec.(provision.Install); ok && j.State == provision.StateSucceeded {
			made[j.Facts.VMID] = j
		}
	}
	for _, o := range orders {
		j, ok := byKey[torture.Platform+"/"+o.said]
		if !ok || j.State != o.end && !(o.cancel != "" && j.State == provision.StateSucceeded) {
			t.Errorf("%s (%s) ended as %q, want %q: %+v", o.line, o.kind, j.State, o.end, j.Problem)
		}
		if o.guest.VMID == 0 {
			continue
		}
		v, there := sim.VM(o.guest.VMID)
		if o.want == nil {
			o.want = func(v pvesim.VMState, there bool) bool {
				return there && v.Node == o.guest.Node && v.Running == o.guest.Running
			}
		}
		if !o.want(v, there) || v.Lock != "" {
			t.Errorf("%s (%s) left %+v", o.line, o.kind, v)
		}
	}
	for _, v := range sim.VMs() {
		if v.VMID >= 300 {
			continue
		}
		if j, ok := made[v.VMID]; !ok || v.Name != j.Facts.Name || !v.Running {
			t.Errorf("VM %d (%s) is no job's", v.VMID, v.Name)
		}
		delete(made, v.VMID)
	}
	for vmid, j := range made {
		t.Errorf("job %d made VM %d, which is not there", j.ID, vmid)
	}
	for _, v := range sim.Orphans() {
		t.Errorf("%s on %s belongs to no VM", v.ID, v.Node)
	}
}

package bot_test

import (
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// Where two rules want two groups, each has to agree, and card and answers say
// who is still waited for.
func TestTwoGroupsHaveToApprove(t *testing.T) {
	p := siegePolicy()
	p.Roles[1].People = p.Roles[1].People[:1] // carol is ops
	p.Roles = append(p.Roles, commands.Role{Name: "sec", People: []commands.Member{{Platform: dave.Platform, ID: dave.ID}}})
	p.Approvals = append(p.Approvals, commands.Approval{Verbs: []string{"destroy"}, Of: []string{"sec"}, Expires: time.Hour})
	inHouse(t, func(h *house) {
		h.say(alice, "/vm destroy web-2")
		shows := func(words string) {
			t.Helper()
			job, err := h.store.Job(h.t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if text := bot.Show(job, now()).Text; !strings.Contains(text, words) {
				t.Errorf("the card says %q, want %q", text, words)
			}
		}
		shows("Waiting for approval by ops (0 of 1) and by sec (0 of 1): ")
		h.press(bob, "Approve")
		h.hears(bob, "Only ops or sec can decide this")
		h.press(carol, "Approve")
		h.hears(carol, "Your vote counts: job 1 waits for an approval by sec")
		shows("Waiting for approval by sec (0 of 1), ops approved: ")
		h.press(dave, "Approve")
		h.hears(dave, "Your vote counts: job 1 waits for a worker")
		if got := h.state(1); got != provision.StateQueued {
			t.Errorf("job 1 %s", got)
		}
	}, func(c *bot.DeskConfig) { c.Policy = p })
}

// A yes to what is over quota is counted when it is given: what was granted
// meanwhile counts too, and whoever grants it is told what they give.
func TestVoteCountsTheQuotaAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		c := h.limited(commands.Limits{VMs: &one})
		for _, key := range []string{"a", "b"} { // alice has web-1
			if job := h.submit(c, key, oneUbuntu); job.State != provision.StateWaiting {
				t.Fatalf("over quota: %s", job.State)
			}
		}
		h.granted(c, 1, "this brings alice to 2 of 1 VM")
		h.granted(c, 2, "this brings alice to 3 of 1 VM")
		row := h.store.audit[len(h.store.audit)-1]
		if row.Result != "queued: this brings alice to 3 of 1 VM" {
			t.Errorf("the audit says %+v", row)
		}
	})
}

// granted: carol says yes to a job, and it says what she gave.
func (h *house) granted(c *bot.Clerk, id provision.JobID, want string) {
	h.t.Helper()
	job, err := c.Vote(h.t.Context(), bot.Asker{By: carol}, id, true)
	if err != nil {
		h.t.Fatal(err)
	}
	if n := len(job.Votes); n == 0 || job.Votes[n-1].Grants != want {
		h.t.Errorf("job %d: %+v, want %s", id, job.Votes, want)
	}
	if footer := bot.Show(job, now()).Footer; !strings.Contains(footer, "approved by carol ("+want+")") {
		h.t.Errorf("the card says %s", footer)
	}
}

// An order that was within the quota when it was made, and waits for another
// reason, asks again when it is over by the time of the vote.
func TestVoteOnWhatIsOverQuotaByNow(t *testing.T) {
	inHouse(t, func(h *house) {
		two := int64(2)
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		c := h.limited(commands.Limits{VMs: &two})
		p := c.Policy.(commands.Policy)
		p.Approvals = []commands.Approval{{Verbs: []string{"install"}, Of: []string{"ops"}}}
		c.Policy = p
		h.submit(c, "a", oneUbuntu)
		h.engine.set(102, func(vm *provision.VM) { vm.Owner = &alice })
		_, err := c.Vote(h.t.Context(), bot.Asker{By: carol}, 1, true)
		if err == nil || !strings.Contains(err.Error(), "one person may have 2 VMs, and this makes 3") {
			t.Fatalf("the vote: %v", err)
		}
		again, err := h.store.Job(h.t.Context(), 2)
		if err != nil || h.state(1) != provision.StateCancelled || again.State != provision.StateWaiting || !again.Order.Gate.OverQuota {
			t.Fatalf("job 1 %s, job 2 %+v: %v", h.state(1), again.Order.Gate, err)
		}
		h.granted(c, 2, "this brings alice to 3 of 2 VMs")
	})
}

// What was approved once is not approved for ever: a retry that takes more than
// was granted asks anew.
func TestRetryOfWhatWasGranted(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		c := h.limited(commands.Limits{VMs: &one})
		h.submit(c, "a", oneUbuntu)
		h.granted(c, 1, "this brings alice to 2 of 1 VM")
		h.store.add(1, with(failing, trouble(provision.StateParked), decided(provision.StateFailed, "kept as it is by bob"))...)
		retry := func() error {
			_, err := c.Resolve(h.t.Context(), bot.Asker{By: alice, Key: "c"}, 1, provision.Retry)
			return err
		}
		h.engine.set(102, func(vm *provision.VM) { vm.Owner = &alice })
		if err := retry(); provision.KindOf(err) != provision.Denied {
			t.Errorf("alice has 2 of 1 VM by now, and gets a third: %v", err)
		}
		h.engine.set(102, func(vm *provision.VM) { vm.Owner = &bob })
		if err := retry(); err != nil {
			t.Errorf("what was granted is refused: %v", err)
		}
	})
}

// What one person has under several identities counts once, for all of them.
func TestQuotaOfSeveralIdentities(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		c := h.limited(commands.Limits{VMs: &one})
		p := c.Policy.(commands.Policy)
		page := provision.Actor{Platform: "web", ID: "alice"}
		h.engine.set(101, func(vm *provision.VM) { vm.Owner = &page })
		if job := h.submit(c, "a", oneUbuntu); job.State != provision.StateQueued {
			t.Errorf("of two strangers: %s", job.State)
		}
		p.People = []commands.Human{{Name: "alice", As: []provision.Actor{alice, page}}}
		c.Policy = p
		if job := h.submit(c, "b", oneUbuntu); job.State != provision.StateWaiting {
			t.Errorf("of one person: %s", job.State)
		}
	})
}

// What a rollback brings back counts: a VM that was made small to make room for
// another does not grow past the quota by its snapshot.
func TestQuotaCountsWhatARollbackBringsBack(t *testing.T) {
	inHouse(t, func(h *house) {
		eight := int64(8)
		c := h.limited(commands.Limits{Cores: &eight})
		h.engine.set(101, func(vm *provision.VM) { vm.Job, vm.Cores = 77, 1 })
		h.engine.set(102, func(vm *provision.VM) { vm.Owner, vm.Cores = &alice, 7 })
		h.engine.then = provision.Size{Cores: 8, MemoryMB: 2048, DiskMB: 16384}
		job := h.submit(c, "a", commands.Rollback{VM: "web-1", Name: "clean"})
		if g := job.Order.Gate; g == nil || !g.OverQuota || g.Reason != "one person may have 8 cores, and this makes 15" {
			t.Fatalf("the gate is %+v", g)
		}
		h.granted(c, job.ID, "this brings alice to 15 of 8 cores")
		// While it is done it counts.
		if job := h.submit(c, "b", commands.Set{VM: "web-2", Cores: 8}); job.Order.Gate == nil || job.Order.Gate.Reason != "one person may have 8 cores, and this makes 16" {
			t.Errorf("the gate is %+v", job.Order.Gate)
		}
		programs := bot.Asker{By: alice, Key: "c", Sure: true}
		d, err := c.OrderOf(h.t.Context(), programs, provision.Rollback{VM: provision.VMRef{VMID: 101, UUID: "uuid-101"}, Name: "clean", Size: provision.Size{Cores: 1}}, "rollback")
		if err != nil || d.Order.Gate == nil || !d.Order.Gate.OverQuota {
			t.Errorf("a program's rollback: %+v, %v", d.Order.Gate, err)
		}
	})
}

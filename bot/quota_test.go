package bot_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// limited is a clerk whose policy gives a person so much; ops may give more.
func (h *house) limited(person commands.Limits) *bot.Clerk {
	p := siegePolicy()
	p.Quotas = commands.Quotas{Person: person, Over: commands.Approval{Of: []string{"ops"}}}
	return &bot.Clerk{Engine: h.engine, Store: h.store, Policy: p}
}

// draft is an order of alice's for one VM.
func (h *house) draft(c *bot.Clerk, key string, req commands.Request) bot.Draft {
	h.t.Helper()
	d, err := c.Orders(h.t.Context(), bot.Asker{By: alice, Key: key}, req)
	if err != nil {
		h.t.Fatal(err)
	}
	return d[0]
}

// submit hands such an order in.
func (h *house) submit(c *bot.Clerk, key string, req commands.Request) provision.Job {
	h.t.Helper()
	job, err := c.Submit(h.t.Context(), h.draft(c, key, req))
	if err != nil {
		h.t.Fatal(err)
	}
	return job
}

var oneUbuntu = commands.Install{Spec: provision.Install{OS: "ubuntu"}, Count: 1}

// Of two orders that came at once, one is over quota.
func TestQuotaOfOrdersAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		c := h.limited(commands.Limits{VMs: &one})
		h.engine.set(101, func(vm *provision.VM) { vm.Owner = nil })
		var runs atomic.Int64
		var all sync.WaitGroup
		for _, d := range []bot.Draft{h.draft(c, "a", oneUbuntu), h.draft(c, "b", oneUbuntu), h.draft(c, "c", oneUbuntu)} {
			all.Go(func() {
				job, err := c.Submit(h.t.Context(), d)
				if err != nil {
					t.Error(err)
				}
				if job.State == provision.StateQueued {
					runs.Add(1)
				}
			})
		}
		all.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("%d VMs are being made, and one person may have 1", n)
		}
	})
}

// A bot that died while it counted holds up others for a moment, and costs no
// order.
func TestQuotaCountedByTheDead(t *testing.T) {
	inHouse(t, func(h *house) {
		if mine, err := h.store.Lead(h.t.Context(), "quota/", "dead", 5*time.Second); err != nil || !mine {
			t.Fatal(mine, err)
		}
		began := time.Now()
		h.say(alice, "/vm install ubuntu")
		ordered := func() int {
			jobs, err := h.store.Jobs(h.t.Context(), provision.Filter{})
			if err != nil {
				t.Error(err)
			}
			return len(jobs)
		}
		if ordered() != 0 {
			t.Error("somebody counts, and it was ordered")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if ordered() != 1 {
			t.Errorf("no order %v later: %s", time.Since(began), h.heard(alice))
		}
	}, func(c *bot.DeskConfig) { c.Policy = quotaPolicy() })
}

// A job that is tried again takes what it took before: it counts for quotas.
func TestRetryMindsQuotas(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		c := h.limited(commands.Limits{VMs: &one})
		h.engine.set(101, func(vm *provision.VM) { vm.Owner = nil })
		failed := h.submit(c, "a", oneUbuntu)
		h.store.add(failed.ID, with(failing, trouble(provision.StateParked), decided(provision.StateFailed, "kept as it is by bob"))...)
		if job := h.submit(c, "b", oneUbuntu); job.State != provision.StateQueued {
			t.Fatalf("the first one is gone, and job %d is %s", job.ID, job.State)
		}
		job, err := c.Resolve(h.t.Context(), bot.Asker{By: alice, Key: "c"}, failed.ID, provision.Retry)
		if err == nil {
			t.Errorf("job %d is %s: alice gets a second VM", job.ID, job.State)
		}
	})
}

// What VMs will have when their jobs are done counts already.
func TestQuotaCountsWhatIsOnItsWay(t *testing.T) {
	inHouse(t, func(h *house) {
		six := int64(6)
		c := h.limited(commands.Limits{Cores: &six})
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		h.engine.set(102, func(vm *provision.VM) { vm.Owner, vm.Cores = &alice, 2 })
		h.engine.set(103, func(vm *provision.VM) { vm.Cores = 2 })
		if state := h.submit(c, "a", commands.Set{VM: "web-1", Cores: 4}).State; state != provision.StateQueued {
			t.Errorf("6 of 6 cores: %s", state)
		}
		for key, req := range map[string]commands.Request{"b": commands.Set{VM: "web-2", Cores: 3}, "c": commands.Adopt{VM: "103"}} {
			if state := h.submit(c, key, req).State; state != provision.StateWaiting {
				t.Errorf("%s: more than 6 cores are %s", req.Verb(), state)
			}
		}
	})
}

package bot_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// Of two orders that came at once, one is over quota.
func TestQuotaOfOrdersAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		one := int64(1)
		p := siegePolicy()
		p.Quotas = commands.Quotas{Person: commands.Limits{VMs: &one}, Over: commands.Approval{Of: []string{"ops"}}}
		h.engine.set(101, func(vm *provision.VM) { vm.Owner = nil })
		c := &bot.Clerk{Engine: h.engine, Store: h.store, Policy: p}
		order := func(key string) []bot.Draft {
			d, err := c.Orders(h.t.Context(), bot.Asker{By: alice, Key: key}, commands.Install{Spec: provision.Install{OS: "ubuntu"}, Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		var runs atomic.Int64
		var all sync.WaitGroup
		for _, d := range slices.Concat(order("a"), order("b"), order("c")) {
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
		p := siegePolicy()
		p.Quotas = commands.Quotas{Person: commands.Limits{VMs: &one}, Over: commands.Approval{Of: []string{"ops"}}}
		h.engine.set(101, func(vm *provision.VM) { vm.Owner = nil })
		c := &bot.Clerk{Engine: h.engine, Store: h.store, Policy: p}
		order := func(key string) provision.Job {
			d, err := c.Orders(h.t.Context(), bot.Asker{By: alice, Key: key}, commands.Install{Spec: provision.Install{OS: "ubuntu"}, Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			job, err := c.Submit(h.t.Context(), d[0])
			if err != nil {
				t.Fatal(err)
			}
			return job
		}
		failed := order("a")
		h.store.add(failed.ID, with(failing, trouble(provision.StateParked), decided(provision.StateFailed, "kept as it is by bob"))...)
		if job := order("b"); job.State != provision.StateQueued {
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
		p := siegePolicy()
		p.Quotas = commands.Quotas{Person: commands.Limits{Cores: &six}, Over: commands.Approval{Of: []string{"ops"}}}
		c := &bot.Clerk{Engine: h.engine, Store: h.store, Policy: p}
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		h.engine.set(102, func(vm *provision.VM) { vm.Owner, vm.Cores = &alice, 2 })
		h.engine.set(103, func(vm *provision.VM) { vm.Cores = 2 })
		order := func(key string, req commands.Request) provision.State {
			d, err := c.Orders(h.t.Context(), bot.Asker{By: alice, Key: key}, req)
			if err != nil {
				t.Fatal(err)
			}
			job, err := c.Submit(h.t.Context(), d[0])
			if err != nil {
				t.Fatal(err)
			}
			return job.State
		}
		if state := order("a", commands.Set{VM: "web-1", Cores: 4}); state != provision.StateQueued {
			t.Errorf("6 of 6 cores: %s", state)
		}
		for key, req := range map[string]commands.Request{"b": commands.Set{VM: "web-2", Cores: 3}, "c": commands.Adopt{VM: "103"}} {
			if state := order(key, req); state != provision.StateWaiting {
				t.Errorf("%s: more than 6 cores are %s", req.Verb(), state)
			}
		}
	})
}

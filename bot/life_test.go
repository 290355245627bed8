package bot_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// job is the newest one.
func (h *house) job() provision.Job {
	h.t.Helper()
	jobs, err := h.store.Jobs(h.t.Context(), provision.Filter{})
	if err != nil || len(jobs) == 0 {
		h.t.Fatalf("no job, %v", err)
	}
	return jobs[0]
}

func TestDeskVerbs(t *testing.T) {
	const day = 24 * time.Hour
	web1, web2, twin := fleet()[0].VMRef, fleet()[1].VMRef, fleet()[2].VMRef
	for line, want := range map[string]provision.Spec{
		"/vm start web-2":                                provision.Power{Do: "start", VM: web2},
		"/vm stop WEB-1":                                 provision.Power{Do: "stop", VM: web1},
		"/vm shutdown 101":                               provision.Power{Do: "shutdown", VM: web1},
		"/vm reboot web-1":                               provision.Power{Do: "reboot", VM: web1},
		"/vm destroy web-1":                              provision.Destroy{VM: web1, Volumes: []string{"local-lvm:vm-101-disk-0"}},
		"/vm destroy web-1 --detached":                   provision.Destroy{VM: web1, Detached: true, Volumes: []string{"local-lvm:vm-101-disk-0"}},
		"/vm set web-1 --cpu 4 --ram 8G --disk +20G":     provision.Set{VM: web1, Cores: 4, MemoryMB: 8192, GrowMB: 20480},
		"/vm migrate web-1 pve1 --online":                provision.Migrate{VM: web1, To: "pve1", Mode: "online", Digest: "migratepve2"},
		"/vm migrate web-1 pve1 --storage local-lvm":     provision.Migrate{VM: web1, To: "pve1", Storage: "local-lvm", Digest: "migratepve2"},
		"/vm snapshot web-1 before-upgrade":              provision.Snapshot{VM: web1, Name: "before-upgrade"},
		"/vm rollback web-1 before-upgrade":              provision.Rollback{VM: web1, Name: "before-upgrade"},
		"/vm clone web-1 web-9":                          provision.Clone{VM: web1, Name: "web-9"},
		"/vm extend web-1 7d":                            provision.Extend{VM: web1, Until: die.Add(7 * day)},
		"/vm adopt 103":                                  provision.Adopt{VM: twin},
		"/vm drain pve3":                                 provision.Drain{Node: "pve3", Moves: []provision.Migrate{{VM: fleet()[3].VMRef, To: "pve2"}}},
		"/vm install ubuntu --ttl 7d --name scratch":     provision.Install{OS: "ubuntu", Version: "24.04", Name: "scratch", Cores: 2, MemoryMB: 2048, DiskMB: 16384, TTL: 7 * day},
		"<@UBOT> vm install ubuntu \u2014cpu 4 --id 190": provision.Install{OS: "ubuntu", Version: "24.04", Cores: 4, MemoryMB: 2048, DiskMB: 16384, VMID: 190},
	} {
		inHouse(t, func(h *house) {
			h.say(alice, line)
			job := h.job()
			if d := cmp.Diff(want, job.Order.Spec); d != "" {
				t.Errorf("%s: %s", line, d)
			}
			if job.Order.Key != "memory/i1" || !job.Order.By.Same(alice) || !strings.HasPrefix(job.Order.Text, "/vm ") {
				t.Errorf("%s: order %+v", line, job.Order)
			}
			confirm := map[string]bool{"destroy": true, "rollback": true, "drain": true}[want.Kind()]
			if waits := job.State == provision.StateWaiting; waits != confirm {
				t.Errorf("%s: waits %v, want %v", line, waits, confirm)
			}
			if len(h.chat.Cards()) != 1 {
				t.Errorf("%s: %d cards", line, len(h.chat.Cards()))
			}
		})
	}
}

// What can't be ordered is refused, and nothing is.
func TestDeskVerbsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"/vm start web-9":                         "There is no VM web-9",
		"/vm destroy twin":                        "2 VMs are called twin: 103 on pve1, 104 on pve3",
		"/vm destroy box":                         "105 is a container",
		"/vm extend web-2 7d":                     "web-2 (VM 102) has no end of life",
		"/vm drain pve9":                          "There is nothing to move away",
		"/vm can @U2 cancel web-1":                "is no job's number",
		"/vm can @U2 destroy web-9":               "There is no VM web-9",
		"/vm install windows --dry-run":           "There is no image of windows",
		"/vm destroy web-9 --dry-run":             "There is no VM web-9",
		"/vm destroy 101;reboot":                  "VM wants a VM's name or id",
		"/vm rollback web-1 $(reboot)":            "NAME wants a snapshot's name",
		"/vm set web-1 --disk 20G":                "--disk grows by a size with a plus",
		"/vm migrate web-1 pve2 --live --offline": "exclude each other",
	} {
		inHouse(t, func(h *house) {
			h.say(alice, line)
			h.hears(alice, want)
			if h.engine.orders != 0 {
				t.Errorf("%s: ordered", line)
			}
		})
	}
}

// Destroying is confirmed, on a card that says what goes.
func TestDeskConfirm(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm destroy web-1")
		golden(t, "card/confirm", page(h.chat.Cards()[0]))
		h.press(alice, "Never mind")
		if got := h.state(1); got != provision.StateCancelled {
			t.Errorf("job 1 is %s", got)
		}
		h.say(alice, "/vm destroy web-1")
		h.press(alice, "Destroy")
		if got := h.state(2); got != provision.StateQueued {
			t.Errorf("job 2 is %s", got)
		}
	})
}

// What is missing is asked for in a form, whose switches are choices.
func TestDeskVerbForm(t *testing.T) {
	inHouse(t, func(h *house) {
		ack := h.say(alice, "/vm migrate web-1 --online")
		if ack.Form == nil || ack.Form.ID != "migrate" {
			t.Fatalf("ack %+v, want a form", ack)
		}
		for _, f := range ack.Form.Fields {
			switch f.Name {
			case "node":
				if !f.Required {
					t.Errorf("field %+v", f)
				}
			case "online":
				if f.Value != "true" || len(f.Options) != 2 {
					t.Errorf("field %+v", f)
				}
			}
		}
		h.send(bot.Inbound{Kind: bot.Submit, By: alice, Form: "migrate", Fields: map[string]string{"vm": "web-1", "node": "pve1", "online": "true", "offline": "false", "dry-run": "false"}})
		if got := h.job().Order.Spec.(provision.Migrate); got.To != "pve1" || got.Mode != "online" {
			t.Errorf("ordered %+v", got)
		}
	})
}

// quotaPolicy gives everybody two VMs and 12G of memory; who wants more asks
// ops.
func quotaPolicy() commands.Policy {
	p := siegePolicy()
	two, memory := int64(2), int64(12<<10)
	p.Quotas = commands.Quotas{Person: commands.Limits{VMs: &two, MemoryMB: &memory}, Over: commands.Approval{Of: []string{"ops"}}}
	return p
}

func TestDeskQuotas(t *testing.T) {
	inHouse(t, func(h *house) { // alice has web-1 with 2G, which no job here made
		h.engine.set(101, func(vm *provision.VM) { vm.Job = 77 })
		waits := func(line string, want string) {
			t.Helper()
			before := h.engine.orders
			h.say(alice, line)
			if h.engine.orders == before {
				t.Fatalf("%s: refused: %s", line, h.heard(alice))
			}
			job := h.job()
			got := ""
			if job.Order.Gate != nil {
				got = job.Order.Gate.Reason
			}
			if !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: waits because %q, want %q", line, got, want)
			}
		}
		waits("/vm install ubuntu --count 2", "this makes 3")
		if jobs := []provision.State{h.state(1), h.state(2)}; jobs[0] != provision.StateQueued || jobs[1] != provision.StateWaiting {
			t.Errorf("the first fits, the second does not: %v", jobs)
		}
		// Job 1 is not a VM yet, and counts.
		waits("/vm install ubuntu", "this makes 3")
		waits("/vm clone web-1", "this makes 3")
		ends := func() { h.store.add(h.job().ID, with(begun, state(provision.StateSucceeded))...) }
		waits("/vm set web-1 --ram 4G", "")
		ends()
		waits("/vm set web-1 --ram 14G", "this makes 16G")
		waits("/vm set web-1 --cpu 64", "") // there is no quota of cores
		ends()
		waits("/vm adopt 103", "this makes 3")
		// bob's VM counts as bob's, whoever changes it.
		waits("/vm set web-2 --ram 12G", "")
		ends()
		waits("/vm set web-2 --ram 13G", "this makes 13G")
	}, func(c *bot.DeskConfig) { c.Policy = quotaPolicy() })
}

// A drain is about other people's VMs unless all are one's own.
func TestDeskDrain(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm drain pve1") // web-2 is bob's, 103 nobody's
		gate := h.job().Order.Gate
		if gate == nil || len(gate.Of) != 1 || gate.Of[0] != "ops" {
			t.Errorf("gate %+v, want one for ops", gate)
		}
		golden(t, "card/approval", page(h.chat.Cards()[0]))
		h.say(alice, "/vm drain pve2") // web-1 is alice's
		if gate := h.job().Order.Gate; gate == nil || len(gate.Of) != 0 {
			t.Errorf("gate %+v, want her own confirmation", gate)
		}
	}, func(c *bot.DeskConfig) { c.Policy = siegePolicy() })
}

// Who may touch their own VMs may not touch others', and strangers learn
// nothing.
func TestDeskOwnership(t *testing.T) {
	policy := commands.Policy{Roles: []commands.Role{{
		Name: "dev", People: []commands.Member{{Platform: "memory", ID: "U1"}, {Platform: "memory", ID: "U2"}},
		Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}}},
	}}}
	inHouse(t, func(h *house) {
		for _, line := range []string{"start", "stop", "reboot", "shutdown", "destroy", "snapshot", "clone", "adopt", "snapshots", "show", "destroy --dry-run", "set --cpu 2", "migrate --node pve3", "extend --time 7d", "rollback --name clean"} {
			verb, flags, _ := strings.Cut(line, " ")
			h.say(bob, "/vm "+verb+" web-1 "+flags)
			h.hears(bob, "Not allowed", "only what is yours", "belongs to alice")
			h.say(bob, "/vm "+verb+" 103 "+flags)
			h.hears(bob, "Not allowed", "belongs to nobody")
			for _, vm := range []string{"web-1", "web-9"} { // there or not, a stranger is told the same
				h.say(dave, "/vm "+verb+" "+vm+" "+flags)
				h.hears(dave, "Not allowed", "You have no role here")
			}
		}
		h.say(bob, "/vm drain pve1")
		h.hears(bob, "Not allowed")
		h.say(bob, "/vm audit")
		if got := h.heard(bob); !strings.Contains(got, "Audit: memory/U2") || strings.Contains(got, "dave") {
			t.Errorf("bob sees what is not his: %s", got)
		}
		h.say(bob, "/vm audit web-1")
		h.hears(bob, "Not allowed")
		if h.engine.orders != 0 {
			t.Errorf("%d orders", h.engine.orders)
		}
		h.say(bob, "/vm start web-2")
		if h.engine.orders != 1 {
			t.Errorf("bob can't start his own VM: %s", h.heard(bob))
		}
	}, func(c *bot.DeskConfig) { c.Policy = policy })
}

func TestDeskCan(t *testing.T) {
	inHouse(t, func(h *house) {
		for name, line := range map[string]string{
			"yes": "/vm can @U1 start web-2", "gate": "/vm can <@U1> destroy web-2", "self": "/vm can @U2 migrate web-1 --node pve1",
			"no": "/vm can slack/U9 drain --node pve1", "job": "/vm can @U1 cancel 1", "install": "/vm can @U1 install",
		} {
			if name == "job" {
				h.say(bob, "/vm start web-2")
			}
			h.say(bob, line)
			golden(t, "answer/can-"+name, h.heard(bob))
		}
	}, func(c *bot.DeskConfig) {
		p := siegePolicy()
		p.Roles[0].People = []commands.Member{{Platform: "memory"}}
		c.Policy = p
	})
}

func TestDeskAudit(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm audit")
		h.hears(alice, "Nothing is written down.")
		h.say(alice, "/vm destroy web-2")
		h.press(alice, "Approve")
		h.press(carol, "Approve")
		h.say(bob, "/vm cancel 1")
		h.say(dave, "/vm start web-1")
		h.store.add(2, with(failing, trouble(provision.StateParked))...)
		synctest.Wait()
		h.press(dave, "Keep for debugging")
		h.say(provision.Actor{Platform: "slack", ID: "U1", Name: "alice"}, "/vm destroy web-1")
		h.say(alice, "/vm audit")
		golden(t, "answer/audit", h.heard(alice))
		h.say(alice, "/vm audit web-1")
		golden(t, "answer/audit-vm", h.heard(alice))
		h.say(alice, "/vm audit <@U3|carol>")
		golden(t, "answer/audit-person", h.heard(alice))
		h.say(alice, "/vm audit 999")
		h.hears(alice, "Nothing is written down.")
	}, func(c *bot.DeskConfig) {
		p := siegePolicy()
		p.Roles[0].People = []commands.Member{{Platform: "memory"}}
		c.Policy = p
	})
}

// A reminder's button gives the VM a week more, once.
func TestDeskExtend(t *testing.T) {
	remind := provision.Order{
		Key: "system/remind", By: provision.Actor{Platform: "system", ID: "lifetime", Name: "the bot"}, Where: ops,
		Spec: provision.Remind{VM: fleet()[0].VMRef, Until: die},
	}
	inHouse(t, func(h *house) {
		h.store.submit(remind, recipe...)
		h.store.add(1, state(provision.StateRunning), state(provision.StateSucceeded))
		if err := h.store.SetCard(h.t.Context(), provision.CardRef{Job: 1, Platform: "memory", Ref: []byte("null")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		card := h.chat.Cards()[0]
		golden(t, "card/reminder", page(card))
		click := func() { h.send(bot.Inbound{Kind: bot.Click, By: alice, Button: card.Buttons[0].ID}) }
		click()
		h.hears(alice, "lives 7 days longer")
		if got := h.job().Order.Spec; got != (provision.Extend{VM: fleet()[0].VMRef, Until: die.Add(7 * 24 * time.Hour)}) {
			t.Errorf("ordered %+v", got)
		}
		h.engine.set(101, func(vm *provision.VM) { vm.Until = die.Add(7 * 24 * time.Hour) })
		click()
		h.hears(alice, "done already", "until 2000-01-11")
		h.engine.set(101, func(vm *provision.VM) { vm.UUID, vm.Name = "another", "db" })
		click()
		h.hears(alice, "another one by now: db")
		if h.engine.orders != 1 {
			t.Errorf("%d orders", h.engine.orders)
		}
	})
	inHouse(t, func(h *house) { // somebody else's click
		h.store.submit(remind, recipe...)
		h.store.add(1, state(provision.StateRunning), state(provision.StateSucceeded))
		h.send(bot.Inbound{Kind: bot.Click, By: bob, Button: "v1.extend.1."})
		h.hears(bob, "Not allowed")
		if h.engine.orders != 0 {
			t.Error("ordered")
		}
	}, func(c *bot.DeskConfig) {
		p := siegePolicy()
		p.Roles[0].Allow[0].Scope = commands.ScopeOwn
		c.Policy = p
	})
}

// One job per VM: who comes second is told of the first.
func TestBusyVM(t *testing.T) {
	s := newSiege(t)
	s.say(alice, "/vm start web-1")
	s.say(bob, "/vm reboot web-1")
	told := s.chat.Whispered(bob)
	if got := page(told[len(told)-1]); !strings.Contains(got, "Job 1 is busy with this VM.") || !strings.Contains(got, "/vm cancel 1") {
		t.Errorf("bob is told: %s", got)
	}
	if got := s.running(); !slices.Equal(got, []provision.JobID{1}) {
		t.Errorf("jobs %v can run", got)
	}
}

// What the bot ordered by itself belongs to the VM's owner.
func TestDeskOwnersOfSystemJobs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.store.submit(provision.Order{
			Key: "system/stop", By: provision.Actor{Platform: "system", ID: "lifetime"}, Where: ops,
			Spec: provision.Power{Do: "stop", VM: fleet()[0].VMRef},
		}, recipe...)
		h.say(bob, "/vm cancel 1")
		h.hears(bob, "Not allowed", "belongs to alice")
		h.say(alice, "/vm cancel 1")
		h.hears(alice, "Job 1 is cancelled")
	}, func(c *bot.DeskConfig) {
		p := siegePolicy()
		p.Roles[0].Allow[0].Scope = commands.ScopeOwn
		c.Policy = p
	})
}

// The cards of all kinds of jobs, done and failed.
func TestShowSpecs(t *testing.T) {
	web1 := fleet()[0].VMRef
	result := func(text string) []provision.Event {
		return with(begun, step(provision.StepDone, 3, text), state(provision.StateSucceeded))
	}
	for name, job := range map[string]provision.Job{
		"destroyed":   tale(t, ordered(provision.Destroy{VM: web1}), result("VM 101 is gone, with 2 volumes")...),
		"migrated":    tale(t, ordered(provision.Migrate{VM: web1, To: "pve1"}), result("web-1 (VM 101) is on pve1")...),
		"changed":     tale(t, ordered(provision.Set{VM: web1, Cores: 1, GrowMB: 20480}), result("")...),
		"cloned":      tale(t, ordered(provision.Clone{VM: web1, Name: "web-9"}), result("")...),
		"rolled back": tale(t, ordered(provision.Rollback{VM: web1, Name: "clean"}), with(failing, trouble(provision.StateParked))...),
	} {
		golden(t, "card/"+strings.ReplaceAll(name, " ", "-"), page(bot.Show(job, born.Add(90*time.Second))))
	}
	for _, spec := range []provision.Spec{
		provision.Power{Do: "start", VM: web1},
		provision.Snapshot{VM: web1},
		provision.Extend{VM: web1, Until: born},
		provision.Adopt{VM: web1},
		provision.Drain{Node: "pve1"},
		provision.Remind{VM: web1, Until: born},
	} {
		if c := bot.Show(tale(t, ordered(spec)), born); c.Title == "" || c.Text == "" || !strings.ContainsAny(c.Title, " ") {
			t.Errorf("%s: %q: %q", spec.Kind(), c.Title, c.Text)
		}
	}
}

func ordered(spec provision.Spec) provision.Order {
	o := order()
	o.Spec = spec
	return o
}

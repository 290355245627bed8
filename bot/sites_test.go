package bot_test

import (
	"slices"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// inTwo runs f in a house of two clusters, taipei and berlin, whose VMs have
// the same numbers. The channel is about channel, "" about none.
func inTwo(t *testing.T, channel string, f func(h *house, taipei, berlin *memEngine), change ...func(*bot.DeskConfig)) {
	t.Helper()
	var taipei, berlin *memEngine
	inHouse(t, func(h *house) { f(h, taipei, berlin) }, func(c *bot.DeskConfig) {
		taipei = c.Engine.(*memEngine)
		berlin = newEngine(taipei.s)
		berlin.set(101, func(vm *provision.VM) { vm.Name, vm.UUID, vm.Node, vm.Owner = "db-1", "uuid-b", "bnode", &alice })
		c.Engine, c.Inventory = nil, nil
		c.Sites = bot.Sites{{Name: "taipei", Engine: taipei, Inventory: inventory{}}, {Name: "berlin", Engine: berlin, Inventory: inventory{}}}
		if channel != "" {
			c.Channels = map[provision.Conversation]string{ops: channel}
		}
		for _, change := range change {
			change(c)
		}
	})
}

func (h *house) order(id provision.JobID) provision.Order {
	h.t.Helper()
	job, err := h.store.Job(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return job.Order
}

func TestSitesAreTold(t *testing.T) {
	inTwo(t, "", func(h *house, taipei, berlin *memEngine) {
		h.say(alice, "/vm install ubuntu")
		h.say(alice, "/vm stop db-1 --cluster berlin")
		if a, b := h.order(1), h.order(2); a.Cluster != "taipei" || a.Text != "/vm install ubuntu --cluster taipei" ||
			b.Cluster != "berlin" || b.Text != "/vm stop db-1 --cluster berlin" || b.Spec.(provision.Power).VM.UUID != "uuid-b" {
			t.Errorf("orders %+v and %+v", a, b)
		}
		if taipei.orders != 1 || berlin.orders != 1 {
			t.Errorf("%d orders in taipei, %d in berlin", taipei.orders, berlin.orders)
		}
		if card := h.chat.Cards()[1]; !strings.HasSuffix(card.Footer, "asked by alice, in berlin") {
			t.Errorf("the card says %q", card.Footer)
		}
		h.say(alice, "/vm jobs")
		h.hears(alice, "cluster", "taipei", "berlin")
		h.say(alice, "/vm show 101 --cluster berlin")
		h.hears(alice, "db-1 (VMID 101) in berlin", "bnode")
		h.say(alice, "/vm show 101")
		h.hears(alice, "web-1 (VMID 101) in taipei")
		h.say(alice, "/vm help stop")
		h.hears(alice, "taipei, berlin", "--cluster")
		h.say(alice, "/vm stop web-1 --cluster tokyo")
		h.hears(alice, "There is no cluster tokyo; I know taipei, berlin")
		if taipei.orders != 1 || berlin.orders != 1 {
			t.Errorf("a cluster that is not there: %d and %d orders", taipei.orders, berlin.orders)
		}
	})
}

func TestSiteOfChannel(t *testing.T) {
	inTwo(t, "berlin", func(h *house, taipei, berlin *memEngine) {
		h.say(alice, "/vm stop db-1")
		h.say(alice, "/vm stop web-1 --cluster taipei")
		if a, b := h.order(1), h.order(2); a.Cluster != "berlin" || b.Cluster != "taipei" {
			t.Errorf("orders in %s and %s", a.Cluster, b.Cluster)
		}
		ack := h.say(alice, "/vm install")
		if ack.Form == nil {
			t.Fatalf("no form but %+v", ack)
		}
		i := slices.IndexFunc(ack.Form.Fields, func(f bot.FormField) bool { return f.Name == "cluster" })
		if i < 0 || ack.Form.Fields[i].Value != "berlin" || len(ack.Form.Fields[i].Options) != 2 {
			t.Errorf("the form asks %+v", ack.Form.Fields)
		}
		h.send(bot.Inbound{Kind: bot.Submit, By: alice, Form: "install", Fields: map[string]string{"os": "ubuntu", "cluster": "taipei"}})
		if o := h.order(3); o.Cluster != "taipei" {
			t.Errorf("the form orders in %s", o.Cluster)
		}
		berlin.down = provision.Errorf(provision.Unavailable, "nobody works for cluster berlin at the moment")
		h.say(alice, "/vm list")
		h.hears(alice, "Nobody works for cluster berlin at the moment.")
	})
}

// TestSiteOfJob: what somebody says to a job is about the job's cluster,
// wherever they say it.
func TestSiteOfJob(t *testing.T) {
	inTwo(t, "", func(h *house, taipei, berlin *memEngine) {
		h.say(alice, "/vm destroy db-1 --cluster berlin") // which she has to confirm
		taipei.down = provision.Errorf(provision.Unavailable, "taipei was asked")
		h.press(alice, "Destroy")
		if s := h.state(1); s != provision.StateQueued {
			t.Errorf("the job is %s: %s", s, h.heard(alice))
		}
		h.say(alice, "/vm cancel 1")
		if s := h.state(1); s != provision.StateCancelled {
			t.Errorf("the job is %s: %s", s, h.heard(alice))
		}
	})
}

func TestSitesComplete(t *testing.T) {
	inTwo(t, "", func(h *house, _, _ *memEngine) {
		for line, want := range map[string]string{
			"/vm show web-1 --cl":          "/vm show web-1 --cluster",
			"/vm show web-1 --cluster b":   "/vm show web-1 --cluster berlin",
			"/vm drain --cluster berlin p": "/vm drain --cluster berlin pve1",
		} {
			ack := h.send(bot.Inbound{Kind: bot.Complete, By: alice, Text: line})
			if len(ack.Choices) == 0 || ack.Choices[0].Value != want {
				t.Errorf("%s: %+v", line, ack.Choices)
			}
		}
	})
}

// TestPolicyOfSites: who may do something in one cluster may not in another.
func TestPolicyOfSites(t *testing.T) {
	inTwo(t, "", func(h *house, taipei, berlin *memEngine) {
		h.say(alice, "/vm stop db-1 --cluster berlin")
		h.hears(alice, "Not allowed", "You may stop in cluster taipei only")
		h.say(alice, "/vm list --cluster berlin")
		h.hears(alice, "You may list in cluster taipei only")
		h.say(alice, "/vm stop web-1")
		if taipei.orders != 1 || berlin.orders != 0 {
			t.Errorf("%d orders in taipei, %d in berlin", taipei.orders, berlin.orders)
		}
	}, func(c *bot.DeskConfig) {
		p := commands.DemoPolicy()
		p.Roles[0].Allow[0].Clusters = []string{"taipei"}
		c.Policy = p
	})
}

// TestRenamedSite: the only cluster may be given another name; its past and its
// jobs stay within reach.
func TestRenamedSite(t *testing.T) {
	inHouse(t, func(h *house) {
		o := order()
		o.Cluster = "pve"
		job := h.store.submit(o, recipe...)
		h.say(alice, "/vm cancel "+job.ID.String())
		if s := h.state(job.ID); s != provision.StateCancelled {
			t.Errorf("the job is %s: %s", s, h.heard(alice))
		}
		h.say(alice, "/vm audit")
		h.hears(alice, "cancelled")
	}, func(c *bot.DeskConfig) {
		c.Sites = bot.Sites{{Name: "taipei", Engine: c.Engine, Inventory: c.Inventory}}
	})
}

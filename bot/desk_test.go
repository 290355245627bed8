package bot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

func TestDeskInstall(t *testing.T) {
	inHouse(t, func(h *house) {
		if ack := h.say(alice, "/vm install ubuntu --name web-1"); ack.Whisper != nil || ack.Form != nil {
			t.Errorf("ack %+v", ack)
		}
		job, err := h.store.Job(h.t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		o := job.Order
		want := provision.Install{OS: "ubuntu", Version: "24.04", Name: "web-1", Cores: 2, MemoryMB: 2048, DiskMB: 16384}
		if o.Spec != want {
			t.Errorf("spec %+v, want %+v", o.Spec, want)
		}
		if o.Key != "memory/i1" || !o.By.Same(alice) || o.Where != ops || o.OnFailure != provision.OnFailureAsk || o.Gate != nil || o.Text != "/vm install ubuntu --name web-1" {
			t.Errorf("order %+v", o)
		}
		if ref := h.store.card("memory", 1); len(ref.Ref) == 0 || ref.Shown != 1 {
			t.Errorf("the card's ref is not stored: %+v", ref)
		}
		if cards := h.chat.Cards(); len(cards) != 1 || cards[0].Title != "Install ubuntu 24.04: web-1" {
			t.Errorf("cards %+v", cards)
		}
		install(h.store, 1)
		synctest.Wait()
		if !h.chat.Cards()[0].Final {
			t.Error("the card is not followed")
		}
	})
}

// A password is made when somebody asks for one: they alone see it, once, and
// only its hash goes on.
func TestDeskPassword(t *testing.T) {
	inHouse(t, func(h *house) {
		line := bot.Inbound{Kind: bot.Command, ID: "i1", By: alice, Text: "/vm install ubuntu --name web-1 --password"}
		h.send(line)
		told := h.chat.Whispered(alice)
		if len(told) != 1 || told[0].Title != "Password" {
			t.Fatalf("told %+v", told)
		}
		word, _, _ := strings.Cut(told[0].Text, "\n")
		job, err := h.store.Job(h.t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		hash := string(job.Order.Spec.(provision.Install).PasswordHash)
		if digest, err := shacrypt.Decode(hash); err != nil || !digest.Match(word) {
			t.Errorf("%q does not match %s: %v", word, hash, err)
		}
		if len(word) != 19 || job.Order.Text != "/vm install ubuntu --name web-1 --password" {
			t.Errorf("password %q, text %q", word, job.Order.Text)
		}
		if text := fmt.Sprintf("%+v %+v", h.chat.Cards(), job); strings.Contains(text, word) {
			t.Error("the password is where others see it")
		}
		line.Platform, line.Where, line.At = "memory", ops, now()
		h.desk.Handle(h.t.Context(), line) // a replay
		synctest.Wait()
		for _, c := range h.chat.Whispered(alice)[1:] {
			if c.Title == "Password" {
				t.Errorf("a password that is not the VM's: %+v", c)
			}
		}
	})
}

func TestDeskInstallMany(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu --name web --count 3")
		var keys, names []string
		for id := provision.JobID(1); id <= 3; id++ {
			job, err := h.store.Job(h.t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			keys, names = append(keys, job.Order.Key), append(names, job.Order.Spec.(provision.Install).Name)
		}
		if want := []string{"memory/i1/1", "memory/i1/2", "memory/i1/3"}; !slices.Equal(keys, want) {
			t.Errorf("keys %q", keys)
		}
		if want := []string{"web-1", "web-2", "web-3"}; !slices.Equal(names, want) {
			t.Errorf("names %q", names)
		}
		if n := len(h.chat.Cards()); n != 3 {
			t.Errorf("%d cards", n)
		}
		// One that can't be is refused before the first is ordered.
		h.engine.prepare = func(s provision.Install) error {
			if s.Several != nil && s.Several.Count == 3 { // they are planned together
				return provision.Errorf(provision.Full, "no address is left")
			}
			return nil
		}
		h.say(alice, "/vm install ubuntu --name db --count 3")
		h.hears(alice, "No address is left.")
		if h.engine.orders != 3 {
			t.Errorf("%d orders", h.engine.orders)
		}
	})
}

// An interaction that is delivered again, at once or later or while the first
// is handled, has no second effect.
func TestDeskDuplicates(t *testing.T) {
	inHouse(t, func(h *house) {
		in := bot.Inbound{ID: "same", Kind: bot.Command, By: alice, Text: "/vm install ubuntu"}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				in := in
				in.Platform, in.Where = "memory", ops
				if _, err := h.chat.Send(h.t.Context(), in); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		time.Sleep(time.Hour)
		h.send(in)
		if h.engine.orders != 1 || len(h.chat.Cards()) != 1 {
			t.Errorf("%d orders and %d cards of one interaction", h.engine.orders, len(h.chat.Cards()))
		}
		help := bot.Inbound{ID: "help", Kind: bot.Command, By: alice, Text: "/vm help"}
		if first, second := h.send(help), h.send(help); first.Whisper == nil || second.Whisper != nil {
			t.Errorf("acks %+v and %+v", first, second)
		}
		h.desk.Handle(h.t.Context(), bot.Inbound{Platform: "memory", ID: "never triaged", Kind: bot.Command, By: alice, Text: "/vm install ubuntu"})
		if h.engine.orders != 1 {
			t.Error("what was never triaged was handled")
		}
	})
}

// slowInbox takes its time for each interaction.
type slowInbox struct {
	bot.Store
	takes time.Duration
}

func (s slowInbox) Accept(ctx context.Context, m provision.Inbox) (bool, error) {
	select {
	case <-time.After(s.takes):
		return s.Store.Accept(ctx, m)
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// A disk that stands still for a moment costs no order; a store that can't be
// written takes none, and says so.
func TestDeskSlowStore(t *testing.T) {
	for takes, orders := range map[time.Duration]int{3 * time.Second: 1, time.Minute: 0} {
		inHouse(t, func(h *house) {
			h.say(alice, "/vm install ubuntu")
			if h.engine.orders != orders {
				t.Errorf("with a store that takes %v there are %d orders", takes, h.engine.orders)
			}
			if orders == 0 {
				h.hears(alice, "I can't remember orders at the moment")
			}
		}, func(c *bot.DeskConfig) { c.Store = slowInbox{c.Store, takes} })
	}
}

// fullInbox is a store without room.
type fullInbox struct{ bot.Store }

func (fullInbox) Accept(context.Context, provision.Inbox) (bool, error) {
	return false, &provision.Error{Kind: provision.Unavailable, Say: "the bot can't store anything: the disk is full", Try: "make room", Err: errors.New("SQLITE_FULL")}
}

// Why no order is taken is told in words, with what helps, and without the
// cause, which is the operator's.
func TestDeskTellsWhyNothingIsStored(t *testing.T) {
	inHouse(t, func(h *house) {
		ack := h.send(bot.Inbound{ID: "full", Kind: bot.Command, By: alice, Text: "/vm install ubuntu"})
		card := ack.Whisper
		if card == nil || !strings.Contains(card.Text, "the disk is full") || len(card.Fields) != 1 || card.Fields[0].Value != "make room" {
			t.Fatalf("answered with %+v", card)
		}
		if strings.Contains(fmt.Sprintf("%+v", card), "SQLITE") || h.engine.orders != 0 {
			t.Errorf("%+v, with %d orders", card, h.engine.orders)
		}
	}, func(c *bot.DeskConfig) { c.Store = fullInbox{c.Store} })
}

// A defect of ours is answered, and ends neither this bot nor, finding what was
// left behind, the next one.
func TestDeskDefects(t *testing.T) {
	inHouse(t, func(h *house) {
		const sorry = "I made a mistake"
		defect := true
		h.engine.prepare = func(provision.Install) error {
			if defect {
				panic("a defect")
			}
			return nil
		}
		h.say(alice, "/vm install ubuntu")
		h.hears(alice, sorry)
		in := bot.Inbound{Platform: "memory", ID: "left", Kind: bot.Command, By: bob, Where: ops, Text: "/vm install ubuntu", At: now()}
		h.desk.Triage(h.t.Context(), in)
		h.stop()
		time.Sleep(time.Second)
		h.open()
		if err := h.desk.Recover(h.t.Context()); err != nil {
			t.Error(err)
		}
		h.hears(bob, sorry)
		if left, err := h.store.Unhandled(h.t.Context(), "memory"); err != nil || len(left) != 0 {
			t.Errorf("%d interactions are left over, %v", len(left), err)
		}
		defect = false
		h.say(alice, "/vm install ubuntu")
		if h.engine.orders != 1 {
			t.Errorf("%d orders", h.engine.orders)
		}
	})
	inHouse(t, func(h *house) {
		for _, in := range []bot.Inbound{{Kind: bot.Command, Text: "/vm install"}, {Kind: bot.Complete, Text: "/vm install u"}} {
			in.By = alice
			if ack := h.send(in); in.Kind == bot.Command && ack.Whisper == nil {
				t.Errorf("%+v is answered with %+v", in, ack)
			}
		}
	}, func(c *bot.DeskConfig) { c.Inventory = nil })
}

func TestDeskAnswers(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu --name web-1")
		h.store.add(1, with(begun, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
		for name, line := range map[string]string{
			"list": "/vm list", "show": "/vm show web-1", "show by id": "/vm show 102", "ambiguous": "/vm show twin",
			"unknown vm": "/vm show web-9", "container": "/vm show box", "show orphan": "/vm show 103", "snapshots": "/vm snapshots web-1",
			"no snapshots": "/vm snapshots web-2", "plan": "/vm destroy web-1 --dry-run", "plan install": "/vm install ubuntu --dry-run", "nodes": "/vm nodes", "images": "/vm images",
			"jobs": "/vm jobs", "wrong flag": "/vm install ubuntu --cpu lots",
			"wrong verb": "/vm frobnicate web-1", "unknown os": "/vm install windows", "unknown job": "/vm cancel 99", "late cancel": "/vm cancel 1",
		} {
			h.say(alice, line)
			golden(t, "answer/"+strings.ReplaceAll(name, " ", "-"), h.heard(alice))
		}
		// The words of help are the grammar's; here it only has to be a card.
		h.say(alice, "/vm help")
		h.hears(alice, "/vm install OS", "/vm list", "For example:")
		h.say(alice, "/vm help install")
		h.hears(alice, "--cpu N", "--ram SIZE", "/vm install ubuntu")
		if n := len(h.chat.Cards()); n != 1 {
			t.Errorf("%d messages for all to see", n)
		}
		if left, err := h.store.Unhandled(h.t.Context(), "memory"); err != nil || len(left) != 0 {
			t.Errorf("%d interactions are left over, %v", len(left), err)
		}
	})
}

func TestDeskClusterDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm list")
		h.hears(alice, "No node answers.", "try")
		h.say(alice, "/vm nodes")
		h.hears(alice, "No node answers.")
	}, func(c *bot.DeskConfig) {
		down := &provision.Error{Kind: provision.Unavailable, Say: "no node answers", Try: "bot doctor"}
		c.Inventory = inventory{err: down}
		c.Engine.(*memEngine).down = down
	})
	inHouse(t, func(h *house) { // our own fault is not told in detail
		h.say(alice, "/vm list")
		if got := h.heard(alice); strings.Contains(got, "secret") || !strings.Contains(got, "its log says what") {
			t.Errorf("answer: %s", got)
		}
	}, func(c *bot.DeskConfig) { c.Engine.(*memEngine).down = errors.New("secret detail") })
}

// halfKnown is an inventory where pve2 does not say what its CPU can do.
type halfKnown struct{ inventory }

func (i halfKnown) Baselines(context.Context) ([]cluster.Baseline, error) {
	return []cluster.Baseline{{Type: "x86-64-v4", Nodes: []cluster.NodeCPU{{Node: "pve1", Type: "x86-64-v4"}}}}, nil
}

func TestNodeWithoutBaseline(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm nodes")
		h.hears(alice, "New VMs have the CPU type x86-64-v4.", "pve2 does not say what its CPU can do: it gets no new VMs.")
		if strings.Contains(h.heard(alice), "pve3 does not say") {
			t.Error("a node that is offline is told to be silent")
		}
	}, func(c *bot.DeskConfig) { c.Inventory = halfKnown{} })
}

// darkNode is an inventory of which the bot does not reach pve3.
type darkNode struct{ inventory }

func (d darkNode) Resources(ctx context.Context) (cluster.Resources, error) {
	r, err := d.inventory.Resources(ctx)
	r.Nodes[2].Failing = "connection refused at 192.0.2.3:22"
	return r, err
}

func TestNodeThatIsNotReached(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(alice, "/vm nodes")
		h.hears(alice, "The bot does not reach pve3: connection refused at 192.0.2.3:22.")
	}, func(c *bot.DeskConfig) { c.Inventory = darkNode{} })
}

func TestDeskForm(t *testing.T) {
	inHouse(t, func(h *house) {
		ack := h.say(alice, "/vm install")
		if ack.Form == nil || ack.Form.ID != "install" {
			t.Fatalf("ack %+v, want a form", ack)
		}
		byName := map[string]bot.FormField{}
		for _, f := range ack.Form.Fields {
			byName[f.Name] = f
		}
		if os := byName["os"]; !os.Required || len(os.Options) != 2 || os.Options[0] != (bot.Choice{Label: "Debian", Value: "debian"}) {
			t.Errorf("field os: %+v", os)
		}
		for _, name := range []string{"version", "name", "cpu", "ram", "disk", "node", "count"} {
			if f, ok := byName[name]; !ok || f.Required || f.Label == "" || f.Hint == "" {
				t.Errorf("field %s: %+v", name, f)
			}
		}
		ack = h.send(bot.Inbound{Kind: bot.Submit, By: alice, Form: "install", Fields: map[string]string{"os": "ubuntu", "cpu": "lots"}})
		if len(ack.Errors) != 1 || ack.Errors["cpu"] == "" {
			t.Errorf("ack %+v, want an error beside cpu", ack)
		}
		h.send(bot.Inbound{Kind: bot.Submit, By: alice, Form: "install", Fields: map[string]string{"os": "ubuntu", "cpu": "4", "name": "web-1"}})
		job, err := h.store.Job(h.t.Context(), 1)
		if err != nil || job.Order.Spec.(provision.Install).Cores != 4 {
			t.Errorf("job %+v, %v", job, err)
		}
	})
}

// drowsy is an inventory that answers until it is dark.
type drowsy struct {
	inventory
	dark *atomic.Bool
}

func (i drowsy) Images(ctx context.Context) ([]provision.Image, error) {
	if i.dark.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return i.inventory.Images(ctx)
}

func (i drowsy) Resources(ctx context.Context) (cluster.Resources, error) {
	if i.dark.Load() || ctx.Err() != nil {
		<-ctx.Done()
		return cluster.Resources{}, ctx.Err()
	}
	return i.inventory.Resources(ctx)
}

// impatient is a store that has nothing for whose time is over.
type impatient struct{ bot.Store }

func (s impatient) Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Store.Jobs(ctx, f)
}

// Who types while the cluster says nothing is offered what it said last, and the
// jobs, which are not the cluster's.
func TestDeskChoicesInTheDark(t *testing.T) {
	var dark atomic.Bool
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		for _, now := range []bool{false, true} {
			dark.Store(now)
			for line, want := range map[string]string{"/vm show we": "web-1", "/vm install ubu": "ubuntu", "/vm cancel ": "1"} {
				ack := h.send(bot.Inbound{Kind: bot.Complete, By: alice, Text: line})
				if len(ack.Choices) == 0 || !strings.Contains(ack.Choices[0].Value, want) {
					t.Errorf("dark %v, %q: %+v", now, line, ack.Choices)
				}
			}
		}
	}, func(c *bot.DeskConfig) {
		c.Store, c.Inventory = impatient{c.Store}, drowsy{dark: &dark}
	})
}

func TestDeskChoices(t *testing.T) {
	inHouse(t, func(h *house) {
		ack := h.send(bot.Inbound{Kind: bot.Complete, By: alice, Text: "/vm install ubu"})
		if len(ack.Choices) == 0 || !strings.Contains(ack.Choices[0].Value, "ubuntu") {
			t.Errorf("choices %+v", ack.Choices)
		}
		if left, _ := h.store.Unhandled(h.t.Context(), "memory"); len(left) != 0 {
			t.Error("typing is stored")
		}
	})
}

package bot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// frozen is a store that one desk does not reach while it is on.
type frozen struct {
	*memStore
	on atomic.Bool
}

func (f *frozen) Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error) {
	if f.on.Load() {
		return false, errors.New("no answer")
	}
	return f.memStore.Lead(ctx, role, owner, ttl)
}

// run runs a desk until stop is called.
func run(t *testing.T, d *bot.Desk) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// Of two bots on one store, neither does what the other one is at; what a dead
// one left, the living one does, within a lease and 2 s. What is handled by
// then is not handled again by one that was only frozen.
func TestTwoDesksOneInbox(t *testing.T) {
	const lease = 4 * time.Second
	for name, tt := range map[string]struct {
		lease   time.Duration // 0: the default
		within  time.Duration
		freezes bool
	}{
		"dies":                   {lease, lease + 2*time.Second, false},
		"dies, with other terms": {0, 12 * time.Second, false},
		"freezes":                {lease, lease + 2*time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newStore()
				engine := newEngine(store)
				chat := bottest.NewMemory("memory", bot.Pace{})
				desk := func(s bot.Store) *bot.Desk {
					return bot.NewDesk(bot.DeskConfig{
						Store: s, Engine: engine, Inventory: inventory{}, Policy: commands.DemoPolicy(),
						Adapters: []bot.Adapter{chat}, Lease: tt.lease,
					})
				}
				in := bot.Inbound{Platform: "memory", ID: "1", Kind: bot.Command, By: alice, Where: ops, Text: "/vm install ubuntu", At: now()}

				cold := &frozen{memStore: store}
				one := desk(cold)
				stopOne := run(t, one)
				if ack := one.Triage(t.Context(), in); ack.Whisper != nil {
					t.Fatalf("refused: %+v", ack)
				}
				time.Sleep(time.Second)
				stopTwo := run(t, desk(store))
				time.Sleep(10 * time.Minute)
				if n := len(chat.Cards()); n != 0 {
					t.Fatalf("%d cards, while the first bot has not handled it yet", n)
				}
				in.ID, in.Text = "2", "/vm install debian"
				one.Triage(t.Context(), in)
				if tt.freezes {
					cold.on.Store(true)
				} else {
					stopOne()
				}
				time.Sleep(tt.within)
				if n := len(chat.Cards()); n != 2 {
					t.Errorf("%d cards, want the two that the second bot took up", n)
				}
				audited := len(store.audit)
				one.Handle(t.Context(), in)
				if len(store.audit) != audited {
					t.Errorf("the first bot handled it too: %+v", store.audit[audited:])
				}
				if tt.freezes {
					cold.on.Store(false)
					time.Sleep(time.Minute)
					in.ID = "3"
					one.Triage(t.Context(), in)
					one.Handle(t.Context(), in)
					if n := len(chat.Cards()); n != 3 {
						t.Errorf("%d cards: the first bot is awake again and does not work", n)
					}
					stopOne()
				}
				stopTwo()
			})
		})
	}
}

// A bot that dies after it has ordered, before it can show that, leaves a job
// that may be over when the next one looks: the order could not be given any
// more, but its card is owed.
func TestRecoverShowsWhatWasOrdered(t *testing.T) {
	inHouse(t, func(h *house) {
		in := bot.Inbound{Platform: "memory", ID: "1", Kind: bot.Command, By: alice, Where: ops, Text: "/vm install ubuntu", At: now()}
		h.desk.Triage(h.t.Context(), in)
		job, err := h.engine.Submit(h.t.Context(), provision.Order{
			Key: "memory/1", By: alice, Where: ops, Spec: provision.Install{OS: "ubuntu", Version: "24.04"},
		})
		if err != nil {
			h.t.Fatal(err)
		}
		h.stop()
		h.engine.prepare = func(provision.Install) error { return provision.Errorf(provision.Conflict, "done already") }
		time.Sleep(time.Second)
		h.open()
		if err := h.desk.Recover(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
		if cards := h.chat.Cards(); len(cards) != 1 || cards[0].Job != job.ID {
			h.t.Errorf("the cards are %+v, want one of job %d", cards, job.ID)
		}
	})
}

// Who was shown a failure does not get what they asked for after a restart.
func TestDroppedIsNotDone(t *testing.T) {
	inHouse(t, func(h *house) {
		in := bot.Inbound{Platform: "memory", ID: "1", Kind: bot.Command, By: alice, Where: ops, Text: "/vm install ubuntu", At: now()}
		h.desk.Triage(h.t.Context(), in)
		h.desk.Drop(h.t.Context(), in)
		h.desk.Handle(h.t.Context(), in)
		h.stop()
		time.Sleep(time.Second)
		h.open()
		if err := h.desk.Recover(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
		if n := len(h.chat.Cards()); n != 0 {
			h.t.Errorf("%d cards", n)
		}
	})
}

// dark is the engine of a cluster that does not answer.
type dark struct {
	*memEngine
	asked, at, most atomic.Int32 // looks for a VM: all, those under way, and at most
}

func (d *dark) FindVM(ctx context.Context, _ string) (provision.VM, error) {
	d.asked.Add(1)
	if n := d.at.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	defer d.at.Add(-1)
	if err := (cluster.SystemClock{}).Sleep(ctx, time.Minute); err != nil {
		return provision.VM{}, err
	}
	return provision.VM{}, provision.Errorf(provision.Unavailable, "no node answers")
}

// What was left for a cluster that does not answer holds up neither what was
// left for another one nor, for long, what is left later.
func TestRecoverPastADarkCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		taipei, berlin := &dark{memEngine: newEngine(s)}, newEngine(s)
		chat := bottest.NewMemory("memory", bot.Pace{})
		leave := func(id, seat, line string) {
			data, err := json.Marshal(struct {
				bot.Inbound
				Seat string `json:"seat,omitempty"`
			}{bot.Inbound{Platform: "memory", ID: id, Kind: bot.Command, By: alice, Where: ops, Text: line, At: now()}, seat})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Accept(t.Context(), provision.Inbox{Platform: "memory", ID: id, Data: data, At: now()}); err != nil {
				t.Fatal(err)
			}
		}
		orders := func() int {
			jobs, _ := s.Jobs(t.Context(), provision.Filter{Cluster: "berlin"})
			return len(jobs)
		}
		const rows = 19
		for i := range rows {
			leave(fmt.Sprint(i), "one", "/vm show web-1 --cluster taipei")
		}
		leave("last", "one", "/vm install ubuntu --cluster berlin")
		leave("other", "two", "/vm install debian --cluster berlin")
		time.Sleep(time.Second)
		stop := run(t, bot.NewDesk(bot.DeskConfig{
			Store: s, Policy: commands.DemoPolicy(), Adapters: []bot.Adapter{chat},
			Sites: bot.Sites{{Name: "taipei", Engine: taipei, Inventory: inventory{}}, {Name: "berlin", Engine: berlin, Inventory: inventory{}}},
		}))
		defer stop()
		time.Sleep(10 * time.Second)
		if n := orders(); n != 2 {
			t.Errorf("%d of 2 orders for berlin were given", n)
		}
		leave("later", "three", "/vm install ubuntu --name later --cluster berlin")
		time.Sleep(4 * time.Minute)
		if orders() != 3 {
			t.Error("what was left later waits for all that was left before")
		}
		time.Sleep(6 * time.Minute)
		if left, _ := s.Unhandled(t.Context(), "memory"); len(left) != 0 {
			t.Errorf("left over: %d", len(left))
		}
		if n := taipei.asked.Load(); n != rows {
			t.Errorf("the cluster that does not answer was asked %d times for %d rows", n, rows)
		}
		if n := taipei.most.Load(); n > 4 {
			t.Errorf("it was asked %d times at once", n)
		}
	})
}

// roster is a platform on which people have the roles that it says now.
type roster struct {
	*bottest.Memory
	roles map[string][]string
	err   error
}

func (r *roster) RolesOf(_ context.Context, who provision.Actor, _ provision.Conversation) ([]string, error) {
	return r.roles[who.ID], r.err
}

// A role counts when somebody decides, not when their click set out.
func TestRolesAreAskedAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		now  []string
		err  error
		want provision.State
	}{
		"has it":        {[]string{"memory:ops"}, nil, provision.StateQueued},
		"lost it":       {nil, nil, provision.StateWaiting},
		"can't be told": {[]string{"memory:ops"}, errors.New("no answer"), provision.StateWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.stop()
				policy := siegePolicy()
				policy.Roles[1].People, policy.Roles[1].Groups = nil, []string{"memory:ops"}
				place := &roster{h.chat, map[string][]string{bob.ID: tt.now}, tt.err}
				h.open(func(cfg *bot.DeskConfig) { cfg.Policy, cfg.Adapters = policy, []bot.Adapter{place} })
				defer func() { h.stop() }()
				h.say(alice, "/vm destroy web-2")
				cards := h.chat.Cards()
				for _, b := range cards[len(cards)-1].Buttons {
					if b.Label == "Approve" {
						h.send(bot.Inbound{Kind: bot.Click, By: bob, Button: b.ID, Roles: []string{"memory:ops"}})
					}
				}
				if got := h.state(1); got != tt.want {
					t.Errorf("job 1 is %s, want %s; bob is told %s", got, tt.want, strings.TrimSpace(fmt.Sprint(h.heard(bob))))
				}
			})
		})
	}
}

package bot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

var (
	carol = provision.Actor{Platform: "memory", ID: "U3", Name: "carol"}
	dave  = provision.Actor{Platform: "memory", ID: "U4", Name: "dave"}
)

// handClock is moved by hand.
type handClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *handClock) Sleep(ctx context.Context, _ time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// siege is a desk on a real store, attacked. Nothing in it is concurrent.
type siege struct {
	t      *testing.T
	dir    string
	clock  *handClock
	policy commands.Policy
	chat   *bottest.Memory
	store  *sqlstore.Store
	engine *storeEngine
	desk   *bot.Desk
	n      int
}

// siegePolicy: everybody may everything, carol and dave are ops, and what is
// done to other people's VMs needs one of them.
func siegePolicy() commands.Policy {
	person := func(a provision.Actor) commands.Member { return commands.Member{Platform: a.Platform, ID: a.ID} }
	return commands.Policy{
		Roles: []commands.Role{
			{Name: "user", People: []commands.Member{{}}, Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}}},
			{Name: "ops", People: []commands.Member{person(carol), person(dave)}},
		},
		Approvals: []commands.Approval{{Verbs: []string{"destroy", "migrate", "drain"}, Scope: commands.ScopeOthers, Need: 1, Of: []string{"ops"}, Expires: time.Hour}},
	}
}

func newSiege(t *testing.T) *siege {
	s := &siege{
		t: t, dir: t.TempDir(), clock: &handClock{t: born}, policy: siegePolicy(),
		chat:   bottest.NewMemory("memory", bot.Pace{}),
		engine: &storeEngine{memEngine: memEngine{vms: fleet()}},
	}
	s.open()
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *siege) open() {
	s.t.Helper()
	store, err := sqlstore.Open(s.t.Context(), "sqlite:"+s.dir, sqlstore.Options{Clock: s.clock})
	if err != nil {
		s.t.Fatal(err)
	}
	s.store, s.engine.store = store, store
	s.desk = bot.NewDesk(bot.DeskConfig{
		Store: store, Engine: s.engine, Inventory: inventory{}, Policy: s.policy,
		Adapters: []bot.Adapter{s.chat}, Clock: s.clock,
	})
}

// restart ends the bot and starts it again, with what is stored.
func (s *siege) restart() {
	s.t.Helper()
	if err := s.store.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

func (s *siege) send(in bot.Inbound) {
	s.n++
	in.Platform, in.Where, in.At = "memory", ops, s.clock.Now()
	if in.ID == "" {
		in.ID = fmt.Sprint("i", s.n)
	}
	if ack := s.desk.Triage(s.t.Context(), in); ack.Whisper != nil {
		if err := s.chat.Whisper(s.t.Context(), in, *ack.Whisper); err != nil {
			s.t.Fatal(err)
		}
	}
	s.desk.Handle(s.t.Context(), in)
}

func (s *siege) say(by provision.Actor, line string) {
	s.send(bot.Inbound{Kind: bot.Command, By: by, Text: line})
}

func (s *siege) press(by provision.Actor, button string) {
	s.send(bot.Inbound{Kind: bot.Click, By: by, Button: button})
}

// button is the id of a button of the card that was posted as the i-th.
func (s *siege) button(i int, label string) string {
	s.t.Helper()
	cards := s.chat.Cards()
	if i >= len(cards) {
		s.t.Fatalf("%d cards, want one more", len(cards))
	}
	for _, b := range cards[i].Buttons {
		if b.Label == label {
			return b.ID
		}
	}
	s.t.Fatalf("no button %s on %+v", label, cards[i])
	return ""
}

// others: alice wants bob's VM destroyed, which needs an approval.
func (s *siege) others() (approve string) {
	s.say(alice, "/vm destroy web-2")
	return s.button(0, "Approve")
}

// own: alice wants her own VM destroyed, which she confirms.
func (s *siege) own() (confirm string) {
	s.say(alice, "/vm destroy web-1")
	return s.button(0, "Destroy")
}

// ownOnly lets people do what they do to what is theirs only.
func (s *siege) ownOnly() {
	s.policy.Roles[0].Allow[0].Scope = commands.ScopeOwn
	s.restart()
}

// failed: alice's VM did not start. What can be pressed then is on the newest
// card of the job.
func (s *siege) failed() {
	s.t.Helper()
	s.say(alice, "/vm stop web-1")
	lease, err := s.store.Claim(s.t.Context(), "worker", provision.Wanted{Cluster: "pve"})
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.store.Append(s.t.Context(), lease, provision.Event{
		Kind: provision.JobState, State: provision.StateParked, Err: &provision.Problem{Kind: provision.Failed, Say: "it does not stop"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// choice is the id of a button as the newest card of job 1 has it.
func (s *siege) choice(label string) string {
	s.t.Helper()
	job, err := s.store.Job(s.t.Context(), 1)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range bot.Show(job, s.clock.Now()).Buttons {
		if b.Label == label {
			return b.ID
		}
	}
	s.t.Fatalf("no button %s on a job that is %s", label, job.State)
	return ""
}

// running are the jobs that a worker would find to do.
func (s *siege) running() []provision.JobID {
	s.t.Helper()
	var found []provision.JobID
	for {
		lease, err := s.store.Claim(s.t.Context(), "worker", provision.Wanted{Cluster: "pve"})
		if errors.Is(err, provision.ErrNothing) {
			return found
		}
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, lease.Job.ID)
	}
}

// attacks are all the ways to click. Each has its answer; runs is the job that
// may run after it, none of the rows that are attacks has one.
var attacks = []struct {
	name   string
	do     func(*siege)
	hears  provision.Actor
	answer string // the last thing that hears is told
	state  provision.State
	runs   bool
}{
	// What is as it should be, so that the rest proves something.
	{"approved", func(s *siege) { s.press(carol, s.others()) }, carol, "Your vote counts", provision.StateQueued, true},
	{"confirmed", func(s *siege) { s.press(alice, s.own()) }, alice, "As you say", provision.StateQueued, true},
	{"approved by two of two", func(s *siege) {
		s.policy.Approvals[0].Need = 2
		s.restart()
		approve := s.others()
		s.press(carol, approve)
		s.press(dave, approve)
	}, dave, "Your vote counts", provision.StateQueued, true},
	{"approved after a restart", func(s *siege) { a := s.others(); s.restart(); s.press(carol, a) }, carol, "Your vote counts", provision.StateQueued, true},
	{"confirmed after a restart", func(s *siege) { a := s.own(); s.restart(); s.press(alice, a) }, alice, "As you say", provision.StateQueued, true},
	{"solo admin", func(s *siege) {
		s.policy.SoloAdmin = true
		s.restart()
		s.say(carol, "/vm destroy web-2")
		s.press(carol, s.button(0, "Approve"))
	}, carol, "Your vote counts", provision.StateQueued, true},

	{"the requester", func(s *siege) { s.press(alice, s.others()) }, alice, "Only ops can decide this", provision.StateWaiting, false},
	{"the requester, who has the role", func(s *siege) {
		s.say(carol, "/vm destroy web-2")
		s.press(carol, s.button(0, "Approve"))
	}, carol, "You asked for this yourself", provision.StateWaiting, false},
	{"solo admin without the role", func(s *siege) {
		s.policy.SoloAdmin = true
		s.restart()
		s.press(alice, s.others())
	}, alice, "Only ops can decide this", provision.StateWaiting, false},
	{"the VM's owner, without the role", func(s *siege) { s.press(bob, s.others()) }, bob, "Only ops can decide this", provision.StateWaiting, false},
	{"a wrong person rejects", func(s *siege) { s.others(); s.press(bob, s.button(0, "Reject")) }, bob, "Only ops can decide this", provision.StateWaiting, false},
	{
		"the name of somebody with the role", func(s *siege) { s.press(provision.Actor{Platform: "memory", ID: "U9", Name: "carol"}, s.others()) },
		provision.Actor{Platform: "memory", ID: "U9"},
		"Only ops can decide this", provision.StateWaiting, false,
	},
	{
		"the id on another platform", func(s *siege) { s.press(provision.Actor{Platform: "web", ID: "U3"}, s.others()) },
		provision.Actor{Platform: "web", ID: "U3"},
		"Only ops can decide this", provision.StateWaiting, false,
	},
	{"the role was taken away", func(s *siege) {
		approve := s.others()
		s.policy.Roles[1].People = s.policy.Roles[1].People[1:]
		s.restart()
		s.press(carol, approve)
	}, carol, "Only ops can decide this", provision.StateWaiting, false},
	{"the asker may not do it any more", func(s *siege) {
		confirm := s.own()
		s.policy.Roles[0].People = []commands.Member{{Platform: "memory", ID: "U2"}}
		s.restart()
		s.press(alice, confirm)
	}, alice, "Not allowed", provision.StateWaiting, false},
	{"what was the asker's own belongs to somebody else", func(s *siege) {
		confirm := s.own()
		s.engine.set(101, func(vm *provision.VM) { vm.Owner = &bob })
		s.press(alice, confirm)
	}, alice, "job 2 asks again", provision.StateCancelled, false},
	{"somebody else confirms", func(s *siege) { s.press(carol, s.own()) }, carol, "Only alice can confirm this", provision.StateWaiting, false},
	{"somebody else declines", func(s *siege) { s.own(); s.press(bob, s.button(0, "Never mind")) }, bob, "Only alice can confirm this", provision.StateWaiting, false},
	{"somebody else confirms after a restart", func(s *siege) { a := s.own(); s.restart(); s.press(bob, a) }, bob, "Only alice can confirm this", provision.StateWaiting, false},

	{"a double click, where two must agree", func(s *siege) {
		s.policy.Approvals[0].Need = 2
		s.restart()
		approve := s.others()
		s.press(carol, approve)
		s.press(carol, approve)
	}, carol, "You have voted on job 1 already", provision.StateWaiting, false},
	{"a click that is delivered twice, where two must agree", func(s *siege) {
		s.policy.Approvals[0].Need = 2
		s.restart()
		in := bot.Inbound{ID: "same", Kind: bot.Click, By: carol, Button: s.others()}
		s.send(in)
		s.send(in)
	}, carol, "Your vote counts", provision.StateWaiting, false},
	{"after the rejection", func(s *siege) {
		approve := s.others()
		s.press(dave, s.button(0, "Reject"))
		s.press(carol, approve)
	}, carol, "came too late", provision.StateCancelled, false},
	{"after the requester took it back", func(s *siege) {
		approve := s.others()
		s.press(alice, s.button(0, "Cancel"))
		s.press(carol, approve)
	}, carol, "came too late", provision.StateCancelled, false},
	{"after it expired", func(s *siege) { a := s.others(); s.clock.pass(time.Hour); s.press(carol, a) }, carol, "has expired", provision.StateWaiting, false},
	{"after it expired and was swept", func(s *siege) {
		approve := s.others()
		s.clock.pass(time.Hour)
		if n, err := s.store.Sweep(s.t.Context(), time.Hour); n != 1 || err != nil {
			s.t.Errorf("swept %d jobs, %v", n, err)
		}
		s.press(carol, approve)
	}, carol, "came too late", provision.StateCancelled, false},
	{"a confirmation after it was declined", func(s *siege) {
		confirm := s.own()
		s.press(alice, s.button(0, "Never mind"))
		s.press(alice, confirm)
	}, alice, "came too late", provision.StateCancelled, false},
	{"a confirmation after it expired", func(s *siege) { a := s.own(); s.clock.pass(bot.ConfirmWithin); s.press(alice, a) }, alice, "has expired", provision.StateWaiting, false},

	{"the VM moved meanwhile", func(s *siege) {
		approve := s.others()
		s.engine.set(102, func(vm *provision.VM) { vm.Node = "pve3" })
		s.press(carol, approve)
	}, carol, "job 2 asks again", provision.StateCancelled, false},
	{"the VM moved before it was confirmed", func(s *siege) {
		confirm := s.own()
		s.engine.set(101, func(vm *provision.VM) { vm.Node = "pve3" })
		s.press(alice, confirm)
	}, alice, "job 2 asks again", provision.StateCancelled, false},
	{"the requester may not do it where the VM is by now", func(s *siege) {
		s.policy.Roles[0].Allow[0].Nodes = []string{"pve1", "pve2"}
		s.restart()
		approve := s.others()
		s.engine.set(102, func(vm *provision.VM) { vm.Node = "pve3" })
		s.press(carol, approve)
	}, carol, "alice has to ask again", provision.StateCancelled, false},
	{"the VMID is another VM's by now", func(s *siege) {
		approve := s.others()
		s.engine.set(102, func(vm *provision.VM) { vm.UUID = "another" })
		s.press(carol, approve)
	}, carol, "another one by now", provision.StateCancelled, false},
	{"the VM is gone", func(s *siege) {
		approve := s.others()
		s.engine.set(102, func(vm *provision.VM) { vm.VMID = 999 })
		s.press(carol, approve)
	}, carol, "there is no VM 102", provision.StateCancelled, false},
	{"it can't be done any more", func(s *siege) {
		approve := s.others()
		s.engine.plan = func(p *provision.Plan) { p.Blockers = []string{"it is locked (backup)"} }
		s.press(carol, approve)
	}, carol, "it is locked (backup)", provision.StateCancelled, false},
	{"nobody can tell whether the VM changed", func(s *siege) {
		approve := s.others()
		s.engine.down = &provision.Error{Kind: provision.Unavailable, Say: "no node answers"}
		s.press(carol, approve)
	}, carol, "No node answers", provision.StateWaiting, false},

	{"a button with another plan's mark", func(s *siege) {
		id := s.others()
		s.press(carol, id[:strings.LastIndex(id, ".")+1]+"zzz")
	}, carol, "came too late", provision.StateWaiting, false},
	{"a button of a job that there is not", func(s *siege) { s.press(carol, strings.Replace(s.others(), ".1.", ".77.", 1)) }, carol, "no job 77", provision.StateWaiting, false},
	{"a button that was made up", func(s *siege) { s.others(); s.press(carol, "v1.destroy.1.") }, carol, "I don't know this button", provision.StateWaiting, false},
	{"an approval of nobody's confirmation", func(s *siege) { s.press(provision.Actor{}, s.own()) }, provision.Actor{}, "Only alice can confirm this", provision.StateWaiting, false},
	{"a retry of what waits", func(s *siege) {
		s.others()
		s.press(alice, "v1.retry.1."+"1")
	}, alice, "there is nothing to decide", provision.StateWaiting, false},
	{"tried again", func(s *siege) { s.failed(); s.press(alice, s.choice("Retry")) }, alice, "As you say", provision.StateQueued, true},
	{"tried again after a restart", func(s *siege) { s.failed(); r := s.choice("Retry"); s.restart(); s.press(alice, r) }, alice, "As you say", provision.StateQueued, true},
	{"rolled back", func(s *siege) { s.failed(); s.press(alice, s.choice("Roll back")) }, alice, "As you say", provision.StateUndoing, true},
	{"kept", func(s *siege) { s.failed(); s.press(alice, s.choice("Keep for debugging")) }, alice, "As you say", provision.StateFailed, false},
	{"somebody else tries again", func(s *siege) { s.ownOnly(); s.failed(); s.press(bob, s.choice("Retry")) }, bob, "You may stop only what is yours", provision.StateParked, false},
	{"somebody else rolls back", func(s *siege) { s.ownOnly(); s.failed(); s.press(bob, s.choice("Roll back")) }, bob, "You may cancel only what is yours", provision.StateParked, false},
	{"somebody else keeps", func(s *siege) { s.ownOnly(); s.failed(); s.press(bob, s.choice("Keep for debugging")) }, bob, "You may cancel only what is yours", provision.StateParked, false},
	{"somebody else cancels", func(s *siege) { s.ownOnly(); s.own(); s.press(bob, "v1.cancel.1.") }, bob, "You may cancel only what is yours", provision.StateWaiting, false},
	{"a retry by somebody without a role by now", func(s *siege) {
		s.failed()
		retry := s.choice("Retry")
		s.policy.Roles[0].People = []commands.Member{{Platform: "memory", ID: "U2"}}
		s.restart()
		s.press(alice, retry)
	}, alice, "Not allowed", provision.StateParked, false},
	{"a retry of what was kept, on the old card", func(s *siege) {
		s.failed()
		retry := s.choice("Retry")
		s.press(alice, s.choice("Keep for debugging"))
		s.press(alice, retry)
	}, alice, "came too late", provision.StateFailed, false},
	{"a roll back of what was kept", func(s *siege) {
		s.failed()
		back := s.choice("Roll back")
		s.press(alice, s.choice("Keep for debugging"))
		s.press(alice, back)
	}, alice, "came too late", provision.StateFailed, false},
	{"an extension of what is no reminder", func(s *siege) { s.others(); s.press(alice, "v1.extend.1.") }, alice, "I don't know this button", provision.StateWaiting, false},
}

func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			s := newSiege(t)
			a.do(s)
			all := s.chat.Whispered(a.hears)
			if len(all) == 0 {
				t.Fatal("the click was not answered")
			}
			if got := page(all[len(all)-1]); !strings.Contains(got, a.answer) {
				t.Errorf("the answer lacks %q:\n%s", a.answer, got)
			}
			job, err := s.store.Job(t.Context(), 1)
			if err != nil || job.State != a.state {
				t.Errorf("job 1 is %s, want %s (%v)", job.State, a.state, err)
			}
			want := []provision.JobID(nil)
			if a.runs {
				want = []provision.JobID{1}
			}
			if got := s.running(); !slices.Equal(got, want) {
				t.Errorf("jobs %v can run, want %v", got, want)
			}
			if last, err := s.store.VerifyAudit(t.Context(), ""); err != nil || last.Seq == 0 {
				t.Errorf("%d audit rows, %v", last.Seq, err)
			}
		})
	}
}

// Who may drain onto some nodes only, may so by whatever way they order it.
func TestDrainOfProgramsMindsTheNodes(t *testing.T) {
	inHouse(t, func(h *house) {
		p := commands.Policy{Roles: []commands.Role{{
			Name: "ops", People: []commands.Member{{Platform: "memory", ID: "U1"}},
			Allow: []commands.Rule{{Verbs: []string{"drain"}, Scope: commands.ScopeAll, Nodes: []string{"pve1"}}},
		}}}
		c := &bot.Clerk{Engine: h.engine, Store: h.store, Policy: p}
		a := bot.Asker{By: alice, Key: "k", Sure: true}
		if _, err := c.Orders(h.t.Context(), a, commands.Drain{Node: "pve1"}); provision.KindOf(err) != provision.Denied {
			t.Errorf("by a line: %v, want it denied: the VMs would go to pve2", err)
		}
		if d, err := c.OrderOf(h.t.Context(), a, provision.Drain{Node: "pve1"}, "drain"); provision.KindOf(err) != provision.Denied {
			t.Errorf("by a spec: %+v, %v, want it denied", d.Order.Spec, err)
		}
		if _, _, err := c.PlanOf(h.t.Context(), a, provision.Drain{Node: "pve1"}, "drain"); provision.KindOf(err) != provision.Denied {
			t.Errorf("a plan by a spec: %v, want it denied", err)
		}
	})
}

package storetest

import (
	"fmt"
	"sync/atomic"
	"time"

	"pvebot/provision"
)

func testJobs(e *env) {
	for i := range 6 {
		o := order(fmt.Sprint(i))
		if i%2 == 1 {
			o.By = bob
		}
		if i == 4 {
			o.Cluster = "other"
		}
		e.submit(o)
	}
	l := e.claim("w") // job 1
	e.append(l, provision.Event{Kind: provision.FactsSet, Facts: &provision.Facts{VMID: 101}})
	l = e.claim("w") // job 2
	e.append(l, to(provision.StateSucceeded))

	same := bob
	same.Name = "renamed"
	for _, c := range []struct {
		f    provision.Filter
		want []provision.JobID
	}{
		{provision.Filter{}, []provision.JobID{6, 5, 4, 3, 2, 1}},
		{provision.Filter{Limit: 2}, []provision.JobID{6, 5}},
		{provision.Filter{Keys: []string{"1", "3", "nobody's"}}, []provision.JobID{4, 2}},
		{provision.Filter{Limit: 2, Before: 5}, []provision.JobID{4, 3}},
		{provision.Filter{Limit: 9, Before: 1}, nil},
		{provision.Filter{VMID: 101}, []provision.JobID{1}},
		{provision.Filter{Cluster: "other"}, []provision.JobID{5}},
		{provision.Filter{Cluster: "main", Limit: 2}, []provision.JobID{6, 4}},
		{provision.Filter{By: &same}, []provision.JobID{6, 4, 2}},
		{provision.Filter{States: []provision.State{provision.StateQueued}}, []provision.JobID{6, 5, 4, 3}},
		{provision.Filter{States: []provision.State{provision.StateRunning, provision.StateSucceeded}}, []provision.JobID{2, 1}},
		{provision.Filter{States: []provision.State{provision.StateQueued}, By: &same, Limit: 1}, []provision.JobID{6}},
		{provision.Filter{By: &provision.Actor{Platform: "discord", ID: bob.ID}}, nil},
	} {
		jobs, err := e.s.Jobs(e.ctx, c.f)
		e.must(err)
		var ids []provision.JobID
		for _, j := range jobs {
			e.same("job in the list and by itself", j, e.job(j.ID))
			ids = append(ids, j.ID)
		}
		e.same(fmt.Sprintf("jobs of %+v", c.f), ids, c.want)
	}
}

func testCards(e *env) {
	a, b := e.submit(order("a")).ID, e.submit(order("b")).ID
	if _, ok, err := e.s.Card(e.ctx, "slack", a); ok || err != nil {
		e.Fatalf("a card out of nothing: %v, %v", ok, err)
	}
	cards := []provision.CardRef{
		{Job: a, Platform: "slack", Ref: []byte(`{"ts":"1.2"}`), Shown: 1, Said: 1},
		{Job: b, Platform: "slack", Ref: []byte(`{"ts":"1.3"}`)},
	}
	for _, c := range []provision.CardRef{cards[1], cards[0], {Job: a, Platform: "web", Ref: []byte(`1`)}} {
		e.must(e.s.SetCard(e.ctx, c))
	}
	list := func(platform string) []provision.CardRef {
		e.Helper()
		all, err := e.s.Cards(e.ctx, platform)
		e.must(err)
		return all
	}
	e.same("cards", list("slack"), cards)
	if n := len(list("discord")); n != 0 {
		e.Errorf("%d cards of another platform", n)
	}
	cards[0].Shown, cards[0].Said, cards[0].Settled, cards[0].Ref = 7, 6, true, []byte(`{"ts":"9"}`)
	e.must(e.s.SetCard(e.ctx, cards[0]))
	e.same("cards that are not settled", list("slack"), cards[1:])
	got, ok, err := e.s.Card(e.ctx, "slack", a)
	e.must(err)
	if !ok {
		e.Fatal("a settled card is gone")
	}
	e.same("settled card", got, cards[0])
}

func testInbox(e *env) {
	m := provision.Inbox{Platform: "slack", ID: "1", Data: []byte(`{"text":"/vm list"}`), At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var first atomic.Int32
	atOnce(10, func(int) {
		ok, err := e.s.Accept(e.ctx, m)
		if err != nil {
			e.Error(err)
		}
		if ok {
			first.Add(1)
		}
	})
	if first.Load() != 1 {
		e.Fatalf("one interaction was new %d times", first.Load())
	}
	other := m
	other.Platform = "discord"
	later := provision.Inbox{Platform: "slack", ID: "0", Data: []byte(`{}`)} // now
	for _, m := range []provision.Inbox{later, other} {
		if ok, err := e.s.Accept(e.ctx, m); err != nil || !ok {
			e.Fatalf("%s/%s: %v, %v", m.Platform, m.ID, ok, err)
		}
	}
	todo, err := e.s.Unhandled(e.ctx, "slack")
	e.must(err)
	if len(todo) != 2 || todo[1].At.IsZero() {
		e.Fatalf("unhandled: %+v", todo)
	}
	e.same("the older one", todo[0], m)
	e.must(e.s.Handled(e.ctx, "slack", "1"))
	e.must(e.s.Handled(e.ctx, "slack", "1"))
	todo, err = e.s.Unhandled(e.ctx, "slack")
	e.must(err)
	if len(todo) != 1 || todo[0].ID != "0" {
		e.Fatalf("unhandled: %+v", todo)
	}
	if ok, err := e.s.Accept(e.ctx, m); err != nil || ok {
		e.Errorf("handled, and new again: %v, %v", ok, err)
	}
}

func testLead(e *env) {
	lead := func(role, owner string, want bool) {
		e.Helper()
		ok, err := e.s.Lead(e.ctx, role, owner, 10*time.Second)
		e.must(err)
		if ok != want {
			e.Fatalf("%s leads %s: %v, want %v", owner, role, ok, want)
		}
	}
	lead("cards/slack", "a", true)
	lead("cards/slack", "b", false)
	lead("cards/web", "b", true)
	e.clock.Move(9 * time.Second)
	lead("cards/slack", "a", true)
	e.clock.Move(9 * time.Second)
	lead("cards/slack", "b", false)
	e.must(e.s.Resign(e.ctx, "cards/slack", "b")) // not its role
	lead("cards/slack", "b", false)
	e.clock.Move(time.Second)
	lead("cards/slack", "b", true)
	lead("cards/slack", "a", false)
	e.must(e.s.Resign(e.ctx, "cards/slack", "b"))
	var leaders atomic.Int32
	atOnce(10, func(i int) {
		ok, err := e.s.Lead(e.ctx, "cards/slack", fmt.Sprint(i), time.Minute)
		if err != nil {
			e.Error(err)
		}
		if ok {
			leaders.Add(1)
		}
	})
	if leaders.Load() != 1 {
		e.Errorf("%d leaders of 10", leaders.Load())
	}
}

// A probe leaves nothing that others see, and does not take a role from anybody.
func testProbe(e *env) {
	l := e.running("probed")
	before, err := e.s.Position(e.ctx)
	e.must(err)
	for range 3 {
		e.must(e.s.Probe(e.ctx))
		e.clock.Move(Lease / 10)
	}
	atOnce(8, func(int) {
		if err := e.s.Probe(e.ctx); err != nil {
			e.Errorf("a probe beside others: %v", err)
		}
	})
	if after, err := e.s.Position(e.ctx); err != nil || after != before {
		e.Errorf("probes wrote events: %d, then %d, %v", before, after, err)
	}
	e.append(l, started("slot"))
	e.must(e.s.Close())
	if err := e.s.Probe(e.ctx); err == nil {
		e.Errorf("a closed store is well")
	}
}

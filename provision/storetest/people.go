package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"pvebot/provision"
)

func vote(id provision.JobID, by provision.Actor, yes bool) provision.Vote {
	return provision.Vote{Job: id, By: by, Yes: yes, Digest: "d1"}
}

func testVote(e *env) {
	// Two of three.
	id := e.submit(e.gated("a", 2)).ID
	j, err := e.s.Vote(e.ctx, vote(id, bob, true))
	e.must(err)
	if j.State != provision.StateWaiting || len(j.Votes) != 1 || !j.Votes[0].By.Same(bob) || !j.Votes[0].Yes {
		e.Errorf("after the first of two votes: %+v", j)
	}
	j, err = e.s.Vote(e.ctx, vote(id, carol, true))
	e.must(err)
	e.same("job after the decision", j, e.inState(id, provision.StateQueued))

	// One no is enough.
	id = e.submit(e.gated("b", 2)).ID
	_, err = e.s.Vote(e.ctx, vote(id, bob, true))
	e.must(err)
	_, err = e.s.Vote(e.ctx, vote(id, carol, false))
	e.must(err)
	j = e.inState(id, provision.StateCancelled)
	if j.Problem == nil || j.Problem.Kind != provision.Cancelled || len(j.Votes) != 2 {
		e.Errorf("rejected: %+v", j)
	}

	// The asker's own vote, where one person may do all.
	o := e.gated("c", 1)
	o.Gate.SoloOK = true
	id = e.submit(o).ID
	_, err = e.s.Vote(e.ctx, vote(id, alice, true))
	e.must(err)
	e.inState(id, provision.StateQueued)

	// A rejected job frees what it claimed.
	claim := provision.Held{Pool: "vm/main", Slot: "101"}
	id = e.submit(e.gated("d", 1), claim).ID
	_, err = e.s.Vote(e.ctx, vote(id, bob, false))
	e.must(err)
	e.submit(order("e"), claim)
}

func testVoteRefused(e *env) {
	id := e.submit(e.gated("a", 2)).ID
	_, err := e.s.Vote(e.ctx, vote(id, bob, true))
	e.must(err)
	before := e.job(id)
	refused := func(v provision.Vote, want provision.Kind) {
		e.Helper()
		_, err := e.s.Vote(e.ctx, v)
		e.kind(err, want)
	}
	refused(vote(id, bob, true), provision.Conflict)
	refused(vote(id, bob, false), provision.Conflict)
	renamed := bob
	renamed.Name = "somebody else"
	refused(vote(id, renamed, true), provision.Conflict)
	refused(vote(id, alice, true), provision.Denied)
	refused(provision.Vote{Job: id, By: carol, Yes: true, Digest: "d2"}, provision.Conflict)
	refused(provision.Vote{Job: id, By: carol, Yes: true}, provision.Conflict)
	refused(vote(id+100, carol, true), provision.NotFound)
	refused(vote(e.submit(order("no gate")).ID, carol, true), provision.NotFound)
	e.same("job after votes that do not count", e.job(id), before)

	e.clock.Move(time.Hour)
	refused(vote(id, carol, true), provision.Conflict)
	e.same("job after a vote that came too late", e.job(id), before)

	id = e.submit(e.gated("b", 1)).ID
	_, err = e.s.Vote(e.ctx, vote(id, bob, true))
	e.must(err)
	refused(vote(id, carol, false), provision.Conflict)
	e.inState(id, provision.StateQueued)
}

// Where several groups have to agree, none decides for another.
func testVoteOfSeveral(e *env) {
	several := func(key string) provision.JobID {
		o := e.gated(key, 0)
		g := provision.NewGate(provision.Quorum{Need: 1, Of: []string{"ops"}}, provision.Quorum{Need: 2, Of: []string{"sec"}})
		g.Digest, g.Expires = o.Gate.Digest, o.Gate.Expires
		o.Gate = &g
		return e.submit(o).ID
	}
	yes := func(id provision.JobID, by string, as ...string) error {
		v := vote(id, provision.Actor{Platform: "slack", ID: by}, true)
		v.As, v.Grants = as, "as "+by
		_, err := e.s.Vote(e.ctx, v)
		return err
	}
	id := several("a")
	e.must(yes(id, "V1", "ops"))
	e.kind(yes(id, "V2", "ops"), provision.Conflict) // ops have decided
	e.kind(yes(id, "V3"), provision.Conflict)        // neither
	e.must(yes(id, "V4", "sec"))
	j := e.inState(id, provision.StateWaiting)
	if missing := j.Missing(); len(missing) != 1 || missing[0].Yes != 1 || provision.Waits(missing) != "an approval by sec" {
		e.Errorf("missing is %+v", missing)
	}
	e.must(yes(id, "V5", "ops", "sec"))
	j = e.inState(id, provision.StateQueued)
	if len(j.Votes) != 3 || j.Votes[2].Grants != "as V5" || j.Order.Spec.Kind() != "install" {
		e.Errorf("the job is %+v", j)
	}

	// Whoever is in both groups is one of each. One no is enough.
	id = several("b")
	e.must(yes(id, "V1", "ops", "sec"))
	e.must(yes(id, "V2", "sec"))
	e.inState(id, provision.StateQueued)
	id = several("c")
	no := vote(id, bob, false)
	no.As = []string{"sec"}
	_, err := e.s.Vote(e.ctx, no)
	e.must(err)
	e.inState(id, provision.StateCancelled)

	// Who knows only the kinds of one group does not get it.
	if _, err := e.s.Claim(e.ctx, "w", provision.Wanted{Cluster: "main", Kinds: []string{"install"}}); !errors.Is(err, provision.ErrNothing) {
		e.Errorf("a bot that knows one group only gets the job: %v", err)
	}
	if l := e.claim("w"); len(l.Job.Order.Gate.Each) != 2 {
		e.Errorf("the gate of the job is %+v", l.Job.Order.Gate)
	}
}

// Several identities of a person have one vote, and none on what they asked
// for themselves.
func testVoteOfOnePerson(e *env) {
	page := provision.Actor{Platform: "web", ID: "bob"}
	id := e.submit(e.gated("a", 2)).ID
	_, err := e.s.Vote(e.ctx, vote(id, bob, true))
	e.must(err)
	again := vote(id, page, true)
	again.Also = []provision.Actor{bob}
	_, err = e.s.Vote(e.ctx, again)
	e.kind(err, provision.Conflict)
	own := vote(id, page, true)
	own.Also = []provision.Actor{alice}
	_, err = e.s.Vote(e.ctx, own)
	e.kind(err, provision.Denied)
	if j := e.inState(id, provision.StateWaiting); len(j.Votes) != 1 {
		e.Errorf("the votes are %+v", j.Votes)
	}
}

func testVoteAtOnce(e *env) {
	id := e.submit(e.gated("a", 1)).ID
	var won, lost atomic.Int32
	atOnce(20, func(i int) {
		by := provision.Actor{Platform: "slack", ID: fmt.Sprint("V", i/2)} // each clicks twice
		switch _, err := e.s.Vote(e.ctx, vote(id, by, i%4 < 2)); {
		case err == nil:
			won.Add(1)
		case provision.KindOf(err) == provision.Conflict:
			lost.Add(1)
		default:
			e.Error(err)
		}
	})
	if won.Load() != 1 || lost.Load() != 19 {
		e.Errorf("%d votes counted and %d came too late; want 1 and 19", won.Load(), lost.Load())
	}
	if j := e.job(id); len(j.Votes) != 1 || j.Seq != 3 || j.Votes[0].Yes != (j.State == provision.StateQueued) {
		e.Errorf("after the decision: %+v", j)
	}
}

func testCancel(e *env) {
	claim := provision.Held{Pool: "vm/main", Slot: "101"}
	first := e.submit(e.gated("claims", 1), claim)
	_, err := e.s.Cancel(e.ctx, first.ID, bob)
	e.must(err)
	e.submit(order("claims too"), claim)

	for from, want := range map[provision.State]provision.State{
		provision.StateWaiting:   provision.StateCancelled,
		provision.StateQueued:    provision.StateCancelled,
		provision.StateRunning:   provision.StateRunning,
		provision.StateParked:    provision.StateUndoing,
		provision.StateUndoing:   provision.StateUndoing,
		provision.StateSucceeded: "",
		provision.StateFailed:    "",
		provision.StateCancelled: "",
	} {
		id := e.in(from, string(from))
		before := e.job(id)
		j, err := e.s.Cancel(e.ctx, id, bob)
		if want == "" {
			e.kind(err, provision.Conflict)
			e.same(string(from)+" job that is over", e.job(id), before)
			continue
		}
		e.must(err)
		e.same("answer and stored job", j, e.inState(id, want))
		if want == provision.StateCancelled {
			if j.Problem == nil || j.Problem.Kind != provision.Cancelled || j.Ended.IsZero() {
				e.Errorf("%s job, cancelled: %+v", from, j)
			}
		} else if j.CancelAsked == nil || !j.CancelAsked.Same(bob) {
			e.Errorf("%s job: who asked for its end: %v, want bob", from, j.CancelAsked)
		}
	}
	_, err = e.s.Cancel(e.ctx, 1000, bob)
	e.kind(err, provision.NotFound)
}

func testCancelAsked(e *env) {
	l := e.running("a")
	if sig := e.append(l, started("slot")); sig.Cancel != nil {
		e.Fatalf("nobody asked, and the worker hears of %v", sig.Cancel)
	}
	seq := l.Job.Seq
	for _, by := range []provision.Actor{bob, carol} { // the first one counts
		_, err := e.s.Cancel(e.ctx, l.Job.ID, by)
		e.must(err)
	}
	if j := e.job(l.Job.ID); j.Seq != seq {
		e.Error("something was written between the worker's events")
	}
	for _, evs := range [][]provision.Event{nil, {done("slot")}} { // heartbeat and event
		if sig := e.append(l, evs...); sig.Cancel == nil || !sig.Cancel.Same(bob) {
			e.Fatalf("the worker hears of %v, want bob", sig.Cancel)
		}
	}
	e.append(l, to(provision.StateUndoing))
	e.append(l, provision.Event{Kind: provision.StepUndone, Step: "slot"}, to(provision.StateCancelled))

	// A job that was queued again after it did something is undone.
	id := e.in(provision.StateParked, "b")
	_, err := e.s.Resolve(e.ctx, provision.Resolution{Job: id, By: bob, Do: provision.Keep})
	e.must(err)
	l = e.running("c")
	e.append(l, started("slot"), done("slot"), started("create"), provision.Event{Kind: provision.StepFailed, Step: "create"}, to(provision.StateParked))
	_, err = e.s.Resolve(e.ctx, provision.Resolution{Job: l.Job.ID, By: bob, Do: provision.Retry})
	e.must(err)
	_, err = e.s.Cancel(e.ctx, l.Job.ID, bob)
	e.must(err)
	e.inState(l.Job.ID, provision.StateUndoing)
	if l := e.claim("w"); l.Job.State != provision.StateUndoing || l.Job.CancelAsked == nil {
		e.Errorf("claimed to be undone: %+v", l.Job)
	}
}

func testResolve(e *env) {
	all := []provision.Decision{provision.Retry, provision.RollBack, provision.Keep}
	want := map[provision.State]map[provision.Decision]provision.State{
		provision.StateParked: {provision.Retry: provision.StateQueued, provision.RollBack: provision.StateUndoing, provision.Keep: provision.StateFailed},
		provision.StateFailed: {provision.Retry: provision.StateQueued},
	}
	for _, from := range []provision.State{
		provision.StateWaiting, provision.StateQueued, provision.StateRunning, provision.StateParked,
		provision.StateUndoing, provision.StateSucceeded, provision.StateFailed, provision.StateCancelled,
	} {
		for _, do := range all {
			id := e.in(from, fmt.Sprint(from, do))
			before := e.job(id)
			j, err := e.s.Resolve(e.ctx, provision.Resolution{Job: id, By: bob, Do: do})
			if want[from][do] == "" {
				e.kind(err, provision.Conflict)
				e.same(fmt.Sprintf("%s job after %s", from, do), e.job(id), before)
				continue
			}
			e.must(err)
			e.same("answer and stored job", j, e.inState(id, want[from][do]))
		}
	}
	_, err := e.s.Resolve(e.ctx, provision.Resolution{Job: e.in(provision.StateParked, "x"), By: bob, Do: "explode"})
	e.kind(err, provision.Invalid)
	_, err = e.s.Resolve(e.ctx, provision.Resolution{Job: 1000, By: bob, Do: provision.Retry})
	e.kind(err, provision.NotFound)
}

func testRetry(e *env) {
	claim := provision.Held{Pool: "vm/main", Slot: "101"}
	id := e.submit(order("a"), claim).ID
	l := e.claim("w")
	_, err := e.s.Reserve(e.ctx, l, "ip", "1")
	e.must(err)
	_, err = e.s.Cancel(e.ctx, id, bob)
	e.must(err)
	e.append(l, started("slot"), provision.Event{Kind: provision.FactsSet, Facts: &provision.Facts{VMID: 101}}, to(provision.StateParked))
	_, err = e.s.Resolve(e.ctx, provision.Resolution{Job: id, By: bob, Do: provision.Keep})
	e.must(err)
	e.must(e.s.SetCard(e.ctx, provision.CardRef{Job: id, Platform: "slack", Ref: []byte(`"r"`), Settled: true}))

	// It was kept as it is: it wants the slots that it had, and another
	// has one of them for now.
	other := e.running("b")
	_, err = e.s.Reserve(e.ctx, other, "ip", "1")
	e.must(err)
	retry := provision.Resolution{Job: id, By: bob, Do: provision.Retry}
	_, err = e.s.Resolve(e.ctx, retry)
	e.held(err, "ip", "1", other.Job.ID)
	e.inState(id, provision.StateFailed)
	e.must(e.s.Release(e.ctx, other, "ip", "1", 0))
	j, err := e.s.Resolve(e.ctx, retry)
	e.must(err)
	e.same("slots of the retried job", j.Slots, []provision.Held{claim, {Pool: "ip", Slot: "1"}})
	if j.CancelAsked != nil || j.Facts.VMID != 101 {
		e.Errorf("the retried job: %+v", j)
	}
	if cards, err := e.s.Cards(e.ctx, "slack"); err != nil || len(cards) != 1 {
		e.Errorf("unsettled cards of the retried job: %v, %v", cards, err)
	}

	// Half undone it can't go on; wholly undone it starts from nothing.
	l = e.claim("w")
	e.append(l, started("slot"), done("slot"), started("create"), to(provision.StateUndoing),
		provision.Event{Kind: provision.StepUndone, Step: "create"}, to(provision.StateParked))
	_, err = e.s.Resolve(e.ctx, retry)
	e.kind(err, provision.Conflict)
	_, err = e.s.Resolve(e.ctx, provision.Resolution{Job: id, By: bob, Do: provision.RollBack})
	e.must(err)
	l = e.claim("w")
	e.append(l, provision.Event{Kind: provision.StepUndone, Step: "slot"}, to(provision.StateFailed))
	j, err = e.s.Resolve(e.ctx, retry)
	e.must(err)
	e.same("slots after the undo", j.Slots, []provision.Held{claim})
	e.same("steps after the undo", j.Steps, plan())
	if j.Facts.VMID != 0 {
		e.Errorf("facts after the undo: %+v", j.Facts)
	}
	e.job(id)
	held, err := e.s.Held(e.ctx, "ip")
	e.must(err)
	e.same("held after the undo", held, map[string]provision.JobID{})
}

func testSweep(e *env) {
	const patience = 30 * time.Minute
	sweep := func(want int) {
		e.Helper()
		n, err := e.s.Sweep(e.ctx, patience)
		e.must(err)
		if n != want {
			e.Fatalf("%d jobs were moved, want %d", n, want)
		}
	}
	queued, parked := e.in(provision.StateQueued, "q"), e.in(provision.StateParked, "p")
	gated := e.in(provision.StateWaiting, "g")
	for _, s := range []provision.State{provision.StateSucceeded, provision.StateFailed} {
		e.in(s, string(s))
	}
	sweep(0)
	e.clock.Move(patience)
	sweep(1)
	e.inState(parked, provision.StateUndoing)
	sweep(0)
	e.clock.Move(patience)
	sweep(1)
	if j := e.inState(gated, provision.StateCancelled); j.Problem == nil {
		e.Error("an expired gate gives no reason")
	}
	sweep(0)
	if j := e.job(queued); j.State.Final() {
		e.Errorf("the queued job is %s", j.State)
	}

	// Of many who sweep one moves it.
	late := e.in(provision.StateParked, "late")
	e.clock.Move(patience)
	var moved atomic.Int32
	atOnce(8, func(int) {
		n, err := e.s.Sweep(e.ctx, patience)
		if err != nil {
			e.Error(err)
		}
		moved.Add(int32(n))
	})
	if moved.Load() != 1 {
		e.Errorf("8 sweeps moved one job %d times", moved.Load())
	}
	e.inState(late, provision.StateUndoing)
}

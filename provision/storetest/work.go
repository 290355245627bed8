package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pvebot/provision"
)

func testSubmit(e *env) {
	a := e.submit(order("a"))
	if a.ID != 1 || a.State != provision.StateQueued || a.Seq != 1 || a.Created.IsZero() {
		e.Fatalf("first job: %+v", a)
	}
	e.same("order", a.Order, order("a"))
	e.same("plan", a.Steps, plan())
	e.same("job as submitted and as stored", e.job(1), a)

	again, err := e.s.Submit(e.ctx, order("a"), plan()[:1])
	e.must(err)
	e.same("second order with the same key", again, a)

	o := order("b")
	o.Gate = &provision.Gate{Need: 1, Of: []string{"ops"}}
	if b := e.submit(o); b.ID != 2 || b.State != provision.StateWaiting {
		e.Fatalf("order with a gate: job %d is %s", b.ID, b.State)
	}
	if _, err := e.s.Submit(e.ctx, order(""), plan()); err == nil {
		e.Error("an order without a key was accepted")
	}
	_, err = e.s.Job(e.ctx, 3)
	e.kind(err, provision.NotFound)
	for _, err := range e.s.Events(e.ctx, 3, 0) {
		e.kind(err, provision.NotFound)
	}
}

func testSubmitAtOnce(e *env) {
	ids := make([]provision.JobID, 20)
	atOnce(len(ids), func(i int) {
		j, err := e.s.Submit(e.ctx, order(fmt.Sprint(i%2)), plan())
		if err != nil {
			e.Error(err)
		}
		ids[i] = j.ID
	})
	for i, id := range ids {
		if id != ids[i%2] || id < 1 || id > 2 {
			e.Fatalf("two orders became jobs %v", ids)
		}
	}
}

func testSubmitClaims(e *env) {
	vm1, vm2 := provision.Held{Pool: "vm/main", Slot: "101"}, provision.Held{Pool: "vm/main", Slot: "102"}
	a := e.submit(order("a"), vm1)
	e.same("slots of the job", a.Slots, []provision.Held{vm1})

	_, err := e.s.Submit(e.ctx, order("b"), plan(), vm2, vm1)
	e.held(err, vm1.Pool, vm1.Slot, a.ID)
	if again := e.submit(order("a"), vm1); again.ID != a.ID {
		e.Errorf("the same order again became job %d", again.ID)
	}
	if c := e.submit(order("c"), vm2); c.ID != 2 {
		e.Errorf("after a refused order comes job %d, want 2", c.ID)
	}
	_, err = e.s.Cancel(e.ctx, a.ID, alice)
	e.must(err)
	if b := e.submit(order("b"), vm1); b.ID != 3 {
		e.Errorf("the refused order, later, became job %d, want 3", b.ID)
	}
	e.job(a.ID)
}

func testClaim(e *env) {
	_, err := e.s.Claim(e.ctx, "w", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)
	other := order("elsewhere")
	other.Cluster = "other"
	e.submit(other)
	e.submit(e.gated("waits", 1))
	e.submit(order("first"))
	e.submit(order("last"))

	_, err = e.s.Claim(e.ctx, "w", provision.Wanted{Cluster: "main", Kinds: []string{"destroy"}})
	e.is(err, provision.ErrNothing)
	l, err := e.s.Claim(e.ctx, "w", provision.Wanted{Cluster: "main", Kinds: []string{"destroy", "install"}})
	e.must(err)
	if l.Job.ID != 3 || l.Owner != "w" || l.Job.State != provision.StateRunning || l.Job.Started.IsZero() {
		e.Fatalf("claimed %+v", l)
	}
	e.same("claimed job and the stored one", l.Job, e.job(3))
	begun := provision.Wanted{Cluster: "main", Begun: true}
	_, err = e.s.Claim(e.ctx, "w", begun)
	e.is(err, provision.ErrNothing)
	if l := e.claim("w"); l.Job.ID != 4 {
		e.Errorf("then job %d, want 4", l.Job.ID)
	}
	e.append(l, to(provision.StateQueued)) // is put down
	e.submit(order("new"))
	if l, err = e.s.Claim(e.ctx, "w", begun); err != nil || l.Job.ID != 3 {
		e.Errorf("of what was begun: %+v, %v; want job 3", l, err)
	}
	_, err = e.s.Claim(e.ctx, "w", begun)
	e.is(err, provision.ErrNothing)
	if l := e.claim("w"); l.Job.ID != 5 {
		e.Errorf("at last job %d, want 5", l.Job.ID)
	}
	_, err = e.s.Claim(e.ctx, "w", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)
}

func testFree(e *env) {
	freeOf := func(w provision.Wanted, want time.Duration, held bool) {
		e.Helper()
		d, ok, err := e.s.Free(e.ctx, w)
		e.must(err)
		// A store with a clock of its own has gone on a little.
		if ok != held || d > want || d < want-5*time.Second {
			e.Errorf("of %+v one is free in %v, %v; want %v, %v", w, d, ok, want, held)
		}
	}
	free := func(cluster string, want time.Duration, held bool) {
		e.Helper()
		freeOf(provision.Wanted{Cluster: cluster}, want, held)
	}
	free("main", 0, false)
	e.submit(e.gated("waits", 1))
	free("main", 0, false)
	e.submit(order("queued"))
	free("main", 0, true)
	a := e.claim("a")
	free("main", Lease, true)
	free("other", 0, false)
	e.clock.Move(Lease / 2)
	e.submit(order("later"))
	freeOf(provision.Wanted{Cluster: "main", Begun: true}, Lease/2, true)
	freeOf(provision.Wanted{Cluster: "main", Kinds: []string{"destroy"}}, 0, false)
	b := e.claim("b")
	free("main", Lease/2, true)
	e.append(a)
	free("main", Lease, true)
	e.clock.Move(Lease + time.Second)
	free("main", 0, true)
	e.append(a, to(provision.StateSucceeded))
	e.append(b, to(provision.StateParked))
	free("main", 0, false)
}

func testClaimAtOnce(e *env) {
	for i := range 10 {
		e.submit(order(fmt.Sprint(i)))
	}
	var mu sync.Mutex
	var got []provision.JobID
	atOnce(20, func(i int) {
		l, err := e.s.Claim(e.ctx, fmt.Sprint("w", i), provision.Wanted{Cluster: "main"})
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, l.Job.ID)
	})
	slices.Sort(got)
	e.same("jobs claimed by 20 workers", got, []provision.JobID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
}

func testLease(e *env) {
	old := e.running("a")
	e.append(old, started("slot"))
	e.clock.Move(Lease - time.Second)
	_, err := e.s.Claim(e.ctx, "w2", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)
	e.append(old) // heartbeat
	e.clock.Move(Lease - time.Second)
	_, err = e.s.Claim(e.ctx, "w2", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)

	e.clock.Move(2 * time.Second)
	e.append(old, done("slot")) // late, but nobody took it over
	_, err = e.s.Claim(e.ctx, "w2", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)

	e.clock.Move(Lease)
	taken := e.claim("w2")
	if taken.Job.ID != old.Job.ID || taken.Epoch <= old.Epoch {
		e.Fatalf("took over job %d with epoch %d after %d", taken.Job.ID, taken.Epoch, old.Epoch)
	}
	e.same("job taken over", taken.Job, old.Job)
	before := e.job(old.Job.ID)
	_, err = e.s.Append(e.ctx, old, started("create"))
	e.is(err, provision.ErrFenced)
	_, err = e.s.Append(e.ctx, old)
	e.is(err, provision.ErrFenced)
	_, err = e.s.Reserve(e.ctx, old, "p", "1")
	e.is(err, provision.ErrFenced)
	e.is(e.s.Release(e.ctx, old, "p", "1", 0), provision.ErrFenced)
	e.same("job after a fenced worker's tries", e.job(old.Job.ID), before)

	// Its own name does not help the old one either.
	e.clock.Move(Lease)
	e.claim("w")
	_, err = e.s.Append(e.ctx, old, started("create"))
	e.is(err, provision.ErrFenced)
}

func testAppend(e *env) {
	l := e.running("a")
	half := 0.5
	evs := []provision.Event{
		started("slot"),
		{Kind: provision.StepProgress, Step: "slot", Fraction: &half, Text: "half"},
		{Kind: provision.FactsSet, Facts: &provision.Facts{VMID: 101, Name: "web-1"}},
	}
	e.append(l, evs...)
	e.append(l, done("slot"), started("create"))
	e.same("lease's job and the stored one", l.Job, e.job(l.Job.ID))
	if evs[2].Seq != 5 || evs[2].Job != l.Job.ID || evs[2].ID == "" || evs[2].At.IsZero() || evs[2].Pos != evs[0].Pos+2 {
		e.Errorf("the store left in the event: %+v", evs[2])
	}
	var last provision.Event
	for ev, err := range e.s.Events(e.ctx, l.Job.ID, 0) {
		e.must(err)
		if ev.Seq != last.Seq+1 || ev.Pos <= last.Pos || ev.ID == "" || ev.At.Location() != time.UTC {
			e.Fatalf("event %+v after %d at %d", ev, last.Seq, last.Pos)
		}
		last = ev
	}
	if last.Seq != 7 {
		e.Errorf("%d events, want 7", last.Seq)
	}
	for ev, err := range e.s.Events(e.ctx, l.Job.ID, 5) {
		e.must(err)
		if ev.Seq <= 5 {
			e.Errorf("event %d is not after 5", ev.Seq)
		}
	}
	if pos, err := e.s.Position(e.ctx); err != nil || pos != last.Pos {
		e.Errorf("newest position %d, %v; want %d", pos, err, last.Pos)
	}

	// Each rest gives the lease up; undoing does not, until it is put down.
	e.append(l, to(provision.StateUndoing))
	e.append(l, provision.Event{Kind: provision.StepUndoing, Step: "slot"})
	e.append(l, to(provision.StateUndoing))
	_, err := e.s.Append(e.ctx, l)
	e.is(err, provision.ErrFenced)
	if l = e.claim("w"); l.Job.State != provision.StateUndoing {
		e.Errorf("job is %s", l.Job.State)
	}
	e.append(l, to(provision.StateParked))
	_, err = e.s.Append(e.ctx, l)
	e.is(err, provision.ErrFenced)
	if j := e.job(l.Job.ID); j.State != provision.StateParked {
		e.Errorf("job is %s", j.State)
	}
}

func testAppendRefused(e *env) {
	l := e.running("a")
	before := e.job(l.Job.ID)
	for name, evs := range map[string][]provision.Event{
		"unknown step": {started("slot"), started("nonsense")},
		"unknown kind": {started("slot"), {Kind: "step.skipped", Step: "slot"}},
		"no such move": {started("slot"), to(provision.StateWaiting), to(provision.StateSucceeded)},
	} {
		if _, err := e.s.Append(e.ctx, l, evs...); err == nil {
			e.Errorf("%s: accepted", name)
		}
		e.same(name+": the stored job", e.job(l.Job.ID), before)
		e.same(name+": the lease's job", l.Job, before)
	}
	e.append(l, started("slot")) // the lease is as good as before
	e.job(l.Job.ID)
}

func testAppendAgain(e *env) {
	l := e.running("a")
	stale := *l
	evs := []provision.Event{started("slot"), done("slot")}
	e.append(l, evs...)

	// The answer got lost: the worker tries again with what it has.
	again := stale
	e.append(&again, evs...)
	e.same("job after the second try", again.Job, l.Job)
	e.same("stored job", e.job(l.Job.ID), l.Job)

	// Another event with the same, stale lease comes after.
	other := stale
	e.append(&other, started("create"))
	if other.Job.Seq != l.Job.Seq+1 {
		e.Errorf("another event became number %d after %d", other.Job.Seq, l.Job.Seq)
	}

	// The last words of a worker, too, and only they.
	stale = other
	evs = []provision.Event{done("create"), to(provision.StateSucceeded)}
	e.append(&other, evs...)
	again = stale
	e.append(&again, evs...)
	e.same("finished job", again.Job, e.job(l.Job.ID))
	again = stale
	_, err := e.s.Append(e.ctx, &again, done("create"))
	e.is(err, provision.ErrFenced)

	// What the worker takes for a renewal is one, also when it is the second
	// try that tells it.
	late := e.running("late")
	stale = *late
	evs = []provision.Event{started("slot")}
	e.append(late, evs...)
	e.clock.Move(Lease * 2 / 3) // until the answer is given up
	again = stale
	e.append(&again, evs...)
	e.clock.Move(Lease / 2)
	_, err = e.s.Claim(e.ctx, "w2", provision.Wanted{Cluster: "main"})
	e.is(err, provision.ErrNothing)
	e.append(&again, to(provision.StateSucceeded))

	// Once somebody else has the job, an earlier success must not make the
	// worker go on.
	l = e.running("b")
	stale = *l
	evs = []provision.Event{started("slot")}
	e.append(l, evs...)
	e.clock.Move(Lease)
	if taken := e.claim("w2"); taken.Job.ID != l.Job.ID {
		e.Fatalf("took over job %d", taken.Job.ID)
	}
	_, err = e.s.Append(e.ctx, &stale, evs...)
	e.is(err, provision.ErrFenced)
}

// BenchmarkAppend measures one worker's appends to a job of as many steps as an
// install has.
func BenchmarkAppend(b *testing.B, h Harness) {
	e := &env{TB: b, ctx: b.Context(), h: h, clock: NewClock()}
	e.s = h.Open(b, e.clock)
	var plan []provision.StepState
	for i := range 18 {
		plan = append(plan, provision.StepState{Phase: "VM creation", Name: fmt.Sprint("step ", i)})
	}
	_, err := e.s.Submit(e.ctx, order("a"), plan)
	e.must(err)
	l := e.claim("w")
	for _, s := range plan[1:] {
		e.append(l, started(s.Name), done(s.Name))
	}
	e.append(l, started(plan[0].Name))
	b.ReportAllocs()
	for b.Loop() {
		e.append(l, provision.Event{Kind: provision.StepLog, Step: plan[0].Name, Text: "a line of the init script's output"})
	}
}

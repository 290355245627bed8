package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"pvebot/provision"
)

// testFold takes one job through everything that can happen to it and
// compares it, after each change, with the fold of its events.
func testFold(e *env) {
	l := e.running("a")
	id := l.Job.ID
	problem := &provision.Problem{Kind: provision.Full, Say: "the storage is full", Try: "free some", Cause: "ENOSPC"}
	_, err := e.s.Reserve(e.ctx, l, "ip", "1")
	e.must(err)
	for _, evs := range [][]provision.Event{
		{started("slot"), {Kind: provision.StepLog, Step: "slot", Text: "a line\nand <another>\x00 \u2028 one"}},
		{done("slot"), {Kind: provision.FactsSet, Facts: &provision.Facts{VMID: 101, Node: "pve1"}}},
		{started("create"), {Kind: provision.StepFailed, Step: "create", Text: "full", Err: problem}},
		{{Kind: provision.JobState, State: provision.StateParked, Err: problem}},
	} {
		e.append(l, evs...)
		e.same("lease's job and the stored one", l.Job, e.job(id))
	}
	e.clock.Move(time.Minute)
	_, err = e.s.Resolve(e.ctx, provision.Resolution{Job: id, By: bob, Do: provision.Retry})
	e.must(err)
	if j := e.job(id); j.Step("slot").Status != provision.StepOK || j.Step("create").Status != provision.StepPending || j.Problem != nil {
		e.Errorf("to be tried again: %+v", j)
	}
	l = e.claim("w2")
	e.append(l, started("create"), provision.Event{Kind: provision.JobState, State: provision.StateUndoing, Err: problem})
	e.append(l, provision.Event{Kind: provision.StepUndoing, Step: "create"})
	e.append(l, provision.Event{Kind: provision.StepUndone, Step: "create"})
	e.must(e.s.Release(e.ctx, l, "ip", "1", time.Minute))
	e.append(l, provision.Event{Kind: provision.StepUndone, Step: "slot"})
	e.append(l, to(provision.StateFailed))
	if j := e.job(id); j.Problem == nil || *j.Problem != *problem || j.Ended.Sub(j.Started) < time.Minute || j.Facts.VMID != 101 {
		e.Errorf("failed: %+v", j)
	}
}

// follow reads n events after a position, and says what it found.
func follow(ctx context.Context, s provision.Store, after provision.Position, n int, each func()) ([]provision.Event, error) {
	var got []provision.Event
	for ev, err := range s.Follow(ctx, after) {
		if err != nil {
			return got, err
		}
		got = append(got, ev)
		each()
		if len(got) == n {
			break
		}
	}
	return got, nil
}

func testFollow(e *env) {
	const writers, each, readers = 4, 25, 10
	var leases []*provision.Lease
	for i := range writers {
		leases = append(leases, e.running(fmt.Sprint(i)))
	}
	const total = writers*2 + writers*each
	seen := make([][]provision.Event, readers)
	step := make(chan struct{}) // lets the slow readers go on
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			after := provision.Position(i) // some of them replay, all go live
			if i == 0 {
				after = -1 // as good as 0
			}
			var err error
			seen[i], err = follow(e.ctx, e.s, after, total-i, func() {
				if i%2 == 1 {
					<-step
				}
			})
			if err != nil {
				e.Errorf("reader %d: %v", i, err)
			}
		})
	}
	atOnce(writers, func(w int) {
		for n := range each {
			if _, err := e.s.Append(e.ctx, leases[w], provision.Event{Kind: provision.StepLog, Step: "slot", Text: fmt.Sprint(n)}); err != nil {
				e.Error(err)
			}
		}
	})
	close(step)
	wg.Wait()

	for i, evs := range seen {
		next := make(map[provision.JobID]uint64)
		pos := provision.Position(i)
		for _, ev := range evs {
			if ev.Pos <= pos {
				e.Fatalf("reader %d: position %d after %d", i, ev.Pos, pos)
			}
			pos = ev.Pos
			if want, ok := next[ev.Job]; ok && ev.Seq != want {
				e.Fatalf("reader %d: job %d's event %d, want %d", i, ev.Job, ev.Seq, want)
			}
			next[ev.Job] = ev.Seq + 1
		}
		e.same(fmt.Sprintf("what reader %d saw, and reader 0", i), evs, seen[0][i:])
	}
	past, err := follow(e.ctx, e.s, 0, total, func() {})
	e.must(err)
	for i, ev := range past {
		if last := i == total-1; ev.More == last {
			e.Errorf("event %d of %d that are there: more %v", i+1, total, ev.More)
		}
	}
	for w, l := range leases {
		var all []provision.Event
		for _, ev := range seen[0] {
			if ev.Job == l.Job.ID {
				all = append(all, ev)
			}
		}
		e.same(fmt.Sprintf("job %d in the feed and by itself", w+1), all, e.events(l.Job.ID))
	}
}

// events are all of a job's events.
func (e *env) events(id provision.JobID) []provision.Event {
	e.Helper()
	var all []provision.Event
	for ev, err := range e.s.Events(e.ctx, id, 0) {
		e.must(err)
		all = append(all, ev)
	}
	return all
}

func testFollowEnds(e *env) {
	e.submit(order("a"))
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(e.ctx)
	next, stop := iter.Pull2(e.s.Follow(ctx, 0))
	defer stop()
	if _, err, ok := next(); err != nil || !ok {
		e.Fatalf("first event: %v, %v", err, ok)
	}
	cancel(enough)
	if _, err, _ := next(); !errors.Is(err, enough) {
		e.Errorf("after the context's end: %v, want its cause", err)
	}
	if _, _, ok := next(); ok {
		e.Error("it goes on after its error")
	}

	ended := make(chan error)
	reading := make(chan struct{}, 1)
	go func() {
		_, err := follow(e.ctx, e.s, 0, 1e6, func() { reading <- struct{}{} })
		ended <- err
	}()
	<-reading
	e.must(e.s.Close())
	e.is(<-ended, provision.ErrClosed)
	_, err := follow(e.ctx, e.s, 0, 1, func() {})
	e.is(err, provision.ErrClosed)
	_, err = e.s.Submit(e.ctx, order("b"), plan())
	e.is(err, provision.ErrClosed)
	_, err = e.s.Jobs(e.ctx, provision.Filter{})
	e.is(err, provision.ErrClosed)
	e.must(e.s.Close())
}

// testCrash abandons a store without closing it.
func testCrash(e *env) {
	l := e.running("a")
	e.append(l, started("slot"))
	_, err := e.s.Reserve(e.ctx, l, "ip", "1")
	e.must(err)
	e.append(l, done("slot"), provision.Event{Kind: provision.FactsSet, Facts: &provision.Facts{VMID: 101}}, started("create"))
	_, err = e.s.Cancel(e.ctx, l.Job.ID, bob)
	e.must(err)
	waiting := e.submit(e.gated("b", 1))
	_, err = e.s.Accept(e.ctx, provision.Inbox{Platform: "slack", ID: "1", Data: []byte(`{}`)})
	e.must(err)
	lead, err := e.s.Lead(e.ctx, "cards/slack", "w", Lease)
	e.must(err)
	if !lead {
		e.Fatal("nobody leads, and w may not")
	}
	before, evs := e.job(l.Job.ID), e.events(l.Job.ID)

	e.s = e.h.Reopen(e.TB, e.s, e.clock)
	e.same("job after the crash", e.job(l.Job.ID), before)
	e.same("events after the crash", e.events(l.Job.ID), evs)
	e.same("waiting job after the crash", e.job(waiting.ID), waiting)
	all, err := follow(e.ctx, e.s, 0, len(evs)+1, func() {})
	e.must(err)
	if len(all) != len(evs)+1 {
		e.Errorf("the feed has %d events, want %d", len(all), len(evs)+1)
	}
	todo, err := e.s.Unhandled(e.ctx, "slack")
	e.must(err)
	if len(todo) != 1 {
		e.Errorf("the inbox holds %d", len(todo))
	}

	// The dead owner's lease and role are free at once; its slot is not.
	again := e.claim("w2")
	e.same("the job claimed again", again.Job, before)
	if again.Job.CancelAsked == nil || !again.Job.CancelAsked.Same(bob) {
		e.Errorf("who asked for its end: %v, want bob", again.Job.CancelAsked)
	}
	_, err = e.s.Append(e.ctx, l, done("create"))
	e.is(err, provision.ErrFenced)
	lead, err = e.s.Lead(e.ctx, "cards/slack", "w2", Lease)
	e.must(err)
	if !lead {
		e.Error("a dead process still leads")
	}
	held, err := e.s.Held(e.ctx, "ip")
	e.must(err)
	e.same("held after the crash", held, map[string]provision.JobID{"1": l.Job.ID})
	e.append(again, done("create"), to(provision.StateSucceeded))
	e.job(l.Job.ID)
	if next := e.submit(order("c")); next.ID != 3 {
		e.Errorf("the next job is %d, want 3", next.ID)
	}
}

// BenchmarkFollow measures an append until each of readers has seen it.
func BenchmarkFollow(b *testing.B, h Harness, readers int) {
	e := &env{TB: b, ctx: b.Context(), h: h, clock: NewClock()}
	e.s = h.Open(b, e.clock)
	l := e.running("a")
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	saw := make(chan struct{}, readers)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for _, err := range e.s.Follow(ctx, 2) {
				if err != nil {
					return
				}
				saw <- struct{}{}
			}
		})
	}
	for b.Loop() {
		e.append(l, provision.Event{Kind: provision.StepLog, Step: "slot", Text: "a line"})
		for range readers {
			<-saw
		}
	}
	cancel()
	wg.Wait()
}

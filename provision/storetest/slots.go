package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"pvebot/provision"
)

func testReserve(e *env) {
	a, b := e.running("a"), e.running("b")
	reserve := func(l *provision.Lease, want string, slots ...string) {
		e.Helper()
		got, err := e.s.Reserve(e.ctx, l, "ip", slots...)
		e.must(err)
		if got != want {
			e.Fatalf("got slot %s of %v, want %s", got, slots, want)
		}
		e.same("lease's job and the stored one", l.Job, e.job(l.Job.ID))
	}
	reserve(a, "1", "1", "2")
	seq := a.Job.Seq
	reserve(a, "1", "3", "1") // its own, before all others
	if a.Job.Seq != seq {
		e.Error("taking a slot twice wrote an event")
	}
	reserve(b, "2", "1", "2", "3")
	e.same("slots of the second job", b.Job.Slots, []provision.Held{{Pool: "ip", Slot: "2"}})
	_, err := e.s.Reserve(e.ctx, b, "ip", "1")
	e.held(err, "ip", "1", a.Job.ID)
	_, err = e.s.Reserve(e.ctx, b, "ip")
	e.held(err, "ip", "", 0)
	if got, err := e.s.Reserve(e.ctx, b, "other", "1"); err != nil || got != "1" {
		e.Errorf("slot 1 of another pool: %q, %v", got, err)
	}
	held, err := e.s.Held(e.ctx, "ip")
	e.must(err)
	e.same("held", held, map[string]provision.JobID{"1": a.Job.ID, "2": b.Job.ID})

	// A lease that ran out keeps its slots; a job that ended does not.
	e.clock.Move(2 * Lease)
	_, err = e.s.Reserve(e.ctx, b, "ip", "1")
	e.held(err, "ip", "1", a.Job.ID)
	e.append(a, to(provision.StateSucceeded))
	if j := e.job(a.Job.ID); len(j.Slots) != 0 {
		e.Errorf("an ended job holds %v", j.Slots)
	}
	reserve(b, "1", "1")
}

// testReserveAtOnce lets 1,000 takers run: 50 jobs in each of 20 pools of 10
// slots.
func testReserveAtOnce(e *env) {
	const jobs, pools, size = 50, 20, 10
	leases := make([]*provision.Lease, jobs)
	for i := range leases {
		leases[i] = e.running(fmt.Sprint(i))
	}
	slots := make([]string, size)
	for i := range slots {
		slots[i] = fmt.Sprint(100 + i)
	}
	var mu sync.Mutex
	took := make(map[provision.Held]provision.JobID)
	losers := 0
	atOnce(jobs*pools, func(i int) {
		l := *leases[i%jobs]
		pool := fmt.Sprint("pool", i/jobs)
		slot, err := e.s.Reserve(e.ctx, &l, pool, slots...)
		mu.Lock()
		defer mu.Unlock()
		var taken *provision.HeldError
		switch h := (provision.Held{Pool: pool, Slot: slot}); {
		case errors.As(err, &taken):
			losers++
		case err != nil:
			e.Error(err)
		case took[h] != 0:
			e.Errorf("%v went to job %d and to job %d", h, took[h], l.Job.ID)
		default:
			took[h] = l.Job.ID
		}
	})
	if len(took) != pools*size || losers != pools*(jobs-size) {
		e.Errorf("%d takers got a slot, %d did not; want %d and %d", len(took), losers, pools*size, pools*(jobs-size))
	}
	for i := range pools {
		pool := fmt.Sprint("pool", i)
		held, err := e.s.Held(e.ctx, pool)
		e.must(err)
		for slot, id := range held {
			if took[provision.Held{Pool: pool, Slot: slot}] != id {
				e.Errorf("%s/%s is held by job %d, taken by job %d", pool, slot, id, took[provision.Held{Pool: pool, Slot: slot}])
			}
		}
	}
	for _, l := range leases {
		e.job(l.Job.ID)
	}
}

func testCooling(e *env) {
	a, b := e.running("a"), e.running("b")
	for _, slot := range []string{"1", "2"} {
		_, err := e.s.Reserve(e.ctx, a, "ip", slot)
		e.must(err)
	}
	e.must(e.s.Release(e.ctx, a, "ip", "1", 5*time.Second))
	e.must(e.s.Release(e.ctx, a, "ip", "2", 0))
	e.same("lease's job and the stored one", a.Job, e.job(a.Job.ID))
	if len(a.Job.Slots) != 0 {
		e.Errorf("after the release the job holds %v", a.Job.Slots)
	}
	seq := a.Job.Seq
	e.must(e.s.Release(e.ctx, a, "ip", "1", 5*time.Second))
	e.must(e.s.Release(e.ctx, b, "ip", "1", 0)) // not its own
	if a.Job.Seq != seq {
		e.Error("releasing what it does not hold wrote an event")
	}

	held, err := e.s.Held(e.ctx, "ip")
	e.must(err)
	e.same("held", held, map[string]provision.JobID{"1": 0})
	_, err = e.s.Reserve(e.ctx, b, "ip", "1")
	e.held(err, "ip", "1", 0)
	_, err = e.s.Submit(e.ctx, order("c"), plan(), provision.Held{Pool: "ip", Slot: "1"})
	e.held(err, "ip", "1", 0)

	e.clock.Move(5 * time.Second)
	held, err = e.s.Held(e.ctx, "ip")
	e.must(err)
	e.same("held, cooled down", held, map[string]provision.JobID{})
	got, err := e.s.Reserve(e.ctx, b, "ip", "1")
	e.must(err)
	if got != "1" {
		e.Errorf("got slot %s", got)
	}
}

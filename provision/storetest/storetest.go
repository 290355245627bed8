// Package storetest is the conformance suite of provision.Store. An
// implementation proves itself with
//
//	func TestStore(t *testing.T) { storetest.Run(t, storetest.Harness{Open: open}) }
//
// The suite never waits for time to pass: it moves the store's clock.
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"pvebot/provision"
)

// Harness is how the suite gets stores.
type Harness struct {
	// Open returns a new, empty store that is closed when the test ends. Its
	// leases last Lease, and its time runs with clock.
	Open func(t testing.TB, clock *Clock) provision.Store
	// Reopen abandons s without Close, as kill -9 does, and opens what it
	// left behind in a process that knows s to be dead.
	Reopen func(t testing.TB, s provision.Store, clock *Clock) provision.Store
	// Break makes what is stored of a row no JSON any more, behind the store's
	// back. What is "job", "event" (of job id, seq n), "VM", "audit row" or
	// "interaction" (all of them).
	Break func(t testing.TB, s provision.Store, what string, id, n int64)
}

// Lease is how long a lease of the stores under test lasts.
const Lease = 30 * time.Second

// A Case is one subject of the suite.
type Case struct {
	Name string
	run  func(*env)
}

// Run checks the case against one new store of h.
func (c Case) Run(t testing.TB, h Harness) {
	clock := NewClock()
	c.run(&env{TB: t, ctx: t.Context(), h: h, clock: clock, s: h.Open(t, clock)})
}

// Cases is the whole suite.
func Cases() []Case {
	return []Case{
		{"submit", testSubmit},
		{"submit at once", testSubmitAtOnce},
		{"submit with claims", testSubmitClaims},
		{"claim", testClaim},
		{"free", testFree},
		{"claim at once", testClaimAtOnce},
		{"lease", testLease},
		{"append", testAppend},
		{"append refused", testAppendRefused},
		{"append again", testAppendAgain},
		{"fold", testFold},
		{"follow", testFollow},
		{"follow ends", testFollowEnds},
		{"reserve", testReserve},
		{"reserve at once", testReserveAtOnce},
		{"cooling", testCooling},
		{"vote", testVote},
		{"vote refused", testVoteRefused},
		{"vote at once", testVoteAtOnce},
		{"vote of several groups", testVoteOfSeveral},
		{"vote of one person", testVoteOfOnePerson},
		{"cancel", testCancel},
		{"cancel asked", testCancelAsked},
		{"resolve", testResolve},
		{"retry", testRetry},
		{"sweep", testSweep},
		{"jobs", testJobs},
		{"cards", testCards},
		{"inbox", testInbox},
		{"lead", testLead},
		{"vm records", testVMRecords},
		{"vm records at once", testVMRecordsAtOnce},
		{"audit", testAudit},
		{"ask", testAsk},
		{"ask in vain", testAskInVain},
		{"attended", testAttended},
		{"crash", testCrash},
		{"probe", testProbe},
		{"broken job", testBrokenJob},
		{"broken event", testBrokenEvent},
		{"broken records", testBrokenRecords},
	}
}

// Run checks everything that provision.Store promises.
func Run(t *testing.T, h Harness) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, h)
		})
	}
}

// Clock is a cluster.Clock that stands still until it is moved.
type Clock struct {
	mu    sync.Mutex
	moved time.Duration
	tick  chan struct{} // closed, and replaced, by each move
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)

// NewClock returns a clock that was not moved yet.
func NewClock() *Clock { return &Clock{tick: make(chan struct{})} }

// Now implements cluster.Clock.
func (c *Clock) Now() time.Time { return epoch.Add(c.Moved()) }

// Moved is how far the clock was moved in all: for stores whose time is
// another machine's.
func (c *Clock) Moved() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved
}

// Move moves the clock forward.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved += d
	close(c.tick)
	c.tick = make(chan struct{})
}

// Sleep implements cluster.Clock.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	until := c.Now().Add(d)
	for {
		c.mu.Lock()
		tick := c.tick
		c.mu.Unlock()
		if !c.Now().Before(until) {
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// env is what a case works with.
type env struct {
	testing.TB
	ctx   context.Context
	h     Harness
	clock *Clock
	s     provision.Store
}

var (
	alice = provision.Actor{Platform: "slack", ID: "U1", Name: "alice"}
	bob   = provision.Actor{Platform: "slack", ID: "U2", Name: "bob"}
	carol = provision.Actor{Platform: "discord", ID: "U1", Name: "carol"}
)

// plan is the plan of every job here.
func plan() []provision.StepState {
	return []provision.StepState{{Phase: "preparation", Name: "slot"}, {Phase: "VM creation", Name: "create"}}
}

// order is an order of alice's.
func order(key string) provision.Order {
	return provision.Order{
		Key: key, Cluster: "main", By: alice, Where: provision.Conversation{Platform: "slack", Channel: "C1"},
		Spec: provision.Install{OS: "ubuntu", Version: "24.04", Cores: 2, MemoryMB: 2048, DiskMB: 16384},
		Text: "/vm install ubuntu",
	}
}

// gated is an order that n people have to approve within an hour.
func (e *env) gated(key string, n int) provision.Order {
	o := order(key)
	o.Gate = &provision.Gate{Need: n, Of: []string{"ops"}, Reason: "policy", Digest: "d1", Expires: e.now().Add(time.Hour)}
	return o
}

// now is the store's time: what it stamps on an interaction without one.
func (e *env) now() time.Time {
	e.Helper()
	m := provision.Inbox{Platform: "clock", ID: rand.Text(), Data: []byte(`{}`)}
	_, err := e.s.Accept(e.ctx, m)
	e.must(err)
	all, err := e.s.Unhandled(e.ctx, m.Platform)
	e.must(err)
	e.must(e.s.Handled(e.ctx, m.Platform, m.ID))
	return all[0].At
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// submit submits an order that must be accepted.
func (e *env) submit(o provision.Order, claims ...provision.Held) provision.Job {
	e.Helper()
	j, err := e.s.Submit(e.ctx, o, plan(), claims...)
	e.must(err)
	return j
}

// claim claims a job of the cluster main, which must be there.
func (e *env) claim(owner string) *provision.Lease {
	e.Helper()
	l, err := e.s.Claim(e.ctx, owner, provision.Wanted{Cluster: "main"})
	e.must(err)
	return l
}

// running is a lease on a new job.
func (e *env) running(key string) *provision.Lease {
	e.Helper()
	j := e.submit(order(key))
	for {
		if l := e.claim("w"); l.Job.ID == j.ID {
			return l
		}
	}
}

// append appends events that must be accepted.
func (e *env) append(l *provision.Lease, evs ...provision.Event) provision.Signal {
	e.Helper()
	sig, err := e.s.Append(e.ctx, l, evs...)
	e.must(err)
	return sig
}

func started(step string) provision.Event {
	return provision.Event{Kind: provision.StepStarted, Step: step}
}

func done(step string) provision.Event {
	return provision.Event{Kind: provision.StepDone, Step: step, Text: "done"}
}

func to(s provision.State) provision.Event {
	return provision.Event{Kind: provision.JobState, State: s}
}

// in makes a job that is in state s.
func (e *env) in(s provision.State, key string) provision.JobID {
	e.Helper()
	if s == provision.StateWaiting {
		return e.submit(e.gated(key, 1)).ID
	}
	if s == provision.StateQueued {
		return e.submit(order(key)).ID
	}
	l := e.running(key)
	e.append(l, started("slot"))
	problem := &provision.Problem{Kind: provision.Failed, Say: "no space left"}
	switch s {
	case provision.StateRunning:
	case provision.StateSucceeded:
		e.append(l, done("slot"), to(s))
	case provision.StateParked:
		e.append(l, provision.Event{Kind: provision.StepFailed, Step: "slot", Err: problem}, provision.Event{Kind: provision.JobState, State: s, Err: problem})
	case provision.StateUndoing:
		e.append(l, to(s))
	case provision.StateFailed, provision.StateCancelled:
		e.append(l, to(provision.StateUndoing), provision.Event{Kind: provision.StepUndone, Step: "slot"}, to(s))
	}
	return l.Job.ID
}

// job reads a job and checks that it is the fold of its events.
func (e *env) job(id provision.JobID) provision.Job {
	e.Helper()
	j, err := e.s.Job(e.ctx, id)
	e.must(err)
	fold := provision.Job{}
	for ev, err := range e.s.Events(e.ctx, id, 0) {
		e.must(err)
		e.must(fold.Apply(ev))
	}
	fold.CancelAsked = j.CancelAsked // beside the sequence
	e.same("job and the fold of its events", j, fold)
	return j
}

// inState checks where a job is.
func (e *env) inState(id provision.JobID, want provision.State) provision.Job {
	e.Helper()
	j := e.job(id)
	if j.State != want {
		e.Fatalf("job %d is %s, want %s", id, j.State, want)
	}
	return j
}

// same checks that got and want are equal as JSON.
func (e *env) same(what string, got, want any) {
	e.Helper()
	g, err := json.Marshal(got)
	e.must(err)
	w, err := json.Marshal(want)
	e.must(err)
	if string(g) != string(w) {
		e.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// is checks that err is want.
func (e *env) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("got error %v, want %v", err, want)
	}
}

// kind checks that err is an *Error of kind want.
func (e *env) kind(err error, want provision.Kind) {
	e.Helper()
	var pe *provision.Error
	if !errors.As(err, &pe) || pe.Kind != want {
		e.Fatalf("got error %v, want one of kind %s", err, want)
	}
}

// held checks that err is a *HeldError about a job.
func (e *env) held(err error, pool, slot string, by provision.JobID) {
	e.Helper()
	var he *provision.HeldError
	if !errors.As(err, &he) || *he != (provision.HeldError{Pool: pool, Slot: slot, By: by}) {
		e.Fatalf("got error %#v, want slot %s/%s held by job %d", err, pool, slot, by)
	}
}

// atOnce runs n calls of do at the same time and waits for them.
func atOnce(n int, do func(i int)) {
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for i := range n {
		wg.Go(func() {
			ready.Done()
			ready.Wait()
			do(i)
		})
	}
	wg.Wait()
}

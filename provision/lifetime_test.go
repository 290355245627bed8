package provision_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// ahead is a clock that is ahead of the machine's.
type ahead struct {
	cluster.SystemClock
	by atomic.Int64
}

func (c *ahead) Now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

// A bot that was off while a VM's life ended skips nothing: it reminds, stops
// the VM when there was time to read that, and destroys it a day after the stop
// was told.
func TestEndOfLifeWhileTheBotWasOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	clock := new(ahead)
	s.clock = clock
	s.engine = s.newEngine()
	at := func(d time.Duration) { clock.by.Store(int64(d)) }
	at(time.Hour) // the store's clock differs: the engine does nothing by itself
	vm := s.vm(101)
	end := time.Now().Add(-47 * time.Hour)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 101, UUID: vm.UUID, Name: vm.Name, Owner: alice, Created: end.Add(-24 * time.Hour), Until: end,
	}); err != nil {
		t.Fatal(err)
	}
	s.start()
	n := 0
	// look sees what a look brings: "" when nothing is due.
	look := func(d time.Duration) string {
		t.Helper()
		at(d)
		if err := s.engine.EndOfLife(t.Context()); err != nil {
			t.Fatal(err)
		}
		jobs, err := s.store.Jobs(t.Context(), provision.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == n {
			return ""
		}
		n++
		return s.succeeds(jobs[0].ID).Order.Spec.Kind()
	}
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{time.Hour, "remind"}, {90 * time.Minute, ""}, {5 * time.Hour, "stop"},
		{6 * time.Hour, ""}, // since then its owner knows
		{29 * time.Hour, ""}, {31 * time.Hour, "destroy"},
	} {
		if got := look(tt.after); got != tt.want {
			t.Fatalf("after %s: %q is ordered, want %q", tt.after, got, tt.want)
		}
	}
	if _, there := s.sim.VM(101); there {
		t.Error("it lives on")
	}
}

// The owner of a VM that is off when its life ends is told all the same, before
// it is destroyed.
func TestEndOfLifeOfAVMThatIsOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(103)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 103, UUID: vm.UUID, Name: vm.Name, Owner: alice, Until: time.Now().Add(-50 * time.Hour), Reminded: true,
	}); err != nil {
		t.Fatal(err)
	}
	s.start()
	for range 3 {
		if err := s.engine.EndOfLife(t.Context()); err != nil {
			t.Fatal(err)
		}
		jobs, err := s.store.Jobs(t.Context(), provision.Filter{})
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%d jobs, %v", len(jobs), err)
		}
		if job := s.succeeds(jobs[0].ID); job.Order.Spec.Kind() != "remind" || !strings.Contains(job.Steps[0].Text, "destroyed a day from now") {
			t.Errorf("its owner is told: %+v", job.Steps)
		}
	}
}

// Nobody is taken for told before the card shows it, and nothing is destroyed
// by a clock that nobody knows.
func TestEndOfLifeThatNobodySaw(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(101)
	r := provision.VMRecord{
		Cluster: "sim", VMID: 101, UUID: vm.UUID, Name: vm.Name, Owner: alice, Where: provision.Conversation{Platform: "slack", Channel: "C1"},
		Until: time.Now().Add(-50 * time.Hour), Reminded: true,
	}
	if err := s.store.SaveVM(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.start()
	look := func() provision.VMRecord {
		t.Helper()
		if err := s.engine.EndOfLife(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, _, err := s.store.VMRecord(t.Context(), "sim", 101)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	look()
	jobs, err := s.store.Jobs(t.Context(), provision.Filter{})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	stop := s.succeeds(jobs[0].ID)
	if r := look(); !r.Told.IsZero() {
		t.Errorf("the chat shows nothing, and its owner was told at %s", r.Told)
	}
	if err := s.store.SetCard(t.Context(), provision.CardRef{Job: stop.ID, Platform: "slack", Ref: []byte("{}"), Shown: stop.Seq, Settled: true}); err != nil {
		t.Fatal(err)
	}
	if r := look(); time.Since(r.Told) > time.Minute {
		t.Errorf("it was told just now, and is noted as of %s", r.Told)
	}
	if _, err := s.store.UpdateVM(t.Context(), "sim", 101, vm.UUID, func(r *provision.VMRecord) { r.Told = time.Now().Add(-25 * time.Hour) }); err != nil {
		t.Fatal(err)
	}
	if err := s.engine.EndOfLifeUnsure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if jobs, err = s.store.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) != 1 {
		t.Errorf("by a clock that is not relied upon %d jobs were ordered, %v", len(jobs)-1, err)
	}
}

// A destroy that an earlier version ordered is not carried out before the owner
// was told a day ago.
func TestEndThatWasOrderedTooEarly(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(101)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 101, UUID: vm.UUID, Name: vm.Name, Owner: alice, Until: time.Now().Add(-50 * time.Hour), Reminded: true,
	}); err != nil {
		t.Fatal(err)
	}
	spec, err := s.engine.Prepare(t.Context(), provision.Destroy{VM: vm})
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.engine.Submit(t.Context(), provision.Order{
		Key: "early", By: provision.Actor{Platform: "system", ID: "lifetime"}, Spec: spec, OnFailure: provision.OnFailureUndo,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	job = s.await(job.ID, provision.StateSucceeded, provision.StateFailed, provision.StateCancelled)
	if _, there := s.sim.VM(101); !there || !strings.Contains(job.Problem.Say, "was not told a day ago") {
		t.Errorf("the job %s: %+v", job.State, job.Problem)
	}
}

// timed is a store that tells another time than its own, and notes with what
// patience it is swept.
type timed struct {
	provision.Store
	ahead    time.Duration
	patience time.Duration
}

func (s *timed) Attended(ctx context.Context, cluster string) (until, now time.Time, err error) {
	until, now, err = s.Store.Attended(ctx, cluster)
	return until, now.Add(s.ahead), err
}

func (s *timed) Sweep(_ context.Context, patience time.Duration) (int, error) {
	s.patience = patience
	return 0, nil
}

// A clock that jumps, or that is not the database's, is noticed, and is relied
// upon again when it went evenly for a while.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	store, clock := &timed{Store: openStore(t, t.TempDir())}, new(ahead)
	defer store.Close()
	e := provision.NewEngine(provision.Config{Store: store, Cluster: cluster.New(nil, nil, cluster.Config{Name: "sim"}), Clock: clock})
	look := e.Clocks()
	pass := func(d time.Duration) { clock.by.Add(int64(d)); store.ahead += d }
	for _, tt := range []struct {
		what       string
		do         func()
		even, sure bool
	}{
		{"the start", func() {}, true, false},
		{"nine minutes later", func() { pass(9 * time.Minute) }, true, false},
		{"eleven minutes later", func() { pass(2 * time.Minute) }, true, true},
		{"the database's clock jumps", func() { store.ahead += 30 * 24 * time.Hour }, false, false},
		{"and jumps back", func() { store.ahead -= 30 * 24 * time.Hour }, false, false},
		{"nine minutes after that", func() { pass(9 * time.Minute) }, false, false},
		{"eleven minutes after that", func() { pass(2 * time.Minute) }, true, true},
		{"this machine's clock is another one", func() { clock.by.Add(int64(time.Hour)) }, false, false},
		{"for ever", func() { pass(time.Hour) }, false, false},
	} {
		tt.do()
		if even, sure := look(t.Context()); even != tt.even || sure != tt.sure {
			t.Errorf("%s: even %v, sure %v", tt.what, even, sure)
		}
	}
}

// A job that was parked when the bot was off has all its patience: nobody could
// be asked.
func TestPatienceCountsWhileSomebodyCanAnswer(t *testing.T) {
	t.Parallel()
	store, clock := &timed{Store: openStore(t, t.TempDir())}, new(ahead)
	defer store.Close()
	e := provision.NewEngine(provision.Config{Store: store, Cluster: cluster.New(nil, nil, cluster.Config{Name: "sim"}), Clock: clock, Patience: time.Hour})
	began := clock.Now()
	if e.Sweep(t.Context(), began); store.patience < 24*time.Hour {
		t.Errorf("at the start what is parked for %s is rolled back", store.patience)
	}
	clock.by.Store(int64(61 * time.Minute))
	if e.Sweep(t.Context(), began); store.patience != time.Hour {
		t.Errorf("after an hour what is parked for %s is rolled back", store.patience)
	}
}

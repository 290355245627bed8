package provision_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// Numbers of orders come from outside: none is taken that sums and products
// could not hold.
func TestNumbersOfOrdersHaveBounds(t *testing.T) {
	install := func(change func(*provision.Install)) provision.Spec {
		s := provision.Install{OS: "ubuntu", Cores: 1, MemoryMB: 512, DiskMB: 16384}
		change(&s)
		return s
	}
	vm := provision.VMRef{VMID: 101}
	if err := install(func(*provision.Install) {}).Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]provision.Spec{
		"cores":           install(func(s *provision.Install) { s.Cores = 513 }),
		"negative cores":  install(func(s *provision.Install) { s.Cores = -1 }),
		"memory":          install(func(s *provision.Install) { s.MemoryMB = math.MaxInt }),
		"negative memory": install(func(s *provision.Install) { s.MemoryMB = math.MinInt }),
		"disk":            install(func(s *provision.Install) { s.DiskMB = math.MaxInt64 }),
		"negative disk":   install(func(s *provision.Install) { s.DiskMB = math.MinInt64 }),
		"VMID":            install(func(s *provision.Install) { s.VMID = math.MaxInt }),
		"small VMID":      install(func(s *provision.Install) { s.VMID = 99 }),
		"life":            install(func(s *provision.Install) { s.TTL = math.MaxInt64 }),
		"negative life":   install(func(s *provision.Install) { s.TTL = -time.Second }),
		"set cores":       provision.Set{VM: vm, Cores: math.MaxInt},
		"set memory":      provision.Set{VM: vm, MemoryMB: math.MaxInt},
		"grow":            provision.Set{VM: vm, GrowMB: math.MaxInt64},
		"shrink":          provision.Set{VM: vm, GrowMB: -1},
		"another's VMID":  provision.Power{Do: "start", VM: provision.VMRef{VMID: math.MaxInt}},
	} {
		if err := spec.Validate(); provision.KindOf(err) != provision.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// To extend never ends a life sooner: not what was planned, and not what had no
// end. What others did meanwhile stays.
func TestExtendNeverShortens(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm, now := s.vm(101), time.Now().UTC().Truncate(time.Second)
	lives := func(until time.Time) {
		t.Helper()
		if err := s.store.SaveVM(t.Context(), provision.VMRecord{Cluster: "sim", VMID: 101, UUID: vm.UUID, Owner: alice, Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	lives(now.Add(7 * day))
	for _, until := range []time.Time{now.Add(time.Minute), now.Add(6 * day), now.Add(7 * day)} {
		if got := s.refusal(provision.Extend{VM: vm, Until: until}); !strings.Contains(got, "to extend never shortens") {
			t.Errorf("until %v: %q", until, got)
		}
	}
	lives(time.Time{})
	if got := s.refusal(provision.Extend{VM: vm, Until: now.Add(day)}); !strings.Contains(got, "has no end of life") {
		t.Errorf("an end where there is none: %q", got)
	}
	lives(now.Add(7 * day))
	id := s.do(provision.Extend{VM: vm, Until: now.Add(8 * day)}, nil)
	lives(now.Add(9 * day)) // by somebody else, before it runs
	s.start()
	s.succeeds(id)
	if r, _, err := s.store.VMRecord(t.Context(), "sim", 101); err != nil || !r.Until.Equal(now.Add(9*day)) {
		t.Errorf("it lives until %v, want %v: %v", r.Until, now.Add(9*day), err)
	}
}

// What a rollback brings back is known before it is ordered, and is part of what
// people agree to.
func TestRollbackSaysWhatItBringsBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.byHand("pve3", "qm", "set", "103", "--cores", "6")
	s.byHand("pve3", "qm", "snapshot", "103", "large")
	s.byHand("pve3", "qm", "set", "103", "--cores", "1")
	prepared, err := s.engine.Prepare(t.Context(), provision.Rollback{VM: s.vm(103), Name: "large", Size: provision.Size{Cores: 1}})
	if err != nil {
		t.Fatal(err)
	}
	back := prepared.(provision.Rollback)
	if back.Size.Cores != 6 || back.Size.MemoryMB == 0 {
		t.Errorf("it brings back %+v", back.Size)
	}
	p, err := s.engine.Preview(t.Context(), back)
	if err != nil || len(p.Lines) != 2 || !strings.Contains(p.Lines[1], "it has 1 CPUs") || !strings.Contains(p.Lines[1], "gets back 6 CPUs") {
		t.Errorf("the plan is %+v, %v", p, err)
	}
	// Another snapshot of that name is another plan, and not run for the first.
	s.byHand("pve3", "qm", "delsnapshot", "103", "large")
	s.byHand("pve3", "qm", "snapshot", "103", "large")
	if other, err := s.engine.Preview(t.Context(), back); err != nil || other.Digest == p.Digest {
		t.Errorf("the plan is %+v, %v", other, err)
	}
	s.start()
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: "back", By: alice, Spec: back, OnFailure: provision.OnFailureUndo})
	if err != nil {
		t.Fatal(err)
	}
	if job = s.await(job.ID, provision.StateFailed, provision.StateSucceeded); job.State != provision.StateFailed || !strings.Contains(job.Problem.Say, "is another one by now") {
		t.Errorf("it %s: %+v", job.State, job.Problem)
	}
}

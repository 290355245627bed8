package provision_test

import (
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/guest"
)

// A new host key is trusted by its name, and only while the guest shows it.
func TestTrust(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	job := s.mustInstall(provision.Install{OS: "ubuntu", Name: "web-1", Node: "pve1"})
	id := job.Facts.VMID
	ref := s.vm(id)
	shown := func() string {
		vm, _ := s.sim.VM(id)
		return guest.Line(vm.HostKey)
	}
	remembered := func() string {
		r, _, err := s.store.VMRecord(t.Context(), s.pve.Name(), id)
		if err != nil {
			t.Fatal(err)
		}
		return r.HostKey
	}
	refused := func(spec provision.Trust, want string) {
		t.Helper()
		if _, err := s.engine.Prepare(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", spec, err, want)
		}
	}
	first := shown()
	refused(provision.Trust{VM: ref}, "shows the host key that I know")

	// An order that is undone when it fails leaves the guest on, or nobody
	// could look at its key.
	s.succeeds(s.do(provision.Power{Do: "stop", VM: ref}, nil))
	refused(provision.Trust{VM: ref}, "does not run")
	s.sim.SetOption(id, "nameserver", "192.168.0.9")
	s.orders++
	start, err := s.engine.Submit(t.Context(), provision.Order{
		Key: "start", By: alice, Spec: provision.Power{Do: "start", VM: ref}, OnFailure: provision.OnFailureUndo,
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := s.await(start.ID, provision.StateFailed, provision.StateSucceeded)
	if vm, _ := s.sim.VM(id); failed.State != provision.StateFailed || !vm.Running {
		t.Fatalf("the start %s, it runs: %v", failed.State, vm.Running)
	}
	if !strings.HasPrefix(failed.Problem.Try, "vm trust ") {
		t.Errorf("what to do is %q", failed.Problem.Try)
	}

	second := shown()
	if second == first {
		t.Fatal("the guest has no new key")
	}
	refused(provision.Trust{VM: ref, HostKey: first}, "and not the host key that was to be trusted")
	refused(provision.Trust{VM: ref, HostKey: "ssh-ed25519 AAAA"}, "no SSH host key")
	plan, err := s.engine.Preview(t.Context(), provision.Trust{VM: ref})
	if err != nil || len(plan.Lines) < 2 || plan.Lines[0] == strings.Replace(plan.Lines[1], "new:   ", "known: ", 1) {
		t.Errorf("the plan is %q, %v", plan.Lines, err)
	}

	// What was prepared is not what is there any more when the job runs.
	stale, err := s.engine.Submit(t.Context(), provision.Order{
		Key: "stale", By: alice, Spec: provision.Trust{VM: ref, HostKey: first}, OnFailure: provision.OnFailureUndo,
	})
	if err != nil {
		t.Fatal(err)
	}
	if job := s.await(stale.ID, provision.StateFailed, provision.StateSucceeded); job.Problem == nil || remembered() != first {
		t.Errorf("a key that is not shown: the job %s, %s is remembered", job.State, remembered())
	}

	job = s.succeeds(s.do(provision.Trust{VM: ref}, nil))
	if remembered() != second || !strings.Contains(job.Steps[0].Text, "lets me in as ubuntu") {
		t.Errorf("%s is remembered, want %s: it says %s", remembered(), second, job.Steps[0].Text)
	}
	s.succeeds(s.do(provision.Power{Do: "reboot", VM: ref}, nil))
}

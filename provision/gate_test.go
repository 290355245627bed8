package provision_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// A VM's whole life passes the gate, and nothing else does.
func TestLifeThroughTheGate(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("/usr/bin/perl"); err != nil {
		t.Skip("perl is not installed: ", err)
	}
	s := newSite(t, pvesim.Options{})
	access := s.sim.Access()
	gate := filepath.Join(t.TempDir(), "gate")
	if err := os.WriteFile(gate, cluster.Gate(cluster.GateConfig{
		Config:   cluster.Config{PVEEtc: access.PVEEtc, RunDir: access.RunDir, BootIDFile: access.BootIDFile},
		ImageDir: access.ImageDir,
	}), 0o755); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	s.sim.ForceCommand(gate)

	node, err := s.pve.Nodes().Node("pve1")
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"id"}, {"qm", "list"}, {"sh", "-c", "qm list"}} {
		_, err := node.Run(t.Context(), cluster.Cmd{Argv: argv})
		if refused, ok := errors.AsType[*cluster.ExitError](err); !ok || refused.Status != 126 || !strings.Contains(refused.Stderr, "pvebot-gate: not a command of the bot: ") {
			t.Errorf("%q: %v", argv, err)
		}
	}

	s.start()
	do := func(spec provision.Spec) provision.Job {
		t.Helper()
		prepared, err := s.engine.Prepare(t.Context(), spec)
		if err != nil {
			t.Fatalf("%s: %v", spec.Kind(), err)
		}
		s.orders++
		job, err := s.engine.Submit(t.Context(), provision.Order{
			Key: fmt.Sprint(s.orders), By: alice, Spec: prepared, OnFailure: provision.OnFailureUndo,
		})
		if err != nil {
			t.Fatalf("%s: %v", spec.Kind(), err)
		}
		job = s.await(job.ID, provision.StateSucceeded, provision.StateFailed, provision.StateParked)
		if job.State != provision.StateSucceeded {
			t.Fatalf("%s %s: %+v", spec.Kind(), job.State, job.Problem)
		}
		return job
	}
	ref := func(job provision.Job) provision.VMRef {
		t.Helper()
		vm, err := s.engine.FindVM(t.Context(), fmt.Sprint(job.Facts.VMID))
		if err != nil {
			t.Fatal(err)
		}
		return vm.VMRef
	}
	spec := ubuntu()
	spec.Name, spec.Node, spec.PasswordHash = "web-1", "pve1", aHash
	web := ref(do(spec))
	do(provision.Set{VM: web, Cores: 4, MemoryMB: 4096, GrowMB: 1024})
	do(provision.Power{Do: "reboot", VM: web})
	do(provision.Power{Do: "shutdown", VM: web})
	web = ref(do(provision.Migrate{VM: web, To: "pve2"}))
	do(provision.Snapshot{VM: web, Name: "before"})
	do(provision.Rollback{VM: web, Name: "before"})
	copied := ref(do(provision.Clone{VM: web, Name: "web-2"}))
	do(provision.Destroy{VM: copied})
	do(provision.Power{Do: "start", VM: web})
	do(provision.Power{Do: "stop", VM: web})
	do(provision.Destroy{VM: web})

	// What fails is undone through it, too.
	s.sim.FailOnce("qm start", 255, "start failed: no memory")
	id := s.mustOrder(ubuntu())
	if job := s.await(id, provision.StateFailed, provision.StateSucceeded, provision.StateParked); job.State != provision.StateFailed {
		t.Errorf("an install that failed is %s: %+v", job.State, job.Problem)
	}
	s.clean(0)
}

package provision_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// Where SSH is shut, the guest agent is asked: a VM that reboots is well when it
// answers, and an install that can't go on says that the guest runs.
func TestAgentWhereSSHIsShut(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	var shut atomic.Bool
	open := s.guests.Dial
	s.guests.Dial = func(ctx context.Context, node, addr string) (net.Conn, error) {
		if shut.Load() {
			return nil, errors.New("no route to host")
		}
		return open(ctx, node, addr)
	}
	s.settings.Stall = time.Second
	s.engine = s.newEngine()
	s.start()
	job := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed)
	vm, err := s.engine.FindVM(t.Context(), job.Facts.Name)
	if err != nil {
		t.Fatal(err)
	}
	shut.Store(true)
	spec, err := s.engine.Prepare(t.Context(), provision.Power{Do: "reboot", VM: vm.VMRef})
	if err != nil {
		t.Fatal(err)
	}
	rebooted, err := s.engine.Submit(t.Context(), provision.Order{Key: "reboot", By: alice, Spec: spec, OnFailure: provision.OnFailureUndo})
	if err != nil {
		t.Fatal(err)
	}
	job = s.await(rebooted.ID, provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if step := job.Step("waiting for SSH"); job.State != provision.StateSucceeded || step.Text != "its SSH is shut, but the guest agent answers" {
		t.Errorf("the reboot %s: %+v, %+v", job.State, step, job.Problem)
	}

	// A fresh guest has no agent yet: it is what its console shows.
	job = s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if job.State != provision.StateFailed || !strings.Contains(job.Problem.Say, "nothing answers at") || !strings.Contains(job.Problem.Try, "qm terminal") {
		t.Errorf("the install %s: %+v", job.State, job.Problem)
	}
	s.clean(1)
}

package provision_test

import (
	"context"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// A cluster that does not answer one asker keeps neither those who have less
// time nor the jobs that end meanwhile.
func TestViewKeepsNobody(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	s.engine.SetPlan(provision.Step{Name: "one", Run: func(context.Context, *provision.Work) error { return nil }})
	s.start()
	asked := make(chan struct{}, 1)
	s.sim.OnCommand(func(r pvesim.Ran) {
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	release := s.sim.Hold("pvesh get /cluster/resources")
	answered := make(chan error, 1)
	go func() {
		_, err := s.engine.Resources(t.Context())
		answered <- err
	}()
	<-asked

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.engine.Resources(ctx); provision.KindOf(err) != provision.Unavailable {
		t.Errorf("who had no time got %v", err)
	}
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: "a", By: alice, Spec: provision.Remind{VM: provision.VMRef{VMID: 101}, Until: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	s.succeeds(job.ID)
	select {
	case err := <-answered:
		t.Errorf("the cluster has answered: %v", err)
	default:
	}
	release()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Who types has less time than PVE takes for an answer: the first one leaves it for
// the next.
func TestViewForTheNextOne(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	release := s.sim.Hold("pvesh get /cluster/resources")
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := s.engine.Resources(ctx); provision.KindOf(err) != provision.Unavailable {
			t.Errorf("who had no time got %v", err)
		}
		cancel()
	}
	release()
	if _, err := s.engine.Resources(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.ran("pvesh get /cluster/resources"); n != 1 {
		t.Errorf("the cluster was asked %d times, want once", n)
	}
}

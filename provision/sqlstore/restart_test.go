package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

// TestServerRestart kills the database server, and starts it again, under bots
// that write, read and follow. None of them notices more than a pause: every
// call succeeds, nothing is written twice and nothing that was acknowledged is
// gone.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := openStore(t, server.URL, Options{Lease: 2 * time.Minute})
	var leases [4]*provision.Lease
	for i := range leases {
		if _, err := s.Submit(t.Context(), order(fmt.Sprint("k", i)), []provision.StepState{{Name: "slot"}}); err != nil {
			t.Fatal(err)
		}
		l, err := s.Claim(t.Context(), "w", provision.Wanted{Cluster: "main"})
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = l
	}
	over := make(chan struct{}) // the last restart was
	var wg sync.WaitGroup
	var rounds atomic.Int64
	stopped := func() bool {
		rounds.Add(1)
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	for i, l := range leases {
		wg.Go(func() {
			for n := 0; !stopped(); n++ {
				evs := []provision.Event{{Kind: provision.StepLog, Step: "slot", Text: fmt.Sprint(n)}}
				if err := appendPatiently(t.Context(), s, l, evs...); err != nil {
					t.Errorf("worker %d, event %d: %v", i, n, err)
					return
				}
			}
		})
	}
	wg.Go(func() { // what nobody tries again
		for n := 0; !stopped(); n++ {
			key, ref := fmt.Sprint("other", n), json.RawMessage(`1`)
			job, err := s.Submit(t.Context(), provision.Order{Key: key, Cluster: "other", Spec: provision.Install{OS: "ubuntu"}}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if fresh, err := s.Accept(t.Context(), provision.Inbox{Platform: "slack", ID: key}); err != nil || !fresh {
				t.Errorf("an interaction that is new: %v, %v", fresh, err)
			}
			if err := s.SetCard(t.Context(), provision.CardRef{Job: job.ID, Platform: "slack", Ref: ref}); err != nil {
				t.Error(err)
			}
			if again, err := s.Job(t.Context(), job.ID); err != nil || again.Order.Key != key {
				t.Errorf("job %d is %q: %v", job.ID, again.Order.Key, err)
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	wg.Go(func() {
		for e, err := range s.Follow(ctx, 0) {
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.Errorf("following: %v", err)
				return
			}
			if int64(e.Pos) != seen.Add(1) {
				t.Errorf("position %d after %d", e.Pos, seen.Load()-1)
			}
		}
	})
	for range 3 {
		for goal := rounds.Load() + 50; rounds.Load() < goal && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		server.Kill()
		server.Start()
	}
	close(over)
	last, err := s.Position(t.Context())
	if err != nil {
		t.Error(err)
	}
	for int64(last) > seen.Load() && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	for _, l := range leases {
		next := 0
		for e, err := range s.Events(t.Context(), l.Job.ID, 2) { // after accepted, running
			if err != nil {
				t.Fatal(err)
			}
			if e.Text != fmt.Sprint(next) {
				t.Fatalf("job %d has event %q after %d others", l.Job.ID, e.Text, next)
			}
			next++
		}
		if int(l.Job.Seq) != next+2 {
			t.Errorf("job %d: %d events are acknowledged, %d are there", l.Job.ID, l.Job.Seq, next+2)
		}
	}
}

// appendPatiently is Append as a worker calls it: until it gets an answer.
func appendPatiently(ctx context.Context, s *Store, l *provision.Lease, evs ...provision.Event) (err error) {
	for range 1000 {
		if _, err = s.Append(ctx, l, evs...); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

package sqlstore

import (
	"context"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

// TestFrozen freezes a bot in the middle of a transaction, where it holds what
// every other bot needs. The server undoes what it began, the others go on, and
// when it wakes it does its work again.
func TestFrozen(t *testing.T) {
	for _, way := range []struct {
		name string
		url  func(testing.TB) string
	}{{"postgres", pgtest.URL}, {"pgbouncer", pgtest.PgBouncer}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			url := way.url(t)
			frozen, other := openStore(t, url, Options{}), openStore(t, url, Options{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			inside, wake := make(chan struct{}), make(chan struct{})
			woke := make(chan error, 1)
			tries := 0
			go func() {
				woke <- frozen.write(ctx, func(t *txn) error {
					if _, err := t.exec(ctx, `UPDATE feed SET value = value WHERE name IN ('pos', 'jobs')`); err != nil {
						return err
					}
					if tries++; tries == 1 {
						close(inside)
						<-wake
					}
					_, err := t.exec(ctx, `UPDATE feed SET value = value WHERE name = 'pos'`)
					return err
				})
			}()
			<-inside
			job, err := other.Submit(ctx, order("other"), nil)
			if err != nil {
				t.Fatalf("the others stand still: %v", err)
			}
			if again, err := other.Job(ctx, job.ID); err != nil || again.State != provision.StateQueued {
				t.Errorf("the job is %+v, %v", again, err)
			}
			close(wake)
			if err := <-woke; err != nil || tries != 2 {
				t.Errorf("it woke and ended after %d tries: %v", tries, err)
			}
			if _, err := frozen.Submit(ctx, order("frozen"), nil); err != nil {
				t.Errorf("it can't go on: %v", err)
			}
		})
	}
}

package provision

import (
	"context"
	"sync"
	"time"

	"pvebot/cluster"
)

// turn is a lock that those who wait for it can give up waiting for.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the lock; its error is why ctx ended.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) pass() { <-t }

// view keeps the dear /cluster/resources for a few seconds. Concurrent askers
// share one call.
type view struct {
	cluster *cluster.Cluster
	clock   cluster.Clock
	asking  turn

	mu      sync.Mutex
	have    cluster.Resources
	at      time.Time // when have was asked for; zero: it is out of date
	dropped int       // so often
}

// viewAge is how old an answer may be: pvestatd renews it every 10 s anyway.
const viewAge = 5 * time.Second

func (v *view) resources(ctx context.Context) (cluster.Resources, error) {
	if r, ok := v.fresh(); ok {
		return r, nil
	}
	if err := v.asking.take(ctx); err != nil {
		return cluster.Resources{}, unreachable("the cluster", err)
	}
	defer v.asking.pass()
	if r, ok := v.fresh(); ok {
		return r, nil
	}
	v.mu.Lock()
	dropped, now := v.dropped, v.clock.Now()
	v.mu.Unlock()
	r, err := v.cluster.Resources(ctx)
	if err != nil {
		return cluster.Resources{}, unreachable("the cluster", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dropped == dropped {
		v.have, v.at = r, now
	}
	return r, nil
}

func (v *view) fresh() (cluster.Resources, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.have, !v.at.IsZero() && v.clock.Now().Sub(v.at) <= viewAge
}

// drop forgets the answer, also one that is being waited for: a job has changed
// something, and who sees its end shall see that too. It does not wait.
func (v *view) drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = time.Time{}
	v.dropped++
}

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
// share one call, which goes on without them: who has too little time for it
// leaves an answer for the next.
type view struct {
	cluster *cluster.Cluster
	clock   cluster.Clock

	mu      sync.Mutex
	have    cluster.Resources
	at      time.Time // when have was asked for; zero: it is out of date
	dropped int       // so often
	call    *viewCall // under way, or nil
}

// viewCall is a call of /cluster/resources.
type viewCall struct {
	dropped int           // view.dropped when it began
	asked   cluster.Asked // the node whose answer it waits for
	done    chan struct{} // closed when answer and err are there
	answer  cluster.Resources
	err     error
}

const (
	// viewAge is how old an answer may be: pvestatd renews it every 10 s anyway.
	viewAge = 5 * time.Second
	// viewTime is how long a call may take, whoever waits for it.
	viewTime = time.Minute
)

func (v *view) resources(ctx context.Context) (cluster.Resources, error) {
	for {
		have, c, current := v.look(ctx)
		if c == nil {
			return have, nil
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			cluster.TellAsked(ctx, c.asked.Node())
			return cluster.Resources{}, unreachable("the cluster", context.Cause(ctx))
		}
		if current {
			return c.answer, c.err
		}
	}
}

// look returns a fresh answer, or else the call to wait for, and whether what that
// says will be current: it began after the last change.
func (v *view) look(ctx context.Context) (have cluster.Resources, c *viewCall, current bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.Now()
	if !v.at.IsZero() && now.Sub(v.at) <= viewAge {
		return v.have, nil, true
	}
	if v.call == nil {
		v.call = &viewCall{dropped: v.dropped, done: make(chan struct{})}
		go v.ask(context.WithoutCancel(ctx), v.call, now) // ends with the connections, at the latest
	}
	return cluster.Resources{}, v.call, v.call.dropped == v.dropped
}

func (v *view) ask(ctx context.Context, c *viewCall, now time.Time) {
	ctx, cancel := context.WithTimeout(cluster.WithAsked(ctx, &c.asked), viewTime)
	defer cancel()
	defer close(c.done)
	defer func() {
		if p := recover(); p != nil {
			c.err = defect("in reading what the cluster has", p)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.call = nil
		if c.err == nil && v.dropped == c.dropped {
			v.have, v.at = c.answer, now
		}
	}()
	if c.answer, c.err = v.cluster.Resources(ctx); c.err != nil {
		c.err = unreachable("the cluster", c.err)
	}
}

// drop forgets the answer, also one that is being waited for: a job has changed
// something, and who sees its end shall see that too. It does not wait.
func (v *view) drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = time.Time{}
	v.dropped++
}

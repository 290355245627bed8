package cluster

import (
	"context"
	"errors"
	"time"
)

// betterTime is how long a better answer than the one we have is waited for, from
// each node.
const betterTime = 2 * time.Second

// ask puts a question about the whole cluster to the node that answered last, and
// to the next one while none answers: a node that refuses may be sick itself.
func (c *Cluster) ask(ctx context.Context, cmd Cmd) (Result, error) {
	return c.askUntil(ctx, cmd, func(_ Result, err error) bool { return err == nil })
}

// askUntil asks one node after the other until one says enough. If none does, what
// the first one said that said anything has to do. A node that gave no answer is
// not asked first again: a dark one would cost every question a time-out, which
// who asks may not have.
func (c *Cluster) askUntil(ctx context.Context, cmd Cmd, enough func(Result, error) bool) (Result, error) {
	names := c.nodes.Names()
	from := int(c.first.Load())
	var said *Result
	by := 0
	var errs []error
	for i := range names {
		at := (from + i) % len(names)
		res, err := c.askOne(ctx, names[at], cmd, said != nil)
		switch {
		case enough(res, err):
			c.first.Store(int64(at))
			return res, err
		case err == nil && said == nil:
			said, by = &res, at
		case said == nil:
			c.first.CompareAndSwap(int64(at), int64((at+1)%len(names)))
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if said != nil {
		c.first.Store(int64(by))
		return *said, nil
	}
	return Result{}, errors.Join(errs...)
}

func (c *Cluster) askOne(ctx context.Context, node string, cmd Cmd, quick bool) (Result, error) {
	if quick {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, betterTime)
		defer cancel()
	}
	return c.on(ctx, node, cmd)
}

package cluster

import (
	"context"
	"fmt"
	"sync"
)

// readsPerNode is how many commands for readers run on a node at a time: the
// other sessions of its connection are for jobs.
const readsPerNode = 2

type readerKey struct{}

// AsReader returns a context for somebody who only looks: many of them ask the
// same, and none of them may keep a job waiting. What several readers ask of a
// node at the same time is asked once for all, and few of their commands run
// there at a time. Each gets an answer that was asked for after they came.
func AsReader(ctx context.Context) context.Context {
	return context.WithValue(ctx, readerKey{}, true)
}

func isReader(ctx context.Context, c Cmd) bool {
	reader, _ := ctx.Value(readerKey{}).(bool)
	return reader && !c.Changes && c.Stdin == nil && c.Line == nil
}

type askedKey struct{}

// Asked remembers which node an answer is being waited for from. It may be used
// by many goroutines at once.
type Asked struct {
	mu   sync.Mutex
	node string
}

// WithAsked returns a context whose commands tell a where they go.
func WithAsked(ctx context.Context, a *Asked) context.Context {
	return context.WithValue(ctx, askedKey{}, a)
}

// TellAsked says that somebody with ctx waits for an answer from node; "" ends
// the waiting.
func TellAsked(ctx context.Context, node string) {
	if a, ok := ctx.Value(askedKey{}).(*Asked); ok {
		a.mu.Lock()
		a.node = node
		a.mu.Unlock()
	}
}

// Node is the node that has not answered yet, "" for none.
func (a *Asked) Node() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.node
}

// reads are what readers ask.
type reads struct {
	mu    sync.Mutex
	last  map[string]*read         // by node and command, the newest of them
	slots map[string]chan struct{} // by node
}

// read is one command for all who asked before it began.
type read struct {
	began  bool // whoever comes now waits for the next one
	askers int
	ended  chan struct{}
	res    Result
	err    error
}

// share runs a command for a reader, and for all others who ask the same before
// it begins. It goes on without those who gave up.
func (r *reads) share(ctx context.Context, node string, c Cmd, run func(context.Context) (Result, error)) (Result, error) {
	mine := r.join(ctx, node+"\x00"+Quote(c.Argv), node, run)
	select {
	case <-mine.ended:
		return mine.res, mine.err
	case <-ctx.Done():
		r.mu.Lock()
		mine.askers--
		r.mu.Unlock()
		return Result{}, fmt.Errorf("%w: %w", ErrNotStarted, context.Cause(ctx))
	}
}

// join adds an asker to the next read of its kind.
func (r *reads) join(ctx context.Context, key, node string, run func(context.Context) (Result, error)) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last, r.slots = map[string]*read{}, map[string]chan struct{}{}
	}
	if r.slots[node] == nil {
		r.slots[node] = make(chan struct{}, readsPerNode)
	}
	before := r.last[key]
	if before != nil && !before.began {
		before.askers++
		return before
	}
	next := &read{askers: 1, ended: make(chan struct{})}
	r.last[key] = next
	slots := r.slots[node]
	go func() {
		if before != nil {
			<-before.ended
		}
		slots <- struct{}{}
		defer func() { <-slots }()
		r.do(context.WithoutCancel(ctx), key, next, run) // as long as commands may take
	}()
	return next
}

// do runs the command of a read, if somebody still wants to know.
func (r *reads) do(ctx context.Context, key string, mine *read, run func(context.Context) (Result, error)) {
	defer close(mine.ended)
	r.mu.Lock()
	mine.began = true
	wanted := mine.askers > 0
	r.mu.Unlock()
	if wanted {
		mine.res, mine.err = run(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last[key] == mine {
		delete(r.last, key)
	}
}

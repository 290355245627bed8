package cluster

import (
	"context"
	"testing"
	"time"
)

// dark is a node that takes no notice of whoever connects, like one without
// power: a dial ends with the caller's time.
type dark struct {
	fakeNodes
	name string
}

func (d dark) Node(name string) (Runner, error) {
	if name == d.name {
		return darkRunner{}, nil
	}
	return d.fakeNodes.Node(name)
}

type darkRunner struct{}

func (darkRunner) Run(ctx context.Context, _ Cmd) (Result, error) {
	<-ctx.Done()
	return Result{}, notStarted(context.Cause(ctx))
}

// While the first node is dark, somebody with little time, as /readyz is, gets
// an answer of the others: at the second question at the latest.
func TestADarkNodeIsNotAskedFirstForEver(t *testing.T) {
	b := &answers{reply: replies{"cat -- /etc/pve/.members": says(`{"nodename":"b","version":4}`)}}
	c := New(dark{fakeNodes{"a": &answers{}, "b": b}, "a"}, &fakeTasks{}, Config{})
	var err error
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = c.Membership(ctx)
		cancel()
	}
	if err != nil {
		t.Errorf("nobody was asked but the node that is dark: %v", err)
	}
}

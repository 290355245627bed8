package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowNode is a node whose commands take until the test lets them go.
type slowNode struct {
	ran, runs atomic.Int32 // all, and those that run now
	most      atomic.Int32
	release   chan struct{}
}

func (s *slowNode) Names() []string                                        { return []string{"pve1"} }
func (s *slowNode) Node(string) (Runner, error)                            { return s, nil }
func (s *slowNode) Dial(context.Context, string, string) (net.Conn, error) { return nil, ErrNoNode }
func (s *slowNode) Close() error                                           { return nil }

func (s *slowNode) Run(ctx context.Context, _ Cmd) (Result, error) {
	s.ran.Add(1)
	s.most.Store(max(s.most.Load(), s.runs.Add(1)))
	defer s.runs.Add(-1)
	select {
	case <-s.release:
		return Result{Stdout: []byte("status: running\n")}, nil
	case <-ctx.Done():
		return Result{}, ErrLost
	}
}

// Sixty who look at one VM at the same time cost two commands: the one that was
// under way, and one for all who came after it began.
func TestReadersShareCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowNode{release: make(chan struct{})}
		c := New(s, nil, Config{})
		ctx := AsReader(t.Context())
		var asking sync.WaitGroup
		for i := range 60 {
			asking.Go(func() {
				if got, err := c.Status(ctx, "pve1", 101); err != nil || got != "running" {
					t.Errorf("%q, %v", got, err)
				}
			})
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if n := s.ran.Load(); n != 1 {
			t.Errorf("%d commands at once, want 1", n)
		}
		close(s.release)
		asking.Wait()
		if n := s.ran.Load(); n != 2 {
			t.Errorf("60 readers cost %d commands, want 2", n)
		}
		if n := len(c.reads.last); n != 0 {
			t.Errorf("%d reads are remembered", n)
		}
	})
}

// Readers never take more than a few of a node's sessions: what a job asks runs
// at once, however many of them there are.
func TestJobsDoNotWaitForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowNode{release: make(chan struct{})}
		c := New(s, nil, Config{})
		var asking sync.WaitGroup
		for vmid := range 40 {
			asking.Go(func() { _, _ = c.Status(AsReader(t.Context()), "pve1", 100+vmid) })
		}
		synctest.Wait()
		if n := s.runs.Load(); n != readsPerNode {
			t.Errorf("%d commands of readers run at a time, want %d", n, readsPerNode)
		}
		asking.Go(func() { _, _ = c.Status(t.Context(), "pve1", 101) })
		synctest.Wait()
		if n := s.runs.Load(); n != readsPerNode+1 {
			t.Errorf("with a job's there are %d", n)
		}
		close(s.release)
		asking.Wait()
	})
}

// Who gives up a read does so at once, knows who did not answer, and leaves
// nothing to be asked in vain.
func TestReaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowNode{release: make(chan struct{})}
		c := New(s, nil, Config{Timeout: time.Minute})
		enough := errors.New("enough")
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				var asked Asked
				ctx, cancel := context.WithTimeoutCause(WithAsked(AsReader(t.Context()), &asked), 20*time.Second, enough)
				defer cancel()
				if _, err := c.Status(ctx, "pve1", 101); !errors.Is(err, enough) || asked.Node() != "pve1" {
					t.Errorf("%v, of %q", err, asked.Node())
				}
			})
		}
		began := time.Now()
		asking.Wait()
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("it took %s", took)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := s.ran.Load(); n != 1 {
			t.Errorf("%d commands, want the one that had begun", n)
		}
	})
}

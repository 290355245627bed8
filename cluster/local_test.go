package cluster

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

// A command that can't be killed, as when it waits for a disk that is gone, does
// not keep who ran it. Too many of them are not joined by more.
func TestLocalCommandThatHangs(t *testing.T) {
	t.Parallel()
	l := NewLocal()
	over := make(chan struct{})
	l.wait = func(cmd *exec.Cmd) error { // the kernel has it
		err := cmd.Wait()
		<-over
		return err
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	began := time.Now()
	res, err := l.Run(ctx, Cmd{Argv: []string{"sh", "-c", "echo ready; sleep 60"}, Line: func(string) { cancel(why) }})
	if !errors.Is(err, ErrLost) || !errors.Is(err, why) || string(res.Stdout) != "ready\n" {
		t.Errorf("it said %q, %v", res.Stdout, err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("Run returned after %v", took)
	}
	if n := l.hanging.Load(); n != 1 {
		t.Errorf("%d commands hang, want 1", n)
	}
	l.hanging.Add(maxHanging - 1)
	if _, err := l.Run(t.Context(), Cmd{Argv: []string{"true"}}); !errors.Is(err, ErrNotStarted) {
		t.Errorf("one command more, when so many hang: %v", err)
	}
	close(over)
	for deadline := time.Now().Add(20 * time.Second); l.hanging.Load() == maxHanging; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a command that ended after all is still counted")
		}
	}
	l.wait = (*exec.Cmd).Wait
	if _, err := l.Run(t.Context(), Cmd{Argv: []string{"true"}}); err != nil {
		t.Error(err)
	}
}

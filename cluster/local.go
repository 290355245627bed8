package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// killDelay is how long a command may take to end after SIGTERM, and how long
// its output is waited for when something it left behind still holds it open.
const killDelay = 2 * time.Second

// maxHanging is how many commands may hang at once before no more are started.
const maxHanging = 64

// Local runs commands on this machine, for a bot that lives on a node. The
// zero value is not ready; use NewLocal.
type Local struct {
	wait    func(*exec.Cmd) error
	hanging atomic.Int64 // commands that were left behind, and did not end yet
}

// NewLocal returns the Runner of this machine.
func NewLocal() *Local { return &Local{wait: (*exec.Cmd).Wait} }

// Run implements Runner. The command gets a process group of its own, which
// is sent SIGTERM when ctx ends, and SIGKILL two seconds later. One that does
// not even end then is left behind after two more: the kernel has it, as when
// /etc/pve or an NFS server hangs.
func (l *Local) Run(ctx context.Context, c Cmd) (Result, error) {
	if err := admit(ctx, c); err != nil {
		return Result{}, err
	}
	if n := l.hanging.Load(); n >= maxHanging {
		return Result{}, notStarted(fmt.Errorf("%d commands hang on this machine", n))
	}
	out := newOutput(c.Line)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = out.stdout(), out.stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killDelay
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return out.finish(), notStarted(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.wait(cmd) }()
	over, err := await(ctx, ended)
	if !over {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		l.hanging.Add(1)
		go func() { <-ended; l.hanging.Add(-1) }()
		return out.finish(), lost(context.Cause(ctx))
	}
	res := out.finish()
	status := exitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))
	switch {
	case ctx.Err() != nil && (err != nil || status != 0):
		// What is left of the group, if anything.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return res, lost(context.Cause(ctx))
	case status != 0:
		return res, exitError(c, status, res)
	case errors.Is(err, exec.ErrWaitDelay):
		return res, nil // it ended well; something it left behind held its output open
	case err != nil && !errors.Is(err, syscall.EPIPE):
		return res, lost(err)
	}
	return res, nil
}

// await waits for a command's end, which is not over when it does not come soon
// after ctx has ended.
func await(ctx context.Context, ended <-chan error) (over bool, err error) {
	select {
	case err := <-ended:
		return true, err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*killDelay)
	defer cancel()
	select {
	case err := <-ended:
		return true, err
	case <-last.Done():
		return false, nil
	}
}

// exitStatus is what a shell calls a command's end: its status, or 128 and
// the signal's number.
func exitStatus(w syscall.WaitStatus) int {
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}

func exitError(c Cmd, status int, res Result) *ExitError {
	return &ExitError{Argv: c.Argv, Status: status, Stderr: string(bytes.TrimSpace(res.Stderr))}
}

package taskstest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pvebot/cluster"
)

// What is demanded when tasks, bots and nodes end.

func afterOurDeath(ctx context.Context, t Target) error {
	task, err := t.Tasks().Start(ctx, t.Node, "a", sh("echo one; "+held+"echo two; exit 5", t.Scratch))
	if err != nil {
		return err
	}
	var offset int64
	for line, err := range t.Tasks().Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		offset = line.Next
		break // and dies
	}
	if t.Drop != nil {
		t.Drop()
	}
	if _, err := t.Runner.Run(ctx, sh(`: >"$1/gate"`, t.Scratch)); err != nil {
		return err
	}
	ts := t.Tasks()
	if task, err = ts.Find(ctx, t.Node, "a"); err != nil {
		return err
	}
	lines, err := read(ctx, ts, task, offset)
	var refused *cluster.ExitError
	if !errors.As(err, &refused) || refused.Status != 5 || !slices.Equal(texts(lines), []string{"two"}) {
		return fmt.Errorf("a new bot reads %q, %v; want the rest and exit status 5", texts(lines), err)
	}
	return nil
}

// processGone kills what would write the status.
func processGone(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh(`echo one; kill -KILL $PPID`))
	if err != nil {
		return err
	}
	lines, err := read(ctx, ts, task, 0)
	if !errors.Is(err, cluster.ErrTaskLost) || !slices.Equal(texts(lines), []string{"one"}) {
		return fmt.Errorf("read %q, %v; want ErrTaskLost", texts(lines), err)
	}
	return nil
}

func rebooted(ctx context.Context, t Target) error {
	ts := t.Tasks()
	ended, err := ts.Start(ctx, t.Node, "ended", sh("echo done"))
	if err != nil {
		return err
	}
	if err := expect(ctx, ts, ended, "done"); err != nil {
		return err
	}
	task, err := ts.Start(ctx, t.Node, "runs", sh("echo one; sleep 5"))
	if err != nil {
		return err
	}
	t.Reboot()
	if _, err := read(ctx, ts, task, 0); !errors.Is(err, cluster.ErrTaskLost) {
		return fmt.Errorf("after a reboot: %v, want ErrTaskLost", err)
	}
	// What had ended has ended.
	return expect(ctx, ts, ended, "done")
}

// runCleared is what a reboot really does: /run is empty after it.
func runCleared(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo one"))
	if err != nil {
		return err
	}
	if err := expect(ctx, ts, task, "one"); err != nil {
		return err
	}
	t.Reboot()
	if _, err := t.Runner.Run(ctx, sh(`rm -rf "$1"`, t.RunDir)); err != nil {
		return err
	}
	if _, err := ts.Find(ctx, t.Node, "a"); !errors.Is(err, cluster.ErrNoTask) {
		return fmt.Errorf("found what was cleared away: %v", err)
	}
	if _, err := read(ctx, ts, task, 0); !errors.Is(err, cluster.ErrTaskLost) {
		return fmt.Errorf("after a reboot: %v, want ErrTaskLost", err)
	}
	if task, err = ts.Start(ctx, t.Node, "a", sh("echo two")); err != nil {
		return err
	}
	return expect(ctx, ts, task, "two")
}

// directoryGone: somebody cleans up /run under a task that is followed.
func directoryGone(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo one; "+held, t.Scratch))
	if err != nil {
		return err
	}
	var last error
	for line, err := range ts.Follow(ctx, task, 0) {
		last = err
		if line.Text == "one" {
			if _, err := t.Runner.Run(ctx, sh(`rm -rf "$1/a"; : >"$2/gate"`, t.RunDir, t.Scratch)); err != nil {
				return err
			}
		}
	}
	if !errors.Is(last, cluster.ErrNoTask) {
		return fmt.Errorf("the sequence ended with %v, want ErrNoTask", last)
	}
	return nil
}

func interrupt(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh(`echo ready; sleep 30; echo not me`))
	if err != nil {
		return err
	}
	var last error
	for line, err := range ts.Follow(ctx, task, 0) {
		last = err
		if line.Text == "ready" {
			if err := ts.Interrupt(ctx, task); err != nil {
				return err
			}
		}
		if line.Text == "not me" {
			return errors.New("the command went on after Interrupt")
		}
	}
	var refused *cluster.ExitError
	if !errors.As(last, &refused) || refused.Status != 128+15 {
		return fmt.Errorf("the sequence ended with %v, want status 143", last)
	}
	if err := ts.Interrupt(ctx, task); err != nil {
		return fmt.Errorf("interrupting what has ended: %w", err)
	}
	return nil
}

func forget(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo ready; "+held, t.Scratch))
	if err != nil {
		return err
	}
	for line, err := range ts.Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		if line.Text != "ready" {
			continue
		}
		if err := ts.Forget(ctx, task); err == nil {
			return errors.New("a task that runs was forgotten")
		}
		if _, err := t.Runner.Run(ctx, sh(`: >"$1/gate"`, t.Scratch)); err != nil {
			return err
		}
	}
	for range 2 {
		if err := ts.Forget(ctx, task); err != nil {
			return err
		}
	}
	if _, err := ts.Find(ctx, t.Node, "a"); !errors.Is(err, cluster.ErrNoTask) {
		return fmt.Errorf("found what was forgotten: %v", err)
	}
	if _, err := read(ctx, ts, task, 0); !errors.Is(err, cluster.ErrNoTask) {
		return fmt.Errorf("followed what was forgotten: %v", err)
	}
	// The key is free for another task.
	if task, err = ts.Start(ctx, t.Node, "a", sh("echo again")); err != nil {
		return err
	}
	return expect(ctx, ts, task, "again")
}

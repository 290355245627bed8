package taskstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// What is demanded of following a task's output.

func offsets(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh(`i=0; while [ $i -lt 3000 ]; do printf '%d %0200d\n' $i 0; i=$((i+1)); done; printf end`))
	if err != nil {
		return err
	}
	all, err := read(ctx, ts, task, 0)
	if err != nil {
		return err
	}
	if len(all) != 3001 {
		return fmt.Errorf("%d lines, want 3001", len(all))
	}
	for _, i := range []int{0, 1, 777, 2998, 2999, 3000} {
		rest, err := read(ctx, ts, task, all[i].Next)
		if err != nil {
			return err
		}
		if !slices.Equal(rest, all[i+1:]) {
			return fmt.Errorf("after line %d come %d lines, want %d", i, len(rest), len(all)-i-1)
		}
	}
	return nil
}

// followLive holds the task back until its first line has been seen.
func followLive(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh(`printf 'par'; printf 'tly\n'; `+held+"echo second", t.Scratch))
	if err != nil {
		return err
	}
	var got []string
	for line, err := range ts.Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		if got = append(got, line.Text); len(got) == 1 {
			if _, err := t.Runner.Run(ctx, sh(`: >"$1/gate"`, t.Scratch)); err != nil {
				return err
			}
		}
	}
	if !slices.Equal(got, []string{"partly", "second"}) {
		return fmt.Errorf("output %q", got)
	}
	return nil
}

func readerStops(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo one; echo two; exit 1"))
	if err != nil {
		return err
	}
	for _, err := range ts.Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		break
	}
	return nil
}

func contextEnds(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo one; sleep 20"))
	if err != nil {
		return err
	}
	why := errors.New("why")
	short, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var last error
	for _, err := range ts.Follow(short, task, 0) {
		cancel(why)
		last = err
	}
	if !errors.Is(last, why) {
		return fmt.Errorf("the sequence ended with %v, want the context's cause", last)
	}
	if err := ts.Interrupt(ctx, task); err != nil {
		return err
	}
	if _, err := read(ctx, ts, task, 0); err == nil {
		return errors.New("the interrupted task ended well")
	}
	return nil
}

func connectionLost(ctx context.Context, t Target) error {
	ts := t.Tasks()
	const n = 400
	task, err := ts.Start(ctx, t.Node, "a", sh(`i=0; while [ $i -lt $1 ]; do echo $i; i=$((i+1)); [ $((i % 50)) != 0 ] || sleep 0.1; done`, fmt.Sprint(n)))
	if err != nil {
		return err
	}
	next := 0
	for line, err := range ts.Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		if line.Text != fmt.Sprint(next) {
			return fmt.Errorf("after line %d came %q", next-1, line.Text)
		}
		if next%97 == 0 {
			t.Drop()
		}
		next++
	}
	if next != n {
		return fmt.Errorf("%d lines, want %d", next, n)
	}
	return nil
}

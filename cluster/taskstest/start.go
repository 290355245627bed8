package taskstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"pvebot/cluster"
)

// What is demanded of starting a task, and of what it is given.

func outputAndEnd(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh(`echo one; echo two >&2; printf 'bad \377\r\n\nrest'`))
	if err != nil {
		return err
	}
	if task.Node != t.Node || task.Key != "a" || task.Boot == "" {
		return fmt.Errorf("started %+v", task)
	}
	return expect(ctx, ts, task, "one", "two", "bad \uFFFD", "", "rest")
}

func exitStatus(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", sh("echo progress; echo why >&2; exit 3"))
	if err != nil {
		return err
	}
	lines, err := read(ctx, ts, task, 0)
	var refused *cluster.ExitError
	if !errors.As(err, &refused) || refused.Status != 3 || !strings.HasSuffix(refused.Stderr, "why") {
		return fmt.Errorf("exit 3 gave %#v, want an ExitError with what was said last", err)
	}
	if !slices.Equal(texts(lines), []string{"progress", "why"}) {
		return fmt.Errorf("output %q", texts(lines))
	}
	// Somebody who begins late learns the reason all the same.
	_, err = read(ctx, ts, task, lines[1].Next)
	if !errors.As(err, &refused) || !strings.HasSuffix(refused.Stderr, "why") {
		return fmt.Errorf("read from the end: %#v", err)
	}
	return nil
}

func commandMissing(ctx context.Context, t Target) error {
	ts := t.Tasks()
	task, err := ts.Start(ctx, t.Node, "a", cluster.Cmd{Argv: []string{"no-such-command-here"}})
	if err != nil {
		return err
	}
	_, err = read(ctx, ts, task, 0)
	var refused *cluster.ExitError
	if !errors.As(err, &refused) || refused.Status != 127 {
		return fmt.Errorf("got %v, want an ExitError with status 127", err)
	}
	return nil
}

func argvAndStdin(ctx context.Context, t Target) error {
	ts := t.Tasks()
	words := []string{"", " a ", "'", `"$(echo no)`, "-n", "x\ny", `\`, "*"}
	c := sh(`for w; do printf '<%s>' "$w"; done; echo; umask; cat`, words...)
	c.Stdin = []byte("in 1\nin 2\n")
	task, err := ts.Start(ctx, t.Node, "a", c)
	if err != nil {
		return err
	}
	lines, err := read(ctx, ts, task, 0)
	if err != nil {
		return err
	}
	want := "<" + strings.Join(words, "><") + ">\n0022\nin 1\nin 2"
	if got := strings.Join(texts(lines), "\n"); got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func startOnce(ctx context.Context, t Target) error {
	const n = 50
	shared := t.Tasks()
	found := make([]cluster.Task, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ts := shared
			if i%2 == 0 {
				ts = t.Tasks() // another bot
			}
			c := sh(`echo began >>"$1/count"; cat`, t.Scratch)
			c.Stdin = []byte("input\n")
			found[i], errs[i] = ts.Start(ctx, t.Node, "once", c)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, task := range found {
		if task != found[0] {
			return fmt.Errorf("two starters got %+v and %+v", found[0], task)
		}
	}
	if err := expect(ctx, shared, found[0], "input"); err != nil {
		return err
	}
	// A task that has ended is still that task.
	if _, err := shared.Start(ctx, t.Node, "once", sh(`echo began >>"$1/count"`, t.Scratch)); err != nil {
		return err
	}
	if err := expect(ctx, shared, found[0], "input"); err != nil {
		return err
	}
	res, err := t.Runner.Run(ctx, cluster.Cmd{Argv: []string{"cat", t.Scratch + "/count"}})
	if err != nil || string(res.Stdout) != "began\n" {
		return fmt.Errorf("the command began %d times, %w", strings.Count(string(res.Stdout), "\n"), err)
	}
	return nil
}

func find(ctx context.Context, t Target) error {
	ts := t.Tasks()
	if _, err := ts.Find(ctx, t.Node, "a"); !errors.Is(err, cluster.ErrNoTask) {
		return fmt.Errorf("found what was never started: %v", err)
	}
	started, err := ts.Start(ctx, t.Node, "a", sh("exit 0"))
	if err != nil {
		return err
	}
	found, err := t.Tasks().Find(ctx, t.Node, "a")
	if err != nil || found != started {
		return fmt.Errorf("found %+v, %w, want %+v", found, err, started)
	}
	return nil
}

func keys(ctx context.Context, t Target) error {
	ts := t.Tasks()
	for _, key := range []string{"", ".", "..", ".a", "-a", "a/b", "../a", "a b", "a\n", strings.Repeat("a", 101)} {
		if _, err := ts.Start(ctx, t.Node, key, sh("exit 0")); !errors.Is(err, cluster.ErrNotStarted) {
			return fmt.Errorf("key %q gave %v, want ErrNotStarted", key, err)
		}
	}
	for _, key := range []string{"a", "A-1_x.y", strings.Repeat("a", 100)} {
		task, err := ts.Start(ctx, t.Node, key, sh("echo ok"))
		if err != nil {
			return err
		}
		if err := expect(ctx, ts, task, "ok"); err != nil {
			return err
		}
	}
	if _, err := ts.Start(ctx, "no-such-node", "a", sh("exit 0")); !errors.Is(err, cluster.ErrNoNode) {
		return fmt.Errorf("a node that is not there: %v, want ErrNoNode", err)
	}
	return nil
}

func fence(ctx context.Context, t Target) error {
	ts := t.Tasks()
	fallen := errors.New("fallen")
	fenced := cluster.WithFence(ctx, func() error { return fallen })
	if _, err := ts.Start(fenced, t.Node, "a", sh("exit 0")); !errors.Is(err, cluster.ErrNotStarted) || !errors.Is(err, fallen) {
		return fmt.Errorf("behind the fence: %v, want ErrNotStarted with the fence's error", err)
	}
	if _, err := ts.Find(ctx, t.Node, "a"); !errors.Is(err, cluster.ErrNoTask) {
		return fmt.Errorf("a refused start left a task: %v", err)
	}
	return nil
}

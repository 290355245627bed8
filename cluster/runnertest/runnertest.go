// Package runnertest is the conformance suite of cluster.Runner. Every
// implementation runs it; the machine at its other end needs a POSIX sh and
// cat, head, printf, sleep, test and tr.
package runnertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/cluster"
)

// Harness makes what is tested.
type Harness struct {
	// New returns a fresh Target; what it needs ends with the test.
	New func(t *testing.T) Target
}

// Target is a Runner and what can be done to its connection.
type Target struct {
	Runner cluster.Runner
	// Scratch is an empty directory on the machine that the Runner runs on.
	Scratch string
	// Drop cuts the connection; nil where there is none.
	Drop func()
	// Refuse makes the machine refuse connections, or accept them again. It
	// cuts those that are open. Nil where there are none.
	Refuse func(on bool)
}

// Run runs the suite, its cases in parallel.
func Run(t *testing.T, h Harness) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			target := h.New(t)
			if c.Drops && target.Drop == nil || c.Refuses && target.Refuse == nil {
				t.Skip("there is no connection that could fail")
			}
			// A limit for what hangs; nothing here depends on it.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.Check(ctx, target); err != nil {
				t.Error(err)
			}
		})
	}
}

// Case is one demand. It is data so that a test of the suite itself can see a
// broken Runner fail.
type Case struct {
	Name    string
	Drops   bool // needs Target.Drop
	Refuses bool // needs Target.Refuse
	Check   func(ctx context.Context, t Target) error
}

// Cases are all demands.
var Cases = []Case{
	{Name: "exit status", Check: exitStatus},
	{Name: "killed", Check: killed},
	{Name: "streams", Check: streams},
	{Name: "stdin", Check: stdin},
	{Name: "stdin unread", Check: stdinUnread},
	{Name: "quoting", Check: quoting},
	{Name: "impossible argv", Check: impossible},
	{Name: "big output", Check: bigOutput},
	{Name: "lines", Check: lines},
	{Name: "lines arrive early", Check: linesEarly},
	{Name: "context ended before", Check: endedBefore},
	{Name: "context ends", Check: contextEnds},
	{Name: "concurrent", Check: concurrent},
	{Name: "fence", Check: fence},
	{Name: "connection lost", Check: dropped, Drops: true},
	{Name: "connection comes back", Check: comesBack, Drops: true},
	{Name: "connection refused", Check: refused, Refuses: true},
}

func sh(script string, args ...string) cluster.Cmd {
	return cluster.Cmd{Argv: append([]string{"sh", "-c", script, "sh"}, args...)}
}

func exitStatus(ctx context.Context, t Target) error {
	if _, err := t.Runner.Run(ctx, sh("exit 0")); err != nil {
		return fmt.Errorf("exit 0: %w", err)
	}
	_, err := t.Runner.Run(ctx, sh("echo why >&2; exit 7"))
	var refused *cluster.ExitError
	if !errors.As(err, &refused) || refused.Status != 7 || refused.Stderr != "why" {
		return fmt.Errorf("exit 7 gave %#v, want an ExitError with its status and stderr", err)
	}
	if errors.Is(err, cluster.ErrLost) || errors.Is(err, cluster.ErrNotStarted) {
		return fmt.Errorf("exit 7 is of two kinds: %w", err)
	}
	return nil
}

func killed(ctx context.Context, t Target) error {
	_, err := t.Runner.Run(ctx, sh("kill -KILL $$"))
	var refused *cluster.ExitError
	if !errors.As(err, &refused) || refused.Status != 128+9 {
		return fmt.Errorf("a killed command gave %v, want an ExitError with status 137", err)
	}
	return nil
}

func streams(ctx context.Context, t Target) error {
	res, err := t.Runner.Run(ctx, sh("echo out; echo err >&2"))
	if err != nil || string(res.Stdout) != "out\n" || string(res.Stderr) != "err\n" {
		return fmt.Errorf("got %q and %q, %v", res.Stdout, res.Stderr, err)
	}
	res, err = t.Runner.Run(ctx, sh("echo out; exit 1"))
	if err == nil || string(res.Stdout) != "out\n" {
		return fmt.Errorf("beside an exit status: got %q, %v", res.Stdout, err)
	}
	return nil
}

func stdin(ctx context.Context, t Target) error {
	in := bytes.Repeat([]byte("0123456789abcde\x00"), 1<<16)
	res, err := t.Runner.Run(ctx, cluster.Cmd{Argv: []string{"cat"}, Stdin: in})
	if err != nil || !bytes.Equal(res.Stdout, in) {
		return fmt.Errorf("cat gave %d of %d bytes back, %v", len(res.Stdout), len(in), err)
	}
	// No input is an empty one, not one that never ends.
	res, err = t.Runner.Run(ctx, cluster.Cmd{Argv: []string{"cat"}})
	if err != nil || len(res.Stdout) != 0 {
		return fmt.Errorf("cat without input: %q, %v", res.Stdout, err)
	}
	return nil
}

func stdinUnread(ctx context.Context, t Target) error {
	_, err := t.Runner.Run(ctx, cluster.Cmd{Argv: []string{"true"}, Stdin: make([]byte, 5<<20)})
	if err != nil {
		return fmt.Errorf("a command that leaves its input unread: %w", err)
	}
	return nil
}

func quoting(ctx context.Context, t Target) error {
	words := []string{
		"", " ", "a b", "'", "''", `'\''`, `"`, `\`, `\\`, "$HOME", "$(echo no)", "`echo no`", "a\nb", "\n", "\t", "*", "?", "~",
		"-n", "--", "#", "!", "!!", "a;b", "a|b", "a&b", "a>b", "{a,b}", "[a]", "FOO=bar", "\xff\xfe", "zeile \u00fc", "\r\n", "\x01\x7f", "%s",
	}
	res, err := t.Runner.Run(ctx, sh(`for w; do printf '%s\0' "$w"; done`, words...))
	if err != nil {
		return err
	}
	got := strings.Split(strings.TrimSuffix(string(res.Stdout), "\x00"), "\x00")
	if !slices.Equal(got, words) {
		return fmt.Errorf("words became\n%q, want\n%q", got, words)
	}
	return nil
}

func impossible(ctx context.Context, t Target) error {
	for _, argv := range [][]string{nil, {""}, {"echo", "a\x00b"}, {"\x00"}} {
		if _, err := t.Runner.Run(ctx, cluster.Cmd{Argv: argv}); !errors.Is(err, cluster.ErrNotStarted) {
			return fmt.Errorf("%q gave %v, want ErrNotStarted", argv, err)
		}
	}
	return nil
}

func bigOutput(ctx context.Context, t Target) error {
	const most = 4 << 20
	res, err := t.Runner.Run(ctx, sh(`head -c 5000000 /dev/zero | tr '\0' x; echo end >&2`))
	if err != nil {
		return err
	}
	if len(res.Stdout) != most || string(res.Stderr) != "end\n" {
		return fmt.Errorf("5 MB of output became %d bytes, want %d; stderr %q", len(res.Stdout), most, res.Stderr)
	}
	return nil
}

func lines(ctx context.Context, t Target) error {
	var got []string
	c := sh(`printf 'a\n\nb\r\nc'; printf 'd' ; printf '\ne'`)
	c.Line = func(s string) { got = append(got, s) }
	if _, err := t.Runner.Run(ctx, c); err != nil {
		return err
	}
	if want := []string{"a", "", "b", "cd", "e"}; !slices.Equal(got, want) {
		return fmt.Errorf("lines %q, want %q", got, want)
	}
	got = nil
	c = sh(`i=0; while [ $i -lt 500 ]; do echo $i; echo e$i >&2; i=$((i+1)); done`)
	c.Line = func(s string) { got = append(got, s) }
	if _, err := t.Runner.Run(ctx, c); err != nil {
		return err
	}
	out, errs := 0, 0
	for _, s := range got {
		switch s {
		case fmt.Sprint(out):
			out++
		case fmt.Sprintf("e%d", errs):
			errs++
		default:
			return fmt.Errorf("line %q after %d and e%d", s, out, errs)
		}
	}
	if out != 500 || errs != 500 {
		return fmt.Errorf("%d and %d lines, want 500 each", out, errs)
	}
	return nil
}

// linesEarly holds a command back until its first line has been seen.
func linesEarly(ctx context.Context, t Target) error {
	c := sh(`echo first; while test -d "$1" && ! test -e "$1/gate"; do sleep 0.05; done; echo second`, t.Scratch)
	var errs []error
	c.Line = func(s string) {
		if s == "first" {
			_, err := t.Runner.Run(ctx, sh(`: >"$1/gate"`, t.Scratch))
			errs = append(errs, err)
		}
	}
	if _, err := t.Runner.Run(ctx, c); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func endedBefore(ctx context.Context, t Target) error {
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(why)
	_, err := t.Runner.Run(ctx, sh("exit 0"))
	if !errors.Is(err, cluster.ErrNotStarted) || !errors.Is(err, why) {
		return fmt.Errorf("got %v, want ErrNotStarted with the context's cause", err)
	}
	return nil
}

func contextEnds(ctx context.Context, t Target) error {
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := sh("echo ready; sleep 30; echo done")
	returned := false
	late := false
	var mu sync.Mutex
	c.Line = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		late = late || returned
		cancel(why)
	}
	start := time.Now()
	res, err := t.Runner.Run(ctx, c)
	mu.Lock()
	defer mu.Unlock()
	returned = true
	switch {
	case !errors.Is(err, cluster.ErrLost) || !errors.Is(err, why):
		return fmt.Errorf("got %v, want ErrLost with the context's cause", err)
	case errors.Is(err, cluster.ErrNotStarted):
		return fmt.Errorf("it had started: %w", err)
	case string(res.Stdout) != "ready\n":
		return fmt.Errorf("what was known of the result is %q", res.Stdout)
	case time.Since(start) > 25*time.Second:
		return errors.New("Run waited for the command")
	case late:
		return errors.New("a line came after Run had returned")
	}
	return nil
}

func concurrent(ctx context.Context, t Target) error {
	const n = 16 // more than the sessions that OpenSSH allows on a connection
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			res, err := t.Runner.Run(ctx, cluster.Cmd{Argv: []string{"sh", "-c", `cat; echo "$1"`, "sh", fmt.Sprint(i)}, Stdin: fmt.Appendln(nil, "in", i)})
			if want := fmt.Sprintf("in %d\n%d\n", i, i); err != nil || string(res.Stdout) != want {
				errs[i] = fmt.Errorf("run %d gave %q, %w", i, res.Stdout, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func fence(ctx context.Context, t Target) error {
	fallen := errors.New("fallen")
	fenced := cluster.WithFence(ctx, func() error { return fallen })
	mark := filepath.Join(t.Scratch, "mark")
	c := sh(`: >"$1"`, mark)
	c.Changes = true
	if _, err := t.Runner.Run(fenced, c); !errors.Is(err, cluster.ErrNotStarted) || !errors.Is(err, fallen) {
		return fmt.Errorf("behind the fence: %v, want ErrNotStarted with the fence's error", err)
	}
	if _, err := t.Runner.Run(fenced, sh(`test ! -e "$1"`, mark)); err != nil {
		return fmt.Errorf("the command ran behind the fence, or looking is refused, too: %w", err)
	}
	if _, err := t.Runner.Run(ctx, c); err != nil {
		return fmt.Errorf("without a fence: %w", err)
	}
	return nil
}

func dropped(ctx context.Context, t Target) error {
	c := sh("echo ready; sleep 5")
	c.Line = func(string) { t.Drop() }
	_, err := t.Runner.Run(ctx, c)
	if !errors.Is(err, cluster.ErrLost) || errors.Is(err, cluster.ErrNotStarted) {
		return fmt.Errorf("a connection lost while the command ran gave %v, want ErrLost", err)
	}
	return nil
}

func comesBack(ctx context.Context, t Target) error {
	for i := range 3 {
		if _, err := t.Runner.Run(ctx, sh("exit 0")); err != nil {
			return fmt.Errorf("after %d cuts: %w", i, err)
		}
		t.Drop()
	}
	return nil
}

func refused(ctx context.Context, t Target) error {
	t.Refuse(true)
	if _, err := t.Runner.Run(ctx, sh("exit 0")); !errors.Is(err, cluster.ErrNotStarted) || errors.Is(err, cluster.ErrLost) {
		return fmt.Errorf("a refused connection gave %v, want ErrNotStarted", err)
	}
	t.Refuse(false)
	if _, err := t.Runner.Run(ctx, sh("exit 0")); err != nil {
		return fmt.Errorf("accepted again: %w", err)
	}
	return nil
}

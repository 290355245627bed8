package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"pvebot/cluster"
)

// InitError says that the init script ran and failed.
type InitError struct {
	Status int      // its exit status
	Last   []string // the last lines of its output, oldest first
}

func (e *InitError) Error() string {
	s := fmt.Sprintf("the init script failed in the guest (exit status %d)", e.Status)
	if len(e.Last) > 0 {
		s += ": " + strings.Join(e.Last, "; ")
	}
	return s
}

const (
	rebootLine = "pvebot: reboot required" // what a script prints that wants one
	lastLines  = 10                        // kept for an InitError
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Script is an init script, and what is known of an earlier look at it.
type Script struct {
	// Key names the run in the guest, where it is found again under it however
	// often the connection breaks or the bot dies: see cluster.Tasks.
	Key  string
	Text []byte            // for bash
	Env  map[string]string // of the script
	// Again asks for a new run where one of that key has ended. One that still
	// runs is followed.
	Again bool
	// Seen is how much of the output, in bytes, Line was given before.
	Seen int64
	// Moved is when something was last seen to move, so that time in which
	// nobody looked counts; default now.
	Moved time.Time
	// Line is given each line of the output, and where the next one begins; may be
	// nil. When the script begins anew it is given a line that says so, and 0.
	Line func(text string, next int64)
}

// runs is how often a script is begun that the guest does not bring to an end:
// one that makes its guest restart does so each time.
const runs = 3

const cutOffLine = "the guest restarted while its init script ran, or something killed it; it begins again"

// CutOffError says that the script was begun several times, and each time the guest
// restarted, or something killed it.
type CutOffError struct{ Runs int }

func (e *CutOffError) Error() string {
	return fmt.Sprintf("the init script was cut off %d times: each time the guest restarted, or something killed it", e.Runs)
}

// Init runs a bash script as root, apart from any connection, and follows it to
// its end. It tells whether the script asks for a reboot. The run stays in the
// guest until Forget, so that whoever asks again is told the same.
//
// An exit status other than 0 is an *InitError, a script that prints nothing for
// Access.Stall a *StalledError. When ctx ends the script goes on: End ends it.
// After cluster.ErrLost ask again.
func (g *Guest) Init(ctx context.Context, s Script) (reboot bool, err error) {
	stdin, err := withEnv(s.Text, s.Env)
	if err != nil {
		return false, err
	}
	in := g.inside(s.Moved)
	tasks := in.tasks()
	if s.Again {
		if err := g.forgetEnded(ctx, tasks, s.Key); err != nil {
			return false, in.error(err, nil)
		}
	}
	for run := 1; ; run++ {
		task, err := tasks.Start(ctx, g.name(), s.Key, cluster.Cmd{
			Argv: []string{"sudo", "-n", "--", "/bin/bash", "-s"}, Stdin: stdin, Changes: true,
		})
		if err != nil {
			return false, in.error(err, nil)
		}
		reboot, last, err := in.follow(ctx, tasks, task, s)
		if !errors.Is(err, cluster.ErrTaskLost) && !errors.Is(err, cluster.ErrNoTask) {
			return reboot, in.error(err, last)
		}
		if run == runs {
			return false, &CutOffError{Runs: run}
		}
		if err := tasks.Forget(ctx, task); err != nil {
			return false, in.error(err, nil)
		}
		if s.Seen = 0; s.Line != nil {
			s.Line(cutOffLine, 0)
		}
	}
}

// inside is the guest for one script, in which something moved last at a time.
func (g *Guest) inside(moved time.Time) *inside {
	in := &inside{g: g, moved: moved, seen: map[string]bool{}}
	if moved.IsZero() {
		in.moved = g.access.Clock.Now()
	}
	return in
}

// forgetEnded makes room for a new run, unless one of that key is under way.
func (g *Guest) forgetEnded(ctx context.Context, tasks cluster.Tasks, key string) error {
	err := tasks.Forget(ctx, cluster.Task{Node: g.name(), Key: key})
	if _, runs := errors.AsType[*cluster.ExitError](err); runs {
		return nil
	}
	return err
}

// follow reads a run to its end. All of it, for what it asked for may stand
// before what was seen.
func (in *inside) follow(ctx context.Context, tasks cluster.Tasks, task cluster.Task, s Script) (reboot bool, last []string, err error) {
	for line, err := range tasks.Follow(ctx, task, 0) {
		if err != nil {
			return false, last, err
		}
		if line.Text == rebootLine {
			reboot = true
		}
		if last = append(last, printable(line.Text)...); len(last) > lastLines {
			last = slices.Delete(last, 0, len(last)-lastLines)
		}
		if line.Next <= s.Seen {
			continue
		}
		in.moved = in.g.access.Clock.Now()
		if s.Line != nil {
			s.Line(line.Text, line.Next)
		}
	}
	return reboot, last, nil
}

// error makes of a task's error what Init promises.
func (in *inside) error(err error, last []string) error {
	if in.gone != nil && err != nil {
		return in.gone
	}
	if wrong, ok := errors.AsType[*HostKeyError](err); ok {
		return wrong
	}
	if stalled, ok := errors.AsType[*StalledError](err); ok {
		return stalled
	}
	if exit, ran := errors.AsType[*cluster.ExitError](err); ran {
		if last == nil { // sudo refused, say
			last = printable(exit.Stderr)
		}
		return &InitError{Status: exit.Status, Last: last}
	}
	if err != nil {
		return fmt.Errorf("init script: %w", err)
	}
	return nil
}

// End ends a run of Init and removes what it left. None is fine.
func (g *Guest) End(ctx context.Context, key string) error {
	tasks := g.inside(time.Time{}).tasks()
	task, err := tasks.Find(ctx, g.name(), key)
	if errors.Is(err, cluster.ErrNoTask) {
		return nil
	}
	if err == nil {
		err = tasks.Interrupt(ctx, task)
	}
	if err != nil {
		return fmt.Errorf("ending the init script: %w", err)
	}
	for _, err := range tasks.Follow(ctx, task, 0) {
		if ctx.Err() != nil {
			return fmt.Errorf("ending the init script: %w", err)
		}
	}
	return g.Forget(ctx, key)
}

// Forget removes what a run of Init left in the guest. None is fine.
func (g *Guest) Forget(ctx context.Context, key string) error {
	return g.inside(time.Time{}).tasks().Forget(ctx, cluster.Task{Node: g.name(), Key: key})
}

// withEnv puts env in front of the script, where no process list shows it, and
// all of it in braces: bash runs nothing before it has read the last one, so
// that a script that arrives in part is a syntax error, and no command of the
// script can eat the rest of it.
func withEnv(script []byte, env map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{\n")
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := env[name]
		if !variable.MatchString(name) || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("%w: %q can't be a variable of the init script", cluster.ErrNotStarted, name)
		}
		fmt.Fprintf(&b, "export %s\n", cluster.Quote([]string{name + "=" + value}))
	}
	b.Write(script)
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// rebootFrom reboots a guest that is in the boot of its first argument.
const rebootFrom = `[ "$(cat /proc/sys/kernel/random/boot_id)" != "$1" ] || exec systemctl reboot`

// Reboot asks the guest to reboot if it is still in the boot of that id. That it
// does, Ready proves by a new one. A connection that ends meanwhile is no error,
// but the guest is asked once more then: the order may not have arrived.
func (g *Guest) Reboot(ctx context.Context, boot string) error {
	order := cluster.Cmd{Argv: []string{"sudo", "-n", "--", "sh", "-c", rebootFrom, "reboot", boot}, Changes: true}
	for again := false; ; again = true {
		_, err := g.run(ctx, order)
		exit, ran := errors.AsType[*cluster.ExitError](err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, cluster.ErrLost) && !again:
			_ = g.disconnect()
		case err == nil, again, ran && exit.Status > 128: // killed as the guest went down
			return g.disconnect()
		default:
			return fmt.Errorf("rebooting the guest: %w", err)
		}
	}
}

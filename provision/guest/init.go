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

// Init runs a bash script as root, with env in its environment, and hands on
// each line that it prints (line may be nil). It tells whether the script asks
// for a reboot.
//
// An exit status other than 0 is an *InitError. After cluster.ErrLost the
// script may still run in the guest, or have stopped anywhere: run it again,
// scripts are made for that.
func (g *Guest) Init(ctx context.Context, script []byte, env map[string]string, line func(string)) (reboot bool, err error) {
	stdin, err := withEnv(script, env)
	if err != nil {
		return false, err
	}
	var last []string
	_, err = g.run(ctx, cluster.Cmd{
		Argv: []string{"sudo", "-n", "--", "/bin/bash", "-s"}, Stdin: stdin, Changes: true,
		Line: func(text string) {
			if text == rebootLine {
				reboot = true
			}
			if last = append(last, printable(text)...); len(last) > lastLines {
				last = slices.Delete(last, 0, len(last)-lastLines)
			}
			if line != nil {
				line(text)
			}
		},
	})
	switch exit, ran := errors.AsType[*cluster.ExitError](err); {
	case ran:
		return false, &InitError{Status: exit.Status, Last: last}
	case err != nil:
		return false, fmt.Errorf("init script: %w", err)
	}
	return reboot, nil
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

// Reboot asks the guest to reboot. That it does, Ready proves by a new boot id.
// A connection that ends meanwhile is no error.
func (g *Guest) Reboot(ctx context.Context) error {
	_, err := g.run(ctx, cluster.Cmd{Argv: []string{"sudo", "-n", "--", "systemctl", "reboot"}, Changes: true})
	exit, ran := errors.AsType[*cluster.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil, errors.Is(err, cluster.ErrLost), ran && exit.Status > 128: // killed as the guest went down
		return g.disconnect()
	default:
		return fmt.Errorf("rebooting the guest: %w", err)
	}
}

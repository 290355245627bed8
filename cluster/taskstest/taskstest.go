// Package taskstest is the conformance suite of cluster.Tasks. Every
// implementation runs it; the node at its other end needs a POSIX sh and cat,
// sleep, printf and test.
package taskstest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pvebot/cluster"
)

// Harness makes what is tested.
type Harness struct {
	// New returns a fresh Target; what it needs ends with the test.
	New func(t *testing.T) Target
}

// Target is a node with tasks.
type Target struct {
	// Tasks returns a new value each time, as a bot has that was just started.
	Tasks func() cluster.Tasks
	Node  string
	// Scratch is an empty directory on the node.
	Scratch string
	// RunDir is where tasks have their directories, by key.
	RunDir string
	// Runner runs commands on the node.
	Runner cluster.Runner
	// Drop cuts the connection to the node; nil where there is none.
	Drop func()
	// Reboot gives the node a new boot id; nil where that can't be.
	Reboot func()
}

// Run runs the suite, its cases in parallel.
func Run(t *testing.T, h Harness) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			target := h.New(t)
			if c.Drops && target.Drop == nil || c.Reboots && target.Reboot == nil {
				t.Skip("this node can't do that")
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

// Case is one demand. It is data so that a test of the suite itself can see
// broken Tasks fail.
type Case struct {
	Name    string
	Drops   bool // needs Target.Drop
	Reboots bool // needs Target.Reboot
	Check   func(ctx context.Context, t Target) error
}

// Cases are all demands.
var Cases = []Case{
	{Name: "output and end", Check: outputAndEnd},
	{Name: "exit status", Check: exitStatus},
	{Name: "command missing", Check: commandMissing},
	{Name: "argv and stdin", Check: argvAndStdin},
	{Name: "start once", Check: startOnce},
	{Name: "find", Check: find},
	{Name: "keys", Check: keys},
	{Name: "fence", Check: fence},
	{Name: "offsets", Check: offsets},
	{Name: "follow live", Check: followLive},
	{Name: "reader stops", Check: readerStops},
	{Name: "context ends", Check: contextEnds},
	{Name: "after our death", Check: afterOurDeath},
	{Name: "process gone", Check: processGone},
	{Name: "node rebooted", Check: rebooted, Reboots: true},
	{Name: "run cleared", Check: runCleared, Reboots: true},
	{Name: "directory gone", Check: directoryGone},
	{Name: "interrupt", Check: interrupt},
	{Name: "forget", Check: forget},
	{Name: "connection lost", Check: connectionLost, Drops: true},
}

func sh(script string, args ...string) cluster.Cmd {
	return cluster.Cmd{Argv: append([]string{"sh", "-c", script, "sh"}, args...), Changes: true}
}

// held keeps a script back until its $1, the scratch directory, has a file
// named gate. With the directory it ends, too: nothing else would end a task
// whose test is over.
const held = `while test -d "$1" && ! test -e "$1/gate"; do sleep 0.05; done; `

// read follows a task to its end.
func read(ctx context.Context, ts cluster.Tasks, t cluster.Task, offset int64) (lines []cluster.Line, err error) {
	for line, err := range ts.Follow(ctx, t, offset) {
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func texts(lines []cluster.Line) []string {
	var s []string
	for _, l := range lines {
		s = append(s, l.Text)
	}
	return s
}

// expect follows a task from the start to a good end.
func expect(ctx context.Context, ts cluster.Tasks, t cluster.Task, want ...string) error {
	lines, err := read(ctx, ts, t, 0)
	if err != nil {
		return err
	}
	if got := texts(lines); !slices.Equal(got, want) {
		return fmt.Errorf("output %q, want %q", got, want)
	}
	return nil
}

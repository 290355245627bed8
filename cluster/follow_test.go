package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A look at a task that fails on the node says nothing of the task, which goes on:
// it is looked at again, until it says itself how it ended.
func TestFollowToldApartFromItsLooks(t *testing.T) {
	for name, refusal := range map[string]func() (Result, error){
		"no process": refuses(2, "task-poll: 0: Cannot fork"),
		"killed":     refuses(137, ""),
		"older gate": refuses(126, "pvebot-gate: not a command of the bot: 'sh' '-c'"),
	} {
		looks := 0
		node := pollsOnly{func() (Result, error) {
			if looks++; looks == 1 {
				return refusal()
			}
			return says("exited 0 boot 5\ndone\n")()
		}}
		ts := NewTasks(pollNodes{fakeNodes{"pve1": &answers{}}, node}, Config{Clock: hasty{}})
		var said []string
		for line, err := range ts.Follow(t.Context(), Task{Node: "pve1", Key: "create-1", Boot: "boot"}, 0) {
			if _, ended := errors.AsType[*ExitError](err); ended {
				t.Errorf("%s: a task that runs was said to have failed: %v", name, err)
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				said = append(said, line.Text)
			}
		}
		if fmt.Sprint(said) != "[done]" {
			t.Errorf("%s: it said %q", name, said)
		}
	}
}

// A node that can't look at its tasks, however often it is asked, is told so; how
// the task goes on is not known then.
func TestFollowGivesUpOnABlindNode(t *testing.T) {
	node := pollsOnly{refuses(126, "pvebot-gate: not a command of the bot: 'sh' '-c'")}
	ts := NewTasks(pollNodes{fakeNodes{"pve1": &answers{}}, node}, Config{Clock: hasty{}})
	var last error
	for _, err := range ts.Follow(t.Context(), Task{Node: "pve1", Key: "create-1", Boot: "boot"}, 0) {
		last = err
	}
	if _, ended := errors.AsType[*ExitError](last); ended || !errors.Is(last, ErrLost) || !strings.Contains(last.Error(), "not a command of the bot") {
		t.Errorf("it ended with %v", last)
	}
}

// A node that does not come back leaves a task of which nobody knows how it
// ended. One that boots does.
func TestFollowGivesUpOnADeadNode(t *testing.T) {
	for away, dead := range map[time.Duration]bool{10 * time.Minute: false, time.Hour: true} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			node := pollsOnly{func() (Result, error) {
				if time.Since(began) < away {
					return Result{}, notStarted(errors.New("no route to host"))
				}
				return says("exited 0 boot 0\n")()
			}}
			ts := NewTasks(pollNodes{fakeNodes{"pve1": &answers{}}, node}, Config{})
			var last error
			for _, err := range ts.Follow(t.Context(), Task{Node: "pve1", Key: "migrate-1", Boot: "boot"}, 0) {
				last = err
			}
			if took := time.Since(began); dead && (errors.Is(last, ErrNotStarted) || !errors.Is(last, ErrLost) || took > 16*time.Minute) || !dead && last != nil {
				t.Errorf("away for %v: %v after %v", away, last, took)
			}
		})
	}
}

// hasty is a clock for which no pause takes time.
type hasty struct{ SystemClock }

func (hasty) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

type pollNodes struct {
	fakeNodes
	node pollsOnly
}

func (n pollNodes) Node(string) (Runner, error) { return n.node, nil }

// pollsOnly answers looks at a task.
type pollsOnly struct{ poll func() (Result, error) }

func (p pollsOnly) Run(_ context.Context, c Cmd) (Result, error) {
	if !strings.HasPrefix(commandName(c.Argv), "task-poll") {
		return Result{}, fmt.Errorf("unexpected command: %s", commandName(c.Argv))
	}
	return p.poll()
}

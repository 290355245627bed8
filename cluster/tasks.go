package cluster

import (
	"context"
	"errors"
	"iter"
)

// Tasks are LONG commands that live on a node and survive our connection and
// our death (PVE: `qm` dies with its SSH session). A task is a directory KEY under the node's run directory that
// holds the command, its output, its pid with start time, the node's boot id
// and, at the end, its exit status.
//
// All methods may be called by many goroutines and many bots at once.
type Tasks interface {
	// Start runs c on node as task key, once: of many concurrent starters of
	// one key exactly one starts the command, and all get the same Task. Key
	// matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$. c.Stdin travels by a file of mode
	// 0600 that is removed when the command has ended. ErrNotStarted means
	// that no task of this key was left behind by this call. An answer that
	// gets lost is asked for a few times; after ErrLost call Find.
	Start(ctx context.Context, node, key string, c Cmd) (Task, error)
	// Find returns the task that was started under key, ErrNoTask when there
	// is none on the node.
	Find(ctx context.Context, node, key string) (Task, error)
	// Follow yields the output of t line by line from byte offset on, and ends
	// after the last line once the command has ended. Reconnects happen
	// inside; no line is lost or doubled. The last pair of the sequence
	// carries an error if the command failed (*ExitError), if the task was
	// lost (ErrTaskLost: the node was rebooted, or the command's process is
	// gone without a status), or if ctx ended.
	Follow(ctx context.Context, t Task, offset int64) iter.Seq2[Line, error]
	// Interrupt sends SIGTERM to the task's process group. An ended task is
	// fine.
	Interrupt(ctx context.Context, t Task) error
	// Forget removes the task's directory. A task that runs is not forgotten
	// (error); one that is gone already is fine.
	Forget(ctx context.Context, t Task) error
}

// Task names a task on a node.
type Task struct {
	Node, Key string
	Boot      string // the node's boot id when the task was started
}

// Line is a line of a task's output.
type Line struct {
	Text string // without its line ending; invalid UTF-8 replaced
	Next int64  // the offset to go on reading at
}

var (
	// ErrNoTask: no task of that key is on the node.
	ErrNoTask = errors.New("no such task")
	// ErrTaskLost: the task began, and how it ended can't be known any more.
	ErrTaskLost = errors.New("task was lost")
)

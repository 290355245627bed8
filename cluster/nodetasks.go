package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	pollTime   = 30               // that one poll waits for output, in tenths of a second
	mostBlind  = 8                // looks in a row that a node may fail to take: half a minute
	mostSilent = 15 * time.Minute // that a node may not answer at all: it has had time to boot
	mostPause  = 5                // between two looks at a task, in tenths of a second
	pollLimit  = 256 << 10        // bytes of output in one poll
	maxPolls   = 4                // at once on a node; other commands need its sessions, too
	beginTries = 4                // of a task whose start was not answered
	firstPause = 250 * time.Millisecond
	lastPause  = 10 * time.Second
	tailBytes  = 4 << 10 // of output that tell why a task failed
)

var taskKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// NewTasks returns the tasks of the nodes. All their state is on the nodes:
// any number of values, in any number of processes, work on the same tasks.
func NewTasks(nodes Nodes, cfg Config) Tasks {
	return &nodeTasks{
		nodes: nodes, cfg: cfg.withDefaults(), systemd: "/run/systemd/system", polls: map[string]chan struct{}{},
	}
}

// nodeTasks implements Tasks by the scripts of scripts/task-*.sh;
// task-lib.sh says how a task looks on a node.
type nodeTasks struct {
	nodes   Nodes
	cfg     Config
	systemd string // a directory that exists where systemd runs

	mu    sync.Mutex
	polls map[string]chan struct{} // by node
}

func (ts *nodeTasks) run(ctx context.Context, node string, c Cmd) (Result, error) {
	r, err := ts.nodes.Node(node)
	if err != nil {
		return Result{}, notStarted(err)
	}
	ctx, cancel := context.WithTimeout(ctx, ts.cfg.Timeout)
	defer cancel()
	return runAgain(ctx, r, c)
}

// nonce makes names of this call's own on the node.
func nonce() string { return strings.ToLower(rand.Text()[:12]) }

func checkKey(key string) error {
	if !taskKey.MatchString(key) {
		return fmt.Errorf("%w: %q is no key for a task", ErrNotStarted, key)
	}
	return nil
}

func (ts *nodeTasks) Start(ctx context.Context, node, key string, c Cmd) (Task, error) {
	if err := checkKey(key); err != nil {
		return Task{}, err
	}
	if err := admit(ctx, c); err != nil {
		return Task{}, err
	}
	res, err := ts.begin(ctx, node, key, c)
	var refused *ExitError
	if errors.As(err, &refused) {
		err = notStarted(err)
	}
	if c.Changes && !errors.Is(err, ErrNotStarted) {
		Tell(ctx, Ran{Where: node, Line: Shown(c.Argv), Task: key, Err: err})
	}
	if err != nil {
		return Task{}, fmt.Errorf("task %s on %s: %w", key, node, err)
	}
	boot := strings.TrimSpace(string(res.Stdout))
	if boot == "" {
		return Task{}, fmt.Errorf("task %s on %s: %w: no boot id came back", key, node, ErrLost)
	}
	return Task{Node: node, Key: key, Boot: boot}, nil
}

// begin asks the node to start a task, and asks again when the answer got lost: it
// starts one key once, however often it is asked to.
func (ts *nodeTasks) begin(ctx context.Context, node, key string, c Cmd) (res Result, err error) {
	var lost error
	for try := 1; ; try++ {
		res, err = ts.run(ctx, node, cmdTaskStart(ts.cfg.RunDir, key, nonce(), ts.cfg.BootIDFile, ts.systemd, c))
		switch {
		case errors.Is(err, ErrNotStarted) && lost != nil:
			err = lost // an earlier try may have started it
		case errors.Is(err, ErrLost):
			lost = err
		default:
			return res, err
		}
		if try == beginTries || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) ||
			ts.cfg.Clock.Sleep(ctx, time.Duration(try)*firstPause) != nil {
			return res, err
		}
	}
}

func (ts *nodeTasks) Find(ctx context.Context, node, key string) (Task, error) {
	if err := checkKey(key); err != nil {
		return Task{}, err
	}
	res, err := ts.run(ctx, node, cmdTaskFind(ts.cfg.RunDir, key))
	if err != nil {
		return Task{}, fmt.Errorf("task %s on %s: %w", key, node, err)
	}
	boot := strings.TrimSpace(string(res.Stdout))
	if boot == "" {
		return Task{}, fmt.Errorf("%s on %s: %w", key, node, ErrNoTask)
	}
	return Task{Node: node, Key: key, Boot: boot}, nil
}

func (ts *nodeTasks) Interrupt(ctx context.Context, t Task) error {
	_, err := ts.run(ctx, t.Node, cmdTaskInterrupt(ts.cfg.RunDir, t.Key, nonce(), ts.cfg.BootIDFile))
	if err != nil {
		return fmt.Errorf("interrupt task %s on %s: %w", t.Key, t.Node, err)
	}
	return nil
}

func (ts *nodeTasks) Forget(ctx context.Context, t Task) error {
	_, err := ts.run(ctx, t.Node, cmdTaskForget(ts.cfg.RunDir, t.Key, nonce(), ts.cfg.BootIDFile))
	var refused *ExitError
	if errors.As(err, &refused) && refused.Status == 3 {
		return fmt.Errorf("task %s on %s still runs and is not forgotten: %w", t.Key, t.Node, err)
	}
	if err != nil {
		return fmt.Errorf("forget task %s on %s: %w", t.Key, t.Node, err)
	}
	return nil
}

func (ts *nodeTasks) Follow(ctx context.Context, t Task, offset int64) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f := follower{tasks: ts, task: t, read: offset, next: offset}
		err := f.follow(ctx, yield)
		if errors.Is(err, errEnough) {
			return
		}
		if ctx.Err() == nil {
			Tell(ctx, Ran{Where: t.Node, Task: t.Key, Err: err})
		}
		if err != nil {
			yield(Line{Next: f.next}, err)
		}
	}
}

// errNoLook: a node that answers can't look at a task.
var errNoLook = errors.New("no look at the task")

// errEnough: the reader of a sequence went away.
var errEnough = errors.New("enough")

// follower reads the output of one task.
type follower struct {
	tasks *nodeTasks
	task  Task
	heard time.Time // when the node last answered
	read  int64     // output up to here is in our hands
	quiet int       // since when there was none, in tenths of a second
	blind int       // looks in a row that the node could not take
	next  int64     // output up to here was handed on as lines
	part  []byte    // what is between the two
}

// follow hands on lines until the task has ended. It returns how it ended.
func (f *follower) follow(ctx context.Context, yield func(Line, error) bool) error {
	pause := firstPause
	f.heard = f.tasks.cfg.Clock.Now()
	for {
		p, err := f.tasks.poll(ctx, f.task, f.read, pollTime, min(1+f.quiet/50, mostPause))
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && (!passing(err) || !f.patient(err)):
			return err
		case err != nil && f.tasks.cfg.Clock.Now().Sub(f.heard) >= mostSilent:
			return fmt.Errorf("%s on %s: %w: the node has not answered for %v: %v", f.task.Key, f.task.Node, ErrLost, mostSilent, err) //nolint:errorlint // the task was started, whatever this try says
		case err != nil:
			if err := f.tasks.cfg.Clock.Sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause, f.blind, f.heard = firstPause, 0, f.tasks.cfg.Clock.Now()
		if f.quiet += pollTime; len(p.data) > 0 {
			f.quiet = 0
		}
		if p.boot != f.task.Boot {
			return fmt.Errorf("%s on %s: %w: the node was rebooted", f.task.Key, f.task.Node, ErrTaskLost)
		}
		f.read += int64(len(p.data))
		f.part = append(f.part, p.data...)
		if !f.handOn(yield, p.complete()) {
			return errEnough
		}
		if p.complete() {
			return f.ending(ctx, p)
		}
	}
}

// patient reports whether to look again after err. A connection comes back, but
// a node that can't look although it answers is asked a few times only.
func (f *follower) patient(err error) bool {
	if !errors.Is(err, errNoLook) {
		return true
	}
	f.heard = f.tasks.cfg.Clock.Now()
	f.blind++
	return f.blind < mostBlind
}

// passing reports whether a poll that failed with err is worth another try:
// the connection was at fault, not our knowledge of the machine.
func passing(err error) bool {
	var stranger *HostKeyError
	if errors.As(err, &stranger) || errors.Is(err, ErrNoNode) {
		return false
	}
	return errors.Is(err, ErrNotStarted) || errors.Is(err, ErrLost)
}

// handOn yields the lines that are whole, and at the end of the output also
// the rest.
func (f *follower) handOn(yield func(Line, error) bool, end bool) bool {
	for len(f.part) > 0 {
		n, ending := bytes.IndexByte(f.part, '\n'), 1
		switch {
		case n > maxLine || n < 0 && len(f.part) > maxLine:
			n, ending = maxLine, 0
		case n < 0 && !end:
			return true
		case n < 0:
			n, ending = len(f.part), 0
		}
		text := strings.TrimSuffix(string(f.part[:n]), "\r")
		f.part = f.part[n+ending:]
		f.next += int64(n + ending)
		if !yield(Line{Text: strings.ToValidUTF8(text, "\uFFFD"), Next: f.next}, nil) {
			return false
		}
	}
	return true
}

// ending says how the task ended, nil for status 0.
func (f *follower) ending(ctx context.Context, p poll) error {
	switch {
	case p.state == "gone":
		return fmt.Errorf("%s on %s: %w", f.task.Key, f.task.Node, ErrNoTask)
	case p.state == "lost":
		return fmt.Errorf("%s on %s: %w: its process is gone and left no status", f.task.Key, f.task.Node, ErrTaskLost)
	case p.code == 0:
		return nil
	}
	// Why it failed stands at the end of the output, which this follower may
	// have read only in part. Without it the status has to do.
	why := ""
	if last, err := f.tasks.poll(ctx, f.task, max(0, f.read-tailBytes), 0, 1); err == nil {
		why = reason(last.data)
	}
	return &ExitError{Argv: []string{"task", f.task.Key}, Status: p.code, Stderr: why}
}

// reason picks the last lines of a failed command's output: what PVE says
// when it refuses, without the progress before it.
func reason(output []byte) string {
	lines := strings.Split(strings.ToValidUTF8(strings.TrimSpace(string(output)), "\uFFFD"), "\n")
	first := max(0, len(lines)-8)
	for i := first; i < len(lines); i++ {
		_, transfer := TransferProgress(lines[i])
		_, download := DownloadProgress(lines[i])
		if transfer || download {
			first = i + 1
		}
	}
	return strings.TrimSpace(strings.Join(lines[first:], "\n"))
}

// poll is one look at a task.
type poll struct {
	state string // gone, exited, lost, running or waiting, see task-lib.sh
	code  int
	boot  string
	data  []byte
}

// complete reports whether the task has ended and this is the last of its
// output: the node looks at the state before it looks at the size.
func (p poll) complete() bool {
	return p.state != "running" && p.state != "waiting" && len(p.data) < pollLimit
}

// poll waits for output from offset on, with pauses between its looks, both in
// tenths of a second. A look costs the node some forks, so that what has been
// quiet for long is looked at less often.
func (ts *nodeTasks) poll(ctx context.Context, t Task, offset int64, wait, pause int) (poll, error) {
	slots := ts.pollSlots(t.Node)
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return poll{}, context.Cause(ctx)
	}
	res, err := ts.run(ctx, t.Node, cmdTaskPoll(ts.cfg.RunDir, t.Key, nonce(), ts.cfg.BootIDFile, offset, wait/pause, pause, pollLimit))
	if refused, ok := errors.AsType[*ExitError](err); ok {
		// The look failed (no process to be had, an older gate), which says
		// nothing of the task: only a task's own end is an ExitError.
		err = fmt.Errorf("%w: %w: %s", ErrLost, errNoLook, refused)
	}
	if err != nil {
		return poll{}, fmt.Errorf("task %s on %s: %w", t.Key, t.Node, err)
	}
	p, err := decodePoll(res.Stdout)
	if err != nil {
		return poll{}, fmt.Errorf("task %s on %s: %w: %w", t.Key, t.Node, ErrLost, err)
	}
	return p, nil
}

// taskStates are all states of a task; see task-lib.sh.
var taskStates = []string{"gone", "exited", "lost", "running", "waiting"}

// decodePoll reads what task-poll.sh prints: a head, and output as it is.
func decodePoll(answer []byte) (poll, error) {
	var p poll
	var size int
	head, data, _ := bytes.Cut(answer, []byte("\n"))
	if _, err := fmt.Sscanf(string(head), "%s %d %s %d", &p.state, &p.code, &p.boot, &size); err != nil || !slices.Contains(taskStates, p.state) {
		return poll{}, fmt.Errorf("the node answered %.80q", head)
	}
	if len(data) != size {
		return poll{}, fmt.Errorf("%d of %d bytes came", len(data), size)
	}
	p.data = data
	return p, nil
}

func (ts *nodeTasks) pollSlots(node string) chan struct{} {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.polls[node] == nil {
		ts.polls[node] = make(chan struct{}, maxPolls)
	}
	return ts.polls[node]
}

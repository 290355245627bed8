package pvesim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// task is a run of a worker, as PVE's task list has it. Guarded by Sim.mu.
type task struct {
	upid   string
	node   *node
	pid    int
	typ    string
	id     string
	start  time.Time
	end    time.Time
	log    []string
	status string // "" while it runs
	dead   bool   // it was killed: no status ever
	cancel context.CancelCauseFunc
}

// keptTasks is how many tasks a cluster remembers.
const keptTasks = 1000

func (s *Sim) newTask(n *node, typ, id string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid := s.nextPid()
	now := s.now()
	pstart := int64(now.Sub(n.born)/(10*time.Millisecond)) + 0x4e000
	t := &task{
		node: n, pid: pid, typ: typ, id: id, start: now,
		upid: fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:root@pam:", n.name, pid, pstart, now.Unix(), typ, id),
	}
	s.tasks = append(s.tasks, t)
	if len(s.tasks) > keptTasks {
		s.tasks = slices.Delete(s.tasks, 0, len(s.tasks)-keptTasks)
	}
	return t
}

// nextPid makes up a process id of the simulated node.
func (s *Sim) nextPid() int {
	s.lastPid++
	return 0x400 + s.lastPid
}

// worker is the process that does a task's work. Its tool prints what it says.
type worker struct {
	*call
	ctx    context.Context // ends when it must stop, with the reason
	cancel context.CancelCauseFunc
	task   *task
}

// work runs fn as a task and waits for it, as PVE's tools do.
//
// The tool hands on each line. When its reader is gone it ends the worker,
// which cleans up; when the tool itself is dead the worker dies with its next
// line and leaves everything as it is (errKilled), and so it does when the
// node goes down.
func (c *call) work(typ, id string, fn func(w *worker) error) (*task, error) {
	ctx, cancel := context.WithCancelCause(c.boot)
	defer cancel(nil)
	t := c.sim.newTask(c.node, typ, id)
	t.cancel = cancel
	w := &worker{call: c, ctx: ctx, cancel: cancel, task: t}
	before := c.swapWorker(w)
	err := fn(w)
	c.swapWorker(before)
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	t.end = c.sim.now()
	switch {
	case errors.Is(err, errKilled):
		t.dead = true
	case err != nil:
		t.status = strings.TrimSpace(err.Error())
		t.log = append(t.log, "TASK ERROR: "+t.status)
	default:
		t.status = "OK"
		t.log = append(t.log, "TASK OK")
	}
	return t, err
}

// swapWorker says which worker a signal is for; a task may run another one.
func (c *call) swapWorker(w *worker) (before *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.worker = c.worker, w
	return before
}

// say prints a line of the task. Its error says that the worker must stop.
func (w *worker) say(line string) error {
	if line == "" {
		return w.stopped()
	}
	if err := w.stopped(); err != nil {
		return err
	}
	w.sim.mu.Lock()
	w.task.log = append(w.task.log, strings.Split(strings.TrimSuffix(line, "\n"), "\n")...)
	w.sim.mu.Unlock()
	err := w.out(line)
	if err != nil {
		w.cancel(err)
	}
	return err
}

func (w *worker) stopped() error { return context.Cause(w.ctx) }

// sleep takes the time that something takes.
func (w *worker) sleep(d time.Duration) error { return w.sim.sleep(w.ctx, d) }

// do changes the cluster's state, unless the worker must stop.
func (w *worker) do(fn func() error) error {
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	if err := w.stopped(); err != nil {
		return err
	}
	return fn()
}

package pvesim

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// taskCall runs a task for pvesh. PVE: whatever becomes of it, pvesh ends
// with 0 once there is one; the error goes to stderr, the UPID is the last
// line.
func (r *request) taskCall(run func() (*task, error)) (any, error) {
	t, err := run()
	if t == nil {
		return nil, err
	}
	var f *failure
	if errors.As(err, &f) {
		r.err(f.text)
		err = nil
	}
	return t.upid, err
}

func (r *request) startVM() (any, error) {
	return r.taskCall(func() (*task, error) { return r.start(r.parts[1], r.args("qm start")) })
}

func (r *request) stopVM() (any, error) {
	return r.taskCall(func() (*task, error) { return r.stop(r.parts[1], r.args("qm stop")) })
}

func (r *request) shutdownVM() (any, error) {
	return r.taskCall(func() (*task, error) { return r.shutdown(r.parts[1], r.args("qm shutdown")) })
}

func (r *request) rebootVM() (any, error) {
	return r.taskCall(func() (*task, error) { return r.reboot(r.parts[1], r.args("qm reboot")) })
}

// setConfig is PUT .../config, which qm set is too.
func (r *request) setConfig() (any, error) {
	a, err := r.checked("qm set")
	if err != nil {
		return nil, err
	}
	return nil, r.qmSet(a)
}

// createVM is POST .../qemu, which qm create is too.
func (r *request) createVM() (any, error) {
	r.parts = append(r.parts, r.opts["vmid"])
	a, err := r.checked("qm create")
	if err != nil {
		return nil, err
	}
	return r.taskCall(func() (*task, error) { return r.create(a) })
}

// setConfigTask is POST .../config, the same as a task.
func (r *request) setConfigTask() (any, error) {
	a, err := r.checked("qm set")
	if err != nil {
		return nil, err
	}
	return r.taskCall(func() (*task, error) {
		return r.work("qmconfig", r.parts[1], func(*worker) error { return r.qmSet(a) })
	})
}

func (r *request) resizeDisk() (any, error) {
	a, err := r.checked("qm disk resize")
	if err != nil {
		return nil, err
	}
	return r.taskCall(func() (*task, error) { return r.resize(a) })
}

// checked are the options as a qm command takes them, held against its table.
// SSH keys are the encoded text and no file here.
func (r *request) checked(name string) (args, error) {
	a := r.args(name)
	for k := range a.values {
		if a.cmd.option(k) == nil {
			return a, fail("Unknown option: %s\n400 unable to parse option\n%s", k, r.usage())
		}
	}
	err := a.cmd.check(a.values, r.sim.rules())
	if bad, ok := errors.AsType[*paramErrors](err); ok {
		bad.usage = r.usage()
	}
	return a, err
}

// args are the options as a qm command takes them.
func (r *request) args(name string) args {
	values := maps.Clone(r.opts)
	delete(values, "output-format")
	values["vmid"] = r.parts[1]
	return args{cmd: commands()[name], values: values}
}

func (r *request) findTask() (*task, error) {
	upid, err := url.PathUnescape(r.parts[1])
	if err != nil || !strings.HasPrefix(upid, "UPID:") || strings.Count(upid, ":") < 8 {
		return nil, r.bad(255, "upid", "unable to parse worker upid")
	}
	for _, t := range r.sim.tasks {
		if t.upid == upid && t.node == r.node {
			return t, nil
		}
	}
	return nil, r.bad(2, "upid", "no such task")
}

func (t *task) object() object {
	parts := strings.Split(t.upid, ":")
	pstart, _ := strconv.ParseInt(parts[3], 16, 64)
	return object{
		"upid": t.upid, "node": t.node.name, "pid": t.pid, "pstart": pstart, "starttime": t.start.Unix(),
		"type": t.typ, "id": t.id, "user": "root@pam",
	}
}

func (r *request) taskStatus() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	t, err := r.findTask()
	if err != nil {
		return nil, err
	}
	o := t.object()
	switch {
	case t.dead:
		o["status"], o["exitstatus"] = "stopped", "unexpected status"
	case t.status == "":
		o["status"] = "running"
	default:
		o["status"], o["exitstatus"] = "stopped", t.status
	}
	return o, nil
}

func (r *request) taskLog() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	t, err := r.findTask()
	if err != nil {
		return nil, err
	}
	first, _ := strconv.Atoi(r.opts["start"])
	limit, err := strconv.Atoi(r.opts["limit"])
	if err != nil {
		limit = 50 // PVE: unless asked otherwise
	}
	list := []object{}
	for i, line := range t.log {
		if i >= first && len(list) < limit {
			list = append(list, object{"n": i + 1, "t": line})
		}
	}
	return list, nil
}

// stopTask is how a task is told to stop.
func (r *request) stopTask() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	t, err := r.findTask()
	if err != nil {
		return nil, err
	}
	if t.status == "" && !t.dead {
		t.cancel(errInterrupted)
	}
	return nil, nil
}

func (r *request) listTasks() (any, error) {
	if sources := []string{"archive", "active", "all"}; r.opts["source"] != "" && !slices.Contains(sources, r.opts["source"]) {
		return nil, r.bad(255, "source", notIn(r.opts["source"], sources))
	}
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	limit, err := strconv.Atoi(r.opts["limit"])
	if err != nil {
		limit = 50
	}
	since, _ := strconv.ParseInt(r.opts["since"], 10, 64)
	list := []object{}
	for _, t := range slices.Backward(r.sim.tasks) {
		// A dead worker stays RUNNING here until somebody looks at it.
		running := t.status == ""
		switch source := r.opts["source"]; {
		case t.node != r.node, len(list) >= limit, t.start.Unix() < since:
			continue
		case r.opts["vmid"] != "" && r.opts["vmid"] != t.id, r.opts["typefilter"] != "" && r.opts["typefilter"] != t.typ:
			continue
		case running && (source == "" || source == "archive"), !running && source == "active":
			continue
		}
		o := t.object()
		if running {
			o["status"], o["saved"] = "RUNNING", "0"
		} else {
			o["status"], o["endtime"] = t.status, t.end.Unix()
		}
		list = append(list, o)
	}
	return list, nil
}

package simguest

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// process is what the kernel knows of a running program.
type process struct {
	pid, parent, group int
	end                context.CancelFunc
	traps              bool         // a shell that handles SIGTERM
	ran                atomic.Int32 // programs that it has run
	going              func()
}

// The interpreter has no process of its own and no umask. Variables that
// scripts don't know stand in for what it can't have.
const (
	pidVariable   = "SIMGUEST_PID"
	ppidVariable  = "SIMGUEST_PPID"
	nameVariable  = "SIMGUEST_NAME" // $0
	umaskVariable = "SIMGUEST_UMASK"
)

// ours reports whether a variable is one of those above.
func ours(assignment string) bool { return strings.HasPrefix(assignment, "SIMGUEST_") }

// begin makes a process of p, which ends with what is returned; group 0 is a new
// one.
func (p *proc) begin(group int) (end func()) {
	g := p.guest
	ctx, cancel := context.WithCancel(p.ctx)
	g.mu.Lock()
	g.lastPid++
	self := &process{going: func() {}, pid: 1000 + g.lastPid, parent: 1, group: group, end: cancel}
	if group == 0 {
		self.group = self.pid
	} else {
		self.parent = p.self.pid
	}
	g.processes[self.pid] = self
	g.mu.Unlock()
	p.ctx, p.self = ctx, self
	began := int64(100 * g.uptime().Seconds())
	stat := fmt.Sprintf("%d (%s) S 1 %d %[3]d 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d\n", self.pid, path.Base(p.args[0]), self.group, began)
	dir := "/proc/" + strconv.Itoa(self.pid)
	g.disk.put(dir+"/stat", 0o444, stat)
	return func() {
		cancel()
		g.mu.Lock()
		delete(g.processes, self.pid)
		g.mu.Unlock()
		g.disk.erase(dir)
	}
}

// detach runs args in a session of their own, which nothing ends but the power.
func (p *proc) detach(args []string) int {
	g := p.guest
	g.mu.Lock()
	power := g.power
	if power == nil || g.closed {
		g.mu.Unlock()
		return 1
	}
	g.running.Add(1)
	g.mu.Unlock()
	child := p.with(args)
	child.ctx, child.in = power, strings.NewReader("")
	end := child.begin(0)
	going := make(chan struct{})
	child.self.going = sync.OnceFunc(func() { close(going) })
	go func() {
		defer g.running.Done()
		defer end()
		defer child.self.going()
		child.run()
	}()
	// On a clock that leaps nobody could tell slow from never: the child has run
	// two programs by now, or takes its time.
	<-going
	return 0
}

// runs counts a program that p has run.
func (p *proc) runs() {
	if p.self.ran.Add(1) == 2 {
		p.self.going()
	}
}

// setsid returns at once, as one does that had to fork.
func setsid(p *proc) int {
	if len(p.args) < 2 {
		return p.complain("no command specified")
	}
	return p.detach(p.args[1:])
}

// systemdRun starts a transient service.
func systemdRun(p *proc) int {
	child, args := p.with(nil), p.args[1:]
	child.user, child.dir = account("root"), "/"
	child.env = []string{"PATH=" + strings.Join(binDirs, ":"), "LANG=C.UTF-8"}
	for ; len(args) > 0 && strings.HasPrefix(args[0], "--"); args = args[1:] {
		if value, ok := strings.CutPrefix(args[0], "--setenv="); ok {
			child.env = append(child.env, value)
		}
	}
	switch {
	case p.user.uid != root:
		return p.complain("Failed to start transient service unit: Interactive authentication required.")
	case len(args) == 0:
		return p.complain("Command line to execute required.")
	}
	return child.detach(args)
}

// kill sends SIGTERM or SIGKILL to a process, or with a minus sign to a group
// of them.
func kill(p *proc) int {
	hard := slices.Contains(p.args, "-KILL") || slices.Contains(p.args, "KILL")
	args := slices.DeleteFunc(slices.Clone(p.args[1:]), func(a string) bool {
		return slices.Contains([]string{"-s", "TERM", "-TERM", "KILL", "-KILL", "--"}, a)
	})
	if len(args) != 1 {
		return p.complain("takes a signal and one target")
	}
	target, err := strconv.Atoi(args[0])
	if err != nil {
		return p.complain("failed to parse argument: '%s'", args[0])
	}
	p.guest.mu.Lock()
	defer p.guest.mu.Unlock()
	hit := false
	for _, other := range p.guest.processes {
		if other.pid == target || other.group == -target {
			hit = true
			if hard || !other.traps {
				other.end()
			}
		}
	}
	if !hit {
		return p.complain("(%d): No such process", target)
	}
	return 0
}

// signals replaces the builtins about processes, which the interpreter does not
// have; ok is false for all others.
func (p *proc) signals(ctx context.Context, words []string) (args []string, ok bool) {
	switch words[0] {
	case "kill":
		return append([]string{"/usr/bin/kill"}, words[1:]...), true
	case "umask":
		if len(words) < 2 {
			return []string{"echo", fmt.Sprintf("%04o", 0o777-masked(mask(ctx), 0o777))}, true
		}
		return []string{"eval", "export " + umaskVariable + "=" + words[1]}, true
	case "trap":
		if len(words) < 3 || !slices.Contains(words, "TERM") {
			return nil, false
		}
		p.guest.mu.Lock()
		p.self.traps = words[1] != "-"
		p.guest.mu.Unlock()
		return []string{"true"}, true
	}
	return nil, false
}

// own makes $$ and $0 of a script those of its simulated process. What it sends
// to the background by setsid has been started when the script goes on: the
// interpreter would drop it if the script's end came first.
func own(stmt *syntax.Stmt) {
	syntax.Walk(stmt, func(n syntax.Node) bool {
		if s, ok := n.(*syntax.Stmt); ok && s.Background {
			call, _ := s.Cmd.(*syntax.CallExpr)
			s.Background = call == nil || len(call.Args) == 0 || call.Args[0].Lit() != "setsid"
		}
		if e, ok := n.(*syntax.ParamExp); ok && e.Param != nil {
			switch e.Param.Value {
			case "$":
				e.Param.Value, e.Short = pidVariable, false
			case "PPID":
				e.Param.Value, e.Short = ppidVariable, false
			case "0":
				e.Param.Value, e.Short = nameVariable, false
			}
		}
		return true
	})
}

// masked is a mode without what the umask of an environment takes away.
func masked(env []string, mode fs.FileMode) fs.FileMode {
	for _, a := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(a, umaskVariable+"="); ok {
			if mask, err := strconv.ParseUint(value, 8, 12); err == nil {
				return mode &^ fs.FileMode(mask)
			}
		}
	}
	return mode &^ 0o022
}

// mask is the umask of a shell as it stands.
func mask(ctx context.Context) []string {
	return []string{umaskVariable + "=" + interp.HandlerCtx(ctx).Env.Get(umaskVariable).Str}
}

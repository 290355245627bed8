package simguest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"pvebot/cluster"
)

// user is one of the guest's accounts.
type user struct {
	name, home string
	uid        int
}

func account(name string) user {
	if name == "root" {
		return user{name: "root", home: "/root"}
	}
	return user{name: name, home: "/home/" + name, uid: 1000}
}

func (u user) environ() []string {
	return []string{
		"HOME=" + u.home, "USER=" + u.name, "LOGNAME=" + u.name, "SHELL=/bin/bash",
		"PATH=" + strings.Join(binDirs, ":"), "LANG=C.UTF-8",
	}
}

var binDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// proc is a running program of the guest.
type proc struct {
	guest *Guest
	ctx   context.Context
	user  user
	args  []string // args[0] is the name
	dir   string
	env   []string // NAME=VALUE
	in    io.Reader
	out   io.Writer
	err   io.Writer
	self  *process
	zero  string // $0 of the script that it runs
}

// run runs p.args and returns its exit status.
func (p *proc) run() int {
	name := p.args[0]
	if dir := path.Dir(name); strings.Contains(name, "/") {
		if !slices.Contains(binDirs, dir) {
			return p.file()
		}
		name = path.Base(name)
	}
	program := p.guest.program(name)
	if program == nil {
		return p.fail(127, "%s: command not found", p.args[0])
	}
	return program(p)
}

// program is the program of that name, nil when there is none or none any more.
func (g *Guest) program(name string) func(*proc) int {
	if programs[name] == nil || !g.exists("/usr/bin/"+name) {
		return nil
	}
	return programs[name]
}

// file runs a script on the guest's disk.
func (p *proc) file() int {
	name := p.abs(p.args[0])
	if err := p.guest.disk.access(name, 5, p.user.uid); err != nil {
		return p.fail(126, "%s: %v", p.args[0], reason(err))
	}
	script, err := p.guest.disk.open(name, 0, 0, p.user.uid)
	if err != nil {
		return p.fail(126, "%s: %v", p.args[0], reason(err))
	}
	return p.shell(syntax.LangBash, script, p.args[1:])
}

// fail prints why the program ends and returns its status.
func (p *proc) fail(status int, format string, a ...any) int {
	fmt.Fprintf(p.err, "bash: "+format+"\n", a...)
	return status
}

// complain prints in the program's own name.
func (p *proc) complain(format string, a ...any) int {
	fmt.Fprintf(p.err, path.Base(p.args[0])+": "+format+"\n", a...)
	return 1
}

func (p *proc) printf(format string, a ...any) { fmt.Fprintf(p.out, format, a...) }

func (p *proc) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(p.dir, name)
}

// sleep takes d of the guest's time; false means the program was killed.
func (p *proc) sleep(d time.Duration) bool {
	p.self.going()
	return p.guest.cfg.Clock.Sleep(p.ctx, d) == nil
}

// with is a child of p that runs args.
func (p *proc) with(args []string) *proc {
	child := *p
	child.args = args
	return &child
}

// reason is err without the path that the caller prints itself.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// shell runs a script, one statement after the other as they arrive: a script
// that breaks off has been run up to there, as a real shell does it.
func (p *proc) shell(lang syntax.LangVariant, script io.Reader, params []string, options ...string) int {
	r, err := p.interpreter(append(append(options, "--"), params...))
	if err != nil {
		return p.fail(2, "%v", err)
	}
	// The interpreter insists on a directory and, for process substitution,
	// on named pipes of the host. It gets / and a place where there can be none.
	start := "unset TMPDIR; cd " + cluster.Quote([]string{p.dir}) + " 2>/dev/null || :"
	run(p, r, syntax.LangBash, strings.NewReader(start))
	status := run(p, r, lang, script)
	if !r.Exited() && p.ctx.Err() == nil {
		// Running a file, unlike a statement, ends with the exit trap.
		file, _ := syntax.NewParser().Parse(strings.NewReader(fmt.Sprintf("(exit %d)", status)), "")
		status = code(p, r.Run(p.ctx, file))
	}
	return status
}

func run(p *proc, r *interp.Runner, lang syntax.LangVariant, script io.Reader) (status int) {
	stopped := false
	// Not a range: the sequence may go on once more after it was stopped.
	syntax.NewParser(syntax.Variant(lang)).StmtsSeq(script)(func(stmt *syntax.Stmt, err error) bool {
		switch {
		case stopped:
		case err != nil:
			status, stopped = p.fail(2, "%v", err), true
		default:
			own(stmt)
			status = code(p, r.Run(p.ctx, stmt))
			stopped = r.Exited() || p.ctx.Err() != nil
		}
		return !stopped
	})
	return status
}

// code is the exit status that the interpreter's error stands for.
func code(p *proc, err error) int {
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[interp.ExitStatus](err); ok {
		return int(status)
	}
	if p.ctx.Err() != nil {
		return 143 // as after SIGTERM
	}
	return p.fail(1, "%v", err)
}

// interpreter is a shell all of whose ways out lead into the guest.
func (p *proc) interpreter(params []string) (*interp.Runner, error) {
	vars := []string{"TMPDIR=/dev/null/none", pidVariable + "=" + strconv.Itoa(p.self.pid), ppidVariable + "=" + strconv.Itoa(p.self.parent), nameVariable + "=" + cmp.Or(p.zero, p.args[0])}
	return interp.New(
		interp.Env(environ{expand.ListEnviron(append(slices.Clip(p.env), vars...)...), p.user}),
		interp.Dir("/"),
		interp.StdIO(p.in, p.out, p.err),
		interp.Params(params...),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return p.exec }),
		interp.CallHandler(p.call),
		interp.OpenHandler(func(ctx context.Context, name string, flag int, perm fs.FileMode) (io.ReadWriteCloser, error) {
			h, err := p.guest.disk.open(p.at(ctx, name), flag, masked(mask(ctx), perm), p.user.uid)
			if err != nil {
				return nil, err
			}
			return h, nil
		}),
		interp.StatHandler(func(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
			return p.guest.disk.stat(p.at(ctx, name), follow)
		}),
		interp.AccessHandler(func(ctx context.Context, name string, mode interp.AccessMode) error {
			return p.guest.disk.access(p.at(ctx, name), fs.FileMode(mode), p.user.uid)
		}),
		interp.ReadDirHandler2(func(ctx context.Context, name string) ([]fs.DirEntry, error) {
			return p.guest.disk.list(p.at(ctx, name))
		}),
	)
}

// at is name as seen from the shell's current directory.
func (p *proc) at(ctx context.Context, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(interp.HandlerCtx(ctx).Dir, name)
}

// exec runs a program for the shell.
func (p *proc) exec(ctx context.Context, args []string) error {
	shell := interp.HandlerCtx(ctx)
	child := &proc{
		guest: p.guest, ctx: ctx, user: p.user, args: args, dir: shell.Dir, env: exported(shell.Env),
		in: shell.Stdin, out: shell.Stdout, err: shell.Stderr, self: p.self,
	}
	if child.in == nil {
		child.in = strings.NewReader("")
	}
	defer child.begin(p.self.group)()
	child.self.going = p.self.going
	status := child.run()
	p.runs()
	if err := ctx.Err(); err != nil {
		return err
	}
	if status != 0 {
		return interp.ExitStatus(status)
	}
	return nil
}

// call replaces the few builtins for which the interpreter asks the host's file
// system by ones that ask the guest's.
func (p *proc) call(ctx context.Context, args []string) ([]string, error) {
	words := args
	for len(words) > 1 && (words[0] == "builtin" || words[0] == "command" && !strings.HasPrefix(words[1], "-")) {
		words = words[1:]
	}
	if instead, ok := p.signals(ctx, words); ok {
		return instead, nil
	}
	switch {
	case (words[0] == "source" || words[0] == ".") && len(words) > 1:
		return append([]string{"source", p.at(ctx, words[1])}, words[2:]...), nil
	case words[0] == "pwd" && slices.Contains(words, "-P"):
		dir, err := p.guest.disk.real(interp.HandlerCtx(ctx).Dir)
		return []string{"echo", dir}, err
	case words[0] == "command" && len(words) > 1, words[0] == "type", words[0] == "hash":
		return p.which(words), nil
	}
	return args, nil
}

// which answers `command -v NAME` and `type NAME`; it knows no functions.
func (p *proc) which(words []string) []string {
	name := words[len(words)-1]
	switch {
	case interp.IsBuiltin(name):
		return []string{"echo", name}
	case p.guest.program(path.Base(name)) != nil:
		return []string{"echo", "/usr/bin/" + path.Base(name)}
	default:
		return []string{"false"}
	}
}

// environ is a shell's first environment. It answers for every name that
// otherwise would be looked up among the host's users.
type environ struct {
	expand.Environ
	user user
}

func (e environ) Get(name string) expand.Variable {
	set := func(s string) expand.Variable {
		return expand.Variable{Set: true, Kind: expand.String, Str: s}
	}
	switch who, tilde := strings.CutPrefix(name, "HOME "); {
	case tilde && (who == e.user.name || who == "root"):
		return set(account(who).home)
	case tilde:
		return set("~" + who)
	case name == "UID", name == "EUID", name == "GID":
		return set(fmt.Sprint(e.user.uid))
	}
	return e.Environ.Get(name)
}

// exported are the variables that a program inherits.
func exported(env expand.Environ) []string {
	vars := map[string]string{}
	for name, v := range env.Each {
		if v.Exported && v.Kind == expand.String {
			vars[name] = v.Str
		} else {
			delete(vars, name)
		}
	}
	delete(vars, "TMPDIR")
	var out []string
	for name, value := range vars {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

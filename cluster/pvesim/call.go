package pvesim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"pvebot/cluster/pvesim/shim"
)

// call is one run of a tool on a node.
type call struct {
	sim  *Sim
	node *node
	tool string
	argv []string // without the tool's name
	pid  int
	link *link
	ctx  context.Context // ends with the tool's process
	boot boot            // of its node

	mu     sync.Mutex
	worker *worker // when it runs a task
}

// asHeard are the words of a command as PVE's tools get them over SSH. PVE 9:
// nothing sets a locale there, and each byte beyond ASCII becomes U+FFFD.
func (s *Sim) asHeard(argv []string) []string {
	if s.release() < 9 {
		return argv
	}
	heard := make([]string, len(argv))
	for i, word := range argv {
		var b strings.Builder
		for j := range len(word) {
			if word[j] < utf8.RuneSelf {
				b.WriteByte(word[j])
			} else {
				b.WriteRune(utf8.RuneError)
			}
		}
		heard[i] = b.String()
	}
	return heard
}

// failure is an error with the text for stderr and the exit status.
type failure struct {
	text   string
	status int
}

func (f *failure) Error() string { return f.text }

// fail is what most of PVE's errors look like. Statuses are stale errnos: 255
// is as good as any.
func fail(format string, args ...any) error {
	return &failure{text: fmt.Sprintf(format, args...), status: 255}
}

func failStatus(status int, format string, args ...any) error {
	return &failure{text: fmt.Sprintf(format, args...), status: status}
}

// statusError ends a tool that has said all it has to say.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// serve runs the tool to its end.
func (c *call) serve() {
	err := c.run()
	c.sim.hooks.ended(c) // Lose: the connection dies first
	c.link.exit(c.complain(err))
}

// run is the tool, between the faults that were asked for.
func (c *call) run() error {
	if err := c.sim.hooks.began(c); err != nil {
		return err
	}
	switch c.tool {
	case "qm":
		if err := c.sim.sleep(c.ctx, c.sim.opts.Latency.QM); err != nil {
			return err
		}
		return c.qm()
	case "pvesm":
		if err := c.sim.sleep(c.ctx, c.sim.opts.Latency.QM); err != nil {
			return err
		}
		return c.pvesm()
	case "pvesh":
		if err := c.sim.sleep(c.ctx, c.sim.opts.Latency.PVESH); err != nil {
			return err
		}
		return c.pvesh()
	case "wget":
		return c.wget()
	case "ping":
		return c.ping()
	case "ip":
		return c.ip()
	case "hostname":
		return c.out(c.node.name)
	}
	return failStatus(shim.StatusNoSim, "%s: not simulated", c.tool)
}

// complain prints err as the tool does and returns the exit status.
func (c *call) complain(err error) int {
	var f *failure
	var status statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &f):
		c.err(f.text)
		return f.status
	case errors.Is(err, errKilled), errors.Is(err, errGone):
		return 141
	case errors.Is(err, errInterrupted):
		c.err(err.Error())
		return 130
	}
	c.err(err.Error())
	return 255
}

// out prints lines to the tool's standard output. It fails when nobody reads
// it any more (errGone), and when the tool is dead (errKilled).
func (c *call) out(text string) error { return c.print(shim.Out, text) }

// err prints lines to the tool's standard error; that nobody reads it harms
// no tool.
func (c *call) err(text string) { _ = c.print(shim.Err, text) }

func (c *call) print(op, text string) error {
	if text == "" {
		return nil
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return c.raw(op, text)
}

// raw prints text as it is.
func (c *call) raw(op, text string) error {
	a, err := c.link.ask(shim.Order{Op: op, Data: []byte(text)})
	switch {
	case err != nil:
		return err
	case a.Gone:
		return errGone
	case a.Err != "":
		return errors.New(a.Err)
	}
	return nil
}

// read reads a file as the tool's process sees it, /dev/stdin among them. With
// no error its size is right even where data is cut at limit.
func (c *call) read(path string, limit int64) (data []byte, size int64, reason string) {
	a, err := c.link.ask(shim.Order{Op: shim.Read, Path: path, Limit: limit})
	if err != nil {
		return nil, 0, err.Error()
	}
	return a.Data, a.Size, a.Err
}

// interrupt is SIGTERM or SIGINT: a tool with a task passes it on and waits
// for it; any other ends.
func (c *call) interrupt(end context.CancelCauseFunc) {
	c.mu.Lock()
	w := c.worker
	c.mu.Unlock()
	if w == nil {
		end(errInterrupted)
		return
	}
	w.cancel(errInterrupted)
}

// args are the arguments of a command, parsed against the table.
type args struct {
	cmd    *command
	values map[string]string
}

func (a args) is(key string) bool { return a.values[key] == "1" }

// parse reads a command's arguments as PVE's CLIHandler does: options may
// stand anywhere, positional arguments fill the command's in order.
func (c *call) parse(cmd *command, words []string) (args, error) {
	a := args{cmd: cmd, values: map[string]string{}}
	var rest []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "--" {
			rest = append(rest, words[i+1:]...)
			break
		}
		if len(w) < 2 || w[0] != '-' {
			rest = append(rest, w)
			continue
		}
		name, value, has := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(w, "-"), "-"), "=")
		o := cmd.option(name)
		if o == nil || slices.Contains(cmd.positional, name) {
			return a, fail("Unknown option: %s\n400 unable to parse option\n%s", name, cmd.usage())
		}
		switch {
		case has:
		case o.typ == "boolean":
			// A bare flag means 1; whatever follows and is no option is its value.
			value = "1"
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				i++
				value = words[i]
			}
		case i+1 < len(words) && (name != "cipassword" || !strings.HasPrefix(words[i+1], "-")):
			i++
			value = words[i]
		case name == "cipassword":
			password, err := c.password()
			if err != nil {
				return a, err
			}
			value = password
		default:
			return a, fail("Option %s requires an argument\n400 unable to parse option\n%s", name, cmd.usage())
		}
		if old, twice := a.values[name]; twice && strings.HasSuffix(o.format, "-list") {
			value = old + "," + value
		}
		if o.typ == "boolean" && !isBool(value) {
			return a, fail("400 unable to parse boolean option\n%s", cmd.usage())
		}
		a.values[name] = value
	}
	if n := len(cmd.positional); n > 0 && cmd.option(cmd.positional[n-1]).typ == "array" && len(rest) >= n-1 {
		rest = append(rest[:n-1:n-1], strings.Join(rest[n-1:], " "))
	}
	if len(rest) < len(cmd.positional) {
		return a, fail("400 not enough arguments\n%s", cmd.usage())
	}
	if len(rest) > len(cmd.positional) {
		return a, fail("400 too many arguments\n%s", cmd.usage())
	}
	for i, name := range cmd.positional {
		a.values[name] = rest[i]
	}
	return a, nil
}

// password reads a password twice from standard input, as PVE does where it
// is no terminal.
func (c *call) password() (string, error) {
	data, _, reason := c.read("/dev/stdin", mib)
	if reason != "" {
		return "", fail("can't read password: %s", reason)
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) < 2 || lines[0] != lines[1] {
		return "", fail("Passwords do not match.")
	}
	return lines[0], nil
}

func isBool(s string) bool {
	switch strings.ToLower(s) {
	case "0", "1", "yes", "no", "true", "false", "on", "off":
		return true
	}
	return false
}

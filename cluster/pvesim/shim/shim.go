// Package shim is the process of a tool (qm, pvesh, ping, ...) on a simulated
// node: it has the tool's arguments and streams, and does with them what the
// simulator tells it to. It stands apart from the simulator, and imports little,
// because a node starts it many times for one install: what it costs is its
// start. Where no shell is needed the simulator is the tool itself: see [Process].
package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Tools are the names under which a program is a shim.
var Tools = []string{"qm", "pvesh", "pvesm", "ping", "wget", "ip", "hostname"}

// Main acts as a tool and exits where this program was called by the name of
// one; else it returns at once.
func Main() {
	tool := filepath.Base(os.Args[0])
	if slices.Contains(Tools, tool) {
		os.Exit(run(tool, os.Args[1:]))
	}
}

// run is the whole life of a tool. It returns the exit status.
func run(tool string, argv []string) int {
	socket := os.Getenv(EnvSocket)
	if socket == "" {
		fmt.Fprintf(os.Stderr, "%s: not on a simulated node (%s is not set)\n", tool, EnvSocket)
		return StatusNoSim
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: the simulated cluster is gone: %v\n", tool, err)
		return StatusNoSim
	}
	defer conn.Close()
	// A write to a closed pipe must be seen as an error: PVE's tools act on it.
	signal.Ignore(syscall.SIGPIPE)
	p := &Process{Stdout: os.Stdout, Stderr: os.Stderr, Path: func(path string) string { return path }}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range stop {
			p.send(json.NewEncoder(conn), Answer{Signal: true})
		}
	}()
	return p.Obey(conn, Hello{Tool: tool, Node: os.Getenv(EnvNode), Boot: os.Getenv(EnvBoot), Argv: argv, Pid: os.Getpid()})
}

// Process is what a tool has of its own: its streams and its files.
type Process struct {
	Stdout, Stderr io.Writer
	Path           func(string) string // what a path of the tool's is to this program

	mu   sync.Mutex
	file *os.File
}

// Obey does what the simulator at the other end of conn wants of the tool that
// hello presents, until it says how the tool ends. It returns the exit status.
func (p *Process) Obey(conn io.ReadWriter, hello Hello) int {
	enc, dec := json.NewEncoder(conn), json.NewDecoder(conn)
	if enc.Encode(hello) != nil {
		return StatusNoSim
	}
	for {
		var o Order
		if err := dec.Decode(&o); err != nil {
			// The node went down under us, or the simulator ended.
			return 128 + int(syscall.SIGKILL)
		}
		if o.Op == Exit {
			return o.Status
		}
		p.send(enc, p.obey(o))
	}
}

func (p *Process) send(to *json.Encoder, a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = to.Encode(a) // the simulator's end shows in the next Decode
}

func (p *Process) obey(o Order) Answer {
	switch o.Op {
	case Out:
		return written(p.Stdout.Write(o.Data))
	case Err:
		return written(p.Stderr.Write(o.Data))
	case Read:
		return p.read(o.Path, o.Limit)
	case Create:
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if o.Append {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		f, err := os.OpenFile(p.Path(o.Path), flags, 0o666)
		p.file = f
		return Answer{Err: sysError(err)}
	case Write:
		return written(p.file.Write(o.Data))
	case Close:
		return Answer{Err: sysError(p.file.Close())}
	}
	return Answer{Err: "unknown order " + o.Op}
}

// Cat is cat -- path. It returns the exit status.
func (p *Process) Cat(path string) int {
	f, err := os.Open(p.Path(path))
	if err == nil {
		defer f.Close()
		_, err = io.Copy(p.Stdout, f)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(p.Stderr, "cat: %s: %s\n", path, sysError(err))
	return 1
}

func written(_ int, err error) Answer {
	return Answer{Err: sysError(err), Gone: errors.Is(err, syscall.EPIPE)}
}

func (p *Process) read(path string, limit int64) Answer {
	f, err := os.Open(p.Path(path))
	if err != nil {
		return Answer{Err: sysError(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Answer{Err: sysError(err)}
	}
	if info.IsDir() {
		return Answer{Err: "Is a directory"}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return Answer{Data: data, Size: info.Size(), Err: sysError(err)}
}

// sysError is err in strerror's words.
func sysError(err error) string {
	var no syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &no):
		return strerror(no)
	}
	return err.Error()
}

// strerror spells the errors that show up in PVE's texts as libc does;
// Go writes them in lower case.
func strerror(no syscall.Errno) string {
	text := no.Error()
	return string(text[0]&^0x20) + text[1:]
}

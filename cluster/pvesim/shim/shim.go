// Package shim is the process of a tool (qm, pvesh, ping, ...) on a simulated
// node: it has the tool's arguments and streams, and does with them what the
// simulator tells it to. It stands apart from the simulator, and imports little,
// because a node starts it hundreds of times for one install: what it costs is
// its start.
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
	s := &process{enc: json.NewEncoder(conn)}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range stop {
			s.send(Answer{Signal: true})
		}
	}()
	if s.enc.Encode(Hello{Tool: tool, Node: os.Getenv(EnvNode), Boot: os.Getenv(EnvBoot), Argv: argv, Pid: os.Getpid()}) != nil {
		return StatusNoSim
	}
	dec := json.NewDecoder(conn)
	for {
		var o Order
		if err := dec.Decode(&o); err != nil {
			// The node went down under us, or the simulator ended.
			return 128 + int(syscall.SIGKILL)
		}
		if o.Op == Exit {
			return o.Status
		}
		s.send(s.obey(o))
	}
}

// process is the tool's own process: its streams and its files.
type process struct {
	mu   sync.Mutex
	enc  *json.Encoder
	file *os.File
}

func (s *process) send(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enc.Encode(a) // the simulator's end shows in the next Decode
}

func (s *process) obey(o Order) Answer {
	switch o.Op {
	case Out:
		return written(os.Stdout.Write(o.Data))
	case Err:
		return written(os.Stderr.Write(o.Data))
	case Read:
		return readFile(o.Path, o.Limit)
	case Create:
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if o.Append {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		f, err := os.OpenFile(o.Path, flags, 0o666)
		s.file = f
		return Answer{Err: sysError(err)}
	case Write:
		return written(s.file.Write(o.Data))
	case Close:
		return Answer{Err: sysError(s.file.Close())}
	}
	return Answer{Err: "unknown order " + o.Op}
}

func written(_ int, err error) Answer {
	return Answer{Err: sysError(err), Gone: errors.Is(err, syscall.EPIPE)}
}

func readFile(path string, limit int64) Answer {
	f, err := os.Open(path)
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

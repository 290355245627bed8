package pvesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// shim is the whole life of this program under a tool's name. It returns the
// exit status.
func shim(tool string, argv []string) int {
	socket := os.Getenv(envSocket)
	if socket == "" {
		fmt.Fprintf(os.Stderr, "%s: not on a simulated node (%s is not set)\n", tool, envSocket)
		return statusNoSim
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: the simulated cluster is gone: %v\n", tool, err)
		return statusNoSim
	}
	defer conn.Close()
	// A write to a closed pipe must be seen as an error: PVE's tools act on it.
	signal.Ignore(syscall.SIGPIPE)
	s := &shimProcess{enc: json.NewEncoder(conn)}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range stop {
			s.send(answer{Signal: true})
		}
	}()
	if s.enc.Encode(hello{Tool: tool, Node: os.Getenv(envNode), Boot: os.Getenv(envBoot), Argv: argv, Pid: os.Getpid()}) != nil {
		return statusNoSim
	}
	dec := json.NewDecoder(conn)
	for {
		var o order
		if err := dec.Decode(&o); err != nil {
			// The node went down under us, or the simulator ended.
			return 128 + int(syscall.SIGKILL)
		}
		if o.Op == opExit {
			return o.Status
		}
		s.send(s.obey(o))
	}
}

// shimProcess is the tool's own process: its streams and its files.
type shimProcess struct {
	mu   sync.Mutex
	enc  *json.Encoder
	file *os.File
}

func (s *shimProcess) send(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enc.Encode(a) // the simulator's end shows in the next Decode
}

func (s *shimProcess) obey(o order) answer {
	switch o.Op {
	case opOut:
		return written(os.Stdout.Write(o.Data))
	case opErr:
		return written(os.Stderr.Write(o.Data))
	case opRead:
		return readFile(o.Path, o.Limit)
	case opCreate:
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if o.Append {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		f, err := os.OpenFile(o.Path, flags, 0o666)
		s.file = f
		return answer{Err: sysError(err)}
	case opWrite:
		return written(s.file.Write(o.Data))
	case opClose:
		return answer{Err: sysError(s.file.Close())}
	}
	return answer{Err: "unknown order " + o.Op}
}

func written(_ int, err error) answer {
	return answer{Err: sysError(err), Gone: errors.Is(err, syscall.EPIPE)}
}

func readFile(path string, limit int64) answer {
	f, err := os.Open(path)
	if err != nil {
		return answer{Err: sysError(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return answer{Err: sysError(err)}
	}
	if info.IsDir() {
		return answer{Err: "Is a directory"}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return answer{Data: data, Size: info.Size(), Err: sysError(err)}
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

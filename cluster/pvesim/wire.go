package pvesim

import (
	"encoding/json"
	"errors"
	"net"
	"sync"
)

// A shim and the simulator talk over a Unix socket in JSON values: first the
// shim's hello, then one order of the simulator after the other, each answered
// before the next. What concerns the tool's own process (its streams, files
// by name, /dev/stdin) is done by the shim, all else by the simulator.

// hello opens a conversation.
type hello struct {
	Tool string
	Node string
	Boot string // of the node, when the tool was started
	Argv []string
	Pid  int
}

// order is what the simulator wants of the shim.
type order struct {
	Op     string // opOut, ...
	Data   []byte `json:",omitempty"`
	Path   string `json:",omitempty"`
	Limit  int64  `json:",omitempty"` // of opRead; bytes
	Append bool   `json:",omitempty"` // of opCreate
	Status int    `json:",omitempty"` // of opExit
}

const (
	opOut    = "out"    // write Data to stdout
	opErr    = "err"    // write Data to stderr
	opRead   = "read"   // read Path, at most Limit bytes, and say its size
	opCreate = "create" // open Path for writing
	opWrite  = "write"  // write Data to the file of opCreate
	opClose  = "close"  // close the file of opCreate
	opExit   = "exit"   // end with Status; no answer
)

// answer is the shim's reply to an order, or, with Signal, an event of its own.
type answer struct {
	Err    string `json:",omitempty"` // the system's words, e.g. "No such file or directory"
	Gone   bool   `json:",omitempty"` // the reader of the stream is gone (EPIPE)
	Data   []byte `json:",omitempty"`
	Size   int64  `json:",omitempty"` // of the file; bytes
	Signal bool   `json:",omitempty"` // SIGTERM or SIGINT came in
}

var (
	// errKilled: the tool's process is gone, or its node is.
	errKilled = errors.New("killed")
	// errGone: nobody reads the tool's output any more.
	errGone = errors.New("broken pipe")
	// errInterrupted: the tool, or its task, was told to stop.
	errInterrupted = errors.New("received interrupt")
)

// link is the simulator's end of a conversation. One order at a time.
type link struct {
	conn     net.Conn
	enc      *json.Encoder
	answers  chan answer
	onSignal func()
	onClose  func()
	mu       sync.Mutex
}

// listen reads answers until the shim is gone.
func (l *link) listen(dec *json.Decoder) {
	defer close(l.answers)
	defer l.onClose()
	for {
		var a answer
		if dec.Decode(&a) != nil {
			return
		}
		if a.Signal {
			l.onSignal()
			continue
		}
		l.answers <- a
	}
}

// ask sends one order and waits for its answer. errKilled: no shim any more.
func (l *link) ask(o order) (answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.enc.Encode(o) != nil {
		return answer{}, errKilled
	}
	a, ok := <-l.answers
	if !ok {
		return answer{}, errKilled
	}
	return a, nil
}

// exit ends the shim.
func (l *link) exit(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.enc.Encode(order{Op: opExit, Status: status}) // a dead shim needs no status
}

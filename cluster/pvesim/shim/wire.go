package shim

// A shim and the simulator talk over a Unix socket in JSON values: first the
// shim's Hello, then one Order of the simulator after the other, each answered
// before the next. What concerns the tool's own process (its streams, files
// by name, /dev/stdin) is done by the shim, all else by the simulator.

// What a shim finds in its environment. The first two lead it back to its
// simulator and mark a process as ours, so that a reboot and Close can find it;
// the third tells those of before a reboot.
const (
	EnvSocket = "PVESIM_SOCKET"
	EnvNode   = "PVESIM_NODE"
	EnvBoot   = "PVESIM_BOOT"
)

// StatusNoSim is how a shim ends that was called outside a simulated node.
const StatusNoSim = 70 // EX_SOFTWARE

// Hello opens a conversation.
type Hello struct {
	Tool string
	Node string
	Boot string // of the node, when the tool was started
	Argv []string
	Pid  int
}

// Order is what the simulator wants of the shim.
type Order struct {
	Op     string // Out, ...
	Data   []byte `json:",omitempty"`
	Path   string `json:",omitempty"`
	Limit  int64  `json:",omitempty"` // of Read; bytes
	Append bool   `json:",omitempty"` // of Create
	Status int    `json:",omitempty"` // of Exit
}

// What an Order wants.
const (
	Out    = "out"    // write Data to stdout
	Err    = "err"    // write Data to stderr
	Read   = "read"   // read Path, at most Limit bytes, and say its size
	Create = "create" // open Path for writing
	Write  = "write"  // write Data to the file of Create
	Close  = "close"  // close the file of Create
	Exit   = "exit"   // end with Status; no answer
)

// Answer is the shim's reply to an Order, or, with Signal, an event of its own.
type Answer struct {
	Err    string `json:",omitempty"` // the system's words, e.g. "No such file or directory"
	Gone   bool   `json:",omitempty"` // the reader of the stream is gone (EPIPE)
	Data   []byte `json:",omitempty"`
	Size   int64  `json:",omitempty"` // of the file; bytes
	Signal bool   `json:",omitempty"` // SIGTERM or SIGINT came in
}

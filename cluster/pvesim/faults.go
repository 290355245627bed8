package pvesim

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Ran is a command that a node ran: of the shims, that is.
type Ran struct {
	Node string
	Argv []string // with the tool's name
	Pid  int      // of the tool's process, on the machine the simulation runs on
}

// String is the command as one types it, without any quoting.
func (r Ran) String() string { return strings.Join(r.Argv, " ") }

// Changes reports whether the command is one that changes something.
func (r Ran) Changes() bool {
	if len(r.Argv) < 2 {
		return false
	}
	switch verb := r.Argv[1]; r.Argv[0] {
	case "qm":
		return !slices.Contains([]string{"status", "config", "list", "listsnapshot", "pending", "agent", "guest"}, verb)
	case "pvesh":
		return verb != "get"
	case "pvesm":
		return verb != "status" && verb != "list" && verb != "path"
	case "wget":
		return true
	}
	return false
}

// hooks are the faults that were asked for, and what has run.
type hooks struct {
	mu     sync.Mutex
	ran    []Ran
	on     []func(Ran)
	faults []*fault
	quiet  map[int]bool // VMs that ignore ACPI
	dark   map[int]bool // VMs that never boot
	slow   map[int]int  // VMs that take longer to boot
	cutWeb int64        // the next download breaks after so many bytes
}

// fault is something that happens to the next command of a prefix.
type fault struct {
	node   string // "" for any
	prefix string
	status int
	stderr string
	lose   bool
	hold   chan struct{} // not nil: the command waits until it is closed
	stays  bool          // not only once
}

// matches says whether the words of prefix are the first of the command's.
func (f *fault) matches(r Ran) bool {
	words := strings.Fields(f.prefix)
	return (f.node == "" || f.node == r.Node) && len(words) <= len(r.Argv) && slices.Equal(words, r.Argv[:len(words)])
}

func (c *call) ran() Ran {
	return Ran{Node: c.node.name, Argv: append([]string{c.tool}, c.argv...), Pid: c.pid}
}

// began records the command, and is where it fails when that was asked for.
func (h *hooks) began(c *call) error {
	r := c.ran()
	h.mu.Lock()
	h.ran = append(h.ran, r)
	on := slices.Clone(h.on)
	var found *fault
	for i, f := range h.faults {
		if !f.lose && f.matches(r) {
			found = f
			if !f.stays {
				h.faults = slices.Delete(h.faults, i, i+1)
			}
			break
		}
	}
	h.mu.Unlock()
	for _, fn := range on {
		fn(r)
	}
	switch {
	case found == nil:
		return nil
	case found.hold != nil:
		select {
		case <-found.hold:
			return nil
		case <-c.ctx.Done():
			return errKilled
		}
	}
	return failStatus(found.status, "%s", found.stderr)
}

// ended is where the connection dies before the answer.
func (h *hooks) ended(c *call) {
	r := c.ran()
	h.mu.Lock()
	i := slices.IndexFunc(h.faults, func(f *fault) bool { return f.lose && f.matches(r) })
	if i >= 0 {
		h.faults = slices.Delete(h.faults, i, i+1)
	}
	h.mu.Unlock()
	if i >= 0 {
		c.node.cut()
	}
}

func (h *hooks) add(f *fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, f)
}

func (h *hooks) remove(f *fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = slices.DeleteFunc(h.faults, func(g *fault) bool { return g == f })
}

func (h *hooks) deaf(vmid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.quiet[vmid] || h.dark[vmid]
}

func (h *hooks) neverBoots(vmid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dark[vmid]
}

func (h *hooks) slowness(vmid int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(max(1, h.slow[vmid]))
}

// FailOnce makes the next command that begins with the words of cmdPrefix
// ("qm create", "qm create 101") do nothing but print stderr and end with
// status.
func (s *Sim) FailOnce(cmdPrefix string, status int, stderr string) {
	s.hooks.add(&fault{prefix: cmdPrefix, status: status, stderr: stderr})
}

// Fail is FailOnce for every such command until stop is called.
func (s *Sim) Fail(cmdPrefix string, status int, stderr string) (stop func()) {
	f := &fault{prefix: cmdPrefix, status: status, stderr: stderr, stays: true}
	s.hooks.add(f)
	return func() { s.hooks.remove(f) }
}

// Lose lets the next such command on node happen, and drops the node's
// connections before its answer leaves.
func (s *Sim) Lose(node, cmdPrefix string) {
	s.hooks.add(&fault{node: s.mustNode(node).name, prefix: cmdPrefix, lose: true})
}

// Hold keeps the next such command from beginning until release is called.
func (s *Sim) Hold(cmdPrefix string) (release func()) {
	f := &fault{prefix: cmdPrefix, hold: make(chan struct{})}
	s.hooks.add(f)
	return sync.OnceFunc(func() {
		s.hooks.remove(f)
		close(f.hold)
	})
}

// Cut drops the node's connections. What runs there goes on.
func (s *Sim) Cut(node string) { s.mustNode(node).cut() }

// CutGuests drops the connections to all guests, wherever they come from.
func (s *Sim) CutGuests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if g, ok := v.guest.(interface{ Cut() }); ok {
			g.Cut()
		}
	}
}

// Down switches a node off: connections drop, processes die, VMs stop.
func (s *Sim) Down(node string) {
	n := s.mustNode(node)
	n.powerOff()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vms {
		if v.node == n {
			v.halt()
		}
	}
	s.writeMembers()
}

// Up switches a node on again: a new boot id, an empty /run, no VM running.
func (s *Sim) Up(node string) error {
	err := s.mustNode(node).powerOn()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeMembers()
	return err
}

// Reboot is Down and Up.
func (s *Sim) Reboot(node string) error {
	s.Down(node)
	return s.Up(node)
}

// Fill takes all but free bytes of a storage, on every node that has it.
func (s *Sim) Fill(storage string, free int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known(storage) {
		panic("pvesim: no storage " + storage)
	}
	for _, st := range s.stores {
		if st.spec.Name == storage {
			st.used += st.free() - free
		}
	}
}

// Quorum says whether the cluster has it.
func (s *Sim) Quorum(have bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quorate = have
	s.writeMembers()
}

// NeverBoot makes a VM's guest never come up, nor hear of a shutdown. It
// takes effect at the next start, also of a VM that is yet to be.
func (s *Sim) NeverBoot(vmid int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	if s.hooks.dark == nil {
		s.hooks.dark = map[int]bool{}
	}
	s.hooks.dark[vmid] = true
}

// SlowBoot makes a VM's guest boot so many times slower. It takes effect at
// its first start.
func (s *Sim) SlowBoot(vmid, times int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	if s.hooks.slow == nil {
		s.hooks.slow = map[int]int{}
	}
	s.hooks.slow[vmid] = times
}

// Deaf makes a VM's guest ignore a shutdown.
func (s *Sim) Deaf(vmid int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	if s.hooks.quiet == nil {
		s.hooks.quiet = map[int]bool{}
	}
	s.hooks.quiet[vmid] = true
}

// OnCommand calls fn before each command of a shim begins; the command waits
// for it.
func (s *Sim) OnCommand(fn func(Ran)) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.on = append(s.hooks.on, fn)
}

// Ran are the commands that began, in order.
func (s *Sim) Ran() []Ran {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	return slices.Clone(s.hooks.ran)
}

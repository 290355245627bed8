package pvesim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim/shim"
)

// maxSocketPath is what sun_path holds without its final NUL.
const maxSocketPath = 107

// Sim is a simulated cluster. All methods may be called by many goroutines at
// once.
type Sim struct {
	opts   Options
	dir    string
	ownDir bool
	clock  cluster.Clock
	log    *slog.Logger
	socket net.Listener
	keys   *keys
	nodes  []*node // in the order of Options.Nodes; never changes
	ctx    context.Context
	stop   context.CancelCauseFunc
	wg     sync.WaitGroup
	hooks  hooks
	forced atomic.Pointer[string] // see ForceCommand

	mu            sync.Mutex // guards all below
	rand          *rand.Rand
	vms           map[int]*vm
	stores        []*store
	tasks         []*task
	lastSnapshot  int
	lastPid       int
	listVersion   int // of .vmlist
	memberVersion int // of .members
	quorate       bool
	flocks        map[string]*fileLock
	ha            map[int]string      // state that the HA manager is to keep, by VMID
	pings         map[netip.Addr]bool // addresses that answered once
}

// New starts a simulated cluster. It panics when the program has not called
// Main, since its nodes would have no tools then.
func New(o Options) (*Sim, error) {
	if !mainCalled.Load() {
		panic("pvesim: call pvesim.Main() first in main or TestMain")
	}
	o.defaults()
	s := &Sim{
		opts: o, dir: o.Dir, clock: o.Clock, log: o.Log, quorate: true,
		rand: rand.New(rand.NewPCG(o.Seed, o.Seed)),
		vms:  map[int]*vm{}, flocks: map[string]*fileLock{}, ha: map[int]string{}, pings: map[netip.Addr]bool{},
	}
	if err := o.checkKinds(); err != nil {
		return nil, fmt.Errorf("pvesim: %w", err)
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	if err := s.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("pvesim: %w", err), s.Close())
	}
	return s, nil
}

// TB is what Start needs of a testing.TB.
type TB interface {
	Helper()
	Fatal(args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Start starts a simulated cluster that lives as long as a test.
func Start(t TB, o Options) *Sim {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the simulated cluster: %v", err)
		}
	})
	return s
}

func (s *Sim) build() error {
	var err error
	if s.dir == "" {
		s.ownDir = true
		if s.dir, err = os.MkdirTemp("", "pve"); err != nil {
			return err
		}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	// The kernel's name for it: by that we know our processes again.
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return err
	}
	path := filepath.Join(s.dir, "sock")
	if len(path) > maxSocketPath {
		return fmt.Errorf("%s is too long for a socket: choose a shorter Dir", path)
	}
	if s.keys, err = newKeys(s.dir); err != nil {
		return err
	}
	if err := s.addStores(); err != nil {
		return err
	}
	if err := s.linkTools(); err != nil {
		return err
	}
	for i, spec := range s.opts.Nodes {
		n, err := newNode(s, i+1, spec)
		if n != nil {
			s.nodes = append(s.nodes, n)
		}
		if err != nil {
			return err
		}
	}
	if err := s.keys.writeKnownHosts(s.dir, s.nodes); err != nil {
		return err
	}
	s.mu.Lock()
	err = s.addGuests()
	s.writeList()
	s.writeMembers()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if s.socket, err = net.Listen("unix", path); err != nil {
		return err
	}
	s.wg.Go(s.acceptShims)
	for _, n := range s.nodes {
		s.wg.Go(n.accept)
	}
	return nil
}

// Close ends the cluster: connections, guests and every process on its nodes,
// and waits for them.
func (s *Sim) Close() error {
	s.stop(errKilled)
	if s.socket != nil {
		s.socket.Close()
	}
	for _, n := range s.nodes {
		n.close()
	}
	s.mu.Lock()
	for _, v := range s.vms {
		v.halt()
		s.discardGuest(v)
	}
	s.mu.Unlock()
	s.wg.Wait()
	for _, n := range s.nodes {
		n.root.Close()
	}
	if !s.ownDir {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func (s *Sim) acceptShims() {
	for {
		conn, err := s.socket.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.converse(conn) })
	}
}

// converse serves one call of a tool.
func (s *Sim) converse(conn net.Conn) {
	defer conn.Close()
	dec := json.NewDecoder(conn)
	var h shim.Hello
	if dec.Decode(&h) != nil {
		return
	}
	n := s.node(h.Node)
	if n == nil {
		return
	}
	now := n.current()
	if h.Boot != now.id {
		return // it spoke before its node went down, and nobody listened
	}
	ctx, cancel := context.WithCancelCause(now)
	defer cancel(nil)
	// When the node goes down its processes are killed; without this, a shim
	// that outlives the signal for a moment would still be served.
	defer context.AfterFunc(now, func() { conn.Close() })()
	c := &call{sim: s, node: n, tool: h.Tool, argv: s.asHeard(h.Argv), pid: h.Pid, ctx: ctx, boot: now}
	c.link = &link{
		conn: conn, enc: json.NewEncoder(conn), answers: make(chan shim.Answer, 1),
		onSignal: func() { c.interrupt(cancel) },
		onClose:  func() { cancel(errKilled) },
	}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		c.link.listen(dec)
	}()
	c.serve()
	conn.Close()
	for range c.link.answers { // lets listen end
	}
	<-listening
}

func (s *Sim) node(name string) *node {
	i := slices.IndexFunc(s.nodes, func(n *node) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return s.nodes[i]
}

// mustNode is for the methods of Sim that take a node's name: a wrong one is
// a mistake in the test.
func (s *Sim) mustNode(name string) *node {
	n := s.node(name)
	if n == nil {
		panic("pvesim: no node " + name)
	}
	return n
}

func (s *Sim) now() time.Time { return s.clock.Now() }

// sleep waits for d on the simulation's clock, or until ctx ends.
func (s *Sim) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	return s.clock.Sleep(ctx, d)
}

// Package guest is the bot's way into a new VM: it waits until the guest can be
// used, runs the init script there and reboots it. Everything goes over one SSH
// connection at a time, whose host key is pinned at first contact and checked ever
// after. The script runs in the guest as a node task does on a node: neither a
// connection that breaks nor a bot that dies can end it.
//
// Errors tell apart what a caller may want to treat differently:
// [*HostKeyError] (not the machine it was), [*StalledError] (nothing moved any
// more, see its Stage), [*CloudInitError], [*InitError] (the script ran and
// failed), [*CutOffError] (it never came to an end), cluster.ErrNotStarted and
// cluster.ErrLost (the connection), what Access.Watch found, and the cause of a
// context that ended.
//
// To test against it, take a guest of package simguest.
package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster"
)

// Access says how to get into a guest.
type Access struct {
	// Dial opens the TCP connection; default is from this machine.
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Addr    string // 192.168.0.101:22
	User    string // with sudo and no password
	Signers []ssh.Signer
	HostKey string        // authorized_keys line of an earlier contact; "": pin at first login
	Clock   cluster.Clock // of waiting; default the machine's
	Stall   time.Duration // Ready and Init give up when nothing was seen to move for so long; default 5 min
	// Watch, when set, is asked now and then while the guest does not get
	// further. Its error ends the waiting: the VM was switched off, say.
	Watch func(ctx context.Context) error
	// Waited is how far an earlier Ready of the same wait had come: time goes on
	// where it left off.
	Waited Waited
}

// Guest is a way into a guest. Its methods are for one goroutine at a time,
// but for Close.
type Guest struct {
	access Access
	bad    error // Access.HostKey can't be read

	reached atomic.Bool // the last dial got a TCP connection
	watched time.Time   // when Watch was last asked

	mu     sync.Mutex
	closed bool
	ssh    *cluster.SSH
	pinned ssh.PublicKey // what the guest has to show
	shown  ssh.PublicKey // what it showed last
}

const (
	defaultStall   = 5 * time.Minute
	connectTimeout = 10 * time.Second
	askTimeout     = 30 * time.Second // of a question that a healthy guest answers at once
	keepAlive      = 5 * time.Second
	watchEvery     = 15 * time.Second
)

// Open returns a way into the guest. It does not connect yet.
func Open(a Access) *Guest {
	if a.Clock == nil {
		a.Clock = cluster.SystemClock{}
	}
	if a.Dial == nil {
		a.Dial = (&net.Dialer{}).DialContext
	}
	if a.Stall == 0 {
		a.Stall = defaultStall
	}
	g := &Guest{access: a}
	if a.HostKey != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a.HostKey))
		if err != nil {
			g.bad = fmt.Errorf("%w: the stored host key of %s: %w", cluster.ErrNotStarted, a.Addr, err)
		}
		g.pinned = key
	}
	return g
}

// Close ends the connection with all that runs over it, and waits for its
// goroutines. A closed Guest connects no more.
func (g *Guest) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	return g.disconnect()
}

// disconnect makes the next command connect anew.
func (g *Guest) disconnect() error {
	g.mu.Lock()
	conn := g.ssh
	g.ssh = nil
	g.mu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// connection returns the pool of one connection under all commands.
func (g *Guest) connection() (*cluster.SSH, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.bad != nil:
		return nil, g.bad
	case g.closed:
		return nil, fmt.Errorf("%w: the way into %s is closed", cluster.ErrNotStarted, g.access.Addr)
	case g.ssh == nil:
		// Keep-alive and time-out are about the network, and keep the
		// machine's time whatever clock the waiting goes by.
		g.ssh = cluster.NewSSH(cluster.SSHConfig{
			Name: "the guest", Addr: g.access.Addr, User: g.access.User, Signers: g.access.Signers,
			HostKeys: g.checkHostKey, Algorithms: g.algorithms, Dial: g.dial, Timeout: connectTimeout, KeepAlive: keepAlive,
		})
	}
	return g.ssh, nil
}

// watch asks Watch, unless it was asked just now.
func (g *Guest) watch(ctx context.Context) error {
	now := g.access.Clock.Now()
	if g.access.Watch == nil || now.Sub(g.watched) < watchEvery {
		return nil
	}
	g.watched = now
	return g.access.Watch(ctx)
}

func (g *Guest) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := g.access.Dial(ctx, network, addr)
	g.reached.Store(err == nil)
	return conn, err
}

// run runs a command in the guest. After the first that was answered, the host
// key is pinned: cloud-init makes new host keys on an instance's first boot, so
// that what is shown before anybody can log in need not stay.
func (g *Guest) run(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
	res, err := g.send(ctx, c)
	if c.Changes && !errors.Is(err, cluster.ErrNotStarted) && !errors.As(err, new(*HostKeyError)) {
		cluster.Tell(ctx, cluster.Ran{Where: g.name(), Line: cluster.Shown(c.Argv), Err: err})
	}
	return res, err
}

// send is run without a word to the witness.
func (g *Guest) send(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
	conn, err := g.connection()
	if err != nil {
		return cluster.Result{}, err
	}
	res, err := conn.Run(ctx, c)
	if wrong, ok := errors.AsType[*HostKeyError](err); ok {
		return res, wrong // without the advice for nodes that is around it
	}
	if !errors.Is(err, cluster.ErrNotStarted) {
		g.mu.Lock()
		if g.pinned == nil {
			g.pinned = g.shown
		}
		g.mu.Unlock()
	}
	return res, err
}

// ask runs a command that only looks, once more if the connection breaks, and
// returns its standard output.
func (g *Guest) ask(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := g.run(ctx, cluster.Cmd{Argv: argv})
	if errors.Is(err, cluster.ErrLost) && ctx.Err() == nil {
		res, err = g.run(ctx, cluster.Cmd{Argv: argv})
	}
	return strings.TrimSpace(string(res.Stdout)), err
}

// checkHostKey is the callback of the SSH client.
func (g *Guest) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shown = key
	if g.pinned != nil && string(key.Marshal()) != string(g.pinned.Marshal()) {
		return &HostKeyError{Addr: g.access.Addr, Known: Fingerprint(g.pinned), Shown: Fingerprint(key)}
	}
	return nil
}

// algorithms asks for a key of the pinned one's type first; a guest that has
// none of it any more shows another.
func (g *Guest) algorithms() []string {
	g.mu.Lock()
	pinned := g.pinned
	g.mu.Unlock()
	if pinned == nil {
		return nil
	}
	known := &knownhosts.KeyError{Want: []knownhosts.KnownKey{{Key: pinned}}}
	first := cluster.HostKeyAlgorithms(func(string, net.Addr, ssh.PublicKey) error { return known }, g.access.Addr)
	others := slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(a string) bool { return slices.Contains(first, a) })
	return append(first, others...)
}

// HostKey is the Line of the pinned key.
func (g *Guest) HostKey() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Line(g.pinned)
}

// ShownKey is the Line of the host key that the guest shows now, be it the pinned
// one or not. A guest that has the pinned one shows that.
func (g *Guest) ShownKey(ctx context.Context) (string, error) {
	_ = g.disconnect() // a connection that breaks may well go
	g.mu.Lock()
	g.shown = nil
	g.mu.Unlock()
	_, err := g.BootID(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shown == nil {
		return "", err
	}
	return Line(g.shown), nil // whether it lets the bot in or not
}

// Line is a key as a line of authorized_keys; "" for none.
func Line(key ssh.PublicKey) string {
	if key == nil {
		return ""
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Fingerprint is how ssh-keygen -l names a key: SHA256:... (ED25519).
func Fingerprint(key ssh.PublicKey) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(key.Type(), "ssh-"), "-") // of ecdsa-sha2-nistp256 the ecdsa
	return fmt.Sprintf("%s (%s)", ssh.FingerprintSHA256(key), strings.ToUpper(kind))
}

// HostKeyError says that the guest showed another host key than before.
// Nothing was sent to it.
type HostKeyError struct {
	Addr         string
	Known, Shown string // see Fingerprint
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("the guest at %s shows another host key, %s, than before, %s: cloud-init made new ones after its "+
		"name, address or keys were changed in Proxmox VE, it was installed anew, or another machine has its address", e.Addr, e.Shown, e.Known)
}

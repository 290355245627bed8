package simguest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
)

// Config is what the guest is made of. Durations are in the Clock's time; the
// zero duration is none.
type Config struct {
	Hostname       string
	User           string          // the only one who may log in, with sudo and no password
	AuthorizedKeys []ssh.PublicKey // the only keys that let User in
	PasswordHash   string          // what /etc/shadow says; nobody logs in with it

	Boot      time.Duration // from power on until sshd answers
	CloudInit time.Duration // from there until cloud-init is done; a tenth on later boots
	Init      time.Duration // what apt-get takes to update and install, in all

	InstanceID string // of cloud-init; default i-simulated
	// CloudInitResult is how cloud-init ends: done (default), degraded or error.
	CloudInitResult string

	// Disk is what is on the disk of a clone, and of an instance that
	// cloud-init makes anew; nil is a fresh image.
	Disk *Disk

	OS, Version    string // ubuntu 24.04 (default), and what images lists
	RebootRequired bool   // the first apt-get install leaves /run/reboot-required

	Clock cluster.Clock // default the machine's

	// OnReboot and OnPowerOff, when set, are told after the guest did so by
	// its own (somebody ran reboot or poweroff inside). They are called from
	// one of the guest's goroutines and must not call Close.
	OnReboot, OnPowerOff func()
}

// Guest is a simulated guest. All methods may be called by many goroutines at
// once.
type Guest struct {
	cfg  Config
	disk *disk
	key  ssh.Signer // sshd's

	running sync.WaitGroup // Serve calls

	mu      sync.Mutex
	closed  bool
	boots   int
	bootID  string
	since   time.Time          // power on
	power   context.Context    // ends with the power; nil while off
	off     context.CancelFunc // of power
	conns   map[net.Conn]bool
	started map[string]bool // units that run
	swaps   map[string]int64
	sysctls map[string]string

	processes map[int]*process
	lastPid   int

	apting sync.Mutex // dpkg's lock
}

// New returns a guest that is powered off, with a disk as a cloud image and
// cloud-init make it.
func New(cfg Config) *Guest {
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.OS == "" {
		cfg.OS, cfg.Version = "ubuntu", "24.04"
	}
	if cfg.InstanceID == "" {
		cfg.InstanceID = "i-simulated"
	}
	if cfg.CloudInitResult == "" {
		cfg.CloudInitResult = "done"
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		panic(err) // an ed25519 key always makes a signer
	}
	g := &Guest{cfg: cfg, key: key, disk: newDisk(cfg.Clock.Now), conns: map[net.Conn]bool{}, processes: map[int]*process{}}
	if cfg.Disk == nil {
		g.install()
	} else {
		g.disk.load(cfg.Disk)
	}
	g.personalize()
	return g
}

// Boot switches the power on: a new boot id; sshd answers once Config.Boot has
// passed. A guest that is on already stays as it is.
func (g *Guest) Boot() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.boot()
}

func (g *Guest) boot() {
	if g.closed || g.power != nil {
		return
	}
	g.boots++
	g.bootID = newUUID()
	g.since = g.cfg.Clock.Now()
	g.power, g.off = context.WithCancel(context.Background())
	g.started, g.swaps, g.sysctls = map[string]bool{}, map[string]int64{}, map[string]string{}
	g.startup()
}

// Stop pulls the plug: connections end, programs die, the disk stays.
func (g *Guest) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop()
}

func (g *Guest) stop() {
	if g.power == nil {
		return
	}
	g.off()
	g.power, g.off = nil, nil
	for c := range g.conns {
		c.Close()
	}
}

// Cut drops the connections. What they started dies with them.
func (g *Guest) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.Close()
	}
}

// Reboot ends everything that runs and boots again. A guest that is off stays
// off.
func (g *Guest) Reboot() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.power != nil {
		g.stop()
		g.boot()
	}
}

// Close switches off for ever and waits for every Serve to return.
func (g *Guest) Close() {
	g.mu.Lock()
	g.stop()
	g.closed = true
	g.mu.Unlock()
	g.running.Wait()
}

// BootID is /proc/sys/kernel/random/boot_id, "" while the guest is off.
func (g *Guest) BootID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.power == nil {
		return ""
	}
	return g.bootID
}

// HostKey is the key that sshd shows.
func (g *Guest) HostKey() ssh.PublicKey { return g.key.PublicKey() }

// File is the content of a file on the guest's disk, which may be off.
func (g *Guest) File(path string) ([]byte, bool) {
	data, err := g.disk.read(path)
	return data, err == nil
}

// Agent tells whether the QEMU guest agent answers: it is installed, started
// and the guest is up.
func (g *Guest) Agent() bool { return g.up() != nil && g.active("qemu-guest-agent") }

// up is the running system's context, nil until it has booted.
func (g *Guest) up() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.power == nil || g.cfg.Clock.Now().Before(g.since.Add(g.cfg.Boot)) {
		return nil
	}
	return g.power
}

// Serve is sshd's side of conn, until the connection ends; it closes conn. While
// the guest is off or has not booted, conn is closed at once. Over a net.Pipe
// both sides would wait for each other's version line for ever: conn must take
// a line without being read, as sockets and SSH channels do.
func (g *Guest) Serve(conn net.Conn) {
	defer conn.Close()
	up := g.up()
	if up == nil {
		return
	}
	g.mu.Lock()
	if g.power != up || g.closed {
		g.mu.Unlock()
		return
	}
	g.conns[conn] = true
	g.running.Add(1)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, conn)
		g.mu.Unlock()
		g.running.Done()
	}()
	g.serve(up, conn)
}

// rebootItself and powerOffItself are the commands of those names.
func (g *Guest) rebootItself() {
	g.Reboot()
	if g.cfg.OnReboot != nil {
		g.cfg.OnReboot()
	}
}

func (g *Guest) powerOffItself() {
	g.Stop()
	if g.cfg.OnPowerOff != nil {
		g.cfg.OnPowerOff()
	}
}

// active tells whether a systemd unit runs.
func (g *Guest) active(unit string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.started[unit]
}

var errOff = errors.New("the guest is switched off")

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

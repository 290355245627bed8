package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHConfig says how to reach one machine over SSH.
type SSHConfig struct {
	Name    string // how people call the machine; default Addr
	Addr    string // host[:port], port 22 when there is none
	User    string // default root
	Signers []ssh.Signer
	// HostKeys checks the machine's key; required; see KnownHosts. Unless
	// Algorithms is set, it is also asked about a key of type "nobodys-key",
	// to learn from its error which keys it wants: one that remembers what it
	// was shown must not remember that.
	HostKeys ssh.HostKeyCallback
	// Algorithms are those by which the machine may prove itself, nil for all;
	// asked before each connection. Default: HostKeyAlgorithms of HostKeys.
	Algorithms func() []string
	// Dial opens the connection under SSH; default net.Dialer. A guest's goes
	// through its node.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Fence leaves out what the machine's shell prints before a command begins,
	// as many a root's .bashrc does.
	Fence     bool
	Clock     Clock         // default SystemClock
	Log       *slog.Logger  // hears when the machine can't be reached, and is reached again; default nobody
	KeepAlive time.Duration // a silent connection is asked this often, and given up after as long again; default 15 s
	Timeout   time.Duration // of connecting, all in all; default 20 s
}

// SSH runs commands on one machine over SSH. It keeps one connection, which
// is opened when it is needed first and again after it was lost. The login
// shell has to be a POSIX one.
//
// When the context of a command ends, its process group is sent SIGTERM as far as
// the server does that. OpenSSH does not for root, nor for forced commands: the
// command goes on, and its session with it. After KeepAlive further commands go
// by a new connection, so that what hangs does not take all sessions.
//
// All methods may be called by many goroutines at once.
type SSH struct {
	cfg    SSHConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine, and every call that is under way

	unfenced atomic.Bool // the machine's gate is too old for a fence

	mu      sync.Mutex
	closed  bool
	conn    *sshConn  // nil when there is none
	since   time.Time // when conn was opened
	dialing *dialing  // nil when nobody dials
	failing string    // why the newest try to connect failed; "": it did not
}

// dialing is one try to connect that many callers may wait for.
type dialing struct {
	done chan struct{}
	conn *sshConn
	err  error
}

var errClosed = errors.New("connection was closed by us")

// NewSSH returns a Runner over SSH. It does not connect yet.
func NewSSH(cfg SSHConfig) *SSH {
	cfg.Addr = withPort(cfg.Addr)
	if cfg.Name == "" {
		cfg.Name = cfg.Addr
	}
	if cfg.User == "" {
		cfg.User = "root"
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Algorithms == nil {
		cfg.Algorithms = func() []string { return HostKeyAlgorithms(cfg.HostKeys, cfg.Addr) }
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = 15 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	s := &SSH{cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends the connection and every command that runs over it, and waits
// for all goroutines.
func (s *SSH) Close() error {
	s.mu.Lock()
	s.closed = true
	conn := s.conn
	s.mu.Unlock()
	s.cancel()
	if conn != nil {
		conn.client.Close()
	}
	s.wg.Wait()
	return nil
}

// enter counts a call in, so that Close waits for it.
func (s *SSH) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.wg.Add(1)
	return nil
}

// Run implements Runner.
func (s *SSH) Run(ctx context.Context, c Cmd) (Result, error) {
	if err := admit(ctx, c); err != nil {
		return Result{}, err
	}
	fenced := s.cfg.Fence && !s.unfenced.Load()
	res, err := s.run(ctx, c, fenced)
	if fenced && IsRefusedByGate(err) {
		// A gate of an older version does not know the mark, and nothing has begun.
		if res, err = s.run(ctx, c, false); !IsRefusedByGate(err) {
			s.unfenced.Store(true)
		}
	}
	return res, err
}

// run is Run, once.
func (s *SSH) run(ctx context.Context, c Cmd, fenced bool) (Result, error) {
	line := Quote(c.Argv)
	if fenced {
		line = BeginLine + line
	}
	if len(line) > maxCommandLine {
		return Result{}, fmt.Errorf("%w: the command is longer than 128 KiB", ErrNotStarted)
	}
	if err := s.enter(); err != nil {
		return Result{}, notStarted(err)
	}
	defer s.wg.Done()
	ses, err := s.session(ctx)
	if err != nil {
		return Result{}, notStarted(err)
	}
	// The fence may have fallen while we connected.
	if err := CheckFence(ctx, c); err != nil {
		s.wg.Go(ses.close)
		return Result{}, err
	}

	out := newOutput(c.Line)
	out.begin.on = fenced
	ended := make(chan ending, 1)
	s.wg.Go(func() {
		ended <- ses.exec(line, c.Stdin, out)
		ses.close()
	})
	select {
	case e := <-ended:
		res := out.finish()
		if e.err != nil && ctx.Err() != nil && !errors.Is(e.err, ErrNotStarted) {
			e.err = lost(context.Cause(ctx))
		}
		if e.err == nil && e.status != 0 {
			e.err = exitError(c, e.status, res)
		}
		return res, e.err
	case <-ctx.Done():
		s.wg.Go(func() { s.kill(ses) })
		return out.finish(), lost(context.Cause(ctx))
	}
}

// kill ends a session, or else leaves it behind with its connection.
func (s *SSH) kill(ses *sshSession) {
	ses.kill()
	waiting, stop := context.WithCancel(s.ctx)
	s.wg.Go(func() { <-ses.closed; stop() })
	if s.cfg.Clock.Sleep(waiting, s.cfg.KeepAlive) != nil {
		return
	}
	s.mu.Lock()
	if s.conn == ses.conn {
		s.conn = nil
	}
	s.mu.Unlock()
	ses.conn.retire()
	ses.leave()
}

// Connected is since when the connection stands, zero when there is none.
func (s *SSH) Connected() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return time.Time{}
	}
	return s.since
}

// session opens a session on the pooled connection. Nothing has run when it
// fails, so that a connection found dead is replaced once, and a server that
// has no room is asked again: OpenSSH counts sessions that ended until it has
// tidied up after them, and its MaxSessions may be less than ours.
func (s *SSH) session(ctx context.Context) (*sshSession, error) {
	pause := 10 * time.Millisecond
	for {
		conn, fresh, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		ses, err := conn.open(ctx, &s.wg)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return ses, nil
		case errors.Is(err, errRetired):
			continue
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &refused) && pause < maxPause:
			if err := s.cfg.Clock.Sleep(ctx, pause); err != nil {
				return nil, err
			}
			pause *= 2
			continue
		case fresh || refused != nil:
			return nil, fmt.Errorf("%s opens no session: %w", s.cfg.Name, err)
		}
		conn.client.Close()
		<-conn.dead
	}
}

// connect returns the connection, opened now if there is none; fresh says
// that it was.
func (s *SSH) connect(ctx context.Context) (conn *sshConn, fresh bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, errClosed
	}
	if s.conn != nil {
		defer s.mu.Unlock()
		return s.conn, false, nil
	}
	d := s.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		s.dialing = d
		s.wg.Go(func() { s.dial(d) })
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, true, d.err
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

// dial connects for everybody who waits. The contexts of those who wait have
// no part in it: the first one's end must not fail the others.
func (s *SSH) dial(d *dialing) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	client, err := s.handshake(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(d.done)
	s.dialing = nil
	if !s.closed {
		s.tell(err)
	}
	if err != nil {
		d.err = err
		return
	}
	if s.closed {
		client.Close()
		d.err = errClosed
		return
	}
	d.conn = &sshConn{client: client, slots: make(chan struct{}, maxSessions), dead: make(chan struct{}), retired: make(chan struct{})}
	s.conn, s.since = d.conn, s.cfg.Clock.Now()
	alive, stop := context.WithCancel(s.ctx)
	s.wg.Go(func() { s.keepAlive(alive, client) })
	s.wg.Go(func() {
		_ = client.Wait()
		stop()
		s.mu.Lock()
		if s.conn == d.conn {
			s.conn = nil
		}
		s.mu.Unlock()
		close(d.conn.dead)
	})
}

func (s *SSH) handshake(ctx context.Context) (*ssh.Client, error) {
	tcp, err := s.cfg.Dial(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s can't be reached: %w", s.cfg.Name, err)
	}
	defer context.AfterFunc(ctx, func() { tcp.Close() })()
	var wrongKey *HostKeyError
	conn, chans, reqs, err := ssh.NewClientConn(tcp, s.cfg.Addr, &ssh.ClientConfig{
		User: s.cfg.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(s.cfg.Signers...)},
		HostKeyCallback: func(addr string, remote net.Addr, key ssh.PublicKey) error {
			if err := s.cfg.HostKeys(addr, remote, key); err != nil {
				wrongKey = hostKeyError(s.cfg.Name, s.cfg.Addr, key, err)
				return wrongKey
			}
			return nil
		},
		HostKeyAlgorithms: s.cfg.Algorithms(),
	})
	switch {
	case wrongKey != nil:
		err = wrongKey
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%s does not answer: %w", s.cfg.Name, context.Cause(ctx))
	case err != nil:
		err = fmt.Errorf("%s (user %s): %w", s.cfg.Name, s.cfg.User, err)
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return ssh.NewClient(conn, chans, reqs), nil
}

// keepAlive asks the machine now and then, and closes a connection on which
// it does not answer.
func (s *SSH) keepAlive(ctx context.Context, client *ssh.Client) {
	for s.cfg.Clock.Sleep(ctx, s.cfg.KeepAlive) == nil {
		waiting, answered := context.WithCancel(ctx)
		s.wg.Go(func() {
			defer answered()
			_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
		})
		if s.cfg.Clock.Sleep(waiting, s.cfg.KeepAlive) == nil {
			answered()
			break
		}
	}
	client.Close()
}

const (
	// maxSessions is kept below OpenSSH's MaxSessions, which is 10 by default.
	maxSessions = 8
	// maxPause ends the asking of a server that opens no session; with it that
	// takes about two and a half seconds.
	maxPause = 2560 * time.Millisecond
)

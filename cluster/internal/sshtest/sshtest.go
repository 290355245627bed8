// Package sshtest is a small SSH server for tests: its sessions run a real
// /bin/sh, as OpenSSH's do, and its connections can be cut or refused.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// maxSessions is what OpenSSH allows on a connection by default.
const maxSessions = 10

// Server is a running server. Its methods may be called by many goroutines.
type Server struct {
	Addr    string        // host:port
	HostKey ssh.PublicKey // of the server
	Signer  ssh.Signer    // of the only client that may log in
	User    string        // who it logs in as

	listener net.Listener
	config   *ssh.ServerConfig
	wg       sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	refuse   bool
	noExec   bool
	greeting string
	forced   string // runs in place of each command; "": nothing does
	hasty    bool   // the status is told, and the connection cut before any output
	full     int    // how many sessions are still refused
	accepted int
	conns    map[net.Conn]bool
	groups   map[int]bool // process groups that run
}

// NewKey makes a key.
func NewKey(t testing.TB) ssh.Signer {
	t.Helper()
	private, _ := NewKeyPair(t)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// NewKeyPair makes a key as its two halves.
func NewKeyPair(t testing.TB) (ed25519.PrivateKey, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, sshPublic
}

// Start starts a server on loopback; it ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	host := NewKey(t)
	s := &Server{
		HostKey: host.PublicKey(), Signer: NewKey(t), User: "root",
		conns: map[net.Conn]bool{}, groups: map[int]bool{},
	}
	may := string(s.Signer.PublicKey().Marshal())
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != may {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	s.config.AddHostKey(host)
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Addr = s.listener.Addr().String()
	s.wg.Go(s.serve)
	t.Cleanup(s.close)
	return s
}

// Drop cuts every connection; what runs goes on running.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Refuse makes the server refuse new connections, or accept them again. Those
// that are open are cut.
func (s *Server) Refuse(on bool) {
	s.mu.Lock()
	s.refuse = on
	s.mu.Unlock()
	if on {
		s.Drop()
	}
}

// RefuseExec makes the server refuse to run anything.
func (s *Server) RefuseExec(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noExec = on
}

// Greet makes the shell print something before each command.
func (s *Server) Greet(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greeting = text
}

// Force runs a program in place of each command, which it finds in
// SSH_ORIGINAL_COMMAND.
func (s *Server) Force(program string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forced = program
}

// Hasty makes the server tell the status of each command before its output, and
// cut the connection in between.
func (s *Server) Hasty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasty = true
}

// Full makes the server refuse the next n sessions, as OpenSSH does while it has
// not yet tidied up after earlier ones.
func (s *Server) Full(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = n
}

func (s *Server) isFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == 0 {
		return false
	}
	s.full--
	return true
}

// Connections is how many connections were accepted so far.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

func (s *Server) close() {
	s.mu.Lock()
	s.closed = true
	s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	for pid := range s.groups {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) serve() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed || s.refuse {
			c.Close()
		} else {
			s.accepted++
			s.conns[c] = true
			s.wg.Go(func() { s.connection(c) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) connection(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	conn, chans, reqs, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	defer conn.Close()
	s.wg.Go(func() { ssh.DiscardRequests(reqs) })
	slots := make(chan struct{}, maxSessions)
	for nc := range chans {
		switch nc.ChannelType() {
		case "session":
			if s.isFull() {
				_ = nc.Reject(ssh.ConnectionFailed, "open failed")
				continue
			}
			select {
			case slots <- struct{}{}:
				s.wg.Go(func() { s.session(nc, sync.OnceFunc(func() { <-slots })) })
			default:
				_ = nc.Reject(ssh.ResourceShortage, "open failed")
			}
		case "direct-tcpip":
			s.wg.Go(func() { s.forward(nc) })
		default:
			_ = nc.Reject(ssh.UnknownChannelType, nc.ChannelType())
		}
	}
}

// session serves one session; free gives its slot back, before the client
// learns that the session has ended and opens the next one.
func (s *Server) session(nc ssh.NewChannel, free func()) {
	defer free()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	var cmd *exec.Cmd
	for req := range reqs {
		ok := false
		if req.Type == "exec" && cmd == nil {
			var m struct{ Command string }
			if ssh.Unmarshal(req.Payload, &m) == nil {
				cmd = s.start(ch, m.Command)
			}
			ok = cmd != nil
		} // signals are refused, as OpenSSH does for root
		if req.WantReply {
			_ = req.Reply(ok, nil)
		}
		switch {
		case cmd == nil:
			ch.Close()
		case req.Type == "exec" && ok:
			// Only now: the end must not be told before the beginning.
			s.wg.Go(func() { s.wait(ch, cmd, free) })
		}
	}
	ch.Close()
}

// start starts a command line; nil when that can't be.
func (s *Server) start(ch ssh.Channel, line string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(ch, s.greeting)
	if s.forced != "" {
		cmd.Path, cmd.Args, cmd.Env = s.forced, []string{s.forced}, append(cmd.Environ(), "SSH_ORIGINAL_COMMAND="+line)
	}
	if s.hasty {
		cmd.Stdout, cmd.Stderr = nil, nil
	}
	if s.closed || s.noExec || cmd.Start() != nil {
		return nil
	}
	s.groups[cmd.Process.Pid] = true
	s.wg.Go(func() {
		_, _ = io.Copy(stdin, ch)
		stdin.Close()
	})
	return cmd
}

// wait reports a command's end on ch.
func (s *Server) wait(ch ssh.Channel, cmd *exec.Cmd, free func()) {
	_ = cmd.Wait()
	s.mu.Lock()
	delete(s.groups, cmd.Process.Pid)
	hasty := s.hasty
	s.mu.Unlock()
	if w := cmd.ProcessState.Sys().(syscall.WaitStatus); w.Signaled() {
		name := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM"}[w.Signal()]
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}{Signal: name}))
	} else {
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(w.ExitStatus())}))
	}
	free()
	if hasty {
		s.Drop()
	}
	ch.Close()
}

func (s *Server) forward(nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &m); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	to, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(m.Host), Port: int(m.Port)})
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer to.Close()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	s.wg.Go(func() { ssh.DiscardRequests(reqs) })
	s.wg.Go(func() {
		_, _ = io.Copy(to, ch)
		_ = to.CloseWrite()
	})
	_, _ = io.Copy(ch, to)
}

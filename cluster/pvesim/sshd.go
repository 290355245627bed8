package pvesim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim/shim"
)

// maxSessions per connection, as in OpenSSH's default configuration.
const maxSessions = 10

func (n *node) accept() {
	for {
		conn, err := n.ssh.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		if n.down {
			n.mu.Unlock()
			conn.Close()
			continue
		}
		n.conns[conn] = struct{}{}
		b := n.boot
		n.mu.Unlock()
		n.sim.wg.Go(func() {
			defer func() {
				conn.Close()
				n.mu.Lock()
				delete(n.conns, conn)
				n.mu.Unlock()
			}()
			if err := n.serve(b, conn); err != nil {
				n.logf("ssh: %v", err)
			}
		})
	}
}

// cut drops the connections; what runs goes on running.
func (n *node) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
	}
}

// serve is one connection of a client.
func (n *node) serve(b boot, conn net.Conn) error {
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_10.0p2 Debian-7",
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(key.Marshal(), n.sim.keys.client.PublicKey().Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		},
	}
	config.AddHostKey(n.sim.keys.host)
	sc, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return err
	}
	defer sc.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(requests) }) // answers keepalives, with no, as OpenSSH does
	sessions := make(chan struct{}, maxSessions)
	for nc := range channels {
		switch nc.ChannelType() {
		case "session":
			select {
			case sessions <- struct{}{}:
			default:
				_ = nc.Reject(ssh.ConnectionFailed, "open failed")
				continue
			}
			wg.Go(func() {
				defer func() { <-sessions }()
				n.session(b, nc)
			})
		case "direct-tcpip":
			wg.Go(func() { n.forward(nc) })
		default:
			_ = nc.Reject(ssh.UnknownChannelType, "unsupported channel type")
		}
	}
	return nil
}

// session runs the commands of a session channel: one, in fact.
func (n *node) session(b boot, nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range requests {
		switch r.Type {
		case "exec":
			var p struct{ Command string }
			if ssh.Unmarshal(r.Payload, &p) != nil {
				_ = r.Reply(false, nil)
				return
			}
			_ = r.Reply(true, nil)
			n.exec(b, ch, requests, p.Command)
			return
		case "env":
			_ = r.Reply(false, nil) // sshd: AcceptEnv names none of ours
		default:
			_ = r.Reply(false, nil) // no pty, no shell, no subsystem
		}
	}
}

// exec runs command in a shell as sshd does for a session without a pty: when
// the connection dies its streams are closed, and that is all that happens.
func (n *node) exec(b boot, ch ssh.Channel, requests <-chan *ssh.Request, command string) {
	n.logf("exec %s", command)
	stdin, stdout, stderr, err := pipes()
	if err != nil {
		n.logf("pipes: %v", err)
		return
	}
	env := n.environ(b)
	if forced := n.sim.forced.Load(); forced != nil {
		command, env = *forced, append(env, "SSH_ORIGINAL_COMMAND="+command)
	}
	command, fenced := strings.CutPrefix(command, cluster.BeginLine)
	if fenced {
		_, _ = io.WriteString(ch, cluster.BeginOutput)
	}
	argv, plain := words(command)
	isCat := plain && len(argv) == 3 && argv[0] == "cat" && argv[1] == "--"
	if isCat || plain && slices.Contains(shim.Tools, argv[0]) {
		n.tool(b, ch, requests, argv, stdin, stdout, stderr)
		return
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	if plain {
		if path, err := exec.LookPath(filepath.Join(n.sim.bin(), argv[0])); err == nil {
			cmd = &exec.Cmd{Path: path, Args: argv}
		}
	}
	cmd.Dir = filepath.Join(n.dir, "root")
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin.r, stdout.w, stderr.w
	cmd.ExtraFiles = n.extraFiles()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = n.start(b, cmd)
	stdin.r.Close()
	stdout.w.Close()
	stderr.w.Close()
	if err != nil {
		n.logf("start: %v", err)
		stdin.w.Close()
		stdout.r.Close()
		stderr.r.Close()
		return
	}
	wait := n.copy(ch, requests, stdin, stdout, stderr)
	_ = cmd.Wait() // the state says it better
	sendStatus(ch, cmd.ProcessState)
	wait()
}

// copy connects a session with the streams of what runs in it. Like sshd's, the
// session lasts until nobody holds them any more, a background process for
// instance: that is what wait waits for.
func (n *node) copy(ch ssh.Channel, requests <-chan *ssh.Request, stdin, stdout, stderr pipe) (wait func()) {
	var streams sync.WaitGroup
	streams.Go(func() { drain(ch, stdout.r) })
	streams.Go(func() { drain(ch.Stderr(), stderr.r) })
	go func() { // ends with the client's EOF, the channel, or the process
		_, _ = io.Copy(stdin.w, ch)
		stdin.w.Close()
	}()
	n.sim.wg.Go(func() { // the connection's death closes requests
		for r := range requests {
			_ = r.Reply(false, nil) // nor a signal: OpenSSH refuses them to root
		}
		stdin.w.Close()
		stdout.r.Close()
		stderr.r.Close()
	})
	return streams.Wait
}

// tool runs one of shim.Tools, or cat -- FILE, for a session in this process: a
// command that needs no shell needs no process either, and a process is most of
// what such a command costs.
func (n *node) tool(b boot, ch ssh.Channel, requests <-chan *ssh.Request, argv []string, stdin, stdout, stderr pipe) {
	wait := n.copy(ch, requests, stdin, stdout, stderr)
	p := &shim.Process{Stdout: stdout.w, Stderr: stderr.w, Path: func(path string) string {
		switch rest, below := strings.CutPrefix(path, rootPath+"/"); {
		case below:
			return filepath.Join(n.dir, rest)
		case path == "/dev/stdin":
			return fmt.Sprintf("/proc/self/fd/%d", stdin.r.Fd())
		case !filepath.IsAbs(path):
			return filepath.Join(n.dir, "root", path)
		}
		return path
	}}
	var status int
	if argv[0] == "cat" {
		status = p.Cat(argv[2])
	} else {
		ours, theirs := net.Pipe()
		n.sim.wg.Go(func() { n.sim.converse(theirs) })
		status = p.Obey(ours, shim.Hello{Tool: argv[0], Node: n.name, Boot: b.id, Argv: argv[1:]})
		ours.Close()
	}
	stdin.r.Close()
	stdout.w.Close()
	stderr.w.Close()
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	wait()
}

// words are those of a command line that is nothing but quoted words, as
// cluster.Quote writes it: a shell would only start the program that it names.
func words(line string) (argv []string, ok bool) {
	for {
		word := ""
		for {
			var part string
			if !strings.HasPrefix(line, "'") {
				return nil, false
			}
			if part, line, ok = strings.Cut(line[1:], "'"); !ok {
				return nil, false
			}
			word += part
			rest, quote := strings.CutPrefix(line, `\'`)
			if !quote {
				break
			}
			word, line = word+"'", rest
		}
		argv = append(argv, word)
		if line == "" {
			return argv, true
		}
		if line, ok = strings.CutPrefix(line, " "); !ok {
			return nil, false
		}
	}
}

type pipe struct{ r, w *os.File }

func pipes() (stdin, stdout, stderr pipe, err error) {
	for _, p := range []*pipe{&stdin, &stdout, &stderr} {
		if p.r, p.w, err = os.Pipe(); err != nil {
			for _, q := range []*pipe{&stdin, &stdout, &stderr} {
				if q.r != nil {
					q.r.Close()
					q.w.Close()
				}
			}
			return
		}
	}
	return
}

// drain copies a process's output; once the client is gone it stops reading,
// and the process finds that nobody listens.
func drain(to io.Writer, from *os.File) {
	_, _ = io.Copy(to, from)
	from.Close()
}

func sendStatus(ch ssh.Channel, state *os.ProcessState) {
	ws, ok := state.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}{signalName(ws.Signal()), ws.CoreDump(), "", ""}))
		return
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(state.ExitCode())}))
}

var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP,
	"ILL": syscall.SIGILL, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE,
	"QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

func signalName(s syscall.Signal) string {
	for name, sig := range signals {
		if sig == s {
			return name
		}
	}
	return fmt.Sprintf("%d@pvesim", int(s))
}

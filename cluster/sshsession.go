package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"
)

// sshConn is one connection.
type sshConn struct {
	client *ssh.Client
	slots  chan struct{} // one for each open session
	dead   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	users   int           // sessions and tunnels, without those that hang
	retired chan struct{} // closed when nothing new begins on it: it ends with its last user
}

// errRetired: there is a newer connection.
var errRetired = errors.New("the connection is retired")

func (c *sshConn) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users++
}

func (c *sshConn) leave() {
	c.mu.Lock()
	c.users--
	over := c.isRetired() && c.users == 0
	c.mu.Unlock()
	if over {
		c.client.Close()
	}
}

func (c *sshConn) isRetired() bool {
	select {
	case <-c.retired:
		return true
	default:
		return false
	}
}

func (c *sshConn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isRetired() {
		close(c.retired)
	}
}

// sshSession is one session of a connection; it holds a slot until closed.
type sshSession struct {
	conn   *sshConn
	ch     ssh.Channel
	reqs   <-chan *ssh.Request
	wg     *sync.WaitGroup
	leave  func()        // once
	closed chan struct{} // is closed with the session
}

// open waits for a slot and opens a session. Goroutines are counted in wg.
func (c *sshConn) open(ctx context.Context, wg *sync.WaitGroup) (*sshSession, error) {
	select {
	case c.slots <- struct{}{}:
	case <-c.retired:
		return nil, errRetired
	case <-c.dead:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// Nobody waits for this goroutine when the connection has died: x/crypto can
	// leave OpenChannel without an answer then.
	opened := make(chan error, 1)
	ses := &sshSession{conn: c, wg: wg, closed: make(chan struct{})}
	c.enter()
	ses.leave = sync.OnceFunc(c.leave)
	go func() {
		var err error
		ses.ch, ses.reqs, err = c.client.OpenChannel("session", nil)
		if err != nil {
			<-c.slots
			ses.leave()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		return ses, err
	case <-c.dead:
		return nil, io.EOF
	case <-ctx.Done():
		wg.Go(func() {
			select {
			case err := <-opened:
				if err == nil {
					ses.close()
				}
			case <-c.dead:
			}
		})
		return nil, context.Cause(ctx)
	}
}

// close ends the session and frees its slot once the server has agreed.
func (ses *sshSession) close() {
	ses.ch.Close()
	for req := range ses.reqs {
		if req.WantReply {
			_ = req.Reply(false, nil)
		}
	}
	<-ses.conn.slots
	ses.leave()
	close(ses.closed)
}

// kill ends the command, as far as the server lets us; exec then returns.
func (ses *sshSession) kill() {
	_, _ = ses.ch.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{"TERM"}))
	ses.ch.Close()
}

// ending is how a command ended: err, or else its status.
type ending struct {
	status int
	err    error
}

// exec runs a command line to its end.
func (ses *sshSession) exec(line string, stdin []byte, out *output) ending {
	ok, err := ses.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err != nil {
		return ending{err: lost(err)}
	}
	if !ok {
		return ending{err: fmt.Errorf("%w: the server refused to run a command", ErrNotStarted)}
	}
	// A command that does not read its input holds this goroutine until the
	// session is closed; nobody waits for it before.
	ses.wg.Go(func() {
		_, _ = io.Copy(ses.ch, bytes.NewReader(stdin))
		_ = ses.ch.CloseWrite()
	})
	var streams sync.WaitGroup
	streams.Go(func() { _, _ = io.Copy(out.stdout(), ses.ch) })
	streams.Go(func() { _, _ = io.Copy(out.stderr(), ses.ch.Stderr()) })
	e := ending{err: lost(errors.New("the connection ended before the command"))}
	for req := range ses.reqs {
		switch req.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(req.Payload, &m) == nil {
				e = ending{status: int(m.Status)}
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}
			if ssh.Unmarshal(req.Payload, &m) == nil {
				e = ending{status: signalStatus(m.Signal)}
			}
		}
		if req.WantReply {
			_ = req.Reply(false, nil)
		}
	}
	streams.Wait()
	// sshd may tell the status before the last of the output: whoever hears it on a
	// connection that then breaks has not heard all.
	if e.err == nil && !ses.conn.stands() {
		e = ending{err: lost(errors.New("the connection ended with the command, maybe before its output"))}
	}
	return e
}

// stands asks the server whether the connection does.
func (c *sshConn) stands() bool {
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}

// signalStatus is what a shell calls the end by a signal of RFC 4254 6.10.
func signalStatus(name string) int {
	numbers := map[string]int{
		"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9,
		"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	}
	return 128 + numbers[name]
}

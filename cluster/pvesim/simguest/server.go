package simguest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// serve speaks SSH on conn until it ends or the power does.
func (g *Guest) serve(up context.Context, conn net.Conn) {
	config := &ssh.ServerConfig{
		ServerVersion:     "SSH-2.0-OpenSSH_9.6p1",
		PublicKeyCallback: g.authorize,
	}
	config.AddHostKey(g.key)
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(up)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel() // what a lost client started dies with its connection
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.Prohibited, "only sessions here")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { g.session(ctx, channel, requests) })
	}
}

func (g *Guest) authorize(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if meta.User() == g.cfg.User {
		for _, k := range g.cfg.AuthorizedKeys {
			if bytes.Equal(k.Marshal(), key.Marshal()) {
				return nil, nil
			}
		}
	}
	return nil, errors.New("permission denied")
}

// session serves one channel: a single exec or shell, as sshd without a
// terminal does.
func (g *Guest) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var program sync.WaitGroup
	defer program.Wait()
	defer cancel()
	defer channel.Close()
	started := false
	for r := range requests {
		var argv []string
		switch {
		case started:
		case r.Type == "exec":
			var exec struct{ Command string }
			if ssh.Unmarshal(r.Payload, &exec) == nil {
				argv = []string{"bash", "-c", exec.Command}
			}
		case r.Type == "shell":
			argv = []string{"bash", "-s"}
		}
		if r.WantReply {
			_ = r.Reply(argv != nil, nil)
		}
		if argv == nil {
			continue
		}
		started = true
		in, feed, err := os.Pipe()
		if err != nil {
			return
		}
		program.Go(func() {
			_, _ = io.Copy(feed, channel) // until the client or the program has enough
			feed.Close()
		})
		program.Go(func() {
			defer channel.Close()
			defer in.Close()
			status := g.login(ctx, argv, in, channel, channel.Stderr())
			if ctx.Err() == nil {
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
			}
		})
	}
}

// login runs argv as the guest's user, in a fresh environment.
func (g *Guest) login(ctx context.Context, argv []string, in io.Reader, out, err io.Writer) int {
	u := account(g.cfg.User)
	p := &proc{
		guest: g, ctx: ctx, user: u, args: argv, dir: u.home,
		env: u.environ(), in: in, out: out, err: err,
	}
	defer p.begin(0)()
	return p.run()
}

// Run executes a command line in the guest as root, as its console would, and
// returns what it printed and its exit status. It fails while the guest is not
// up.
func (g *Guest) Run(ctx context.Context, line string) (output string, status int, err error) {
	up := g.up()
	if up == nil {
		return "", 0, errOff
	}
	alive, cancel := context.WithCancelCause(up)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	var both locked
	u := account("root")
	p := &proc{
		guest: g, ctx: alive, user: u, args: []string{"bash", "-c", line}, dir: u.home,
		env: u.environ(), in: strings.NewReader(""), out: &both, err: &both,
	}
	end := p.begin(0)
	status = p.run()
	end()
	if up.Err() != nil {
		return both.b.String(), status, errOff
	}
	//nolint:contextcheck // a program lives as long as the power does, and the caller's context
	return both.b.String(), status, context.Cause(alive)
}

// locked is a buffer for two streams.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
)

// tickClock is a clock on which a sleep lasts until the test says tick.
type tickClock struct{ ticks chan struct{} }

func (tickClock) Now() time.Time { return time.Unix(0, 0) }

func (c tickClock) Sleep(ctx context.Context, _ time.Duration) error {
	select {
	case <-c.ticks:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestSSHKeepsOneConnection(t *testing.T) {
	s := sshtest.Start(t)
	r := dial(t, s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	s.Drop()
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
		t.Error("after a cut: ", err)
	}
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections after a cut, want 2", n)
	}
}

// TestStatusWithoutOutput: a status that came before the connection broke is none
// of a command whose output is known.
func TestStatusWithoutOutput(t *testing.T) {
	s := sshtest.Start(t)
	s.Hasty()
	r := dial(t, s)
	for range 20 {
		res, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"echo", "hello"}})
		if !errors.Is(err, cluster.ErrLost) {
			t.Fatalf("%q, %v", res.Stdout, err)
		}
	}
}

func TestSSHKeepAlive(t *testing.T) {
	s := sshtest.Start(t)
	cut := &cutter{}
	clock := tickClock{make(chan struct{})}
	r := cluster.NewSSH(cluster.SSHConfig{
		Addr: s.Addr, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey), Dial: cut.dial, Clock: clock,
	})
	t.Cleanup(func() { r.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := r.Run(ctx, cluster.Cmd{
		Argv: []string{"sh", "-c", "echo ready; sleep 5"},
		Line: func(string) {
			cut.Freeze()
			go func() {
				for range 2 { // to ask, and to give up waiting for the answer
					select {
					case clock.ticks <- struct{}{}:
					case <-ctx.Done():
					}
				}
			}()
		},
	})
	if !errors.Is(err, cluster.ErrLost) || ctx.Err() != nil {
		t.Errorf("on a frozen connection: %v, want ErrLost", err)
	}
}

func TestSSHHostKey(t *testing.T) {
	s := sshtest.Start(t)
	other := sshtest.NewKey(t).PublicKey()
	for name, test := range map[string]struct {
		known   string
		changed bool
		says    string
	}{
		"unknown": {"", false, "not known here"},
		"changed": {knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, other), true, "other than the known one"},
	} {
		t.Run(name, func(t *testing.T) {
			r := cluster.NewSSH(cluster.SSHConfig{
				Name: "pve7", Addr: s.Addr, Signers: []ssh.Signer{s.Signer}, HostKeys: knownHosts(t, test.known),
			})
			t.Cleanup(func() { r.Close() })
			_, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}})
			var stranger *cluster.HostKeyError
			if !errors.As(err, &stranger) || stranger.Changed != test.changed || !errors.Is(err, cluster.ErrNotStarted) {
				t.Fatalf("got %#v", err)
			}
			var cause *knownhosts.KeyError
			if !errors.As(err, &cause) {
				t.Error("the cause is not to be had")
			}
			for _, want := range []string{test.says, "`bot nodes trust pve7`", ssh.FingerprintSHA256(s.HostKey)} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// A server that has no room for a session just now is asked again; nothing has
// run. One that never has any is given up.
func TestSSHFullServer(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	r := dial(t, s)
	s.Full(3)
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
		t.Errorf("a server that was full three times: %v", err)
	}
	s.Full(1 << 20)
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("a server that is full for ever gave %v, want ErrNotStarted", err)
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestSSHRefusals(t *testing.T) {
	s := sshtest.Start(t)
	nothing := cluster.Cmd{Argv: []string{"true"}}

	stranger := cluster.NewSSH(cluster.SSHConfig{
		Name: "pve1", Addr: s.Addr, Signers: []ssh.Signer{sshtest.NewKey(t)}, HostKeys: ssh.FixedHostKey(s.HostKey),
	})
	t.Cleanup(func() { stranger.Close() })
	if _, err := stranger.Run(t.Context(), nothing); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("an unknown key gave %v, want ErrNotStarted", err)
	}

	s.RefuseExec(true)
	r := dial(t, s)
	if _, err := r.Run(t.Context(), nothing); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("a refused exec gave %v, want ErrNotStarted", err)
	}
	s.RefuseExec(false)
	if _, err := r.Run(t.Context(), nothing); err != nil {
		t.Errorf("after a refused exec: %v", err)
	}
	long := cluster.Cmd{Argv: []string{"true", strings.Repeat("x", 200<<10)}}
	if _, err := r.Run(t.Context(), long); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("a command line of 200 KiB gave %v, want ErrNotStarted", err)
	}

	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Run(t.Context(), nothing); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("after Close: %v, want ErrNotStarted", err)
	}
	if _, err := r.DialTCP(t.Context(), s.Addr); err == nil {
		t.Error("DialTCP works after Close")
	}
}

func TestSSHCloseEndsCommands(t *testing.T) {
	s := sshtest.Start(t)
	r := dial(t, s)
	closed := make(chan struct{})
	_, err := r.Run(t.Context(), cluster.Cmd{
		Argv: []string{"sh", "-c", "echo ready; sleep 5"},
		Line: func(string) {
			go func() {
				r.Close()
				close(closed)
			}()
		},
	})
	if !errors.Is(err, cluster.ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	<-closed
}

// One who gives up does not fail the others who wait for the same dial.
func TestSSHDialIsShared(t *testing.T) {
	s := sshtest.Start(t)
	dialed, goOn := make(chan struct{}), make(chan struct{})
	r := cluster.NewSSH(cluster.SSHConfig{
		Addr: s.Addr, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey),
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			close(dialed) // panics when there is a second dial
			<-goOn
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})
	t.Cleanup(func() { r.Close() })
	impatient, giveUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.Run(impatient, cluster.Cmd{Argv: []string{"true"}})
		gone <- err
	}()
	<-dialed
	giveUp()
	if err := <-gone; !errors.Is(err, cluster.ErrNotStarted) || !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(goOn)
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
		t.Error(err)
	}
}

func TestDialThroughNode(t *testing.T) {
	s := sshtest.Start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "hello")
			c.Close()
		}
	}()
	nodes, err := cluster.Connect(cluster.NodesConfig{
		Targets: []cluster.Target{{Name: "pve2", Addr: s.Addr}, {Name: "pve1", Local: true}},
		Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	if got := fmt.Sprint(nodes.Names()); got != "[pve1 pve2]" {
		t.Errorf("names %s, want them sorted", got)
	}
	for _, node := range nodes.Names() {
		c, err := nodes.Dial(t.Context(), node, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(c); err != nil || string(said) != "hello\n" {
			t.Errorf("through %s: %q, %v", node, said, err)
		}
		c.Close()
	}
	if _, err := nodes.Dial(t.Context(), "pve2", freeAddr(t)); err == nil || !strings.Contains(err.Error(), "pve2 can't reach") {
		t.Errorf("a port where nobody listens: %v", err)
	}
	if _, err := nodes.Dial(t.Context(), "pve3", "x:1"); !errors.Is(err, cluster.ErrNoNode) {
		t.Errorf("an unknown node: %v", err)
	}
	// The node's connection was cut and nobody knew: it is replaced.
	s.Drop()
	c, err := nodes.Dial(t.Context(), "pve2", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestConnectRefuses(t *testing.T) {
	keys, hosts := []ssh.Signer{sshtest.NewKey(t)}, ssh.InsecureIgnoreHostKey() //nolint:gosec // never used to connect
	for name, cfg := range map[string]cluster.NodesConfig{
		"nothing":     {},
		"twice":       {Targets: []cluster.Target{{Name: "a", Local: true}, {Name: "a", Local: true}}},
		"bad name":    {Targets: []cluster.Target{{Name: "-a", Local: true}}},
		"no address":  {Targets: []cluster.Target{{Name: "a"}}, Signers: keys, HostKeys: hosts},
		"no key":      {Targets: []cluster.Target{{Name: "a", Addr: "h"}}, HostKeys: hosts},
		"no hostkeys": {Targets: []cluster.Target{{Name: "a", Addr: "h"}}, Signers: keys},
	} {
		if _, err := cluster.Connect(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

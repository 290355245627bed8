package cluster_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
	"pvebot/cluster/runnertest"
	"pvebot/cluster/taskstest"
)

func TestOpenSSH(t *testing.T) {
	cfg := openSSH(t, "")
	runnertest.Run(t, runnertest.Harness{New: func(t *testing.T) runnertest.Target {
		cut := &cutter{}
		cfg := cfg
		cfg.Dial = cut.dial
		r := cluster.NewSSH(cfg)
		t.Cleanup(func() { r.Close() })
		return runnertest.Target{Runner: r, Scratch: t.TempDir(), Drop: cut.Drop, Refuse: cut.Refuse}
	}})
}

// Commands that outlast their contexts, since OpenSSH kills nothing for root, don't
// take the sessions of others; and the last thing that still uses the old
// connection goes on.
func TestOpenSSHLeavesBehindWhatHangs(t *testing.T) {
	cfg := openSSH(t, "")
	var connections atomic.Int64
	cfg.KeepAlive = 200 * time.Millisecond
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		connections.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	r := cluster.NewSSH(cfg)
	t.Cleanup(func() { r.Close() })
	goOn := filepath.Join(t.TempDir(), "go-on")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun, long := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, cluster.Cmd{
			Argv: []string{"sh", "-c", `echo begun; while ! test -e "$1"; do sleep 0.05; done`, "sh", goOn}, Line: func(string) { close(begun) },
		})
		long <- err
	}()
	<-begun
	hung, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 7 { // with the one above all that a connection has
		var once sync.Once
		started := make(chan struct{})
		wg.Go(func() {
			_, err := r.Run(hung, cluster.Cmd{Argv: []string{"sh", "-c", "echo begun; sleep 20"}, Line: func(string) { once.Do(func() { close(started) }) }})
			if !errors.Is(err, cluster.ErrLost) {
				t.Errorf("a command whose context ended: %v, want ErrLost", err)
			}
		})
		<-started
	}
	end()
	wg.Wait()
	for range 2 {
		if _, err := r.Run(ctx, cluster.Cmd{Argv: []string{"true"}}); err != nil {
			t.Fatalf("beside commands that hang: %v", err)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want the old one and a new one", n)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-long; err != nil {
		t.Errorf("what still used the old connection: %v", err)
	}
}

// A session of OpenSSH ends, and takes its processes along, in ways of its
// own.
func TestTasksOpenSSH(t *testing.T) {
	t.Parallel()
	cfg := openSSH(t, "")
	taskstest.Run(t, taskstest.Harness{New: func(t *testing.T) taskstest.Target {
		cut := &cutter{}
		nodes, err := cluster.Connect(cluster.NodesConfig{
			Targets: []cluster.Target{{Name: "pve1", Addr: cfg.Addr}},
			User:    cfg.User, Signers: cfg.Signers, HostKeys: cfg.HostKeys, Dial: cut.dial,
		})
		if err != nil {
			t.Fatal(err)
		}
		to := target(t, nodes)
		to.Drop = cut.Drop
		return to
	}})
}

// The gate holds a key of a real OpenSSH to what the bot runs, and the line of
// authorized_keys to the guests that it reaches.
func TestGateBehindOpenSSH(t *testing.T) {
	if _, err := os.Stat("/usr/bin/perl"); err != nil {
		t.Skip("perl is not installed: ", err)
	}
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	const members = `{"nodename":"pve1","version":4}`
	if err := os.WriteFile(filepath.Join(etc, ".members"), []byte(members), 0o600); err != nil {
		t.Fatal(err)
	}
	where := cluster.Config{PVEEtc: etc, RunDir: filepath.Join(dir, "run")}
	program := filepath.Join(dir, "pvebot-gate")
	gate := cluster.Gate(cluster.GateConfig{Config: where, ImageDir: "/nowhere"})
	if err := os.WriteFile(program, gate, 0o755); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	guest, other := greeter(t), greeter(t)
	cfg := openSSH(t, cluster.GateOptions(program, []netip.AddrPort{netip.MustParseAddrPort(guest)})+" ")
	nodes, err := cluster.Connect(cluster.NodesConfig{
		Targets: []cluster.Target{{Name: "pve1", Addr: cfg.Addr}}, User: cfg.User, Signers: cfg.Signers, HostKeys: cfg.HostKeys,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	pve := cluster.New(nodes, cluster.NewTasks(nodes, where), where)
	if m, err := pve.Membership(t.Context()); err != nil || m.Version != 4 {
		t.Errorf("what the bot runs: %+v, %v", m, err)
	}
	if _, err := pve.Tasks().Find(t.Context(), "pve1", "none"); !errors.Is(err, cluster.ErrNoTask) {
		t.Errorf("a script of the bot: %v", err)
	}
	node, err := nodes.Node("pve1")
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"id"}, {"cat", "--", "/etc/shadow"}, {"sh", "-c", "id"}} {
		_, err := node.Run(t.Context(), cluster.Cmd{Argv: argv})
		if refused, ok := errors.AsType[*cluster.ExitError](err); !ok || refused.Status != 126 {
			t.Errorf("%q: %v", argv, err)
		}
	}
	conn, err := nodes.Dial(t.Context(), "pve1", guest)
	if err != nil {
		t.Fatalf("a guest of the bot: %v", err)
	}
	defer conn.Close()
	if hello, err := io.ReadAll(conn); err != nil || string(hello) != "hello" {
		t.Errorf("a guest of the bot said %q, %v", hello, err)
	}
	if conn, err := nodes.Dial(t.Context(), "pve1", other); err == nil {
		conn.Close()
		t.Error("a connection to another port was let through")
	}
}

// greeter says hello to each who connects to it.
func greeter(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// openSSH starts a real sshd on loopback that lets us in as ourselves, with
// options before our key, and more lines in its configuration. Home is an empty directory: bash reads ~/.bashrc when
// sshd starts it, and what stands in somebody's own may print.
func openSSH(t *testing.T, options string, lines ...string) cluster.SSHConfig {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("no OpenSSH server is installed: ", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Skip("sshd can't start as root: ", err)
		}
	}
	dir := t.TempDir()
	client := sshtest.NewKey(t)
	hostPEM, host := newPEM(t)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	addr := freeAddr(t)
	conf := fmt.Sprintf(`ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
MaxStartups 100
LogLevel ERROR
SetEnv HOME=%s
%s
`, addr, write("host", hostPEM), write("authorized_keys", append([]byte(options), ssh.MarshalAuthorizedKey(client.PublicKey())...)), t.TempDir(), strings.Join(lines, "\n"))

	var log bytes.Buffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", write("sshd_config", []byte(conf)))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Skip("sshd does not start: ", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("sshd: %s", log.Bytes())
		}
	})
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ended:
			t.Skipf("sshd does not run here: %s", log.Bytes())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return cluster.SSHConfig{
		Name: "pve1", Addr: addr, User: me.Username,
		Signers: []ssh.Signer{client}, HostKeys: ssh.FixedHostKey(host),
	}
}

// newPEM makes a key and renders its private half.
func newPEM(t *testing.T) ([]byte, ssh.PublicKey) {
	t.Helper()
	private, public := sshtest.NewKeyPair(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), public
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

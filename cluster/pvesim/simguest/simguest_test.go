package simguest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// leap is a clock on which every sleep takes no time and all of it passes.
type leap struct {
	mu  sync.Mutex
	now time.Time
}

func (c *leap) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *leap) Sleep(ctx context.Context, d time.Duration) error {
	c.pass(d)
	return context.Cause(ctx)
}

func (c *leap) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newGuest(t *testing.T, edit func(*Config)) (*Guest, *leap) {
	t.Helper()
	clock := &leap{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	cfg := Config{Hostname: "web-1", User: "ubuntu", Clock: clock}
	if edit != nil {
		edit(&cfg)
	}
	g := New(cfg)
	t.Cleanup(g.Close)
	return g, clock
}

// pair is a connection with buffers, as a network has them.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, server
}

func dial(t *testing.T, g *Guest, user string, key ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	client, server := pair(t)
	go g.Serve(server)
	conn, channels, requests, err := ssh.NewClientConn(client, "guest", &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(g.HostKey()),
	})
	if err != nil {
		return nil, err
	}
	c := ssh.NewClient(conn, channels, requests)
	t.Cleanup(func() { c.Close() })
	return c, nil
}

// sh runs a line as root and returns what it printed.
func sh(t *testing.T, g *Guest, line string) string {
	t.Helper()
	out, status, err := g.Run(t.Context(), line)
	if err != nil || status != 0 {
		t.Errorf("%s: status %d, %v\n%s", line, status, err, out)
	}
	return out
}

func status(t *testing.T, g *Guest, line string) int {
	t.Helper()
	_, status, err := g.Run(t.Context(), line)
	if err != nil {
		t.Error(err)
	}
	return status
}

func TestLoginNeedsTheUserAndTheKey(t *testing.T) {
	key, other := newKey(t), newKey(t)
	g, _ := newGuest(t, func(c *Config) { c.AuthorizedKeys = []ssh.PublicKey{key.PublicKey()} })
	g.Boot()
	if _, err := dial(t, g, "ubuntu", key); err != nil {
		t.Error(err)
	}
	if _, err := dial(t, g, "ubuntu", other); err == nil {
		t.Error("a strange key got in")
	}
	if _, err := dial(t, g, "root", key); err == nil {
		t.Error("root got in")
	}
}

func TestServesOnlyOnceBooted(t *testing.T) {
	key := newKey(t)
	g, clock := newGuest(t, func(c *Config) {
		c.AuthorizedKeys, c.Boot = []ssh.PublicKey{key.PublicKey()}, 10*time.Second
	})
	try := func() error { _, err := dial(t, g, "ubuntu", key); return err }
	if try() == nil {
		t.Error("answers while off")
	}
	g.Boot()
	clock.pass(9 * time.Second)
	if try() == nil {
		t.Error("answers while booting")
	}
	clock.pass(time.Second)
	if err := try(); err != nil {
		t.Error(err)
	}
	g.Stop()
	if try() == nil || g.BootID() != "" {
		t.Error("answers after Stop")
	}
}

func TestSessions(t *testing.T) {
	key := newKey(t)
	g, _ := newGuest(t, func(c *Config) { c.AuthorizedKeys = []ssh.PublicKey{key.PublicKey()} })
	g.Boot()
	for _, tc := range []struct {
		name, command, stdin string
		stdout, stderr       string
		status               int
	}{
		{"output", "echo a; echo b >&2", "", "a\n", "b\n", 0},
		{"status", "exit 7", "", "", "", 7},
		{"who", "whoami; pwd; id -u; echo $HOME ~ ~root ~nobody", "", "ubuntu\n/home/ubuntu\n1000\n/home/ubuntu /home/ubuntu /root ~nobody\n", "", 0},
		{"stdin", "cat >x; cat x", "hello", "hello", "", 0},
		{"script", "sudo -n -- /bin/bash -s", "set -e\nid -u\nfalse\necho no\n", "0\n", "", 1},
		{"script breaks off", "bash -s", "echo one\nif true; then\n", "one\n", "bash: 2:10: `then` must be followed by a statement list\n", 2},
		{"arguments", "sh -s a 'b c'", `echo "$# $2"`, "2 b c\n", "", 0},
		{"exit trap", "bash -s", "trap 'echo bye $?' EXIT\nfalse\n", "bye 1\n", "", 1},
		{"fresh environment", "A=1 sudo env", "", "HOME=/root\nUSER=root\nLOGNAME=root\nSHELL=/bin/bash\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C.UTF-8\nSUDO_USER=ubuntu\n", "", 0},
		{"not allowed", "echo x >/etc/shadow", "", "", "open /etc/shadow: permission denied\n", 1},
		{"not found", "frobnicate", "", "", "bash: frobnicate: command not found\n", 127},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, err := dial(t, g, "ubuntu", key)
			if err != nil {
				t.Fatal(err)
			}
			s, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			s.Stdin, s.Stdout, s.Stderr = strings.NewReader(tc.stdin), &stdout, &stderr
			err = s.Run(tc.command)
			status, exit := 0, (*ssh.ExitError)(nil)
			if errors.As(err, &exit) {
				status = exit.ExitStatus()
			} else if err != nil {
				t.Fatal(err)
			}
			if stdout.String() != tc.stdout || stderr.String() != tc.stderr || status != tc.status {
				t.Errorf("stdout %q, stderr %q, status %d", &stdout, &stderr, status)
			}
		})
	}
}

// Nothing of the host can be seen or run.
func TestTheHostIsOutOfReach(t *testing.T) {
	g, _ := newGuest(t, nil)
	g.Boot()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("echo HOST"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PVEBOT_HOST_SECRET", "HOST")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, line := range []string{
		"cat " + secret, secret, "secret", ". " + secret, "source secret", "bash " + secret,
		"cat < " + secret, "read x < " + secret + "; echo $x", "echo $(<" + secret + ")", "mapfile -t a < " + secret + "; echo ${a[0]}",
		"test -e " + secret + " && echo HOST", "[[ -r " + secret + " ]] && echo HOST", "[ -d " + dir + " ] && echo HOST",
		"cd " + dir + " && echo HOST", "echo " + dir + "/* | grep -v '[*]' && echo HOST",
		"command -v secret && echo HOST", "type secret && echo HOST", "builtin command -v secret && echo HOST",
		"PATH=" + dir + "; command -v secret && echo HOST", "exec secret", "exec " + secret, "eval " + secret,
		"sudo " + secret, "env " + secret, "bash -c " + secret,
		"/usr/bin/env " + secret, "go version && echo HOST", "/usr/bin/perl -e 1 && echo HOST", "python -V && echo HOST",
		"echo $PVEBOT_HOST_SECRET", "env", "set", "export -p",
		"echo HOST > >(cat)", "cat <(echo HOST)", "TMPDIR=" + dir + " bash -c 'cat <(echo HOST)'",
		"cat ../../../../../../.." + secret,
	} {
		out, _, err := g.Run(t.Context(), line)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(out, "HOST") {
			t.Errorf("%s printed %q", line, out)
		}
	}
	for _, line := range []string{"echo x >" + dir + "/new", "touch " + dir + "/new", "mkdir -p " + dir + "/new", "rm -rf " + dir, "mv " + secret + " /x", "cd /; umask 0; echo x > " + strings.TrimPrefix(dir, "/") + "/new"} {
		if _, _, err := g.Run(t.Context(), line); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the host's folder has %v now, %v", entries, err)
	}
	if passwd := sh(t, g, "cat /etc/passwd"); strings.Count(passwd, "\n") != 2 {
		t.Errorf("/etc/passwd is not the guest's: %s", passwd)
	}
	if got := sh(t, g, ". /etc/os-release; echo $VERSION_CODENAME; hostname; cat /proc/sys/kernel/random/boot_id"); got != "noble\nweb-1\n"+g.BootID()+"\n" {
		t.Errorf("the guest says %q", got)
	}
}

func TestTheDiskSurvivesReboots(t *testing.T) {
	rebooted := 0
	g, _ := newGuest(t, func(c *Config) { c.OnReboot = func() { rebooted++ } })
	g.Boot()
	before, key := g.BootID(), g.HostKey()
	sh(t, g, "echo kept >/etc/kept; echo gone >/tmp/gone; apt-get update; apt-get -y install qemu-guest-agent; fallocate -l 1G /swap; mkswap /swap; swapon /swap; echo /swap none swap sw 0 0 >>/etc/fstab")
	if !g.Agent() {
		t.Error("the agent does not answer")
	}
	if _, _, err := g.Run(t.Context(), "reboot; sleep 1"); err == nil {
		t.Error("the program outlived the machine")
	}
	if rebooted != 1 || g.BootID() == before || g.BootID() == "" {
		t.Errorf("reboot: told %d times, boot id %q then %q", rebooted, before, g.BootID())
	}
	if got := sh(t, g, "cat /etc/kept; ls /tmp; dpkg-query -W -f '${Status}\n' qemu-guest-agent; grep -c ^/swap /proc/swaps; systemctl is-active qemu-guest-agent"); got != "kept\ninstall ok installed\n1\nactive\n" {
		t.Errorf("after the reboot: %q", got)
	}
	if !g.Agent() || !bytes.Equal(key.Marshal(), g.HostKey().Marshal()) {
		t.Error("the agent or the host key was lost")
	}
	if data, ok := g.File("/etc/kept"); !ok || string(data) != "kept\n" {
		t.Errorf("File: %q, %v", data, ok)
	}
	if _, ok := g.File("/etc/none"); ok {
		t.Error("File finds what is not there")
	}
}

// What people do to their guests does not hang them.
func TestOddDisksBoot(t *testing.T) {
	g, _ := newGuest(t, nil)
	g.Boot()
	sh(t, g, "ln -sf /proc/swaps /etc/fstab; rm -rf /etc/sysctl.d /tmp /run /home; ln -s loop /loop; echo /none none swap sw 0 0 >>/etc/fstab")
	g.Reboot()
	if got := sh(t, g, "echo up"); got != "up\n" {
		t.Errorf("%q", got)
	}
	sh(t, g, "rm -rf /etc /usr /proc; true") // also its shells
	g.Reboot()
	if got := status(t, g, "true"); got != 127 {
		t.Errorf("without /usr: status %d", got)
	}
}

func TestPowerOff(t *testing.T) {
	off := 0
	g, _ := newGuest(t, func(c *Config) { c.OnPowerOff = func() { off++ } })
	g.Boot()
	if _, _, err := g.Run(t.Context(), "shutdown -h now"); !errors.Is(err, errOff) {
		t.Error(err)
	}
	if off != 1 || g.BootID() != "" {
		t.Errorf("told %d times, boot id %q", off, g.BootID())
	}
	g.Reboot()
	if g.BootID() != "" {
		t.Error("Reboot woke a guest that is off")
	}
}

func TestCloudInitStatus(t *testing.T) {
	for result, want := range map[string]struct {
		text   string
		status int
	}{
		"done": {"status: done", 0}, "error": {"status: error", 1}, "degraded": {"status: done", 2},
	} {
		g, clock := newGuest(t, func(c *Config) {
			c.CloudInitResult, c.Boot, c.CloudInit = result, 5*time.Second, 20*time.Second
		})
		g.Boot()
		clock.pass(24 * time.Second)
		if out := sh(t, g, "cloud-init status"); out != "status: running\n" {
			t.Errorf("%s: %q while it runs", result, out)
		}
		out, status, _ := g.Run(t.Context(), "cloud-init status --wait --long")
		if !strings.Contains(out, want.text) || status != want.status {
			t.Errorf("%s: status %d, %q", result, status, out)
		}
		g.Reboot()
		clock.pass(6 * time.Second)
		if out := sh(t, g, "cloud-init status"); out != "status: running\n" {
			t.Errorf("%s: %q after a reboot", result, out)
		}
		clock.pass(time.Second)
		if out, status, _ := g.Run(t.Context(), "cloud-init status --format json"); status != want.status || !strings.Contains(out, `"status": "`) {
			t.Errorf("%s: status %d, %q", result, status, out)
		}
	}
}

func TestAptGet(t *testing.T) {
	g, clock := newGuest(t, func(c *Config) { c.Init, c.RebootRequired = 40*time.Second, true })
	g.Boot()
	if got := status(t, g, "apt-get -y install git"); got != 100 {
		t.Errorf("install before update: %d", got)
	}
	start := clock.Now()
	sh(t, g, "apt-get -qq update")
	if got := status(t, g, "apt-get install git"); got != 1 {
		t.Errorf("install without -y: %d", got)
	}
	if out := sh(t, g, "apt-get -y -o DPkg::Lock::Timeout=300 install git htop"); !strings.Contains(out, "Setting up liberror-perl") {
		t.Errorf("install: %s", out)
	}
	if took := clock.Now().Sub(start).Round(time.Second); took != 40*time.Second {
		t.Errorf("took %v", took)
	}
	sh(t, g, "test -e /run/reboot-required")
	if out := sh(t, g, "apt-get -y install git"); !strings.Contains(out, "already the newest") || clock.Now().Sub(start).Round(time.Second) != 40*time.Second {
		t.Errorf("a second install: %s", out)
	}
	if got := status(t, g, "apt-get -y install no-such-package"); got != 100 {
		t.Errorf("unknown package: %d", got)
	}
}

func TestAptGetWaitsForItsLock(t *testing.T) {
	g, clock := newGuest(t, nil)
	g.Boot()
	g.apting.Lock()
	start := clock.Now()
	if got := status(t, g, "apt-get update"); got != 100 || clock.Now() != start {
		t.Errorf("without waiting: status %d after %v", got, clock.Now().Sub(start))
	}
	if got := status(t, g, "apt-get -o DPkg::Lock::Timeout=5 -o Acquire::Retries=3 update"); got != 100 || clock.Now().Sub(start) != 5*time.Second {
		t.Errorf("in vain: status %d after %v", got, clock.Now().Sub(start))
	}
	g.apting.Unlock()
	sh(t, g, "apt-get -o DPkg::Lock::Timeout=5 update")
}

func TestConnectionLossKillsWhatItStarted(t *testing.T) {
	key := newKey(t)
	g := New(Config{User: "ubuntu", AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	g.Boot()
	client, err := dial(t, g, "ubuntu", key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("echo here; sleep 1h; touch /home/ubuntu/late"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	client.Close()
	g.Close() // returns only when the program has ended
	if _, ok := g.File("/home/ubuntu/late"); ok {
		t.Error("the program lived on")
	}
}

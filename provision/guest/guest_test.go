package guest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim/simguest"
)

// leap is a clock on which sleeping takes no time.
type leap struct {
	mu     sync.Mutex
	now    time.Time
	onStep func() // called by each Sleep
}

func (c *leap) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *leap) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(max(d, 0))
	c.mu.Unlock()
	if c.onStep != nil {
		c.onStep()
	}
	return context.Cause(ctx)
}

// lab is a simulated guest and the way into it.
type lab struct {
	sim    *simguest.Guest
	clock  *leap
	access Access
	unplug bool // TCP does not get through
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

func newLab(t *testing.T, edit func(*simguest.Config)) *lab {
	t.Helper()
	key := newKey(t)
	l := &lab{clock: &leap{now: time.Date(2026, 7, 8, 9, 10, 11, 0, time.UTC)}}
	cfg := simguest.Config{
		Hostname: "web-1", User: "ubuntu", AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, Clock: l.clock,
	}
	if edit != nil {
		edit(&cfg)
	}
	l.sim = simguest.New(cfg)
	t.Cleanup(func() { l.sim.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() { l.sim.Serve(conn) })
		}
	})
	t.Cleanup(func() { l.sim.Stop(); listener.Close(); accepting.Wait() })
	l.access = Access{
		Addr: "192.168.0.101:22", User: "ubuntu", Signers: []ssh.Signer{key}, Clock: l.clock,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if l.unplug || addr != "192.168.0.101:22" {
				return nil, errors.New("no route to host")
			}
			return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
		},
	}
	return l
}

func (l *lab) open(t *testing.T) *Guest {
	t.Helper()
	g := Open(l.access)
	t.Cleanup(func() { g.Close() })
	return g
}

// ready is a lab whose guest is up, and the way into it.
func ready(t *testing.T) (*lab, *Guest) {
	t.Helper()
	l := newLab(t, nil)
	l.sim.Boot()
	g := l.open(t)
	if _, err := g.Ready(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	return l, g
}

func TestAnotherHostKeyIsAnError(t *testing.T) {
	l := newLab(t, nil)
	l.sim.Boot()
	first, err := l.open(t).Ready(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.access.HostKey = first.HostKey
	again := l.open(t)
	if _, err := again.Ready(t.Context(), "", nil); err != nil {
		t.Errorf("the same guest: %v", err)
	}

	other := newLab(t, nil)
	other.sim.Boot()
	other.access.HostKey = first.HostKey
	g := other.open(t)
	_, err = g.Ready(t.Context(), "", nil)
	wrong, ok := errors.AsType[*HostKeyError](err)
	if !ok || wrong.Known != Fingerprint(l.sim.HostKey()) || wrong.Shown != Fingerprint(other.sim.HostKey()) {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), "nodes trust") {
		t.Errorf("advice for nodes: %v", err)
	}
	if _, err := g.Init(t.Context(), Script{Key: "init", Text: []byte("touch /root/here")}); !errors.As(err, &wrong) {
		t.Errorf("Init: %v", err)
	}
	if _, ok := other.sim.File("/root/here"); ok {
		t.Error("the script ran on a guest that is not ours")
	}
	if err := g.Reboot(t.Context(), first.BootID); !errors.As(err, &wrong) {
		t.Errorf("Reboot: %v", err)
	}

	// One that was pinned on the way is checked, too.
	access := l.access
	l.access.HostKey, access.Dial = "", other.access.Dial
	moved := l.open(t)
	if _, err := moved.Ready(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	moved.access.Dial = other.access.Dial
	l.sim.Stop()
	if _, err := moved.Ready(t.Context(), "", nil); !errors.As(err, &wrong) {
		t.Errorf("after the guest was replaced: %v", err)
	}
}

// The key that a guest shows is to be had whether it is the pinned one or not,
// and of a guest that lets nobody in.
func TestShownKey(t *testing.T) {
	for name, pinned := range map[string]string{"none": "", "another": edKey, "another kind": ecKey} {
		l := newLab(t, nil)
		l.access.HostKey = pinned
		g := l.open(t)
		if key, err := g.ShownKey(t.Context()); err == nil {
			t.Errorf("%s: a guest that is off shows %s", name, key)
		}
		l.sim.Boot()
		if key, err := g.ShownKey(t.Context()); err != nil || key != Line(l.sim.HostKey()) {
			t.Errorf("%s: it shows %s, %v", name, key, err)
		}
		if _, err := g.Ready(t.Context(), "", nil); pinned != "" && !errors.As(err, new(*HostKeyError)) {
			t.Errorf("%s: %v", name, err)
		}
		l.access.Signers = []ssh.Signer{newKey(t)}
		if key, err := l.open(t).ShownKey(t.Context()); err != nil || key != Line(l.sim.HostKey()) {
			t.Errorf("%s: to a stranger it shows %s, %v", name, key, err)
		}
	}
}

const (
	edKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOGXQhOjRr3fqVmcFced/UGb5sm13lB1b8GfL0Qm5zoH"
	ecKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBESbBn19lOA+jvdu+ipts0x9P2eOJKxzaNhkY6klFP5qhXwQynELYVgGwNDvQ9lASUKt7Or7DKo29nJMD4hxtCY="
)

// What Fingerprint says is what ssh-keygen -l said of these keys.
func TestFingerprint(t *testing.T) {
	for line, want := range map[string]string{
		edKey: "SHA256:+J7qWgyy6wzg6eQP+CaQnBen1RX/ebUX1So+3OFDCGY (ED25519)",
		ecKey: "SHA256:G8AflKM9+XAzgF1UZ1BA/FKSjTpGVkYH/ytLJLBZXoo (ECDSA)",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDfYqOuaynOhSjEWZGHdGhfkqOeEhAfgep+qPY93IToAwVwoeSf8bfCvlxhj9EKYsA9eVCT55x22JhpVz/vIbscxQFqDole+Qiqd9CxY8ozHDElrll0sQGzQQNtUt/4oQKAvCq+TJ0B/52i+1esPr3UlS3EnDxNspOEnhs9pHjUxPYUylYTdndC87mbAIc/QPWByP2a1w8wMrWao1p9vUGFWmNu86abdNhwGWcbeZnjjvHkIan6cwanNKUz38YRr7hNDIzSAaGhLr1z+WXHbTxNUzL/Rfwp8oz+b18mo9vzD3EHNFCFJk7hUOyNVDuO/MEvam/Gp191nwBvbrW0vFcORL3Wn5I5Cdrdi0F5ASV7RNgrTQDv7I4PrZWMKmEjIPXrRsobwinDvu8dvshG2QcvNF7qFat9S7766YHslhj0C4yn8rqRPoFTwg0ZSbZCkh6E3OgJp39sWkXYEy17eBiqRkX0c630YaVCvDt5+m6LMI3B+1W9DyJMqdDfaFYdvHU=": "SHA256:44v0UA/oMfegZyhqOYcHxc+s8Aby9OgEWtpmt2JqZGM (RSA)",
	} {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if got := Fingerprint(key); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
		if Line(key) != line {
			t.Errorf("its line is %s", Line(key))
		}
	}
}

func TestBadStoredHostKey(t *testing.T) {
	l := newLab(t, nil)
	l.sim.Boot()
	l.access.HostKey = "not a key"
	if _, err := l.open(t).Ready(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "the stored host key of 192.168.0.101:22") {
		t.Errorf("%v", err)
	}
}

func TestClosed(t *testing.T) {
	_, g := ready(t)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Init(t.Context(), Script{Key: "init", Text: []byte("true")}); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("%v", err)
	}
}

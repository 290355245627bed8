package cluster_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
)

// knownHosts is a callback from the lines of a known_hosts file.
func knownHosts(t *testing.T, lines ...string) ssh.HostKeyCallback {
	t.Helper()
	return hostKeys(t, lines...).Check
}

func hostKeys(t *testing.T, lines ...string) *cluster.HostKeys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := cluster.KnownHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func TestHostKeyAlgorithms(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	line := func(host string, key any) string {
		public, err := ssh.NewPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return knownhosts.Line([]string{host}, public)
	}
	ed := sshtest.NewKey(t).PublicKey()
	check := knownHosts(t,
		knownhosts.Line([]string{"ed"}, ed), knownhosts.Line([]string{"[ed]:2222"}, ed),
		line("ec", ec.Public()), line("rs", rs.Public()), line("two", ec.Public()), knownhosts.Line([]string{"two"}, ed))
	for addr, want := range map[string][]string{
		"ed:22":      {ssh.KeyAlgoED25519},
		"ed:2222":    {ssh.KeyAlgoED25519},
		"ec:22":      {ssh.KeyAlgoECDSA256},
		"rs:22":      {ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512},
		"two:22":     {ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519},
		"unknown:22": nil,
	} {
		if got := cluster.HostKeyAlgorithms(check, addr); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

func TestTrustHost(t *testing.T) {
	s := sshtest.Start(t)
	path := filepath.Join(t.TempDir(), "known_hosts")
	before := "# mine\n" + knownhosts.Line([]string{"elsewhere"}, sshtest.NewKey(t).PublicKey()) // no newline at its end
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		trusted, err := cluster.TrustHost(t.Context(), path, s.Addr)
		if err != nil || trusted.Fingerprint != ssh.FingerprintSHA256(s.HostKey) || trusted.Certified {
			t.Fatalf("%+v, %v", trusted, err)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := before + "\n" + knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, s.HostKey) + "\n"; string(after) != want {
		t.Errorf("the file became\n%swant\n%s", after, want)
	}
	known, err := cluster.KnownHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	r := cluster.NewSSH(cluster.SSHConfig{Addr: s.Addr, Signers: []ssh.Signer{s.Signer}, HostKeys: known.Check})
	defer r.Close()
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
		t.Error(err)
	}
}

func TestTrustHostNeverReplaces(t *testing.T) {
	s := sshtest.Start(t)
	path := filepath.Join(t.TempDir(), "known_hosts")
	before := knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, sshtest.NewKey(t).PublicKey()) + "\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := cluster.TrustHost(t.Context(), path, s.Addr)
	var stranger *cluster.HostKeyError
	if !errors.As(err, &stranger) || !stranger.Changed {
		t.Errorf("another key is known: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != before {
		t.Errorf("the file became %s", after)
	}
	first := filepath.Join(t.TempDir(), "new", "known_hosts")
	if _, err := cluster.TrustHost(t.Context(), first, s.Addr); err != nil {
		t.Errorf("into a file that is not there yet: %v", err)
	}
	if _, err := cluster.TrustHost(t.Context(), path, freeAddr(t)); err == nil {
		t.Error("nobody listens there, and it is trusted")
	}
}

func TestLoadSigners(t *testing.T) {
	t.Parallel() // a passphrase is dear
	private, public := sshtest.NewKeyPair(t)
	write := func(block *pem.Block, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	signers, err := cluster.LoadSigners(write(ssh.MarshalPrivateKey(private, "")))
	if err != nil || len(signers) != 1 || string(signers[0].PublicKey().Marshal()) != string(public.Marshal()) {
		t.Errorf("got %v, %v", signers, err)
	}
	_, err = cluster.LoadSigners(write(ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))))
	if err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("with a passphrase: %v", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	whole := pem.EncodeToMemory(block)
	for text, want := range map[string]string{
		string(ssh.MarshalAuthorizedKey(signers[0].PublicKey())): "this is a public key (ssh-ed25519); name the private half",
		"PuTTY-User-Key-File-3: ssh-ed25519\n":                   "this is a key of PuTTY; turn it into OpenSSH's form",
		string(whole[:len(whole)/2]):                             "this private key is damaged",
		strings.Replace(string(whole), "b3Bl", "", 1):            "this private key is damaged",
		"": "no private key",
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.LoadSigners(file); err == nil || !strings.Contains(err.Error(), file+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, and not %q", text, err, want)
		}
	}
	if _, err = cluster.LoadSigners(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}

// Root pins no key through a link that somebody else made: the service's user
// could have it write anywhere.
func TestRootPinsThroughNoLinkOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	server := sshtest.Start(t)
	victim, link := t.TempDir(), filepath.Join(t.TempDir(), ".ssh")
	if err := errors.Join(os.Symlink(victim, link), os.Lchown(link, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.TrustHost(t.Context(), filepath.Join(link, "known_hosts"), server.Addr); err == nil || !strings.Contains(err.Error(), link) {
		t.Errorf("it was pinned: %v", err)
	}
	if left, err := os.ReadDir(victim); err != nil || len(left) > 0 {
		t.Errorf("the link's folder has %v, %v", left, err)
	}
}

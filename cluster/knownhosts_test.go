package cluster_test

import (
	"crypto/rand"
	"errors"
	"net"
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

// TestLinesThatCantBeReadAreSkipped: what OpenSSH passes over keeps nobody from the
// lines beside it, is told by file and line, and lets nobody through.
func TestLinesThatCantBeReadAreSkipped(t *testing.T) {
	key, other := sshtest.NewKey(t).PublicKey(), sshtest.NewKey(t).PublicKey()
	good := knownhosts.Line([]string{"pve1"}, key)
	for line, want := range map[string]string{
		"1024 35 12345678901234567890 root@old":      "SSH 1",
		"pve1 1024 35 12345678901234567890 root@old": "SSH 1",
		"<<<<<<< HEAD":               "merge",
		"=======":                    "merge",
		">>>>>>> theirs":             "merge",
		"pve1 ssh-ed25519":           "HOST TYPE KEY",
		"pve1 ssh-ed25519 AAAAC3Nza": "can't be read",
		"pve1 ssh-nosuch " + strings.Fields(good)[2]:              "it says ssh-nosuch",
		"@unknown " + knownhosts.Line([]string{"pve1"}, other):    "the marker",
		"@revoked pve1 ssh-ed25519 AAAA":                          "NOT revoked",
		"|2|c2FsdA==|aGFzaA== " + strings.SplitN(good, " ", 2)[1]: "hashed",
		"@cert-authority":                      "HOST TYPE KEY",
		"just some words that somebody pasted": "can't be read",
	} {
		known := hostKeys(t, "# ours", line, good)
		if skipped := known.Skipped(); len(skipped) != 1 || !strings.Contains(skipped[0].Error(), "known_hosts:2: ") || !strings.Contains(skipped[0].Error(), want) {
			t.Errorf("%q: %v, and not %q", line, skipped, want)
		}
		if err := known.Check("pve1:22", nil, key); err != nil {
			t.Errorf("%q: the line beside it: %v", line, err)
		}
		if err := known.Check("pve1:22", nil, other); err == nil {
			t.Errorf("%q lets another key through", line)
		}
	}
}

// TestHostKeysAreMatchedAsByOpenSSH: who a line is about.
func TestHostKeysAreMatchedAsByOpenSSH(t *testing.T) {
	key := sshtest.NewKey(t).PublicKey()
	_, kind, _ := strings.Cut(knownhosts.Line([]string{"x"}, key), " ")
	for hosts, addrs := range map[string]struct{ in, out []string }{
		"pve1":                          {[]string{"pve1:22", "PVE1:22"}, []string{"pve1:2222", "pve10:22"}},
		"PVE1.Lan,10.0.0.1":             {[]string{"pve1.lan:22", "10.0.0.1:22"}, []string{"pve1:22"}},
		"[pve1]:2222":                   {[]string{"pve1:2222"}, []string{"pve1:22"}},
		"[pve1]:22":                     {[]string{"pve1:22"}, nil},
		"*":                             {[]string{"pve1:22", "pve1:2222", "[2001:db8::1]:22"}, nil},
		"pve*":                          {[]string{"pve:22", "pve1:22"}, []string{"pv:22"}}, // x/crypto's * wants a letter
		"*.lan,!bad.lan":                {[]string{"pve1.lan:22"}, []string{"bad.lan:22", "lan:22"}},
		"10.0.0.?":                      {[]string{"10.0.0.1:22"}, []string{"10.0.0.10:22"}},
		"[*.lan]:2222":                  {[]string{"pve1.lan:2222"}, []string{"pve1.lan:22"}},
		"2001:db8::1":                   {[]string{"[2001:db8::1]:22"}, []string{"[2001:db8::2]:22"}},
		"!pve1":                         {nil, []string{"pve1:22", "pve2:22"}},
		knownhosts.HashHostname("pve1"): {[]string{"pve1:22", "PVE1:22"}, []string{"pve1:2222", "pve2:22"}},
		knownhosts.HashHostname(knownhosts.Normalize("10.0.0.1:222")): {[]string{"10.0.0.1:222"}, []string{"10.0.0.1:22"}},
	} {
		known := hostKeys(t, hosts+" "+kind)
		for _, addr := range addrs.in {
			if err := known.Check(addr, nil, key); err != nil {
				t.Errorf("%s is not about %s: %v", hosts, addr, err)
			}
		}
		for _, addr := range addrs.out {
			if err := known.Check(addr, nil, key); err == nil {
				t.Errorf("%s is about %s", hosts, addr)
			}
		}
	}
}

// certify makes a host certificate for principals, of the key of signer.
func certify(t *testing.T, authority, signer ssh.Signer, before uint64, principals ...string) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.HostCert, KeyId: "pve1", ValidPrincipals: principals, ValidBefore: before}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		t.Fatal(err)
	}
	return certified
}

func TestHostCertificates(t *testing.T) {
	authority, host, stranger := sshtest.NewKey(t), sshtest.NewKey(t), sshtest.NewKey(t)
	good := certify(t, authority, host, ssh.CertTimeInfinity, "pve1").PublicKey()
	ca := "@cert-authority * " + strings.SplitN(knownhosts.Line([]string{"x"}, authority.PublicKey()), " ", 2)[1]
	plain := knownhosts.Line([]string{"pve1"}, host.PublicKey())
	revoke := func(key ssh.PublicKey) string { return "@revoked " + knownhosts.Line([]string{"*"}, key) }
	for name, test := range map[string]struct {
		lines []string
		shown ssh.PublicKey
		want  string // in the error; "": none
	}{
		"certified":                     {[]string{ca}, good, ""},
		"certified for another":         {[]string{ca}, certify(t, authority, host, ssh.CertTimeInfinity, "pve2").PublicKey(), "principal"},
		"expired":                       {[]string{ca}, certify(t, authority, host, 1, "pve1").PublicKey(), "expired"},
		"of another authority":          {[]string{ca}, certify(t, stranger, host, ssh.CertTimeInfinity, "pve1").PublicKey(), "unknown"},
		"the key itself is known":       {[]string{plain}, good, ""},
		"expired, but known":            {[]string{ca, plain}, certify(t, authority, host, 1, "pve1").PublicKey(), ""},
		"no certificate":                {[]string{ca}, host.PublicKey(), "unknown"},
		"the authority's own key":       {[]string{ca}, authority.PublicKey(), "unknown"},
		"no certificate, but known":     {[]string{ca, plain}, host.PublicKey(), ""},
		"the key is revoked":            {[]string{ca, revoke(host.PublicKey())}, good, "revoked"},
		"the authority is revoked":      {[]string{ca, revoke(authority.PublicKey())}, good, "revoked"},
		"known and revoked":             {[]string{plain, revoke(host.PublicKey())}, host.PublicKey(), "revoked"},
		"another key is known, no cert": {[]string{plain}, stranger.PublicKey(), "mismatch"},
	} {
		err := hostKeys(t, test.lines...).Check("pve1:22", nil, test.shown)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	known := hostKeys(t, ca, plain)
	if a := cluster.HostKeyAlgorithms(known.Check, "pve1:22"); a[0] != ssh.CertAlgoED25519v01 || a[len(a)-1] != ssh.KeyAlgoED25519 || slices.Contains(a, ssh.KeyAlgoECDSA256) {
		t.Errorf("for a host that is known and may have a certificate: %v", a)
	}
	if a := cluster.HostKeyAlgorithms(known.Check, "pve2:22"); a[0] != ssh.CertAlgoED25519v01 || !slices.Contains(a, ssh.KeyAlgoRSASHA512) {
		t.Errorf("for a host that may have a certificate: %v", a)
	}
}

// TestRevokedHostKeys: a revoked key is called that, and is not pinned again.
func TestRevokedHostKeys(t *testing.T) {
	s := sshtest.Start(t)
	host := knownhosts.Normalize(s.Addr)
	for _, before := range []string{"", knownhosts.Line([]string{host}, s.HostKey) + "\n"} {
		path := filepath.Join(t.TempDir(), "known_hosts")
		before += "@revoked " + knownhosts.Line([]string{"*"}, s.HostKey) + "\n"
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		where := path + ":" + map[bool]string{true: "2", false: "1"}[strings.Count(before, "\n") == 2]
		_, err := cluster.TrustHost(t.Context(), path, s.Addr)
		wrong, ok := errors.AsType[*cluster.HostKeyError](err)
		if !ok || wrong.Revoked != where || wrong.Changed || !strings.Contains(err.Error(), "revoked in "+where) {
			t.Errorf("trust: %v", err)
		}
		if after, _ := os.ReadFile(path); string(after) != before {
			t.Errorf("the file became %s", after)
		}
		known, err := cluster.KnownHosts(path)
		if err != nil {
			t.Fatal(err)
		}
		r := cluster.NewSSH(cluster.SSHConfig{Addr: s.Addr, Signers: []ssh.Signer{s.Signer}, HostKeys: known.Check})
		_, err = r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}})
		if wrong, ok := errors.AsType[*cluster.HostKeyError](err); !ok || wrong.Revoked != where {
			t.Errorf("connecting: %v", err)
		}
		r.Close()
	}
}

// TestHostCertificatesOfOpenSSH: a node whose sshd shows a certificate is reached by
// its authority alone, and one without is pinned beside that line.
func TestHostCertificatesOfOpenSSH(t *testing.T) {
	authority := sshtest.NewKey(t)
	ca := "@cert-authority * " + strings.SplitN(knownhosts.Line([]string{"x"}, authority.PublicKey()), " ", 2)[1] + "\n"
	hostPEM, _ := newPEM(t)
	host, err := ssh.ParsePrivateKey(hostPEM)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert := certify(t, authority, host, ssh.CertTimeInfinity, "127.0.0.1").PublicKey()
	certified := openSSH(t, "", "HostKey "+write("certified", hostPEM), "HostCertificate "+write("certified-cert.pub", ssh.MarshalAuthorizedKey(cert)))
	for name, cfg := range map[string]cluster.SSHConfig{"certified": certified, "plain": openSSH(t, "")} {
		path := write(name+"-known", []byte(ca))
		trusted, err := cluster.TrustHost(t.Context(), path, cfg.Addr)
		if err != nil || trusted.Certified != (name == "certified") {
			t.Fatalf("%s: %+v, %v", name, trusted, err)
		}
		text, err := os.ReadFile(path)
		if err != nil || (string(text) == ca) != trusted.Certified {
			t.Errorf("%s: %v, the file is\n%s", name, err, text)
		}
		known, err := cluster.KnownHosts(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg.HostKeys = known.Check
		r := cluster.NewSSH(cfg)
		if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
	}
}

// FuzzKnownHosts: who is let through is let through by x/crypto, too, where that
// can read the file; but for ports of patterns and for *, in which we follow
// OpenSSH.
func FuzzKnownHosts(f *testing.F) {
	key := sshtest.NewKey(f).PublicKey()
	line := knownhosts.Line([]string{"pve1"}, key)
	f.Add("pve1", "pve1")
	f.Add("pve?,!pve2", "pve2")
	f.Add(knownhosts.HashHostname("pve1"), "pve1")
	f.Add("\xd8", "\xbf") // no UTF-8, either
	f.Add("pve\f", "pve")
	f.Fuzz(func(t *testing.T, hosts, host string) {
		if strings.ContainsAny(hosts+host, ":[]*\r") || strings.ToLower(hosts+host) != hosts+host && !strings.HasPrefix(hosts, "|") {
			t.Skip("what differs")
		}
		path := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(path, []byte(hosts+" "+strings.SplitN(line, " ", 2)[1]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, err := knownhosts.New(path)
		if err != nil {
			t.Skip("x/crypto can't read it")
		}
		ours, err := cluster.KnownHosts(path)
		if err != nil {
			t.Skip("no text")
		}
		addr := net.JoinHostPort(host, "22")
		if a, b := theirs(addr, &net.TCPAddr{}, key), ours.Check(addr, nil, key); b == nil && a != nil {
			t.Errorf("%q about %q: theirs %v, ours %v", hosts, host, a, b)
		}
	})
}

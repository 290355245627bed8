package commands

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestCheckKey(t *testing.T) {
	signer := func(key any) ssh.Signer {
		t.Helper()
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	line := func(pub ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) }
	newRSA := func(bits int) string {
		t.Helper()
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return line(signer(key).PublicKey())
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := signer(private)
	key := line(ed.PublicKey())
	cert := &ssh.Certificate{Key: ed.PublicKey(), CertType: ssh.UserCert}
	if err := cert.SignCert(rand.Reader, ed); err != nil {
		t.Fatal(err)
	}
	rsa2048 := newRSA(2048)

	for in, want := range map[string]string{
		key:                                  key,
		"  " + key + " ":                     key,
		key + " me@laptop":                   key + " me@laptop",
		key + "   my  laptop":                key + " my laptop",
		key + " " + strings.Repeat("x", 200): key + " " + strings.Repeat("x", maxComment),
		rsa2048:                              rsa2048,
	} {
		if v, f := checkKey(in); f != nil || v.text != want {
			t.Errorf("%q: got %q, %v", in, v.text, f)
		}
	}
	for in, say := range map[string]string{
		"":                                     "wants an SSH public key, the line in",
		"ssh-ed25519":                          "wants an SSH public key, the line in",
		"ssh-ed25519 AAAA":                     "wants an SSH public key, the line in",
		"ssh-rsa " + key[len("ssh-ed25519 "):]: "wants an SSH public key, the line in",
		`command="id" ` + key:                  "takes a key without options: begin with ssh-ed25519",
		"no-pty " + key:                        "takes a key without options: begin with ssh-ed25519",
		key + "\n" + key:                       "takes one key, one line",
		key + "\nssh-ed25519 x":                "takes one key, one line",
		line(cert):                             "wants a key of type ssh-ed25519, ",
		newRSA(1024):                           "wants an RSA key of at least 2048 bits, and this one has 1024",
	} {
		if v, f := checkKey(in); f == nil || !strings.HasPrefix(f.say, say) || strings.Contains(f.say, "AAAA") && !strings.Contains(f.say, "(ssh-ed25519 AAAA...)") {
			t.Errorf("%q: got %q, %v", in, v.text, f)
		}
	}
}

func TestHoldsSecret(t *testing.T) {
	for line, want := range map[string]bool{
		"/vm install ubuntu --password x": true, "/vm install ubuntu passwd=x": true, `/vm install ubuntu "passwd=x"`: true,
		`/vm install ubuntu '--pass=x'`: true, "/vm instal --cipassword x": true, "/vm show -----BEGIN PRIVATE KEY-----": true,
		"/vm install ubuntu correct_horse+1 --password": true, "/vm install ubuntu 24.04 --password": false,
		"/vm install ubuntu --key " + exampleKey: false, "/vm show pass": false, "/vm list": false, "": false,
	} {
		if got := HoldsSecret(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	_, err := Build("install", Fields{"os": "ubuntu", "version": "passwd=x"})
	if m := mistake(t, "a form", err); !m.Secret {
		t.Errorf("a form: %+v", m)
	}
}

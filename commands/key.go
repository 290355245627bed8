package commands

import (
	"crypto/rsa"
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// exampleKey is a key whose private half was thrown away.
const exampleKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5XipGPSY4KKRCs5uoP3TwqD9qpZhsGWlpf17Xc3HqN me@laptop"

// keyTypes are the key types that today's OpenSSH servers take.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoRSA,
}

// minRSA is the shortest RSA key, in bits, that is still worth something.
const minRSA = 2048

// maxComment is the longest comment of a key that is kept.
const maxComment = 100

// checkKey reads one line of authorized_keys without options, and writes it
// again from what it understood: nothing else reaches a guest's file.
func checkKey(raw string) (value, *fault) {
	pub, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(raw))
	switch {
	case err != nil:
		return value{}, faultf("", "wants an SSH public key, the line in ~/.ssh/id_ed25519.pub (ssh-ed25519 AAAA...)")
	case len(options) > 0:
		return value{}, faultf(keyLine(pub, comment), "takes a key without options: begin with %s", pub.Type())
	case len(rest) > 0 || strings.ContainsAny(raw, "\r\n"):
		return value{}, faultf(keyLine(pub, comment), "takes one key, one line")
	case !slices.Contains(keyTypes, pub.Type()):
		return value{}, faultf("", "wants a key of type %s, and this one is %s", strings.Join(keyTypes, ", "), clip(pub.Type()))
	}
	if c, ok := pub.(ssh.CryptoPublicKey); ok {
		if key, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
			return value{}, faultf("", "wants an RSA key of at least %d bits, and this one has %d", minRSA, key.N.BitLen())
		}
	}
	return value{text: keyLine(pub, comment)}, nil
}

// keyLine writes a public key as one line with a short, single-spaced comment.
func keyLine(pub ssh.PublicKey, comment string) string {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	if r := []rune(comment); len(r) > maxComment {
		comment = string(r[:maxComment])
	}
	return strings.TrimSpace(line + " " + strings.Join(strings.Fields(comment), " "))
}

// secretRE finds private keys: PEM of any kind (the words only, since chats
// mangle dashes), PuTTY files, and the base64 of "openssh-key-v1".
var secretRE = regexp.MustCompile(`(?i)PRIVATE[\s\p{Z}_-]{0,3}KEY|PuTTY-User-Key-File|b3BlbnNzaC1rZXktdjE`)

// exposed is the answer to a line with a private key in it.
func exposed(verb string) *Mistake {
	m := &Mistake{
		Say:    "That is a PRIVATE key: everybody who can read this conversation has it now. Delete the message, stop using that key, make a new one, and give me the .pub file",
		Verb:   verb,
		Secret: true,
	}
	if verb == "install" {
		m.Param = "key"
	}
	return m
}

// HoldsSecret reports whether a line has something in it that must not be
// stored, logged or shown: a private key or a password.
func HoldsSecret(line string) bool {
	_, err := Parse(line)
	m, ok := errors.AsType[*Mistake](err)
	return ok && m.Secret
}

package commands

import (
	"errors"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"pvebot/provision"
)

// exampleKey is a key whose private half was thrown away.
const exampleKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5XipGPSY4KKRCs5uoP3TwqD9qpZhsGWlpf17Xc3HqN me@laptop"

// minRSA is the shortest RSA key, in bits, that is still worth something.
const minRSA = 2048

// maxComment is the longest comment of a key that is kept.
const maxComment = 100

// checkKey reads one line of authorized_keys without options, and writes it
// again from what it understood: nothing else reaches a guest's file.
func checkKey(raw string) (value, *fault) {
	k, err := provision.ParsePublicKey(raw)
	switch {
	case k.Key != nil && len(k.Options) > 0:
		return value{}, faultf(keyLine(k), "takes a key without options: begin with %s", k.Key.Type())
	case err != nil && k.Key != nil:
		return value{}, faultf(keyLine(k), "%v", err)
	case err != nil:
		return value{}, faultf("", "%v", err)
	case k.Bits > 0 && k.Bits < minRSA:
		return value{}, faultf("", "wants an RSA key of at least %d bits, and this one has %d", minRSA, k.Bits)
	}
	return value{text: keyLine(k)}, nil
}

// keyLine writes a public key as one line with a short, single-spaced comment.
func keyLine(k provision.PublicKey) string {
	line, comment := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.Key))), k.Comment
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

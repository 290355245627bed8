package provision

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyTypes are the types of public keys that today's OpenSSH servers take.
// ssh-dss is none of them any more (OpenSSH 10).
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoRSA,
}

// shortestRSA is the shortest RSA key, in bits, that OpenSSH takes
// (RequiredRSASize).
const shortestRSA = 1024

// PublicKey is an SSH public key as a line of authorized_keys has it.
type PublicKey struct {
	Key     ssh.PublicKey
	Comment string
	Options []string // what stands before the type
	Bits    int      // of an RSA key, else 0
}

// ParsePublicKey reads one line of authorized_keys. Its error is what such a line
// has to be, to stand after the name of what was read: "wants an SSH public key".
// Proxmox VE asks ssh-keygen about each line, and refuses the whole VM for one
// that it does not take.
func ParsePublicKey(line string) (PublicKey, error) {
	pub, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return PublicKey{}, errors.New("wants an SSH public key, the line in ~/.ssh/id_ed25519.pub (ssh-ed25519 AAAA...)")
	case len(rest) > 0 || strings.ContainsAny(line, "\r\n"):
		return PublicKey{Key: pub, Comment: comment}, errors.New("takes one key, one line")
	case !slices.Contains(keyTypes, pub.Type()):
		return PublicKey{}, fmt.Errorf("wants a key of type %s, and this one is %s", strings.Join(keyTypes, ", "), pub.Type())
	}
	k := PublicKey{Key: pub, Comment: comment, Options: options}
	if c, ok := pub.(ssh.CryptoPublicKey); ok {
		if key, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
			k.Bits = key.N.BitLen()
		}
	}
	if k.Bits > 0 && k.Bits < shortestRSA {
		return PublicKey{}, fmt.Errorf("wants an RSA key that OpenSSH takes, and this one has %d bits: at least %d", k.Bits, shortestRSA)
	}
	return k, nil
}

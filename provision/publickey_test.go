package provision_test

import (
	"strings"
	"testing"

	"pvebot/provision"
)

// TestParsePublicKey: what ssh-keygen would refuse is refused here, before a VM is
// made with it.
func TestParsePublicKey(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJEAKZKyWhwSgyUOTmOjRmcTEhbEODmU9wUfl4bqXD3N"
	for _, line := range []string{key, key + " alice", `from="192.0.2.0/24",no-pty ` + key + " alice"} {
		if _, err := provision.ParsePublicKey(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for line, want := range map[string]string{
		"":                     "wants an SSH public key",
		key[:40]:               "wants an SSH public key", // the first half of a line that an editor wrapped
		key[40:]:               "wants an SSH public key",
		"# a word\n" + key:     "takes one key, one line",
		"garbage\n" + key:      "takes one key, one line",
		key + "\n" + key:       "takes one key, one line",
		key + "\r":             "takes one key, one line",
		"ssh-dss AAAAB3NzaC1k": "wants an SSH public key",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQCo9+BpMRYQ/dL3DS2CyJxRF+j6ctbT3/Qp84+KeFhnii7NT7fELilKUSnxS30WAvQCCo2yU1orfgqr41mM70MB": "wants an RSA key that OpenSSH takes, and this one has 512 bits: at least 1024",
	} {
		if _, err := provision.ParsePublicKey(line); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

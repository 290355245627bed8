package pvesim

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// keys are the cluster's: one host key for all nodes, one client key.
type keys struct {
	host       ssh.Signer
	client     ssh.Signer
	clientPath string // OpenSSH private key, mode 0600
	knownPath  string // known_hosts
}

func newKeys(dir string) (*keys, error) {
	k := &keys{clientPath: filepath.Join(dir, "id_ed25519"), knownPath: filepath.Join(dir, "known_hosts")}
	_, host, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if k.host, err = ssh.NewSignerFromSigner(host); err != nil {
		return nil, err
	}
	_, client, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if k.client, err = ssh.NewSignerFromSigner(client); err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(client, "pvesim")
	if err != nil {
		return nil, err
	}
	return k, os.WriteFile(k.clientPath, pem.EncodeToMemory(block), 0o600)
}

func (k *keys) writeKnownHosts(dir string, nodes []*node) error {
	var b strings.Builder
	for _, n := range nodes {
		b.WriteString(knownhosts.Line([]string{knownhosts.Normalize(n.ssh.Addr().String())}, k.host.PublicKey()) + "\n")
	}
	return os.WriteFile(k.knownPath, []byte(b.String()), 0o644)
}

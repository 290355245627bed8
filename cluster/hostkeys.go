package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster/textfile"
)

// HostKeyError says that a machine could not prove to be the one it should
// be. Nothing was sent to it.
type HostKeyError struct {
	Name        string // of the node
	Addr        string
	Fingerprint string // SHA256:... of the key it showed
	Changed     bool   // another key is known for it; else none is
	Revoked     string // FILE:LINE of known_hosts that revokes the key; "": none does
	Err         error
}

func (e *HostKeyError) Error() string {
	switch {
	case e.Revoked != "":
		return fmt.Sprintf("%s (%s) shows a host key that is revoked in %s: %s. Give the machine new host keys, or remove that line if it is there by mistake, "+
			"then run `bot nodes trust %s`", e.Name, e.Addr, e.Revoked, e.Fingerprint, e.Name)
	case e.Changed:
		return fmt.Sprintf("%s (%s) shows a host key other than the known one: %s%s. Somebody may be in between. "+
			"If the machine was reinstalled, remove its old key from known_hosts and run `bot nodes trust %s`",
			e.Name, e.Addr, e.Fingerprint, e.certificate(), e.Name)
	}
	return fmt.Sprintf("the host key of %s (%s) is not known here: %s%s. Compare it on the machine, then run `bot nodes trust %s`",
		e.Name, e.Addr, e.Fingerprint, e.certificate(), e.Name)
}

// certificate says why a certificate of a known authority is not good.
func (e *HostKeyError) certificate() string {
	unknown, ok := errors.AsType[*unknownHostError](e.Err)
	if !ok || unknown.certificate == nil {
		return ""
	}
	return ", with a certificate that is not good (" + unknown.certificate.Error() + ")"
}

func (e *HostKeyError) Unwrap() error { return e.Err }

func hostKeyError(name, addr string, key ssh.PublicKey, err error) *HostKeyError {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	e := &HostKeyError{Name: name, Addr: addr, Fingerprint: ssh.FingerprintSHA256(key), Err: err}
	if known, ok := errors.AsType[*knownhosts.KeyError](err); ok {
		e.Changed = len(known.Want) > 0
	}
	if gone, ok := errors.AsType[*knownhosts.RevokedError](err); ok {
		e.Revoked = fmt.Sprintf("%s:%d", gone.Revoked.Filename, gone.Revoked.Line)
	}
	return e
}

// Trusted is a machine whose host key is known.
type Trusted struct {
	Fingerprint string // SHA256:... of its key
	// Certified: an authority in known_hosts vouches for the key, so that none had
	// to be written there.
	Certified bool
}

// TrustHost asks the SSH server at addr (host[:port]) for its host key and
// appends it to the known_hosts file at path, which is replaced atomically.
// It returns the key's SHA256 fingerprint, for a person to compare. A key
// that is known already is fine; a revoked one, or another known one, is a
// *HostKeyError, and the file stays as it is.
func TrustHost(ctx context.Context, path, addr string) (Trusted, error) {
	addr = withPort(addr)
	known, err := KnownHosts(path)
	if err != nil {
		return Trusted{}, err
	}
	shown, err := fetchHostKey(ctx, addr, HostKeyAlgorithms(known.Check, addr))
	if err != nil {
		return Trusted{}, err
	}
	key := shown
	cert, certified := shown.(*ssh.Certificate)
	if certified {
		key = cert.Key
	}
	trusted := Trusted{Fingerprint: ssh.FingerprintSHA256(key)}
	err = known.Check(addr, nil, shown)
	if err == nil {
		trusted.Certified = certified && known.Check(addr, nil, key) != nil
		return trusted, nil
	}
	if wrong := hostKeyError(addr, addr, key, err); wrong.Changed || wrong.Revoked != "" {
		return Trusted{}, wrong
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Trusted{}, err
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	line := knownhosts.Line([]string{knownhosts.Normalize(addr)}, key) + "\n"
	return trusted, replaceFile(path, append(old, line...))
}

// fetchHostKey shakes hands only as far as the host key.
func fetchHostKey(ctx context.Context, addr string, algorithms []string) (ssh.PublicKey, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if algorithms == nil {
		algorithms = plainAlgorithms
	}
	var key ssh.PublicKey
	enough := errors.New("seen enough")
	_, _, _, err = ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k
			return enough
		},
	})
	if key == nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("no host key from %s: %w", addr, err)
	}
	return key, nil
}

// replaceFile writes data to path so that a reader sees the old or the new
// content, also after a power cut.
func replaceFile(path string, data []byte) error {
	if err := RootsWay(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".known_hosts-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if dir, serr := os.Stat(filepath.Dir(path)); serr == nil && os.Geteuid() == 0 {
		// root writes for whoever's folder it is, who has to read it.
		if of, ok := dir.Sys().(*syscall.Stat_t); ok {
			err = errors.Join(err, tmp.Chown(int(of.Uid), int(of.Gid)))
		}
	}
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// LoadSigners reads a private key in OpenSSH or PEM format. It has to be one
// without a passphrase, since a bot starts alone.
func LoadSigners(keyFile string) ([]ssh.Signer, error) {
	text, err := textfile.Read(keyFile)
	if err != nil {
		return nil, fmt.Errorf("SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("SSH key %w", notPrivate(keyFile, text, err))
	}
	return []ssh.Signer{signer}, nil
}

// notPrivate says what a file is that was given as a private key.
func notPrivate(keyFile string, text []byte, err error) error {
	wrong := &textfile.Error{File: keyFile, Say: "this is no private key in OpenSSH or PEM format", Err: err}
	public, _, _, _, notPublic := ssh.ParseAuthorizedKey(text)
	switch _, locked := errors.AsType[*ssh.PassphraseMissingError](err); {
	case locked:
		wrong.Say, wrong.Try = "it has a passphrase", "give the bot a key of its own without one"
	case bytes.HasPrefix(text, []byte("PuTTY-User-Key-File")):
		wrong.Say, wrong.Try = "this is a key of PuTTY", "turn it into OpenSSH's form: puttygen "+keyFile+" -O private-openssh -o NEW"
	case notPublic == nil:
		wrong.Say, wrong.Try = "this is a public key ("+public.Type()+")", "name the private half, mostly the file without .pub"
	case bytes.Contains(text, []byte("PRIVATE KEY-----")):
		wrong.Say, wrong.Try = "this private key is damaged: "+err.Error(), "copy it again, all lines of it"
	}
	return wrong
}

// withPort adds SSH's port to an address that has none.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(trimBrackets(addr), "22")
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

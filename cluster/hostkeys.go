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
	"slices"
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
	Err         error
}

func (e *HostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("%s (%s) shows a host key other than the known one: %s. Somebody may be in between. "+
			"If the machine was reinstalled, remove its old key from known_hosts and run `bot nodes trust %s`",
			e.Name, e.Addr, e.Fingerprint, e.Name)
	}
	return fmt.Sprintf("the host key of %s (%s) is not known here: %s. Compare it on the machine, then run `bot nodes trust %s`",
		e.Name, e.Addr, e.Fingerprint, e.Name)
}

func (e *HostKeyError) Unwrap() error { return e.Err }

func hostKeyError(name, addr string, key ssh.PublicKey, err error) *HostKeyError {
	var known *knownhosts.KeyError
	return &HostKeyError{
		Name: name, Addr: addr, Fingerprint: ssh.FingerprintSHA256(key),
		Changed: errors.As(err, &known) && len(known.Want) > 0, Err: err,
	}
}

// KnownHosts reads an OpenSSH known_hosts file. One that does not exist yet
// knows nobody. The file is read once; a changed one needs a new callback.
func KnownHosts(path string) (ssh.HostKeyCallback, error) {
	check, err := knownhosts.New(path)
	if errors.Is(err, fs.ErrNotExist) {
		return knownhosts.New()
	}
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	return check, nil
}

// HostKeyAlgorithms are the algorithms of the keys that check knows for addr
// (host:port), nil when it knows none. A client that offers others may be
// shown a key that is right but not the known one.
func HostKeyAlgorithms(check ssh.HostKeyCallback, addr string) []string {
	var known *knownhosts.KeyError
	if err := check(addr, &net.TCPAddr{}, nobodysKey{}); !errors.As(err, &known) {
		return nil
	}
	var algorithms []string
	for _, k := range known.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, t)
		}
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

// nobodysKey makes a knownhosts callback tell which keys it wants.
type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "nobodys-key" }
func (nobodysKey) Marshal() []byte                     { return []byte("nobodys-key") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return errors.New("nobody's key") }

// TrustHost asks the SSH server at addr (host[:port]) for its host key and
// appends it to the known_hosts file at path, which is replaced atomically.
// It returns the key's SHA256 fingerprint, for a person to compare. A key
// that is known already is fine; another known key is a *HostKeyError, and
// the file stays as it is.
func TrustHost(ctx context.Context, path, addr string) (string, error) {
	addr = withPort(addr)
	known, err := KnownHosts(path)
	if err != nil {
		return "", err
	}
	key, err := fetchHostKey(ctx, addr, HostKeyAlgorithms(known, addr))
	if err != nil {
		return "", err
	}
	fingerprint := ssh.FingerprintSHA256(key)
	err = known(addr, &net.TCPAddr{}, key)
	if err == nil {
		return fingerprint, nil
	}
	if wrong := hostKeyError(addr, addr, key, err); wrong.Changed {
		return "", wrong
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	line := knownhosts.Line([]string{knownhosts.Normalize(addr)}, key) + "\n"
	return fingerprint, replaceFile(path, append(old, line...))
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
		algorithms = []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		}
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

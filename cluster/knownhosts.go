package cluster

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hashes names with it, to hide them and not to prove anything
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/cluster/textfile"
)

// HostKeys are the host keys of an OpenSSH known_hosts file, with its certificate
// authorities and revoked keys. As OpenSSH does, it passes over lines that can't be
// read: what stands there is not known, and nobody is let through by it.
type HostKeys struct {
	path    string
	lines   []hostKeyLine
	skipped []error
}

// hostKeyLine is a line of a known_hosts file.
type hostKeyLine struct {
	marker string // "", authority or revoked
	hosts  string // as they stand there
	key    ssh.PublicKey
	number int
}

const (
	authority = "@cert-authority"
	revoked   = "@revoked"
)

// KnownHosts reads an OpenSSH known_hosts file. One that does not exist yet
// knows nobody. The file is read once; a changed one is to be read anew.
func KnownHosts(path string) (*HostKeys, error) {
	k := &HostKeys{path: path}
	text, err := textfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.Trim(line, " \t\n") // as OpenSSH does: any other blank is a part of a name
		if line == "" || line[0] == '#' {
			continue
		}
		l, err := parseHostKeyLine(line)
		if err != nil {
			k.skipped = append(k.skipped, &textfile.Error{File: path, Line: n, Say: "this line is passed over: " + err.Error(), Try: "remove it, or write it anew"})
			continue
		}
		l.number = n
		k.lines = append(k.lines, l)
	}
	return k, nil
}

// Skipped are the lines that can't be read: one error each, with file and line.
func (k *HostKeys) Skipped() []error { return k.skipped }

// parseHostKeyLine reads [MARKER] HOSTS TYPE KEY [COMMENT].
func parseHostKeyLine(line string) (hostKeyLine, error) {
	var l hostKeyLine
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	if strings.HasPrefix(words[0], "@") {
		l.marker, words = words[0], words[1:]
	}
	switch {
	case l.marker != "" && l.marker != authority && l.marker != revoked:
		return l, fmt.Errorf("the marker is none of %s and %s", authority, revoked)
	case strings.HasPrefix(line, "<<<<<<<"), strings.HasPrefix(line, "======="), strings.HasPrefix(line, ">>>>>>>"):
		return l, errors.New("a mark of a merge that was not finished")
	case isSSH1(words), len(words) > 0 && isSSH1(words[1:]):
		return l, errors.New("a key of SSH 1, which nothing speaks any more")
	case len(words) < 3:
		return l, errors.New("it is not HOST TYPE KEY")
	}
	blob, err := base64.StdEncoding.DecodeString(words[2])
	if err == nil {
		l.key, err = ssh.ParsePublicKey(blob)
	}
	switch _, isCert := l.key.(*ssh.Certificate); {
	case err != nil:
		err = fmt.Errorf("its key can't be read (%s): %v", words[1], err) //nolint:errorlint // nobody asks for the cause
	case l.key.Type() != words[1]:
		err = fmt.Errorf("it says %s, and its key is %s", words[1], l.key.Type())
	case isCert:
		err = errors.New("it has a certificate for a key")
	case strings.HasPrefix(words[0], "|") && hashParts(words[0]) == nil:
		err = errors.New("its host is hashed in a way that nobody knows")
	}
	if err != nil && l.marker == revoked {
		err = fmt.Errorf("%w; the key that it should revoke is NOT revoked", err)
	}
	l.hosts = words[0]
	return l, err
}

// isSSH1 reports whether words are a key of SSH 1: bits, exponent, modulus.
func isSSH1(words []string) bool {
	if len(words) < 3 {
		return false
	}
	for _, w := range words[:3] {
		if strings.Trim(w, "0123456789") != "" {
			return false
		}
	}
	return true
}

// hashParts are the salt and the hash of |1|SALT|HASH, nil of something else.
func hashParts(hosts string) [][]byte {
	parts := strings.Split(hosts, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return nil
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	sum, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err1 != nil || err2 != nil {
		return nil
	}
	return [][]byte{salt, sum}
}

// about reports whether the line is about host, in the form that known_hosts has
// for it: a name, or [name]:port where the port is not 22.
func (l hostKeyLine) about(host string) bool {
	if parts := hashParts(l.hosts); parts != nil {
		sum := hmac.New(sha1.New, parts[0])
		sum.Write([]byte(host))
		return hmac.Equal(sum.Sum(nil), parts[1])
	}
	found := false
	for pattern := range strings.SplitSeq(l.hosts, ",") {
		pattern, not := strings.CutPrefix(pattern, "!")
		if pattern == "" || !wildcard(lower(knownhosts.Normalize(pattern)), host) {
			continue
		}
		if not {
			return false
		}
		found = true
	}
	return found
}

// lower is s in lower case. What is no ASCII stays as it is, as with OpenSSH:
// strings.ToLower makes one letter of all bytes that are no UTF-8.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// wildcard matches * and ?, and nothing else has a meaning in a pattern.
func wildcard(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return len(head) == len(s) && question(head, s)
	}
	if len(s) < len(head) || !question(head, s) {
		return false
	}
	for i := len(head); i <= len(s); i++ {
		if wildcard(rest, s[i:]) {
			return true
		}
	}
	return false
}

// question matches the beginning of s with a pattern in which only ? is special.
func question(pattern, s string) bool {
	for i := range len(pattern) {
		if pattern[i] != '?' && pattern[i] != s[i] {
			return false
		}
	}
	return true
}

// unknownHostError says that none of the host's lines lets the key through.
type unknownHostError struct {
	knownhosts.KeyError       // the keys that would
	authorities         bool  // there are authorities for the host
	certificate         error // of one of them, and not good
}

func (e *unknownHostError) Error() string {
	if e.certificate != nil {
		return e.certificate.Error()
	}
	return e.KeyError.Error()
}

func (e *unknownHostError) Unwrap() error { return &e.KeyError }

// Check lets a key through that is known for the host, or a certificate that one
// of its authorities made for it, and neither when it is revoked. It is an
// ssh.HostKeyCallback. Its errors wrap a *knownhosts.KeyError or a
// *knownhosts.RevokedError.
func (k *HostKeys) Check(addr string, _ net.Addr, shown ssh.PublicKey) error {
	key := shown
	cert, _ := shown.(*ssh.Certificate)
	if cert != nil {
		key = cert.Key
	}
	for _, l := range k.lines {
		if l.marker == revoked && (equalKeys(l.key, key) || cert != nil && equalKeys(l.key, cert.SignatureKey)) {
			return &knownhosts.RevokedError{Revoked: k.known(l)}
		}
	}
	host := lower(knownhosts.Normalize(addr))
	unknown := &unknownHostError{}
	vouched := false
	for _, l := range k.lines {
		switch {
		case l.marker == revoked || !l.about(host):
		case l.marker == authority:
			unknown.authorities = true
			vouched = vouched || cert != nil && equalKeys(l.key, cert.SignatureKey)
		case equalKeys(l.key, key):
			return nil
		default:
			unknown.Want = append(unknown.Want, k.known(l))
		}
	}
	if vouched {
		if unknown.certificate = checkCertificate(addr, cert); unknown.certificate == nil {
			return nil
		}
	}
	return unknown
}

// checkCertificate checks a certificate whose authority is good.
func checkCertificate(addr string, cert *ssh.Certificate) error {
	checker := ssh.CertChecker{IsHostAuthority: func(ssh.PublicKey, string) bool { return true }}
	if err := checker.CheckHostKey(addr, &net.TCPAddr{}, cert); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return nil
}

func (k *HostKeys) known(l hostKeyLine) knownhosts.KnownKey {
	return knownhosts.KnownKey{Key: l.key, Filename: k.path, Line: l.number}
}

func equalKeys(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// certAlgorithms are those of host certificates, of which the first that the
// machine has is taken.
var certAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// plainAlgorithms are those of host keys without a certificate.
var plainAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// HostKeyAlgorithms are the algorithms of the keys that check knows for addr
// (host:port), nil when it knows nothing about it. A client that offers others may
// be shown a key that is right but not the known one. Where an authority is known,
// certificates go first, as they do for OpenSSH, and who is only known by one may
// show any key.
func HostKeyAlgorithms(check ssh.HostKeyCallback, addr string) []string {
	err := check(addr, &net.TCPAddr{}, nobodysKey{})
	known, ok := errors.AsType[*knownhosts.KeyError](err)
	if !ok {
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
	algorithms = slices.Compact(algorithms)
	if unknown, ok := errors.AsType[*unknownHostError](err); ok && unknown.authorities {
		if algorithms == nil {
			algorithms = plainAlgorithms
		}
		return slices.Concat(certAlgorithms, algorithms)
	}
	return algorithms
}

// nobodysKey makes a callback tell which keys it wants.
type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "nobodys-key" }
func (nobodysKey) Marshal() []byte                     { return []byte("nobodys-key") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return errors.New("nobody's key") }

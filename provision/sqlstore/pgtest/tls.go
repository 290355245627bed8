package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
}

// Authority is the file of an authority that has signed nothing.
func Authority(t testing.TB) (file string) {
	t.Helper()
	return newAuthority(t).file
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{
		cert: &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of tests"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		},
		key:  newKey(t),
		file: filepath.Join(t.TempDir(), "ca.crt"),
	}
	if err := os.WriteFile(a.file, a.sign(t, a.cert, a.key), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign returns the certificate of key, in PEM.
func (a *authority) sign(t testing.TB, c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify gives the server a certificate for host, and returns the file of the
// authority that signed it.
func (s *Server) certify(host string) (ca string) {
	s.t.Helper()
	a, key := newAuthority(s.t), newKey(s.t)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("server.crt", a.sign(s.t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key))
	s.write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return a.file
}

// write writes a file of the server's data directory.
func (s *Server) write(name string, data []byte) {
	s.t.Helper()
	file := filepath.Join(s.data(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.as == nil {
		return
	}
	if err := os.Chown(file, int(s.as.Credential.Uid), int(s.as.Credential.Gid)); err != nil {
		s.t.Fatal(err)
	}
}

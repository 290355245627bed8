package sqlstore

import (
	"path/filepath"
	"strings"
	"testing"

	"pvebot/provision/sqlstore/pgtest"
)

// TestVerifyFull: with sslmode=verify-full the store talks to the server that
// the authority vouches for, by the name it vouches for, and to no other.
func TestVerifyFull(t *testing.T) {
	t.Parallel()
	server, ca := pgtest.StartTLS(t)
	verified := server.URL + "?sslmode=verify-full&sslrootcert="
	s := openStore(t, verified+ca, Options{})
	finished(t, s, "a")
	var version string
	if err := s.db.QueryRowContext(t.Context(), `SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&version); err != nil || !strings.HasPrefix(version, "TLS") {
		t.Errorf("the connection is %q, %v", version, err)
	}
	for _, tt := range []struct{ name, url, want string }{
		{"by another name", strings.Replace(verified+ca, "localhost", "127.0.0.1", 1), "127.0.0.1"},
		{"by another authority", verified + pgtest.Authority(t), "unknown authority"},
		{"in the clear", server.URL + "?sslmode=disable", "no encryption"},
		{"an authority that is not there", verified + filepath.Join(t.TempDir(), "ca.crt"), "ca.crt"},
	} {
		if s, err := Open(t.Context(), tt.url, Options{}); err == nil {
			s.Close()
			t.Errorf("%s: it was taken", tt.name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

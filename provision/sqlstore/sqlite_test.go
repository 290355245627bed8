package sqlstore

import (
	"io"
	"log/slog"
	"testing"

	"pvebot/provision"
	"pvebot/provision/storetest"
)

// sqliteHarness opens stores in directories of their own.
func sqliteHarness() storetest.Harness {
	return storetest.Harness{
		Open: func(t testing.TB, clock *storetest.Clock) provision.Store {
			return openStore(t, t.TempDir(), Options{Clock: clock, Lease: storetest.Lease})
		},
		Reopen: func(t testing.TB, s provision.Store, clock *storetest.Clock) provision.Store {
			return openStore(t, crash(t, s.(*Store)), Options{Clock: clock, Lease: storetest.Lease})
		},
		Break: breakRow,
	}
}

// breakRow is Harness.Break.
func breakRow(t testing.TB, s provision.Store, what string, id, n int64) {
	t.Helper()
	queries := map[string]string{
		"job":         `UPDATE jobs SET snapshot = '{"id":' WHERE id = $1 AND $2 = 0`,
		"event":       `UPDATE events SET data = '{"seq":' WHERE job = $1 AND seq = $2`,
		"VM":          `UPDATE vms SET data = 'no JSON' WHERE vmid = $1 AND $2 = 0`,
		"audit row":   `UPDATE audit SET data = '' WHERE seq = $1 AND $2 = 0`,
		"interaction": `UPDATE inbox SET data = '{' WHERE $1 = 0 AND $2 = 0`,
	}
	res, err := s.(*Store).db.ExecContext(t.Context(), queries[what], id, n)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("no %s was broken: %v", what, err)
	}
}

func openStore(t testing.TB, url string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// crash does of a process's end what another process sees: its lock is gone.
func crash(t testing.TB, s *Store) (dir string) {
	t.Helper()
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	s.release = nil
	return s.dir
}

func TestSQLite(t *testing.T) { storetest.Run(t, sqliteHarness()) }

func BenchmarkSQLiteAppend(b *testing.B) { storetest.BenchmarkAppend(b, sqliteHarness()) }

func BenchmarkSQLiteFollow(b *testing.B) { storetest.BenchmarkFollow(b, sqliteHarness(), 8) }

// textLog writes a log for people to w.
func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

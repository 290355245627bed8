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

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pvebot/provision"
)

// worker is a lease on a new job.
func worker(t *testing.T, s *Store) *provision.Lease {
	t.Helper()
	if _, err := s.Submit(t.Context(), order("k"), []provision.StepState{{Name: "slot"}}); err != nil {
		t.Fatal(err)
	}
	l, err := s.Claim(t.Context(), "w", provision.Wanted{Cluster: "main"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// refused checks that an append fails and changes nothing, and that the same
// append succeeds, once, when trouble is over.
func refused(t *testing.T, s *Store, l *provision.Lease, trouble string, over func()) {
	t.Helper()
	before := l.Job.Seq
	evs := []provision.Event{{Kind: provision.StepLog, Step: "slot", Text: strings.Repeat("a long line ", 1000)}}
	if _, err := s.Append(t.Context(), l, evs...); err == nil || !strings.Contains(err.Error(), trouble) {
		t.Fatalf("the append says %v, want %q", err, trouble)
	}
	stored, err := s.Job(t.Context(), l.Job.ID)
	if err != nil || stored.Seq != before || l.Job.Seq != before {
		t.Fatalf("after a refused append the job is at %d, for its worker at %d (%v); want %d", stored.Seq, l.Job.Seq, err, before)
	}
	over()
	if _, err := s.Append(t.Context(), l, evs...); err != nil {
		t.Fatal(err)
	}
	n := before
	for e, err := range s.Events(t.Context(), l.Job.ID, before) {
		if n++; err != nil || e.Seq != n {
			t.Fatalf("event %d after %d: %v", e.Seq, n-1, err)
		}
	}
	if n != before+1 {
		t.Errorf("%d events were written, want 1", n-before)
	}
}

func TestDiskFull(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	l := worker(t, s)
	limit := func(pages int) {
		t.Helper()
		if _, err := s.db.ExecContext(t.Context(), fmt.Sprint(`PRAGMA max_page_count = `, pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // as many as there are, as SQLite has it
	refused(t, s, l, "full", func() { limit(1 << 20) })
}

func TestLocked(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	l := worker(t, s)
	if _, err := s.db.ExecContext(t.Context(), `PRAGMA busy_timeout = 1`); err != nil {
		t.Fatal(err)
	}
	// Somebody looks into the file with the sqlite3 shell, say.
	db, err := sql.Open("sqlite", dsn(filepath.Join(s.dir, sqliteFile), "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, s, l, "locked", func() {
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	})
}

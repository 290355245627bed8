package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

// TestCopy copies a store that has something of everything to another, and
// from there to a third; jobs go on there.
func TestCopy(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testCopy(t, t.TempDir()) })
	t.Run("postgres", func(t *testing.T) { testCopy(t, pgtest.URL(t)) })
}

func testCopy(t *testing.T, url string) {
	first := openStore(t, t.TempDir(), Options{})
	done := finished(t, first, "done")
	l := worker(t, first)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := first.Reserve(t.Context(), l, "pool", "7")
	must(err)
	must(first.SetCard(t.Context(), provision.CardRef{Job: done, Platform: "slack", Ref: json.RawMessage(`"1.2"`), Settled: true}))
	_, err = first.Accept(t.Context(), provision.Inbox{Platform: "slack", ID: "x", Data: json.RawMessage(`{"a":"\u00fc"}`)})
	must(err)
	must(first.SaveVM(t.Context(), provision.VMRecord{Cluster: "main", VMID: 100, Name: "web-1"}))
	must(first.Audit(t.Context(), provision.AuditRow{What: "ordered"}))

	second := openStore(t, url, Options{})
	if _, err := first.CopyTo(t.Context(), second); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a store that a bot works on was copied: %v", err)
	}
	first = openStore(t, crash(t, first), Options{}) // which voids the lease
	counts, err := first.CopyTo(t.Context(), second)
	must(err)
	want := []Copied{{"jobs", 2}, {"events", 6}, {"slots", 1}, {"cards", 1}, {"inbox", 1}, {"vms", 1}, {"audit", 1}, {"feed", 4}}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("copied %v, want %v", counts, want)
	}
	if _, err := first.CopyTo(t.Context(), second); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a store that is not empty was copied to: %v", err)
	}

	third := openStore(t, t.TempDir(), Options{})
	counts, err = second.CopyTo(t.Context(), third)
	must(err)
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("copied back %v, want %v", counts, want)
	}
	for _, s := range []*Store{second, third} {
		for id := provision.JobID(1); id <= 2; id++ {
			a, err := first.Job(t.Context(), id)
			must(err)
			b, err := s.Job(t.Context(), id)
			must(err)
			if !reflect.DeepEqual(a, b) {
				t.Errorf("job %d:\n got %+v\nwant %+v", id, b, a)
			}
		}
		if cards, err := s.Cards(t.Context(), "slack"); err != nil || len(cards) > 0 {
			t.Errorf("cards that are not settled: %v, %v", cards, err)
		}
		if _, err := s.VerifyAudit(t.Context(), ""); err != nil {
			t.Error(err)
		}
		// The job that was under way goes on, and new ones come after it.
		l, err := s.Claim(t.Context(), "w2", provision.Wanted{Cluster: "main"})
		must(err)
		_, err = s.Append(t.Context(), l, provision.Event{Kind: provision.JobState, State: provision.StateSucceeded})
		must(err)
		if id := finished(t, s, "new"); l.Job.ID != 2 || id != 3 {
			t.Errorf("job %d went on, and the new one is %d", l.Job.ID, id)
		}
	}
}

func TestRestore(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	id := finished(t, s, "a")
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	now := time.Now()
	if err := Restore(t.Context(), backup, "sqlite:"+dir, now); err != nil {
		t.Fatal(err)
	}
	restored := openStore(t, dir, Options{})
	if j, err := restored.Job(t.Context(), id); err != nil || j.State != provision.StateSucceeded {
		t.Errorf("restored: %+v, %v", j, err)
	}
	if err := Restore(t.Context(), backup, dir, now); provision.KindOf(err) != provision.Conflict {
		t.Errorf("over a store that is open: %v", err)
	}
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), backup, dir, now); provision.KindOf(err) != provision.Conflict {
		t.Errorf("over a store: %v", err)
	}

	empty := t.TempDir()
	if err := Restore(t.Context(), filepath.Join(empty, "nothing"), empty, now); provision.KindOf(err) != provision.NotFound {
		t.Errorf("no backup: %v", err)
	}
	text, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cut off": text[:len(text)/2], "another file": []byte("hello"), "empty": {}} {
		file := filepath.Join(t.TempDir(), "backup.db")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Restore(t.Context(), file, empty, now); provision.KindOf(err) != provision.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCopyKeepsEveryColumn: what a later migration adds is copied, too.
func TestCopyKeepsEveryColumn(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	lost := []string{"owner", "lease_until"} // leases are the process's that is left behind
	for _, table := range kept {
		rows, err := s.db.QueryContext(t.Context(), `SELECT name FROM pragma_table_info($1)`, table.name)
		if err != nil {
			t.Fatal(err)
		}
		columns := strings.Split(table.columns, ", ")
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(columns, name) && !slices.Contains(lost, name) {
				t.Errorf("a copy of %s loses %s", table.name, name)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// What an old store left beside its database is not mixed into a restored one.
func TestRestoreBesideALog(t *testing.T) {
	old := openStore(t, t.TempDir(), Options{})
	finished(t, old, "a")
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := old.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		finished(t, old, fmt.Sprint("b", i))
	}
	// The bot was killed, and somebody moved the database away, but not its log.
	dir := t.TempDir()
	wal, err := os.ReadFile(filepath.Join(old.dir, sqliteFile+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sqliteFile+"-wal"), wal, 0o600); err != nil {
		t.Fatal(err)
	}
	err = Restore(t.Context(), backup, dir, time.Now())
	if provision.KindOf(err) == provision.Conflict {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatalf("the restored store: %v", err)
	}
	defer restored.Close()
	var verdict string
	if err := restored.db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the restored store is damaged: %s, %v", verdict, err)
	}
	if jobs, err := restored.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) != 1 {
		t.Errorf("the restored store has %d jobs, %v; the backup has 1", len(jobs), err)
	}
}

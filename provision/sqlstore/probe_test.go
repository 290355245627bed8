package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
	"pvebot/provision/storetest"
)

// says checks that err tells people want, and what to do.
func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	told, ok := errors.AsType[*provision.Error](err)
	if !ok || told.Kind != provision.Unavailable || !strings.Contains(told.Say, want) || told.Try == "" {
		t.Errorf("%s: %v, want %q in words, and what to do", what, err, want)
	}
}

// troubled checks that a probe and everything that has to be stored tell want
// while there is trouble, and that all is well when it is over.
func troubled(t *testing.T, s *Store, clock *storetest.Clock, want string, begin, end func()) {
	t.Helper()
	if err := s.Probe(t.Context()); err != nil {
		t.Fatalf("of a store that is well: %v", err)
	}
	big := order("troubled")
	big.Text = strings.Repeat("long ", 2000)
	begin()
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("it was probed again at once: %v", err)
	}
	clock.Move(probeAge)
	says(t, "the probe", s.Probe(t.Context()), want)
	_, err := s.Submit(t.Context(), big, nil)
	says(t, "an order", err, want)
	_, err = s.Accept(t.Context(), provision.Inbox{Platform: "slack", ID: "1", Data: []byte(`{"text":"` + strings.Repeat("long ", 2000) + `"}`)})
	says(t, "an interaction", err, want)
	says(t, "an audit row", s.Audit(t.Context(), provision.AuditRow{What: "ordered", Text: strings.Repeat("long ", 2000)}), want)
	end()
	clock.Move(probeAge)
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("when it is over: %v", err)
	}
	if _, err := s.Submit(t.Context(), big, nil); err != nil {
		t.Errorf("an order when it is over: %v", err)
	}
}

func TestFullDiskIsToldInWords(t *testing.T) {
	clock := storetest.NewClock()
	s := openStore(t, t.TempDir(), Options{Clock: clock})
	// A row that is there is written without a new page: SQLite has no room for
	// more is what the limit says.
	limit := func(pages int) {
		if _, err := s.db.ExecContext(t.Context(), fmt.Sprint(`PRAGMA max_page_count = `, pages)); err != nil {
			t.Fatal(err)
		}
	}
	fill := func() {
		limit(1)
		if _, err := s.db.ExecContext(t.Context(), `DELETE FROM roles`); err != nil {
			t.Fatal(err)
		}
		for err := error(nil); err == nil; {
			_, err = s.db.ExecContext(t.Context(), `INSERT INTO roles (name, owner, expires) VALUES (hex(randomblob(900)), '', 0)`)
		}
		for err := error(nil); err == nil; {
			_, err = s.db.ExecContext(t.Context(), `INSERT INTO roles (name, owner, expires) VALUES (hex(randomblob(4)), '', 0)`)
		}
	}
	troubled(t, s, clock, "the disk is full", fill, func() { limit(1 << 20) })
}

func TestReadOnlyStoreIsToldInWords(t *testing.T) {
	clock := storetest.NewClock()
	s := openStore(t, t.TempDir(), Options{Clock: clock})
	set := func(on int) func() {
		return func() {
			if _, err := s.db.ExecContext(t.Context(), fmt.Sprint(`PRAGMA query_only = `, on)); err != nil {
				t.Fatal(err)
			}
		}
	}
	troubled(t, s, clock, "may not write to its store", set(1), set(0))
}

// A database that is removed under the bot takes everything and keeps nothing.
func TestRemovedStoreIsToldInWords(t *testing.T) {
	clock := storetest.NewClock()
	dir := t.TempDir()
	s := openStore(t, dir, Options{Clock: clock})
	file := filepath.Join(dir, sqliteFile)
	move := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	troubled(t, s, clock, "removed or replaced", move(file, file+".away"), move(file+".away", file))
}

// A real disk that is full: also where its last bytes are in the log that SQLite
// writes to next.
func TestFullTmpfsIsToldInWords(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Skip("no file system can be mounted: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	clock := storetest.NewClock()
	s := openStore(t, dir, Options{Clock: clock})
	ballast := filepath.Join(dir, sqliteFile+".ballast")
	fill := func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
	}
	fill()
	clock.Move(probeAge)
	says(t, "the probe", s.Probe(t.Context()), "the disk is full")
	var err error
	for i := 0; err == nil && i < 1000; i++ { // the log is as long as it ever was
		_, err = s.Submit(t.Context(), order(fmt.Sprint("order ", i)), nil)
	}
	says(t, "an order", err, "the disk is full")
	if _, err := Open(t.Context(), dir, Options{}); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a second owner: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	clock.Move(probeAge)
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if _, err := s.Submit(t.Context(), order("again"), nil); err != nil {
		t.Errorf("an order when there is room: %v", err)
	}
	s.Close()
	fill()
	if second, err := Open(t.Context(), dir, Options{}); err != nil {
		says(t, "a start", err, "the disk is full")
	} else {
		second.Close()
	}
	// The same disk, read-only.
	if err := errors.Join(os.Remove(ballast), syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{})
	says(t, "a start on a read-only disk", err, "read-only")
}

// Only one probe is under way, and who waits for it waits no longer than they like.
func TestProbeWaitsForNobody(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	s.probes.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	says(t, "a probe that may not wait", s.Probe(ctx), "does not answer in time")
	<-s.probes.turn
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyDatabaseIsToldInWords(t *testing.T) {
	clock := storetest.NewClock()
	s := openStore(t, pgtest.URL(t), Options{Clock: clock})
	set := func(value string) {
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.ExecContext(t.Context(), `SET TRANSACTION READ WRITE`)
		if err == nil {
			_, err = tx.ExecContext(t.Context(), `ALTER DATABASE `+s.database+` SET default_transaction_read_only = `+value)
		}
		if err := errors.Join(err, tx.Commit()); err != nil {
			t.Fatal(err)
		}
		s.db.SetMaxIdleConns(0) // those that are open know the old value
		s.db.SetMaxIdleConns(10)
	}
	troubled(t, s, clock, "the database is read-only", func() { set("on") }, func() { set("off") })
}

func TestPostgresTroubleInWords(t *testing.T) {
	s := &Store{addr: "db:5432"}
	for code, want := range map[string]string{
		"53100": "disk of the database server is full", "25006": "read-only", "42501": "may not write", "53300": "no more connections",
		"28P01": "does not let the bot in", "3D000": "does not let the bot in", "58030": "disk fails", "57P03": "does not work now",
	} {
		says(t, code, s.explain(fmt.Errorf("x: %w", &pgconn.PgError{Code: code, Message: "because"})), want)
	}
	says(t, "nobody listens", s.explain(fmt.Errorf("dial: %w", &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED})), "db:5432 does not answer: connection refused")
	unique := &pgconn.PgError{Code: "23505"}
	if err := s.explain(unique); !errors.Is(err, unique) || provision.KindOf(err) != provision.Internal {
		t.Errorf("a defect of ours became %v", err)
	}
}

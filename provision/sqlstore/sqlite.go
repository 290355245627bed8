package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"pvebot/provision"
)

// The files of a data directory.
const (
	sqliteFile = "pvebot.db"
	lockFile   = "pvebot.lock"
)

// openSQLite opens the database in dir: one connection that writes, some that
// read.
func (s *Store) openSQLite(ctx context.Context, dir string, mustExist bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s.dir = dir
	file := filepath.Join(dir, sqliteFile)
	s.dialect = dialect{
		name:    goose.DialectSQLite3,
		advance: `UPDATE feed SET value = value + $1 WHERE name = 'pos' RETURNING value`,
		prepare: true,
		poll:    15 * time.Second,
		now:     s.ownTime,
		begin:   s.ownTime,
		retry:   func(error) bool { return false }, // busy_timeout did what can be done
	}
	if s.readOnly {
		return s.openSQLiteReadOnly(ctx, dir, file)
	}
	if err := s.takeDir(ctx, dir, mustExist); err != nil {
		return err
	}
	if s.opened, err = os.Stat(file); err != nil {
		return err
	}
	// synchronous=FULL: what Append has acknowledged survives a power cut.
	if s.db, err = sql.Open("sqlite", dsn(file, "rw", "journal_mode(WAL)", "synchronous(FULL)")); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if s.reads, err = sql.Open("sqlite", dsn(file, "rw", "query_only(1)")); err != nil {
		return err
	}
	s.reads.SetMaxOpenConns(4)
	s.reads.SetMaxIdleConns(4)
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return s.voidLeases(ctx)
}

// ownTime is the time by our own clock: nobody else writes here.
func (s *Store) ownTime(context.Context, queryer) (time.Time, error) { return s.clock.Now(), nil }

// openSQLiteReadOnly opens the database beside the process that owns it.
func (s *Store) openSQLiteReadOnly(ctx context.Context, dir, file string) error {
	if info, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return noStore(dir, err)
	} else if err == nil && info.Size() == 0 {
		return damaged(dir, sqliteFile+" is empty (0 bytes)", nil)
	}
	s.dialect.poll = time.Second // commits are another process's: nobody tells
	var err error
	if s.db, err = sql.Open("sqlite", dsn(file, "ro")); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(4)
	s.reads = s.db
	err = s.migrate(ctx)
	if isDamage(err) {
		err = damaged(dir, sqliteFile+" is no whole database", err)
	}
	return err
}

// voidLeases ends all leases and roles, and all talk: the lock on the data directory proves
// that their holders are gone.
func (s *Store) voidLeases(ctx context.Context) error {
	return s.writeOnce(ctx, func(t *txn) error {
		if _, err := t.exec(ctx, `UPDATE jobs SET owner = '', lease_until = 0 WHERE owner <> ''`); err != nil {
			return err
		}
		for _, table := range []string{"roles", "attendants", "questions"} {
			if _, err := t.exec(ctx, `DELETE FROM `+table); err != nil {
				return err
			}
		}
		return nil
	})
}

// dsn is the driver's name for a database file.
func dsn(file, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}).String()
}

// Backup writes a copy of the store, as of now, to file, which must not exist
// and which nobody else may read.
// Writers wait meanwhile, unless the store was opened for reading only, beside
// its owner. Only SQLite can; PostgreSQL has pg_dump.
func (s *Store) Backup(ctx context.Context, file string) error {
	if s.dialect.name != goose.DialectSQLite3 {
		return provision.Errorf(provision.Invalid, "a PostgreSQL store is backed up with pg_dump")
	}
	// SQLite would let the umask say who may read it.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &provision.Error{Kind: provision.Conflict, Say: file + " is there already", Try: "name a new file"}
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, `VACUUM INTO $1`, file); err != nil {
		return errors.Join(backupTrouble(file, s.closedOr(err)), os.Remove(file))
	}
	return nil
}

// backupTrouble says that it is the backup's disk that is full: of the store's
// nothing was asked.
func backupTrouble(file string, err error) error {
	if e, ok := errors.AsType[*provision.Error](err); ok && e.Say == fullSay {
		return &provision.Error{Kind: provision.Full, Say: "there is no room for " + file, Try: "name a file on another disk", Err: err}
	}
	return err
}

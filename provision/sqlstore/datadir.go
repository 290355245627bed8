package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pvebot/cluster"
	"pvebot/provision"
)

// beside are what SQLite keeps next to a database while it is open, and what it
// leaves there when its process is killed.
var besides = []string{"-wal", "-shm", "-journal"}

// fresh is what a database that is being made ends with.
const fresh = ".new"

// takeDir makes this process the owner of a data directory that is fit for a
// store: nobody else may look into it, and what is in it is a whole database, or
// there never was one. Then one is made.
func (s *Store) takeDir(ctx context.Context, dir string, mustExist bool) (err error) {
	file := filepath.Join(dir, sqliteFile)
	if err := ownWay(dir); err != nil {
		return err
	}
	if _, err := os.Stat(file); mustExist && errors.Is(err, fs.ErrNotExist) {
		return noStore(dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.release, err = lockDir(filepath.Join(dir, lockFile), s.clock.Now()); err != nil {
		return err
	}
	there, err := inspect(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.tighten(dir); err != nil {
		return err
	}
	if there {
		return nil
	}
	return create(ctx, file)
}

// noStore says that dir has none.
func noStore(dir string, cause error) error {
	if left := leftovers(dir); len(left) > 0 {
		return lostFile(dir, left)
	}
	return &provision.Error{Kind: provision.NotFound, Say: "there is no store in " + dir, Try: "see whether STORE_URL is right", Err: cause}
}

// leftovers are the files that belong beside a database.
func leftovers(dir string) (names []string) {
	for _, end := range besides {
		if _, err := os.Lstat(filepath.Join(dir, sqliteFile+end)); err == nil {
			names = append(names, sqliteFile+end)
		}
	}
	return names
}

func lostFile(dir string, left []string) error {
	return damaged(dir, fmt.Sprintf("%s is not there, and %s beside it has what was written last", sqliteFile, strings.Join(left, " and ")), nil)
}

// damaged says why the database in dir is not opened, and the way back: a store
// that looked new would number its jobs from 1, and old buttons would act on them.
func damaged(dir, why string, cause error) error {
	return &provision.Error{
		Kind: provision.Conflict,
		Say:  fmt.Sprintf("the store in %s is damaged: %s", dir, why),
		Try: fmt.Sprintf("move %s away, with what begins like it, and restore a backup: `bot store restore FILE`; "+
			"without a backup, start with an empty directory, and adopt the VMs again", filepath.Join(dir, sqliteFile)),
		Err: cause,
	}
}

// inspect reports whether there is a database in dir, which is ours alone now. An
// *Error says that there was one, and what is wrong with it. It writes nothing.
func inspect(ctx context.Context, dir string) (there bool, err error) {
	file, left := filepath.Join(dir, sqliteFile), leftovers(dir)
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(left) > 0:
		return false, lostFile(dir, left)
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Size() == 0:
		return false, damaged(dir, sqliteFile+" is empty (0 bytes)", nil)
	}
	short, err := isShort(file, info.Size())
	if err != nil {
		return false, damaged(dir, fmt.Sprintf("%s %v", sqliteFile, err), nil)
	}
	return true, soundIn(ctx, dir, file, short)
}

// isShort reads the head of a database and reports whether it has fewer pages
// than that tells. Where there is a log beside it this may be in order: what is
// missing can be there.
func isShort(file string, size int64) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, fmt.Errorf("can't be read: %w", err)
	}
	defer f.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(f, head); err != nil || !strings.HasPrefix(string(head), "SQLite format 3\x00") {
		return false, errors.New("is no SQLite database")
	}
	pageSize := int64(binary.BigEndian.Uint16(head[16:]))
	if pageSize == 1 {
		pageSize = 1 << 16
	}
	// The count holds if the counter of changes says that it is of the last one.
	pages := int64(binary.BigEndian.Uint32(head[28:]))
	counted := binary.BigEndian.Uint32(head[24:]) == binary.BigEndian.Uint32(head[92:])
	return counted && size < pages*pageSize, nil
}

// soundIn checks that a database can be read, is ours, and, if it is short, that
// it is whole together with its log. It opens it for reading only: to close it
// would else write the log into it.
func soundIn(ctx context.Context, dir, file string, short bool) error {
	db, err := sql.Open("sqlite", dsn(file, "ro"))
	if err != nil {
		return err
	}
	defer db.Close()
	var tables, ours int
	err = db.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN name = 'goose_db_version' THEN 1 END) FROM sqlite_master`).Scan(&tables, &ours)
	if err == nil && short {
		verdict := ""
		if err = db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err == nil && verdict != "ok" {
			err = errors.New(verdict)
		}
	}
	switch {
	case err == nil && tables > 0 && ours == 0:
		return damaged(dir, sqliteFile+" is the database of another program", nil)
	case err == nil:
		return nil
	case short:
		return damaged(dir, sqliteFile+" is cut off", err)
	case isDamage(err):
		return damaged(dir, sqliteFile+" is no whole database", err)
	}
	return err
}

// create makes a database, at once and for us alone: what is left of a start
// that was cut short is not taken for a store.
func create(ctx context.Context, file string) error {
	part := file + fresh
	for _, left := range append([]string{""}, besides...) {
		if err := os.Remove(part + left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(handOver(f), f.Close()); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(part, "rw", "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `PRAGMA user_version = 0`) // writes the head
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// syncDir sees to it that names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tighten keeps others out of the data directory and of the files of the store,
// whatever umask or hand made them. A directory that holds other things, too, is
// somebody's home, perhaps: it stays as it is, and the log says so.
func (s *Store) tighten(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	others := ""
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), sqliteFile) && e.Name() != lockFile {
			others = cmp.Or(others, e.Name())
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			s.narrow(filepath.Join(dir, e.Name()), 0o600)
		}
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case info.Mode().Perm()&0o077 == 0:
	case others != "":
		s.log.Warn("others may look into the data directory, which is left as it is: it holds more than the store", "dir", dir, "mode", info.Mode().Perm(), "also", others)
	default:
		s.narrow(dir, 0o700)
	}
	return nil
}

// narrow takes the rights of others away, or tells that it can't: what is not
// ours we must live with.
func (s *Store) narrow(name string, mode os.FileMode) {
	if err := os.Chmod(name, mode); err != nil {
		s.log.Warn("others may look into the store", "file", name, "err", err)
	}
}

// handOver gives a file that we made as root to whom its directory belongs: the
// bot itself runs as that one.
func handOver(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	if of, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(of.Uid), int(of.Gid))
	}
	return nil
}

// ownWay is cluster.RootsWay with what helps.
func ownWay(dir string) error {
	if err := cluster.RootsWay(dir); err != nil {
		return &provision.Error{Kind: provision.Denied, Say: err.Error(), Try: "remove the link, make it as root, or do this as that user"}
	}
	return nil
}

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pvebot/provision"
)

// Restore makes a backup the store of a directory that has none: url is a
// directory or sqlite:DIR. *Error of kind Conflict when there is a store, of
// kind Invalid when file is no sound backup.
func Restore(ctx context.Context, file, url string, now time.Time) (err error) {
	dir := strings.TrimPrefix(url, "sqlite:")
	if scheme, _, found := strings.Cut(dir, ":"); found && strings.HasPrefix(scheme, "postgres") {
		return provision.Errorf(provision.Invalid, "a PostgreSQL store is restored with pg_restore")
	}
	if err := sound(ctx, file); err != nil {
		return err
	}
	whole, err := filepath.Abs(dir)
	if err == nil {
		err = ownWay(whole)
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	release, err := lockDir(filepath.Join(dir, lockFile), now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	store := filepath.Join(dir, sqliteFile)
	// SQLite would mix a log that is left of another database into this one.
	for _, end := range append([]string{""}, besides...) {
		left := store + end
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(&provision.Error{Kind: provision.Conflict,
				Say: "there is a store, or what is left of one, in " + dir, Try: "move " + left + " away first"}, err)
		}
	}
	part := store + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyFile(file, part); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, store); err != nil {
		return err
	}
	return syncDir(dir)
}

// sound checks that file is a whole store.
func sound(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err != nil {
		return &provision.Error{Kind: provision.NotFound, Say: "there is no backup " + file, Err: err}
	}
	whole, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(whole, "ro"))
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	var jobs int
	err = db.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = errors.New(verdict)
	}
	if err == nil {
		err = db.QueryRowContext(ctx, `SELECT value FROM feed WHERE name = 'jobs'`).Scan(&jobs)
	}
	if err != nil {
		return &provision.Error{Kind: provision.Invalid, Say: fmt.Sprintf("%s is no sound backup: %v", file, err), Err: err}
	}
	return nil
}

// copyFile copies a file to one that must not be there, for whom its directory
// belongs to, and sees to it that it is on the disk.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return errors.Join(handOver(out), out.Sync())
}

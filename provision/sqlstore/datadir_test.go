package sqlstore

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pvebot/provision"
	"pvebot/provision/storetest"
)

// The lock is on the directory: who removes the file that tells its owner lets
// nobody else in.
func TestLockOutlivesItsFile(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if second, err := Open(t.Context(), dir, Options{}); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a second owner gets %v", err)
		if err == nil {
			second.Close()
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, Options{})
}

// An older bot locks the file alone, and is heeded.
func TestLockOfAnOlderBotIsHeeded(t *testing.T) {
	dir := t.TempDir()
	f, err := flock(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); provision.KindOf(err) != provision.Conflict {
		t.Errorf("beside an older bot: %v", err)
	}
	if err := unlock(f); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, Options{})
}

// leftBehind is the directory of a store whose bot was killed: a database and, with
// all that was written, its log.
func leftBehind(t *testing.T) string {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	s := openStore(t, from, Options{})
	finished(t, s, "a")
	for _, name := range []string{sqliteFile, sqliteFile + "-wal", sqliteFile + "-shm"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(to, sqliteFile)); err != nil || info.Size() == 0 {
		t.Fatalf("an open database is an empty file: %v", err)
	}
	return to
}

// checkpointed is the directory of a store that was closed: all is in the database.
func checkpointed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, t.TempDir(), Options{})
	finished(t, s, "a")
	if err := s.Backup(t.Context(), filepath.Join(dir, sqliteFile)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// both is the directory of a killed bot's store whose database was filled before.
func both(t *testing.T) string {
	t.Helper()
	from, to := checkpointed(t), t.TempDir()
	s := openStore(t, from, Options{})
	finished(t, s, "b")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A store that is damaged is never taken for a new one, which would number jobs
// from 1: old buttons would act on them. Nothing in it is changed.
func TestDamagedStoreIsNotBegunAnew(t *testing.T) {
	db := func(dir string) string { return filepath.Join(dir, sqliteFile) }
	for name, c := range map[string]struct {
		of     func(*testing.T) string
		breaks func(dir string) error
		want   string
	}{
		"empty beside its log":   {leftBehind, func(dir string) error { return os.Truncate(db(dir), 0) }, "is empty (0 bytes)"},
		"empty":                  {checkpointed, func(dir string) error { return os.Truncate(db(dir), 0) }, "is empty (0 bytes)"},
		"removed beside its log": {leftBehind, func(dir string) error { return os.Remove(db(dir)) }, "is not there"},
		"only shared memory left": {leftBehind, func(dir string) error {
			return errors.Join(os.Remove(db(dir)), os.Remove(db(dir)+"-wal"))
		}, "is not there"},
		"cut off":             {checkpointed, func(dir string) error { return os.Truncate(db(dir), 3*4096) }, "damaged"},
		"cut off in its head": {checkpointed, func(dir string) error { return os.Truncate(db(dir), 50) }, "is no SQLite database"},
		"cut off with a log":  {both, func(dir string) error { return os.Truncate(db(dir), 3*4096) }, "is cut off"},
		"no database":         {checkpointed, func(dir string) error { return os.WriteFile(db(dir), bytes.Repeat([]byte("text\n"), 1000), 0o600) }, "is no SQLite database"},
		"another program's":   {checkpointed, func(dir string) error { return anothers(db(dir)) }, "another program"},
		"zeros":               {checkpointed, func(dir string) error { return os.WriteFile(db(dir), make([]byte, 8192), 0o600) }, "is no SQLite database"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.of(t)
			if err := c.breaks(dir); err != nil {
				t.Fatal(err)
			}
			before := content(t, dir)
			for _, o := range []Options{{}, {Existing: true}, {ReadOnly: true}} {
				s, err := Open(t.Context(), dir, o)
				if err == nil {
					s.Close()
					t.Fatalf("%+v: it was opened", o)
				}
				if o.ReadOnly {
					continue // a reader may be told less
				}
				told, ok := errors.AsType[*provision.Error](err)
				if !ok || !strings.Contains(told.Say, c.want) || !strings.Contains(told.Say, dir) || !strings.Contains(told.Try, "bot store restore") {
					t.Errorf("%+v: %v", o, err)
				}
			}
			for name, was := range before {
				if is := content(t, dir)[name]; is != was {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

// content is what is in a directory, without what readers share and the lock.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{sqliteFile, sqliteFile + "-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// anothers makes file the database of another program.
func anothers(file string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(file, "rwc"))
	if err != nil {
		return err
	}
	_, err = db.Exec(`CREATE TABLE bookmarks (url TEXT)`)
	return errors.Join(err, db.Close())
}

// What a killed bot leaves is whole, and so is what a first start leaves that
// was cut short.
func TestKilledStoreIsWhole(t *testing.T) {
	for _, of := range []func(*testing.T) string{leftBehind, both} {
		s := openStore(t, of(t), Options{})
		if jobs, err := s.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) == 0 {
			t.Errorf("%d jobs, %v", len(jobs), err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{sqliteFile + fresh, sqliteFile + fresh + "-journal"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, dir, Options{})
}

// mode is who may do what with a file.
func mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// Nobody else may read the store and its backups, whatever umask and modes were
// there before.
func TestStoreIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	made := filepath.Join(t.TempDir(), "made")
	s := openStore(t, made, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	loose := both(t)
	for _, name := range []string{"", sqliteFile, sqliteFile + "-wal", sqliteFile + "-shm", lockFile} {
		if err := os.Chmod(filepath.Join(loose, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{made, loose} {
		s := openStore(t, dir, Options{})
		finished(t, s, "private")
		backup := filepath.Join(t.TempDir(), "backup.db")
		if err := s.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		if got := mode(t, backup); got != 0o600 {
			t.Errorf("the backup has mode %v", got)
		}
		if got := mode(t, dir); got != 0o700 {
			t.Errorf("the directory has mode %v", got)
		}
		for _, name := range []string{sqliteFile, sqliteFile + "-wal", sqliteFile + "-shm", lockFile} {
			if got := mode(t, filepath.Join(dir, name)); got != 0o600 {
				t.Errorf("%s has mode %v", name, got)
			}
		}
	}
}

// A directory that is more than the store's is nobody's to close.
func TestSharedDirectoryKeepsItsMode(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "website"), 0o755)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	openStore(t, dir, Options{Log: textLog(&log)})
	if got := mode(t, dir); got != 0o755 {
		t.Errorf("the directory has mode %v", got)
	}
	if got := mode(t, filepath.Join(dir, sqliteFile)); got != 0o600 {
		t.Errorf("the database has mode %v", got)
	}
	if !strings.Contains(log.String(), "website") {
		t.Errorf("the log says: %s", &log)
	}
}

// Who wants a store that is there makes none.
func TestExistingMakesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, where := range []string{dir, filepath.Join(dir, "nowhere")} {
		if _, err := Open(t.Context(), where, Options{Existing: true}); provision.KindOf(err) != provision.NotFound || !strings.Contains(err.Error(), where) {
			t.Errorf("%v", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it made %v, %v", left, err)
	}
}

// Root follows no link that somebody else made on the way to the data.
func TestRootFollowsNoLinkOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	home, victim := t.TempDir(), t.TempDir()
	link := filepath.Join(home, "data")
	if err := errors.Join(os.Symlink(victim, link), os.Lchown(link, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), link, Options{}); provision.KindOf(err) != provision.Denied || !strings.Contains(err.Error(), link) {
		t.Errorf("opened through a link: %v", err)
	}
	lock, kept := filepath.Join(home, lockFile), filepath.Join(victim, "kept")
	if err := errors.Join(os.Remove(link), os.WriteFile(kept, []byte("kept"), 0o600), os.Symlink(kept, lock)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), home, Options{}); err == nil {
		t.Error("opened with a lock file that is a link")
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "kept" {
		t.Errorf("what the link leads to is %q, %v", text, err)
	}
}

// What root makes in another's directory is that one's.
func TestRootMakesTheStoreItsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir, Options{})
	finished(t, s, "a")
	for _, name := range []string{sqliteFile, sqliteFile + "-wal", sqliteFile + "-shm", lockFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if of := info.Sys().(*syscall.Stat_t); of.Uid != 4711 || of.Gid != 4712 {
			t.Errorf("%s belongs to %d:%d", name, of.Uid, of.Gid)
		}
	}
}

// So is what root restores there, and it is restored through no link of others.
func TestRootRestoresForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, victim, backup := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	if err := errors.Join(os.Chown(dir, 4711, 4712), openStore(t, t.TempDir(), Options{}).Backup(t.Context(), backup)); err != nil {
		t.Fatal(err)
	}
	kept, part := filepath.Join(victim, "kept"), filepath.Join(dir, sqliteFile+".part")
	if err := errors.Join(os.WriteFile(kept, []byte("kept"), 0o600), os.Symlink(kept, part)); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), backup, "sqlite:"+dir, storetest.NewClock().Now()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(dir, sqliteFile))
	if err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Uid != 4711 {
		t.Errorf("the store is %+v, %v", info, err)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "kept" {
		t.Errorf("what the link leads to is %q, %v", text, err)
	}
	link := filepath.Join(victim, "data")
	if err := errors.Join(os.Symlink(t.TempDir(), link), os.Lchown(link, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), backup, link, storetest.NewClock().Now()); provision.KindOf(err) != provision.Denied {
		t.Errorf("restored through a link: %v", err)
	}
}

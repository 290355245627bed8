package sqlstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pvebot/provision"
)

// lockDir makes this process the owner of a data directory until it calls
// release, or ends in whatever way. The lock that counts is the one on the
// directory itself: files in it can be removed under an owner. The file called
// name says who the owner is, and is locked as well, for older bots look there
// alone.
func lockDir(name string, now time.Time) (release func() error, err error) {
	dir, err := flock(filepath.Dir(name), os.O_RDONLY)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, held(name, err)
	}
	if err != nil && !errors.Is(err, syscall.EBADF) { // NFS locks no directories
		return nil, err
	}
	// No link is followed: as root we may be in somebody else's directory.
	f, err := flock(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(held(name, err), unlock(dir))
	}
	if err == nil {
		if err = sign(f, now); err != nil {
			err = errors.Join(fmt.Errorf("locking %s: %w", name, err), unlock(f))
		}
	}
	if err != nil {
		return nil, errors.Join(err, unlock(dir))
	}
	return func() error { return errors.Join(f.Truncate(0), unlock(f), unlock(dir)) }, nil
}

// flock opens a file and locks it: EWOULDBLOCK when somebody else has.
func flock(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
	}
	return f, nil
}

// unlock gives a lock up; nil is none. Closing is not enough: a process that is
// just being started here has its own copy of f until it runs its program.
func unlock(f *os.File) error {
	if f == nil {
		return nil
	}
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// sign writes into f who holds it.
func sign(f *os.File, now time.Time) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := handOver(f); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d on %s since %s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	return err
}

// held says who holds the lock file called name.
func held(name string, cause error) error {
	owner := "another process"
	if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
		owner = strings.TrimSpace(string(text))
	}
	return &provision.Error{
		Kind: provision.Conflict,
		Say:  "the data directory belongs to " + owner,
		Try:  "stop that one first, or use another directory",
		Err:  fmt.Errorf("%s: %w", name, cause),
	}
}

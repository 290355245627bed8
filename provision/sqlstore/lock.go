package sqlstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"pvebot/provision"
)

// lockDir makes this process the owner of a data directory until it calls
// release, or ends in whatever way. The file says who the owner is; it is the
// lock on it that counts, not its presence.
func lockDir(name string, now time.Time) (release func() error, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, held(name, err)
	}
	if err == nil {
		err = sign(f, now)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
	}
	return func() error {
		// Closing is not enough: a process that is just being started here has
		// its own copy of f until it runs its program.
		return errors.Join(f.Truncate(0), syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
	}, nil
}

// sign writes into f who holds it.
func sign(f *os.File, now time.Time) error {
	host, err := os.Hostname()
	if err != nil {
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

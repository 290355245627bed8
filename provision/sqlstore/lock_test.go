package sqlstore

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A directory is free once it was released, whoever still has a copy of the
// lock's file, as processes that are just being started do.
func TestLockIsReleasedWithItsCopies(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pvebot.lock")
	release, err := lockDir(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not tell what is open: ", err)
	}
	copied := false
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); to != name {
			continue
		}
		n, err := strconv.Atoi(fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		held, err := syscall.Dup(n)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(held) })
		copied = true
		break
	}
	if !copied {
		t.Fatal("no open file is the lock")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := lockDir(name, time.Now())
	if err != nil {
		t.Fatalf("after its release: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

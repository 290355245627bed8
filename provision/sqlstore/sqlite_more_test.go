package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/storetest"
)

func order(key string) provision.Order {
	return provision.Order{Key: key, Cluster: "main", Spec: provision.Install{OS: "ubuntu"}}
}

// finished makes a job that succeeded.
func finished(t *testing.T, s *Store, key string) provision.JobID {
	t.Helper()
	if _, err := s.Submit(t.Context(), order(key), nil); err != nil {
		t.Fatal(err)
	}
	l, err := s.Claim(t.Context(), "w", provision.Wanted{Cluster: "main"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), l, provision.Event{Kind: provision.JobState, State: provision.StateSucceeded}); err != nil {
		t.Fatal(err)
	}
	return l.Job.ID
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	_, err := Open(t.Context(), "sqlite:"+dir, Options{})
	host, _ := os.Hostname()
	if want := fmt.Sprintf("process %d on %s since ", os.Getpid(), host); provision.KindOf(err) != provision.Conflict || !strings.Contains(err.Error(), want) {
		t.Errorf("a second owner gets %v, want a conflict with %q", err, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, Options{})
}

func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir?&#%20")
	if _, err := Open(t.Context(), dir, Options{ReadOnly: true}); provision.KindOf(err) != provision.NotFound {
		t.Errorf("where no store is: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("opening read-only made a directory")
	}
	owner := openStore(t, dir, Options{})
	clock := storetest.NewClock()
	reader := openStore(t, dir, Options{ReadOnly: true, Clock: clock})
	id := finished(t, owner, "a")
	if j, err := reader.Job(t.Context(), id); err != nil || j.State != provision.StateSucceeded {
		t.Errorf("read-only: %+v, %v", j, err)
	}
	if _, err := reader.Submit(t.Context(), order("b"), nil); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a write to a read-only store: %v", err)
	}

	// It follows what another process commits, by looking from time to time.
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			clock.Move(time.Second)
			time.Sleep(time.Millisecond) // leaves the processor to the others
		}
	}()
	next := provision.Position(0)
	for e, err := range reader.Follow(ctx, 0) {
		if err != nil {
			break
		}
		next++
		if e.Pos != next {
			t.Errorf("position %d, want %d", e.Pos, next)
		}
		if e.Pos == 3 {
			finished(t, owner, "c")
		}
		if e.Pos == 6 {
			cancel()
		}
	}
	cancel()
	if next != 6 {
		t.Errorf("followed up to %d, want 6", next)
	}

	// Also when the owner is gone.
	reader.Close()
	owner.Close()
	reader = openStore(t, dir, Options{ReadOnly: true})
	if jobs, err := reader.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) != 2 {
		t.Errorf("without an owner: %v, %v", jobs, err)
	}
}

func TestPrune(t *testing.T) {
	clock := storetest.NewClock()
	s := openStore(t, t.TempDir(), Options{Clock: clock})
	old := finished(t, s, "old")
	parked, err := s.Submit(t.Context(), order("queued"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"handled", "open"} {
		if _, err := s.Accept(t.Context(), provision.Inbox{Platform: "slack", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Handled(t.Context(), "slack", "handled"); err != nil {
		t.Fatal(err)
	}
	for role, ttl := range map[string]time.Duration{"lapsed": time.Minute, "held": 2 * time.Hour} {
		if _, err := s.Lead(t.Context(), role, "a", ttl); err != nil {
			t.Fatal(err)
		}
	}
	clock.Move(time.Hour)
	cut := clock.Now()
	if _, err := s.Cancel(t.Context(), parked.ID, provision.Actor{}); err != nil {
		t.Fatal(err)
	}
	young := finished(t, s, "young")

	for _, want := range []int{3, 0} {
		if n, err := s.Prune(t.Context(), cut); err != nil || n != want {
			t.Fatalf("pruned %d events, %v; want %d", n, err, want)
		}
	}
	if j, err := s.Job(t.Context(), old); err != nil || j.Seq != 3 {
		t.Errorf("the job itself: %+v, %v", j, err)
	}
	for _, err := range s.Events(t.Context(), old, 0) {
		if !errors.Is(err, provision.ErrPruned) {
			t.Errorf("its events: %v", err)
		}
	}
	n := 0
	for _, err := range s.Events(t.Context(), young, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d events of the young job, want 3", n)
	}
	if fresh, err := s.Accept(t.Context(), provision.Inbox{Platform: "slack", ID: "open"}); err != nil || fresh {
		t.Errorf("an unhandled interaction was forgotten: %v, %v", fresh, err)
	}

	var role string
	if err := s.db.QueryRowContext(t.Context(), `SELECT name FROM roles`).Scan(&role); err != nil || role != "held" {
		t.Errorf("the role %s is left, %v", role, err)
	}

	// Followers from before, of a store that has not seen the events itself.
	dir := crash(t, s)
	s = openStore(t, dir, Options{})
	for after, want := range map[provision.Position]error{0: provision.ErrPruned, 2: provision.ErrPruned, 3: nil} {
		for _, err := range s.Follow(t.Context(), after) {
			if !errors.Is(err, want) {
				t.Errorf("following after %d: %v, want %v", after, err, want)
			}
			break
		}
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	id := finished(t, s, "a")
	for _, from := range []*Store{s, openStore(t, dir, Options{ReadOnly: true})} {
		copied := t.TempDir()
		file := filepath.Join(copied, sqliteFile)
		if err := from.Backup(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		if err := from.Backup(t.Context(), file); err == nil {
			t.Error("a backup was overwritten")
		}
		b := openStore(t, copied, Options{})
		if j, err := b.Job(t.Context(), id); err != nil || j.State != provision.StateSucceeded {
			t.Errorf("in the backup: %+v, %v", j, err)
		}
	}
}

// TestForgetful follows from far behind what the hub holds, while it grows.
func TestForgetful(t *testing.T) {
	h := newHub(10)
	var all []provision.Event
	for i := range 5 * keep {
		e := provision.Event{Pos: provision.Position(11 + 2*i)}
		h.add([]provision.Event{e})
		all = append(all, e)
		if len(h.recent) > 2*keep {
			t.Fatalf("the hub holds %d events", len(h.recent))
		}
	}
	if _, known, _ := h.after(11); known {
		t.Error("the hub claims to know the oldest events")
	}
	last := all[len(all)-1].Pos
	for _, c := range []struct {
		after provision.Position
		want  int
	}{{last, 0}, {last + 5, 0}, {last - 1, 1}, {last - 2, 1}, {last - 3, 2}, {last - 2*keep, keep}} {
		evs, known, _ := h.after(c.after)
		if !known || len(evs) != c.want {
			t.Errorf("after %d: %d events, known %v; want %d", c.after, len(evs), known, c.want)
		}
	}
}

package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
)

// victimURL tells a child process of this test to append to the store at that
// URL until it is killed.
const victimURL = "PVEBOT_TEST_VICTIM"

func TestMain(m *testing.M) {
	if url := os.Getenv(victimURL); url != "" {
		fmt.Fprintln(os.Stderr, victim(url))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim appends events, two at a time, and prints the number of the last one
// that was acknowledged. It only ends with an error.
func victim(url string) error {
	ctx := context.Background()
	s, err := Open(ctx, url, Options{Lease: time.Millisecond}) // for the next victim
	if err != nil {
		return err
	}
	l, err := s.Claim(ctx, fmt.Sprint(os.Getpid()), provision.Wanted{Cluster: "main"})
	if err != nil {
		return err
	}
	for {
		_, err := s.Append(ctx, l,
			provision.Event{Kind: provision.StepLog, Step: "slot", Text: "one"},
			provision.Event{Kind: provision.StepLog, Step: "slot", Text: "two"})
		if err != nil {
			return err
		}
		fmt.Println(l.Job.Seq)
	}
}

// TestKill kills a real process, in the middle of its appends, again and
// again. What it has said to be written is there, and nothing is half there.
func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testKill(t, t.TempDir())
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testKill(t, pgtest.URL(t))
	})
}

func testKill(t *testing.T, url string) {
	s := openStore(t, url, Options{})
	o := provision.Order{Key: "k", Cluster: "main", Spec: provision.Install{OS: "ubuntu"}}
	job, err := s.Submit(t.Context(), o, []provision.StepState{{Name: "slot"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		acked := killed(t, url, 1+10*round)
		s := openStore(t, url, Options{})
		stored, fold := twice(t, s, job.ID)
		if fold.Seq != stored.Seq { // a server may have had one more commit of the dead one's before it
			stored, fold = twice(t, s, job.ID)
		}
		if stored.Seq < acked || stored.Seq > acked+2 || stored.Seq%2 != 0 {
			t.Errorf("round %d: the job is at %d, acknowledged was %d", round, stored.Seq, acked)
		}
		if fold.Seq != stored.Seq || fold.State != provision.StateRunning {
			t.Errorf("round %d: the events end at %d (%s), the job at %d", round, fold.Seq, fold.State, stored.Seq)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// twice is a job as it is stored, and as its events make it.
func twice(t *testing.T, s *Store, id provision.JobID) (stored, fold provision.Job) {
	t.Helper()
	stored, err := s.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if err := fold.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return stored, fold
}

// killed lets a victim append to the store at url, kills it once it has
// acknowledged n appends, and returns the last event that was.
func killed(t *testing.T, url string, n int) (acked uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimURL+"="+url)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// What it says after the kill, out of the pipe, was acknowledged too. A
	// last line that is cut off was not said.
	r := bufio.NewReader(out)
	for lines := 1; ; lines++ {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		if _, err := fmt.Sscan(line, &acked); err != nil {
			t.Errorf("the victim said %q", line)
		}
		if lines == n {
			cmd.Process.Kill()
		}
	}
	cmd.Wait() // killed
	if acked == 0 {
		t.Fatalf("the victim did nothing: %s", complaint.String())
	}
	return acked
}

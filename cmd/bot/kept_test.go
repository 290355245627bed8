package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim/simtest"
	"pvebot/provision"
)

// TestDemoThatIsKilled: with --data the cluster outlives a bot that is killed, so
// that the next one carries its jobs on.
func TestDemoThatIsKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := &exec.Cmd{
		Path: os.Args[0], Args: []string{"bot", "demo", "--fast", "--data", dir, "/vm install ubuntu"},
		Env: []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0", simtest.Program + "=" + os.Getenv(simtest.Program)},
	}
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			t.Fatal("the first bot ended by itself: ", lines.Err())
		}
		if strings.Contains(lines.Text(), "creating VM") {
			break
		}
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	kept := readKept(t, dir)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		p := program{env: []string{"PORT=0"}, out: io.Discard, err: io.Discard}
		ended <- p.run(ctx, []string{"demo", "--fast", "--data", dir})
	}()
	if job := settle(t, dir); job.State != provision.StateSucceeded {
		t.Errorf("the job %s: %+v", job.State, job.Problem)
	}
	if again := readKept(t, dir); again.PID != kept.PID {
		t.Errorf("the cluster was process %d and is %d", kept.PID, again.PID)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, name := range []string{filepath.Join(dir, keptFile), filepath.Dir(kept.Socket)} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", name, err)
		}
	}
}

func readKept(t *testing.T, dir string) keptInfo {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, keptFile))
	if err != nil {
		t.Fatal(err)
	}
	var info keptInfo
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatal(err)
	}
	return info
}

// TestDemoWhoseClusterIsGone: a cluster that ended without its bot took the VMs
// with it, and that is said before any job fails of it.
func TestDemoWhoseClusterIsGone(t *testing.T) {
	t.Parallel()
	for want, info := range map[string]keptInfo{
		"has ended without its bot (process 7), and its VMs are gone with it": {Protocol: keptProtocol, PID: 7, Socket: "/nowhere/holders"},
		"is of another version of the bot":                                    {Protocol: keptProtocol + 1},
	} {
		dir := t.TempDir()
		if err := writeKept(filepath.Join(dir, keptFile), info); err != nil {
			t.Fatal(err)
		}
		p := program{out: io.Discard, err: io.Discard}
		if err := p.run(t.Context(), []string{"demo", "--fast", "--data", dir, "/vm list"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestDemoWhoseClusterEndedByItself: a new cluster has none of the VMs that jobs
// are about.
func TestDemoWhoseClusterEndedByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	submit(t, dir)
	p := program{out: io.Discard, err: io.Discard}
	want := "has ended while jobs were under way, and its VMs are gone with it"
	if err := p.run(t.Context(), []string{"demo", "--fast", "--data", dir, "/vm list"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := os.Stat(filepath.Join(dir, keptFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its cluster runs on: %v", err)
	}
}

// TestDemosThatBeginAtOnce: those that come later hold the cluster of the first, and
// none of them takes it for its own.
func TestDemosThatBeginAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held := make(chan *keptCluster, 4)
	for range cap(held) {
		go func() {
			k, err := holdCluster(t.Context(), dir, true)
			if err != nil {
				t.Error(err)
			}
			held <- k
		}()
	}
	own := 0
	var last *keptCluster
	for range cap(held) {
		k := <-held
		if k == nil {
			continue
		}
		if k.own != nil {
			own++
		}
		if last != nil && last.pid != k.pid {
			t.Errorf("processes %d and %d", last.pid, k.pid)
		}
		if last != nil {
			if err := last.letGo(); err != nil {
				t.Error(err)
			}
		}
		last = k
	}
	if own != 1 {
		t.Errorf("%d of them took it for their own", own)
	}
	if last != nil {
		if err := last.end(); err != nil {
			t.Error(err)
		}
	}
}

// sleeps is a clock whose sleeps are told, and last until they are woken.
type sleeps struct {
	began chan time.Duration
	wake  chan struct{}
}

func (sleeps) Now() time.Time { return time.Unix(0, 0) }

func (s sleeps) Sleep(ctx context.Context, d time.Duration) error {
	s.began <- d
	select {
	case <-s.wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestHolders: a cluster lasts as long as somebody holds it and a grace more, and
// ends at once when a holder says so.
func TestHolders(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]func(t *testing.T, clock sleeps, hold func() net.Conn){
		"nobody comes": func(_ *testing.T, clock sleeps, _ func() net.Conn) {
			<-clock.began
			close(clock.wake)
		},
		"the last one has gone": func(_ *testing.T, clock sleeps, hold func() net.Conn) {
			<-clock.began
			a, b := hold(), hold()
			a.Close()
			b.Close()
			<-clock.began
			c := hold()
			c.Close()
			<-clock.began
			close(clock.wake)
		},
		"a holder ends it": func(t *testing.T, clock sleeps, hold func() net.Conn) {
			<-clock.began
			a, b := hold(), hold()
			defer b.Close()
			if _, err := io.WriteString(a, endCluster+"\n"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			clock := sleeps{make(chan time.Duration, 10), make(chan struct{})}
			h := &holders{clock: clock, grace: keptGrace}
			ended := make(chan error, 1)
			go func() { ended <- h.serve(t.Context(), l) }()
			last(t, clock, func() net.Conn {
				c, err := net.Dial("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				return c
			})
			if err := <-ended; err != nil {
				t.Error(err)
			}
			h.close()
		})
	}
}

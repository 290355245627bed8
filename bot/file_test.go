package bot_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/provision"
)

// cabinet is a platform that takes files.
type cabinet struct {
	*bottest.Memory
	mu    sync.Mutex
	wrong []error // of the next calls
	calls int
	files map[string]string
}

func newCabinet(wrong ...error) *cabinet {
	return &cabinet{Memory: bottest.NewMemory("memory", bot.Pace{}), wrong: wrong, files: map[string]string{}}
}

func (c *cabinet) File(_ context.Context, at bot.Ref, name string, text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if len(c.wrong) > 0 {
		err := c.wrong[0]
		c.wrong = c.wrong[1:]
		return err
	}
	c.files[string(at)+"/"+name] = string(text)
	return nil
}

// chatter plays an install with so many lines of log, in events of seven.
func chatter(s *memStore, id provision.JobID, lines int) {
	s.add(id, begun...)
	for i := 0; i < lines; i += 7 {
		var text strings.Builder
		for n := i; n < min(i+7, lines); n++ {
			fmt.Fprintf(&text, "line %d\n", n+1)
		}
		s.add(id, log(3, text.String()))
		time.Sleep(time.Second)
	}
	s.add(id, step(provision.StepDone, 3, ""), step(provision.StepStarted, 4, ""), step(provision.StepDone, 4, ""), state(provision.StateSucceeded))
	time.Sleep(10 * time.Minute)
	synctest.Wait()
}

// A long log is said in part and is whole in a file; milestones are said all.
func TestLongLogIsAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), newCabinet(&bot.BusyError{After: time.Second}, errors.New("bad gateway"))
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		chatter(s, id, 1000)

		thread := said(m.Memory, 0)
		logged := slices.DeleteFunc(slices.Clone(thread), func(l string) bool { return !strings.HasPrefix(l, "    line ") })
		if len(logged) != 150 || logged[149] != "    line 150" {
			t.Errorf("%d lines of log are said, the last one %q", len(logged), logged[len(logged)-1])
		}
		more := slices.DeleteFunc(slices.Clone(thread), func(l string) bool { return !strings.Contains(l, "in a file at the end") })
		if len(more) != 1 {
			t.Errorf("that it goes on is said %d times", len(more))
		}
		for _, want := range []string{"[+] creating VM", "[+] importing disk image", "[+] waiting for ready", "job 1, asked by alice, succeeded"} {
			if !slices.ContainsFunc(thread, func(l string) bool { return strings.HasPrefix(l, want) }) {
				t.Errorf("the thread does not say %q", want)
			}
		}
		if len(m.files) != 1 || m.calls != 3 {
			t.Fatalf("%d files in %d calls", len(m.files), m.calls)
		}
		text := m.files["0/job-1.log"]
		if n := strings.Count(text, "    line "); n != 1000 || !strings.Contains(text, "2000-01-01 ") || !strings.HasSuffix(text, "job 1, asked by alice, succeeded\n") {
			t.Errorf("the file has %d lines of log:\n%.300s", n, text)
		}
		if !s.card("memory", id).Settled {
			t.Error("the card is not settled")
		}
	})
}

func TestShortLogIsNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), newCabinet()
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		chatter(s, id, 150)
		if m.calls != 0 || !slices.Contains(said(m.Memory, 0), "    line 150") || !s.card("memory", id).Settled {
			t.Errorf("%d files, settled %v", m.calls, s.card("memory", id).Settled)
		}
	})
}

// A platform that takes no files keeps no card from its end.
func TestFileThatIsNotTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		calls int
	}{
		"for good": {fmt.Errorf("%w: the app may not", bot.ErrGone), 1},
		"ever":     {errors.New("bad gateway"), 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := newStore(), newCabinet(slices.Repeat([]error{tt.err}, 100)...)
				f, stop := follow(t, s, "a", m)
				defer stop()
				id := started(t, s, m, f, "k")
				chatter(s, id, 200)
				if m.calls != tt.calls || !s.card("memory", id).Settled {
					t.Errorf("%d calls, settled %v", m.calls, s.card("memory", id).Settled)
				}
			})
		})
	}
}

// What is heard late of a job whose card is settled, when its last event comes
// after its last write, files its log no second time.
func TestFileOfSettledCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), newCabinet()
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		chatter(s, id, 200)
		f.Nudge("memory", id)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if m.calls != 1 || !s.card("memory", id).Settled {
			t.Errorf("%d calls, settled %v", m.calls, s.card("memory", id).Settled)
		}
	})
}

// Over a restart nothing is lost: what one bot did not say, the next one does.
func TestLongLogAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), newCabinet()
		f, stop := follow(t, s, "a", m)
		id := started(t, s, m, f, "k")
		s.add(id, begun...)
		s.add(id, log(3, strings.Repeat("a line\n", 400)))
		time.Sleep(3 * time.Second)
		stop()
		s.add(id, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		_, stop = follow(t, s, "b", m)
		defer stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(m.files) != 1 || m.calls != 1 || !s.card("memory", id).Settled {
			t.Errorf("%d files in %d calls, settled %v", len(m.files), m.calls, s.card("memory", id).Settled)
		}
	})
}

// forgetful is a store that does not keep a job's first events any more.
type forgetful struct {
	*memStore
	upTo uint64
}

func (s *forgetful) Events(ctx context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	if after < s.upTo {
		return func(yield func(provision.Event, error) bool) { yield(provision.Event{}, provision.ErrPruned) }
	}
	return s.memStore.Events(ctx, id, after)
}

// A job whose events are not kept any more is shown to its end all the same,
// when it is tried again or when its thread never heard of them.
func TestFileOfPrunedLog(t *testing.T) {
	for name, heard := range map[string]bool{"tried again": true, "not said": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := &forgetful{memStore: newStore()}, newCabinet()
				id := started(t, s.memStore, m, nil, "k")
				job := s.add(id, with(failing, trouble(provision.StateParked), state(provision.StateFailed))...)
				s.upTo = job.Seq
				ref := s.card("memory", id)
				if heard {
					ref.Shown, ref.Said = job.Seq, job.Seq
				}
				if err := s.SetCard(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
				f := bot.NewFollower(bot.FollowerConfig{Store: s, Adapters: []bot.Adapter{m}, Owner: "a"})
				ctx, stop := context.WithCancel(t.Context())
				over := make(chan error, 1)
				go func() { over <- f.Run(ctx) }()
				if heard {
					s.add(id, state(provision.StateQueued), state(provision.StateRunning), step(provision.StepStarted, 3, ""),
						step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if !s.card("memory", id).Settled || !m.Cards()[0].Final {
					t.Errorf("after an hour the card is %+v, %+v", s.card("memory", id), f.Status()[0])
				}
				if got := said(m.Memory, 0); heard && !strings.HasSuffix(strings.Join(got, "\n"), "succeeded") {
					t.Errorf("the thread says %q", got)
				}
				stop()
				if err := <-over; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

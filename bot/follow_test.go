package bot_test

import (
	"context"
	"encoding/json"
	"fmt"
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

// follow runs a follower until the returned function is called. It must be
// called before the bubble ends.
func follow(t *testing.T, s *memStore, owner string, adapters ...bot.Adapter) (*bot.Follower, func()) {
	t.Helper()
	f := bot.NewFollower(bot.FollowerConfig{Store: s, Adapters: adapters, Owner: owner})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return f, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// started makes a job with a posted card and tells the follower, if any.
func started(t *testing.T, s *memStore, a bot.Adapter, f *bot.Follower, key string) provision.JobID {
	t.Helper()
	o := order()
	o.Key = key
	job := s.submit(o, recipe...)
	ref, err := a.Post(t.Context(), o.Where, bot.Show(job, now()))
	if err != nil {
		t.Fatal(err)
	}
	err = s.SetCard(t.Context(), provision.CardRef{Job: job.ID, Platform: a.Name(), Ref: json.RawMessage(ref), Shown: job.Seq})
	if err != nil {
		t.Fatal(err)
	}
	if f != nil {
		f.Nudge(a.Name(), job.ID)
	}
	return job.ID
}

func log(i int, lines string) provision.Event {
	return provision.Event{Kind: provision.StepLog, Step: recipe[i].Name, Text: lines}
}

// install plays a whole install, a second per event.
func install(s *memStore, id provision.JobID) {
	for _, ev := range with(begun, progress(3, 0.5, "half"), log(3, "line 1\nline 2"), step(provision.StepDone, 3, ""),
		step(provision.StepStarted, 4, ""), step(provision.StepDone, 4, ""), state(provision.StateSucceeded)) {
		time.Sleep(time.Second)
		s.add(id, ev)
	}
}

func said(m *bottest.Memory, i int) []string { return slices.Concat(m.Said(i)...) }

func TestFollowToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		install(s, id)
		synctest.Wait()

		shown := m.Shown(0)
		last := shown[len(shown)-1]
		if !last.Final || last.Tone != bot.Good {
			t.Errorf("the last card: %+v", last)
		}
		for i := 1; i < len(shown); i++ {
			if shown[i].Seq < shown[i-1].Seq {
				t.Errorf("the card went back from %d to %d", shown[i-1].Seq, shown[i].Seq)
			}
		}
		want := []string{
			"[+] checking VMID (1.0s): 101", "[+] assigning IP (1.0s): 192.168.0.101", "[+] creating VM (1.0s)",
			"    line 1", "    line 2", "[+] importing disk image (3.0s)", "[+] waiting for ready (1.0s)", "job 1, asked by alice, succeeded",
		}
		if got := said(m, 0); !slices.Equal(got, want) {
			t.Errorf("the thread says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if ref := s.card("memory", id); !ref.Settled || ref.Shown != last.Seq || ref.Said != last.Seq {
			t.Errorf("the ref at the end: %+v", ref)
		}
	})
}

// Many events make few edits, and the last word is never among those left out.
func TestFollowKeepsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := bot.Pace{PerSecond: 0.8, Burst: 2, MinGap: 2 * time.Second}
		s, m := newStore(), bottest.NewMemory("memory", pace)
		var mu sync.Mutex
		var calls []time.Time
		m.Deny(func(c bottest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			if c.Op != "post" {
				calls = append(calls, now())
			}
			return nil
		})
		f, stop := follow(t, s, "a", m)
		defer stop()
		begin := now()
		var wg sync.WaitGroup
		const jobs = 10
		for i := range jobs {
			id := started(t, s, m, f, fmt.Sprint("k", i))
			wg.Go(func() {
				s.add(id, begun...)
				for n := range 600 {
					time.Sleep(100 * time.Millisecond)
					s.add(id, progress(3, float64(n)/600, fmt.Sprint(n)))
				}
				s.add(id, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
			})
		}
		wg.Wait()
		ended := now()
		time.Sleep(time.Minute)
		synctest.Wait()

		for i, c := range m.Cards() {
			if !c.Final {
				t.Errorf("card %d never got its last word: %s", i, c.Text)
			}
			// Everybody had a fair share: 60 s at 0.8/s are 48 edits of ten cards.
			if n := len(m.Shown(i)) - 1; n < 3 || n > 8 {
				t.Errorf("card %d was edited %d times", i, n)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range calls { // no window holds more than the bucket gives
			n := 0
			for _, at := range calls[i:] {
				if at.Sub(calls[i]) < 10*time.Second {
					n++
				}
			}
			if limit := pace.Burst + 8 + 1; n > limit {
				t.Fatalf("%d calls within 10 s of %v, the budget is %d", n, calls[i].Sub(begin), limit)
			}
		}
		finals := slices.IndexFunc(calls, func(at time.Time) bool { return !at.Before(ended) })
		if n := len(calls) - finals; n > 2*jobs+jobs/2 {
			t.Errorf("%d calls after the end", n)
		}
	})
}

// Last words come before all else.
func TestFollowFinalsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{PerSecond: 0.5, Burst: 1})
		f, stop := follow(t, s, "a", m)
		defer stop()
		var ids []provision.JobID
		for i := range 20 {
			ids = append(ids, started(t, s, m, f, fmt.Sprint("k", i)))
			s.add(ids[i], begun...)
		}
		time.Sleep(10 * time.Minute) // all calm
		for i, id := range ids {
			s.add(id, progress(3, 0.5, fmt.Sprint(i)))
		}
		last := ids[len(ids)-1]
		s.add(last, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		time.Sleep(3 * time.Second) // a token, perhaps two
		synctest.Wait()
		if cards := m.Cards(); !cards[len(cards)-1].Final {
			t.Error("the last word waited behind progress")
		}
	})
}

// A job's card is edited more seldom as the job ages.
func TestFollowSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{MinGap: time.Second})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, begun...)
		edits := func(d time.Duration) int {
			before := len(m.Shown(0))
			for n := range int(d / (500 * time.Millisecond)) {
				time.Sleep(500 * time.Millisecond)
				s.add(id, progress(3, 0.1, fmt.Sprint(now(), n)))
			}
			return len(m.Shown(0)) - before
		}
		young := edits(time.Minute)
		time.Sleep(time.Hour)
		old := edits(time.Minute)
		if young < 30 || young > 61 {
			t.Errorf("%d edits in the first minute, want about 60", young)
		}
		if old < 2 || old > 6 {
			t.Errorf("%d edits in a minute after an hour, want about 4", old)
		}
	})
}

// A flood of log lines reaches the thread in batches, whole and in order.
func TestFollowLogFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{MinGap: time.Second})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, begun...)
		var want []string
		n := 0
		for range 10 {
			var text strings.Builder
			for range 77 {
				fmt.Fprintf(&text, "line %d\n", n)
				want = append(want, fmt.Sprintf("    line %d", n))
				n++
			}
			s.add(id, log(3, text.String()))
		}
		long := strings.Repeat("x", 9000)
		s.add(id, log(3, long), step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		want = append(want, "    "+long)
		begin := now()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		var got []string
		for _, lines := range m.Said(0) {
			if len(lines) > 30 {
				t.Errorf("a batch of %d lines", len(lines))
			}
			for _, line := range lines {
				if strings.Contains(line, "line ") || strings.Contains(line, "xxx") {
					got = append(got, line)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d log lines came, want %d, whole and in order", len(got), len(want))
		}
		if n := len(m.Said(0)); n > 35 {
			t.Errorf("%d messages in the thread", n)
		}
		if c := m.Cards()[0]; !c.Final {
			t.Errorf("the card waits behind the thread since %v", begin)
		}
	})
}

// Nothing an event tells can be missing from a card for lack of an event.
func TestFollowNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, begun...)
		synctest.Wait()
		s.set(func(s *memStore) { s.jobs[id].CancelAsked = &bob })
		f.Nudge("memory", id)
		f.Nudge("nowhere", id)
		synctest.Wait()
		if c := m.Cards()[0]; !strings.Contains(c.Text, "bob cancelled it") || len(c.Buttons) != 0 {
			t.Errorf("the card says %q with %d buttons", c.Text, len(c.Buttons))
		}
	})
}

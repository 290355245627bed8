package bot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/provision"
)

func TestFollowObeysBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		synctest.Wait()
		open := now().Add(40 * time.Second)
		var mu sync.Mutex
		early := 0
		m.Deny(func(c bottest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			if left := open.Sub(now()); left > 0 {
				early++
				return &bot.BusyError{After: left}
			}
			return nil
		})
		s.add(id, with(begun, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
		time.Sleep(39 * time.Second)
		mu.Lock()
		if early < 1 || early > 2 { // card and thread may be on their way together with another's
			t.Errorf("%d calls while the platform was busy", early)
		}
		mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if c := m.Cards()[0]; !c.Final {
			t.Errorf("the last word did not land when the platform opened: %s", c.Text)
		}
		if ref := s.card("memory", id); !ref.Settled {
			t.Errorf("not settled: %+v", ref)
		}
	})
}

// refuse makes a platform refuse every call, and counts them.
func refuse(m *bottest.Memory) *atomic.Int64 {
	var tries atomic.Int64
	m.Deny(func(bottest.Call) error {
		tries.Add(1)
		return errors.New("connection refused")
	})
	return &tries
}

// A platform that is down stops neither the others nor the jobs, and gets the
// last words when it is back.
func TestFollowPlatformDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		down, up := bottest.NewMemory("down", bot.Pace{}), bottest.NewMemory("up", bot.Pace{})
		f, stop := follow(t, s, "a", down, up)
		defer stop()
		lost, fine := started(t, s, down, f, "1"), started(t, s, up, f, "2")
		synctest.Wait()
		tries := refuse(down)
		install(s, lost)
		install(s, fine)
		synctest.Wait()
		if !up.Cards()[0].Final {
			t.Error("one platform's trouble reached the other")
		}
		time.Sleep(time.Hour)
		if n := tries.Load(); n > 300 {
			t.Errorf("%d tries in an hour: a storm", n)
		}
		down.Deny(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !down.Cards()[0].Final {
			t.Error("the last word never landed")
		}
		if got := said(down, 0); len(got) != 8 {
			t.Errorf("the thread says %q", got)
		}
	})
}

// Cards that are refused again and again hold up no other card.
func TestFollowRefusedCards(t *testing.T) {
	for _, refused := range []int{1, 10, 40} {
		t.Run(fmt.Sprint(refused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := newStore(), bottest.NewMemory("memory", bot.Pace{PerSecond: 0.8, Burst: 2, MinGap: 3 * time.Second})
				f, stop := follow(t, s, "a", m)
				defer stop()
				for i := range refused {
					id := started(t, s, m, f, fmt.Sprint("refused", i))
					s.add(id, with(failing, trouble(provision.StateParked))...)
				}
				m.Deny(func(c bottest.Call) error {
					if c.Job > 0 && int(c.Job) <= refused {
						return errors.New("ekm_access_denied")
					}
					return nil
				})
				time.Sleep(3 * time.Hour)
				id := started(t, s, m, f, "fine")
				time.Sleep(5 * time.Second)
				s.add(id, with(begun, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if cards := m.Cards(); !cards[len(cards)-1].Final {
					t.Errorf("the last word of a card waits behind %d that are refused", refused)
				}
				m.Deny(nil)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				for i, c := range m.Cards() {
					if job, _ := s.Job(t.Context(), c.Job); c.Seq != job.Seq {
						t.Errorf("card %d is behind, though it is not refused any more: %s", i, c.Text)
					}
				}
			})
		})
	}
}

// A platform that is down is left alone, however many cards wait for it.
func TestFollowManyCardsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{PerSecond: 2, Burst: 5})
		f, stop := follow(t, s, "a", m)
		defer stop()
		const cards = 60
		for i := range cards {
			s.add(started(t, s, m, f, fmt.Sprint(i)), begun[:1]...)
		}
		time.Sleep(5 * time.Minute)
		tries := refuse(m)
		for i := range cards {
			s.add(provision.JobID(i+1), with(begun[1:], step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
		}
		time.Sleep(time.Hour)
		if n := tries.Load(); n > 400 {
			t.Errorf("%d tries in an hour: a storm", n)
		}
		m.Deny(nil)
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		for i, c := range m.Cards() {
			if !c.Final {
				t.Errorf("card %d: the last word never landed", i)
			}
		}
	})
}

// A restarted bot shows what happened while nobody was there.
func TestFollowAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		over, going := started(t, s, m, f, "1"), started(t, s, m, f, "2")
		s.add(over, begun...)
		s.add(going, begun[:3]...)
		synctest.Wait()
		stop()
		s.add(over, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		s.add(going, begun[3:]...)

		_, stop = follow(t, s, "b", m)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		cards := m.Cards()
		if !cards[0].Final || !strings.Contains(cards[1].Text, "Step 4 of 5") {
			t.Errorf("after the restart: %q and %q", cards[0].Text, cards[1].Text)
		}
		if ref := s.card("memory", over); !ref.Settled {
			t.Errorf("not settled: %+v", ref)
		}
		want := []string{
			"[+] checking VMID (0.0s): 101", "[+] assigning IP (0.0s): 192.168.0.101", "[+] creating VM (0.0s)",
			"[+] importing disk image (0.0s)", "job 1, asked by alice, succeeded",
		}
		if got := said(m, 0); !slices.Equal(got, want) {
			t.Errorf("the thread says %q, want %q", got, want)
		}
	})
}

func TestFollowDeletedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, begun[:2]...)
		synctest.Wait()
		m.Remove(0)
		m.Deny(func(c bottest.Call) error { // the new message takes two tries
			if c.Op == "post" {
				m.Deny(nil)
				return &bot.BusyError{After: time.Second}
			}
			return nil
		})
		s.add(id, begun[2:5]...)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(m.Cards()); n != 1 {
			t.Fatalf("%d cards after the message was deleted, want a new one", n)
		}
		time.Sleep(5 * time.Second)
		if got := append(said(m, 0), said(m, 1)...); len(got) != 2 {
			t.Errorf("the threads say %q, want both milestones once", got)
		}
		m.Remove(1)
		s.add(id, begun[5:]...)
		s.add(id, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(m.Cards()); n != 0 {
			t.Errorf("%d cards after the message was deleted twice: nobody wants it", n)
		}
		if ref := s.card("memory", id); !ref.Settled {
			t.Errorf("not settled: %+v", ref)
		}
	})
}

// The desk could not post: the card comes when the platform is back.
func TestFollowPostsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		m.Deny(func(bottest.Call) error { return errors.New("bad gateway") })
		job := s.submit(order(), recipe...)
		if err := s.SetCard(t.Context(), provision.CardRef{Job: job.ID, Platform: "memory", Ref: json.RawMessage("null")}); err != nil {
			t.Fatal(err)
		}
		f.Nudge("memory", job.ID)
		time.Sleep(10 * time.Second)
		m.Deny(nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(m.Cards()); n != 1 {
			t.Fatalf("%d cards, want 1", n)
		}
		install(s, job.ID)
		synctest.Wait()
		if !m.Cards()[0].Final {
			t.Error("the posted card is not followed")
		}
	})
}

// A failed job that is tried again has a live card again.
func TestFollowRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, with(failing, trouble(provision.StateParked), state(provision.StateFailed))...)
		synctest.Wait()
		if ref := s.card("memory", id); !ref.Settled {
			t.Fatalf("not settled: %+v", ref)
		}
		time.Sleep(time.Hour)
		s.add(id, state(provision.StateQueued), state(provision.StateRunning))
		synctest.Wait()
		if c := m.Cards()[0]; c.Final {
			t.Error("the card still shows the failure")
		}
		s.add(id, step(provision.StepStarted, 3, ""), step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		synctest.Wait()
		if c := m.Cards()[0]; c.Tone != bot.Good {
			t.Errorf("the card shows %q", c.Text)
		}
		if ref := s.card("memory", id); !ref.Settled {
			t.Errorf("not settled: %+v", ref)
		}
	})
}

// One of two bots writes; when it dies, the other takes over what it left.
func TestFollowLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a, b := bottest.NewMemory("memory", bot.Pace{}), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", a)
		id := started(t, s, a, f, "k")
		if _, err := b.Post(t.Context(), ops, bot.Show(provision.Job{}, now())); err != nil { // b's ref 0 is the same message
			t.Fatal(err)
		}
		synctest.Wait()
		_, stopB := follow(t, s, "b", b)
		defer stopB()
		time.Sleep(time.Minute)
		s.add(id, begun...)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(b.Shown(0)); n != 1 {
			t.Errorf("the bot that does not lead edited %d times", n-1)
		}
		stop()
		s.add(id, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !b.Cards()[0].Final {
			t.Error("the new leader did not take over")
		}
	})
}

// A leader that can't renew stops writing before another may begin.
func TestFollowStopsWithoutRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		s.add(id, begun...)
		synctest.Wait()
		s.set(func(s *memStore) { s.fail = errors.New("database is gone") })
		time.Sleep(8 * time.Second)
		synctest.Wait()
		before := len(m.Shown(0)) + len(m.Said(0))
		for i := range 100 {
			time.Sleep(time.Second)
			s.add(id, progress(3, 0.5, fmt.Sprint(i)))
		}
		if after := len(m.Shown(0)) + len(m.Said(0)); after != before {
			t.Errorf("%d writes without the role", after-before)
		}
		s.set(func(s *memStore) { s.fail = nil })
		s.add(id, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !m.Cards()[0].Final {
			t.Error("the last word did not land after the database came back")
		}
	})
}

// Events that are not kept any more are no reason to miss anything.
func TestFollowPrunedFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		f, stop := follow(t, s, "a", m)
		defer stop()
		id := started(t, s, m, f, "k")
		synctest.Wait()
		s.set(func(s *memStore) { s.breaks = true })
		s.add(id, with(begun, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !m.Cards()[0].Final {
			t.Error("a break in the feed lost the last word")
		}
	})
}

// tardy is a store that takes its time to read a job.
type tardy struct {
	*memStore
	takes time.Duration
}

func (s tardy) Job(ctx context.Context, id provision.JobID) (provision.Job, error) {
	if err := (cluster.SystemClock{}).Sleep(ctx, s.takes); err != nil {
		return provision.Job{}, err
	}
	return s.memStore.Job(ctx, id)
}

// A leader that has many cards to read keeps its role meanwhile, and begins to
// write before it has read them all.
func TestFollowSlowReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{})
		for i := range 400 {
			id := started(t, s, m, nil, fmt.Sprint(i))
			s.add(id, with(begun, step(provision.StepDone, 3, ""), state(provision.StateSucceeded))...)
		}
		f := bot.NewFollower(bot.FollowerConfig{Store: tardy{s, 50 * time.Millisecond}, Adapters: []bot.Adapter{m}, Owner: "a"})
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- f.Run(ctx) }()
		final := func() (n int) {
			for _, c := range m.Cards() {
				if c.Final {
					n++
				}
			}
			return n
		}
		time.Sleep(5 * time.Second)
		if final() == 0 {
			t.Error("nothing is shown until all is read")
		}
		time.Sleep(time.Minute)
		if n := final(); n != 400 {
			t.Errorf("%d of 400 cards show the end", n)
		}
		if left, _ := s.Cards(t.Context(), "memory"); len(left) != 0 {
			t.Errorf("%d cards are not settled", len(left))
		}
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

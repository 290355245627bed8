package bot_test

import (
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/provision"
)

// The follower tells how far what is shown is behind, since when, and what the
// platform thought of its writes.
func TestFollowerStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newStore(), bottest.NewMemory("memory", bot.Pace{PerSecond: 10, Burst: 5})
		idle := bot.NewFollower(bot.FollowerConfig{Store: s, Adapters: []bot.Adapter{m}, Owner: "b"})
		if got := idle.Status(); len(got) != 1 || got[0].Platform != "memory" || got[0].Leads {
			t.Errorf("before it runs: %+v", got)
		}
		f, stop := follow(t, s, "a", m)
		id := started(t, s, m, f, "k")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := f.Status()[0]
		if !got.Leads || got.Cards != 1 || got.Behind != 0 || !got.Oldest.IsZero() || got.Budget != 5 {
			t.Errorf("when all is shown: %+v", got)
		}
		landed := got.Writes

		m.Deny(func(bottest.Call) error { return &bot.BusyError{After: time.Second} })
		began := time.Now()
		s.add(id, with(begun)...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got = f.Status()[0]
		if got.Behind == 0 || got.Oldest.Sub(began).Abs() > time.Second || got.Refused == 0 || got.Quiet.IsZero() || got.Writes != landed {
			t.Errorf("while the platform refuses: %+v, since %s", got, began)
		}

		m.Deny(nil)
		s.add(id, step(provision.StepDone, 3, ""), step(provision.StepStarted, 4, ""), step(provision.StepDone, 4, ""), state(provision.StateSucceeded))
		time.Sleep(time.Minute)
		synctest.Wait()
		got = f.Status()[0]
		if got.Cards != 0 || got.Behind != 0 || !got.Oldest.IsZero() || got.Writes <= landed {
			t.Errorf("after the end: %+v", got)
		}
		stop()
		if got := f.Status()[0]; got.Leads || got.Writes <= landed {
			t.Errorf("after it ran: %+v", got)
		}
	})
}

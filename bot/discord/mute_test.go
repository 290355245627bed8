package discord_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// A gateway that acknowledges heartbeats and never answers RESUME does not make
// the bot deaf for good: after two of them it begins a new session.
func TestResumesThatNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{Heartbeat: 5 * time.Second}, discord.Config{})
		stop := running(t, d, fake, &bottest.Script{})
		time.Sleep(time.Minute)
		fake.Mute(true, false)
		fake.CloseAll(4000)
		time.Sleep(40 * time.Second)
		if l := d.Link(); l.Up || !l.Deaf {
			t.Errorf("after a resume that nobody answered: %+v", l)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if l := d.Link(); !l.Up || l.Deaf || l.Problem != "" {
			t.Errorf("a minute later: %+v", l)
		}
		if n := fake.Identified(); n != 2 {
			t.Errorf("%d sessions were begun, want 2", n)
		}
		ask(t, fake)
		stop()
	})
}

// A gateway that answers no IDENTIFY either is tried slower and slower, which
// keeps Discord's budget, and the bot says that it is deaf.
func TestIdentifiesThatNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{Heartbeat: 5 * time.Second}, discord.Config{})
		stop := running(t, d, fake, &bottest.Script{})
		time.Sleep(time.Minute)
		fake.Mute(true, true)
		fake.CloseAll(4000)
		begun := fake.Identified()
		time.Sleep(10 * time.Minute)
		first := fake.Identified() - begun
		time.Sleep(30 * time.Minute)
		if l := d.Link(); l.Up || !l.Deaf || !strings.Contains(l.Problem, "does not answer") {
			t.Errorf("%+v", l)
		}
		// 30 s of waiting, and a minute and more between two of them.
		if later := fake.Identified() - begun - first; later < 15 || later > 21 {
			t.Errorf("%d sessions were asked for in half an hour", later)
		}
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "list"); !errors.Is(err, discordfake.ErrNobody) && !errors.Is(err, discordfake.ErrTimeout) {
			t.Errorf("somebody was heard: %v", err)
		}
		fake.Mute(false, false)
		time.Sleep(2 * time.Minute)
		ask(t, fake)
		if l := d.Link(); !l.Up || l.Deaf {
			t.Errorf("once it answers: %+v", l)
		}
		stop()
	})
}

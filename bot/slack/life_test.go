package slack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	"pvebot/cluster"
)

// commands has Alice type n commands, one every gap, and wants each to be
// acknowledged in time and handled once.
func commands(t *testing.T, fake *slackfake.Fake, h *bottest.Script, n int, gap time.Duration) {
	t.Helper()
	var typing sync.WaitGroup
	for i := range n {
		typing.Go(func() {
			if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, fmt.Sprintf("show vm-%d", i), ""); err != nil {
				t.Errorf("command %d: %v", i, err)
			}
		})
		time.Sleep(gap)
	}
	typing.Wait()
	synctest.Wait()
	got := h.Counts()
	for i := range n {
		if c := got[fmt.Sprintf("show vm-%d", i)]; c != 1 {
			t.Errorf("command %d was handled %d times", i, c)
		}
	}
}

func TestRefreshLosesNothing(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all_%v", all), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
				h := &bottest.Script{}
				running(t, s, fake, 2, h)
				time.Sleep(time.Hour) // the sockets are old and pinged
				before := s.Health().Opened
				if l := s.Link(); !l.Up || time.Since(l.Since) < time.Hour {
					t.Errorf("an old connection: %+v", l)
				}
				var refreshing sync.WaitGroup
				refreshing.Go(func() {
					time.Sleep(time.Second)
					fake.Refresh(t.Context(), all)
				})
				commands(t, fake, h, 100, 200*time.Millisecond)
				refreshing.Wait()
				time.Sleep(20 * time.Second)
				if n := s.Health().Opened - before; n != map[bool]int{false: 1, true: 2}[all] {
					t.Errorf("%d sockets were opened", n)
				}
				if s.Health().Sockets != 2 || fake.Sockets() != 2 {
					t.Errorf("%d sockets are open, Slack sees %d", s.Health().Sockets, fake.Sockets())
				}
			})
		})
	}
}

func TestTwiceDeliveredIsOnceDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{OnTriage: func(ctx context.Context, _ bot.Inbound) bot.Ack {
			_ = (cluster.SystemClock{}).Sleep(ctx, 100*time.Millisecond)
			return bot.Ack{Whisper: &bot.Card{Text: "taken"}}
		}}
		running(t, s, fake, 2, h)
		fake.Twice(20)
		commands(t, fake, h, 20, 50*time.Millisecond)
		fake.Settle(5 * time.Second)
		if _, missing := fake.Acks(); missing != 0 {
			t.Errorf("%d envelopes were never acknowledged", missing)
		}
		if n := len(h.Triaged()); n != 20 {
			t.Errorf("20 commands were triaged %d times", n)
		}
	})
}

func TestDisconnectStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{}
		running(t, s, fake, 2, h)
		began := len(fake.Journal("apps.connections.open"))
		for range 300 { // five minutes
			fake.Disconnect("refresh_requested")
			time.Sleep(time.Second)
		}
		if n := len(fake.Journal("apps.connections.open")) - began; n > 40 {
			t.Errorf("in five minutes of storm Slack was asked for %d sockets", n)
		}
		for _, c := range fake.Journal("apps.connections.open") {
			if c.Error != "" {
				t.Errorf("Slack answered %s", c.Error)
			}
		}
		time.Sleep(2 * time.Minute)
		commands(t, fake, h, 10, time.Second)
	})
}

// A ghost is open, but nothing comes there any more: Slack may still deliver to
// it, so it must go.
func TestGhostSocketIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{}
		running(t, s, fake, 2, h)
		time.Sleep(time.Minute)
		before := s.Health().Opened
		fake.Haunt()
		time.Sleep(time.Minute)
		if n := s.Health().Opened - before; n != 1 {
			t.Errorf("%d sockets were opened for one ghost", n)
		}
		commands(t, fake, h, 10, time.Second)
	})
}

func TestOutageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{}
		running(t, s, fake, 2, h)
		fake.Outage(true)
		fake.Cut()
		time.Sleep(5 * time.Minute)
		if p := s.Health().Problem; !strings.Contains(p, "503") {
			t.Errorf("during an outage the problem is %q", p)
		}
		fake.Outage(false)
		time.Sleep(time.Minute)
		commands(t, fake, h, 10, time.Second)
		if p := s.Health().Problem; p != "" {
			t.Errorf("after the outage the problem is %q", p)
		}
	})
}

// A stop writes every ack that is due, and then says goodbye: what Slack has
// delivered is not shown as a failure.
func TestStopLosesNoAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack {
			time.Sleep(300 * time.Millisecond) // not cut short by the stop
			return bot.Ack{}
		}}
		stop := running(t, s, fake, 2, h)
		var typing sync.WaitGroup
		for i := range 50 {
			typing.Go(func() {
				if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, fmt.Sprint("list ", i), ""); err != nil {
					t.Errorf("command %d: %v", i, err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		stop()
		typing.Wait()
		if n := len(h.Counts()); n != 50 {
			t.Errorf("%d of 50 were handled", n)
		}
	})
}

// What comes while an ack could not be written any more is not taken at all:
// the person sees a failure and nothing happened.
func TestAfterTheGoodbyeNothingIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{}
		stop := running(t, s, fake, 2, h)
		stop()
		_, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "list", "")
		if !errors.Is(err, slackfake.ErrNobody) && !errors.Is(err, slackfake.ErrTimeout) {
			t.Errorf("a command to a stopped bot: %v", err)
		}
		if n := len(h.Triaged()); n != 0 {
			t.Errorf("it was triaged %d times", n)
		}
	})
}

func TestSlowTriageIsAcknowledgedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{OnTriage: func(ctx context.Context, _ bot.Inbound) bot.Ack {
			time.Sleep(4 * time.Second)
			return bot.Ack{Whisper: &bot.Card{Text: "better late"}}
		}}
		running(t, s, fake, 2, h)
		out, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "list", "")
		if err != nil || len(out.Payload) > 0 {
			t.Fatalf("ack: %s, %v", out.Payload, err)
		}
		time.Sleep(5 * time.Second)
		if got := fake.Ephemerals(slackfake.Alice); len(got) != 1 || !strings.Contains(got[0].Plain(), "better late") {
			t.Errorf("the late answer: %v", got)
		}
		if s.Health().LateAcks != 1 || len(h.Counts()) != 1 {
			t.Errorf("%+v, handled %v", s.Health(), h.Counts())
		}
	})
}

func TestSilentSlackIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{Ping: 24 * time.Hour}, slack.Config{})
		running(t, s, fake, 2, &bottest.Script{})
		time.Sleep(5 * time.Minute)
		// Given up after 30 s each, and not in a hurry.
		if n := s.Health().Opened; n < 10 || n > 22 {
			t.Errorf("%d sockets were opened in five silent minutes", n)
		}
	})
}

func TestRunEndsWhenOnlyAPersonCanHelp(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(*slackfake.Fake)
		want string
	}{
		"bot token revoked": {func(f *slackfake.Fake) {
			f.Break(slackfake.Fault{Method: "auth.test", Code: "token_revoked"})
		}, "SLACK_BOT_TOKEN: the token was revoked"},
		"app token unknown": {func(f *slackfake.Fake) {
			f.Break(slackfake.Fault{Method: "apps.connections.open", Code: "invalid_auth"})
		}, "SLACK_APP_TOKEN: Slack does not know the token"},
		"app token without scope": {func(f *slackfake.Fake) {
			f.Break(slackfake.Fault{Method: "apps.connections.open", Times: 2, Code: "missing_scope"})
		}, "SLACK_APP_TOKEN: the token lacks a scope"},
		"wrong address": {func(f *slackfake.Fake) {
			f.Break(slackfake.Fault{Method: "auth.test", Status: 404})
		}, "404"},
		"Socket Mode switched off": {func(f *slackfake.Fake) {
			go func() { time.Sleep(time.Minute); f.Disconnect("link_disabled") }()
		}, "Socket Mode is off"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
				tc.harm(fake)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				err := s.Run(ctx, &bottest.Script{})
				var fatal *slack.FatalError
				if !errors.As(err, &fatal) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Run: %v, want a FatalError with %q", err, tc.want)
				}
				if l := s.Link(); l.Up || !strings.Contains(l.Problem, tc.want) {
					t.Errorf("when it has ended: %+v", l)
				}
			})
		})
	}
}

func TestMissingScopeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := inMemory(t, slackfake.Config{Scopes: []string{"commands"}}, slack.Config{})
		if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "chat:write") {
			t.Errorf("Check: %v", err)
		}
	})
}

// Scopes that something needs, but not everything, are named in the log.
func TestUsefulScopesAreNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		scopes, groups, want []string
	}{
		"all":            {[]string{"commands", "chat:write", "chat:write.public", "files:write", "usergroups:read"}, []string{"S1"}, nil},
		"least":          {[]string{"commands", "chat:write"}, nil, []string{"chat:write.public", "files:write"}},
		"without groups": {[]string{"commands", "chat:write", "chat:write.public", "files:write"}, []string{"S1"}, []string{"usergroups:read"}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			l, dial := bottest.Pipe()
			fake := slackfake.New(slackfake.Config{Scopes: tc.scopes})
			fake.Start(l)
			defer fake.Close()
			s, err := slack.New(slack.Config{
				BotToken: slackfake.BotToken, AppToken: slackfake.AppToken, APIURL: fake.URL(), Dial: dial, Groups: tc.groups,
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range regexp.MustCompile(` scope=(\S+)`).FindAllStringSubmatch(log.String(), -1) {
				got = append(got, m[1])
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("the log names %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTooManySocketsIsNotFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{Sockets: 12})
		h := &bottest.Script{}
		running(t, s, fake, 10, h)
		time.Sleep(10 * time.Minute)
		if s.Health().Sockets != 10 {
			t.Errorf("%d sockets", s.Health().Sockets)
		}
		commands(t, fake, h, 20, 100*time.Millisecond)
	})
}

package slack_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	"pvebot/cluster"
	"pvebot/provision"
)

// logTo is where the adapter's log goes: nowhere, or the terminal.
func logTo() *slog.Logger {
	if os.Getenv("SLACK_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

var (
	alice = provision.Actor{Platform: "slack", ID: slackfake.Alice, Name: "alice"}
	bob   = provision.Actor{Platform: "slack", ID: slackfake.Bob, Name: "bob"}
	ops   = provision.Conversation{Platform: "slack", Channel: slackfake.Ops}
)

// inMemory is an adapter on a workspace, both without sockets of the machine,
// so that it works in a bubble of testing/synctest. What the workspace
// complains about fails the test.
func inMemory(t testing.TB, fake slackfake.Config, cfg slack.Config) (*slack.Slack, *slackfake.Fake) {
	t.Helper()
	l, dial := bottest.Pipe()
	cfg.Dial = dial
	return start(t, l, fake, cfg)
}

// onSockets is the same over 127.0.0.1.
func onSockets(t testing.TB, fake slackfake.Config, cfg slack.Config) (*slack.Slack, *slackfake.Fake) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dial = (&net.Dialer{}).DialContext
	return start(t, l, fake, cfg)
}

func start(t testing.TB, l net.Listener, fakeCfg slackfake.Config, cfg slack.Config) (*slack.Slack, *slackfake.Fake) {
	t.Helper()
	fake := slackfake.New(fakeCfg)
	fake.Start(l)
	cfg.BotToken, cfg.AppToken, cfg.APIURL, cfg.Log = "xoxb-fake", "xapp-fake", fake.URL(), logTo()
	s, err := slack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		_ = l.Close()
		fake.Close()
		for _, c := range fake.Complaints() {
			t.Errorf("Slack would complain: %s", c)
		}
	})
	return s, fake
}

// running runs the adapter until the test ends, and waits until it is
// connected. What Run returned is checked.
func running(t testing.TB, s *slack.Slack, fake *slackfake.Fake, sockets int, h bot.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx, h); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	until(t, "sockets", func() bool { return s.Health().Sockets == sockets && fake.Sockets() >= sockets })
	return stop
}

// until polls; in a bubble that takes no time.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for !ok() {
		if (cluster.SystemClock{}).Sleep(ctx, time.Millisecond) != nil {
			t.Fatalf("%s: not seen in time", what)
		}
	}
}

// screen shows a workspace to the suite.
type screen struct{ fake *slackfake.Fake }

func (s screen) Messages(where provision.Conversation) []bottest.Message {
	var out []bottest.Message
	for _, m := range s.fake.Messages(where.Channel) {
		seen := bottest.Message{Text: m.Plain()}
		for _, reply := range m.Thread {
			seen.Thread = append(seen.Thread, strings.Split(strings.TrimSuffix(reply.Plain(), "\n"), "\n")...)
		}
		out = append(out, seen)
	}
	return out
}

// Whispers waits for acks that are on the wire: what was written is seen a
// moment later.
func (s screen) Whispers(to provision.Actor) []string {
	s.fake.Settle(100 * time.Millisecond)
	var out []string
	for _, e := range s.fake.Ephemerals(to.ID) {
		out = append(out, e.Plain())
	}
	return out
}

func rigOf(t testing.TB, s *slack.Slack, fake *slackfake.Fake) bottest.Rig {
	// A person acts when the bot is there, and sees what came of it before
	// doing the next thing.
	do := func(f func(context.Context) error) {
		until(t, "the bot", func() bool { return s.Link().Up })
		if err := f(t.Context()); err != nil {
			t.Errorf("Slack shows a failure: %v", err)
		}
	}
	return bottest.Rig{
		Adapter: s, Screen: screen{fake}, Where: ops, People: []provision.Actor{alice, bob},
		Type: func(by provision.Actor, id, line string) {
			do(func(ctx context.Context) error {
				_, err := fake.Command(ctx, by.ID, slackfake.Ops, strings.TrimPrefix(line, "/vm "), id)
				return err
			})
		},
		Press: func(by provision.Actor, id, label string) {
			all := fake.Messages(slackfake.Ops)
			do(func(ctx context.Context) error {
				_, err := fake.Click(ctx, by.ID, slackfake.Ops, all[len(all)-1].TS, label, id)
				return err
			})
		},
		Delete: func() {
			all := fake.Messages(slackfake.Ops)
			fake.Delete(slackfake.Ops, all[len(all)-1].TS)
		},
	}
}

func TestConformance(t *testing.T) {
	bottest.Run(t, bottest.Harness{New: func(t testing.TB) bottest.Rig {
		s, fake := onSockets(t, slackfake.Config{}, slack.Config{})
		return rigOf(t, s, fake)
	}})
}

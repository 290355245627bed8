package discord_test

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
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// logTo is where the adapter's log goes: nowhere, or the terminal.
func logTo() *slog.Logger {
	if os.Getenv("DISCORD_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var (
	alice = provision.Actor{Platform: "discord", ID: discordfake.Alice, Name: "alice"}
	bob   = provision.Actor{Platform: "discord", ID: discordfake.Bob, Name: "bob"}
	ops   = provision.Conversation{Platform: "discord", Channel: discordfake.Ops}
)

// inMemory is an adapter on a server, both without sockets of the machine, so
// that it works in a bubble of testing/synctest. What the server complains
// about fails the test.
func inMemory(t testing.TB, fake discordfake.Config, cfg discord.Config) (*discord.Discord, *discordfake.Fake) {
	t.Helper()
	sleepToDiscord()
	l, dial := bottest.Pipe()
	cfg.Dial = dial
	return start(t, l, fake, cfg)
}

// sleepToDiscord waits, in a bubble, until Discord exists: its ids count from
// 2015, the clock of a bubble from 2000.
func sleepToDiscord() {
	time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
}

// onSockets is the same over 127.0.0.1.
func onSockets(t testing.TB, fake discordfake.Config, cfg discord.Config) (*discord.Discord, *discordfake.Fake) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dial = (&net.Dialer{}).DialContext
	return start(t, l, fake, cfg)
}

func start(t testing.TB, l net.Listener, fakeCfg discordfake.Config, cfg discord.Config) (*discord.Discord, *discordfake.Fake) {
	t.Helper()
	fake := discordfake.New(fakeCfg)
	fake.Start(l)
	if cfg.Token == "" {
		cfg.Token = "fake-token"
	}
	cfg.APIURL, cfg.Log = fake.URL(), logTo()
	d, err := discord.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		_ = l.Close()
		fake.Close()
		for _, c := range fake.Complaints() {
			t.Errorf("Discord would complain: %s", c)
		}
	})
	return d, fake
}

// running runs the adapter until the test ends, and waits until it is
// connected. What Run returned is checked.
func running(t testing.TB, d *discord.Discord, fake *discordfake.Fake, h bot.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx, h); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	until(t, "a connection", func() bool { return d.Health().Connected && fake.Ready() > 0 })
	if l := d.Link(); !l.Up || l.Since.IsZero() {
		t.Errorf("a connection: %+v", l)
	}
	return stop
}

// until polls; in a bubble that takes no time.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for !ok() {
		if (cluster.SystemClock{}).Sleep(ctx, time.Millisecond) != nil {
			t.Fatalf("%s: not seen in time", what)
		}
	}
}

// typed is a line as a person fills it into Discord's options.
func typed(line string) (verb string, options []discordfake.Option) {
	words := strings.Fields(strings.TrimPrefix(line, "/vm "))
	v, _ := commands.VerbOf(words[0])
	for i, w := range words[1:] {
		options = append(options, discordfake.Option{Name: v.Params()[i].Name, Value: w})
	}
	return words[0], options
}

// screen shows a server to the suite.
type screen struct{ fake *discordfake.Fake }

func (s screen) Messages(where provision.Conversation) []bottest.Message {
	var out []bottest.Message
	for _, m := range s.fake.Messages(where.Channel) {
		seen := bottest.Message{Text: m.Text}
		for _, line := range m.Thread {
			seen.Thread = append(seen.Thread, strings.Split(strings.TrimSuffix(line.Text, "\n"), "\n")...)
		}
		if !m.Thinking {
			out = append(out, seen)
		}
	}
	return out
}

func (s screen) Whispers(to provision.Actor) []string {
	var out []string
	for _, m := range s.fake.Whispers(to.ID) {
		if !m.Thinking {
			out = append(out, m.Text)
		}
	}
	return out
}

func rigOf(t testing.TB, d *discord.Discord, fake *discordfake.Fake) bottest.Rig {
	// A person acts when the bot is there, and sees what came of it before
	// doing the next thing.
	do := func(f func(context.Context) error) {
		until(t, "a connection", func() bool { return fake.Ready() > 0 })
		if err := f(t.Context()); err != nil {
			t.Errorf("Discord shows a failure: %v", err)
		}
	}
	newest := func() discordfake.Message {
		all := fake.Messages(discordfake.Ops)
		return all[len(all)-1]
	}
	return bottest.Rig{
		Adapter: d, Screen: screen{fake}, Where: ops, People: []provision.Actor{alice, bob},
		Type: func(by provision.Actor, _, line string) {
			verb, options := typed(line)
			do(func(ctx context.Context) error {
				_, err := fake.Command(ctx, by.ID, discordfake.Ops, verb, options...)
				return err
			})
		},
		Press: func(by provision.Actor, _, label string) {
			do(func(ctx context.Context) error {
				_, err := fake.Click(ctx, by.ID, discordfake.Ops, newest().ID, label)
				return err
			})
		},
		Delete: func() { fake.Delete(discordfake.Ops, newest().ID) },
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	bottest.Run(t, bottest.Harness{New: func(t testing.TB) bottest.Rig {
		// Twenty edits of a message want to be seen before the test is old.
		d, fake := onSockets(t, discordfake.Config{Unlimited: true}, discord.Config{})
		return rigOf(t, d, fake)
	}})
}

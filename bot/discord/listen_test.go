package discord_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// Two bots that both listen: one answers, and nobody sees a failure or two
// answers.
func TestTwoListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleepToDiscord()
		l, dial := bottest.Pipe()
		fake := discordfake.New(discordfake.Config{Unlimited: true})
		fake.Start(l)
		defer fake.Close()
		var mu sync.Mutex
		taken := map[string]int{} // as a store has it
		for owner := range 2 {
			d, err := discord.New(discord.Config{Token: "fake-token", APIURL: fake.URL(), Dial: dial, Log: logTo()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			running(t, d, fake, &bottest.Script{
				OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
					mu.Lock()
					defer mu.Unlock()
					if _, known := taken[in.ID]; known {
						return bot.Ack{}
					}
					taken[in.ID] = owner
					if in.Text == "list" {
						return bot.Ack{Whisper: &bot.Card{Title: "the answer"}}
					}
					return bot.Ack{}
				},
				OnHandle: func(ctx context.Context, in bot.Inbound) {
					mu.Lock()
					mine := taken[in.ID] == owner
					mu.Unlock()
					if mine && in.Text != "list" {
						time.Sleep(time.Second)
						if _, err := d.Post(ctx, in.Where, card(1, "the card")); err != nil {
							t.Errorf("Post: %v", err)
						}
					}
				},
			})
		}
		fake.Twice(5)
		for range 20 {
			for _, verb := range []string{"list", "install"} {
				if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, verb); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Minute)
		}
		if got := fake.Whispers(discordfake.Alice); len(got) != 20 {
			t.Errorf("%d answers to 20 commands", len(got))
		}
		all := fake.Messages(discordfake.Ops)
		for _, m := range all {
			if m.Thinking {
				t.Error("a command stays without its card")
			}
		}
		if len(all) != 20 {
			t.Errorf("%d cards of 20 jobs", len(all))
		}
	})
}

// leader is a table of roles, as a store has it.
type leader struct {
	mu    sync.Mutex
	owner string
	until time.Time
	down  bool
}

func (l *leader) Lead(_ context.Context, _, owner string, ttl time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false, errors.New("the store is down")
	}
	if now := time.Now(); l.owner == owner || now.After(l.until) {
		l.owner, l.until = owner, now.Add(ttl)
	}
	return l.owner == owner, nil
}

func (l *leader) Resign(_ context.Context, _, owner string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == owner {
		l.owner, l.until = "", time.Time{}
	}
	return nil
}

// Of several bots on one store one listens; another takes over when it ends,
// or can't reach the store.
func TestOneListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleepToDiscord()
		l, dial := bottest.Pipe()
		fake := discordfake.New(discordfake.Config{})
		fake.Start(l)
		defer fake.Close()
		roles := &leader{}
		var bots []*discord.Discord
		var stops []func()
		for _, owner := range []string{"one", "two"} {
			d, err := discord.New(discord.Config{Token: "fake-token", APIURL: fake.URL(), Dial: dial, Log: logTo(), Leader: roles, Owner: owner})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = d.Run(ctx, &bottest.Script{}) }()
			bots = append(bots, d)
			stops = append(stops, func() { cancel(); <-done })
			time.Sleep(5 * time.Second)
		}
		defer stops[1]()
		listening := func() int {
			n := 0
			for _, d := range bots {
				if d.Health().Connected {
					n++
				}
			}
			if n != fake.Ready() {
				t.Errorf("%d bots listen on %d connections", n, fake.Ready())
			}
			return n
		}
		time.Sleep(time.Minute)
		if n := listening(); n != 1 || !bots[0].Health().Leading {
			t.Errorf("%d bots listen", n)
		}
		stops[0]()
		time.Sleep(15 * time.Second)
		if n := listening(); n != 1 || !bots[1].Health().Leading {
			t.Errorf("%d bots listen after one has ended", n)
		}
		ask(t, fake)
		roles.mu.Lock()
		roles.down = true
		roles.mu.Unlock()
		time.Sleep(9 * time.Second) // before another one may have the role
		if n := listening(); n != 0 {
			t.Errorf("%d bots listen without a role", n)
		}
		roles.mu.Lock()
		roles.down = false
		roles.mu.Unlock()
		time.Sleep(30 * time.Second)
		if n := listening(); n != 1 {
			t.Errorf("%d bots listen after the store came back", n)
		}
	})
}

// One answer that the token is wrong ends a bot that needs a new session just
// then. Until it is tried again it says why it does not listen; then it listens
// again.
func TestOneWrongAnswerAboutTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{Leader: &leader{}, Owner: "one"})
		over := make(chan error, 1)
		go func() { over <- d.Run(t.Context(), &bottest.Script{}) }()
		until(t, "a connection", func() bool { return d.Link().Up })
		time.Sleep(time.Hour)
		fake.Break(discordfake.Fault{Method: "POST", Path: "/messages", Times: 1, Status: 401})
		if _, err := d.Post(t.Context(), ops, card(1, "x")); err == nil {
			t.Error("a card was posted")
		}
		time.Sleep(time.Minute)
		fake.Invalidate(false)
		var fatal *discord.FatalError
		if err := <-over; !errors.As(err, &fatal) {
			t.Fatalf("Run: %v", err)
		}
		if l := d.Link(); l.Up || l.Standby || !strings.Contains(l.Problem, "DISCORD_TOKEN") {
			t.Errorf("when it has ended: %+v", l)
		}
		time.Sleep(10 * time.Minute)
		running(t, d, fake, &bottest.Script{})
	})
}

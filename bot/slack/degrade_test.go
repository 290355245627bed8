package slack_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	pvecommands "pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// Where no card can be, the asker alone is shown how the job goes: from the
// beginning in a channel that the bot is not in, from the middle on when a
// channel is archived.
func TestCardsInPrivate(t *testing.T) {
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s, fake := onSockets(t, slackfake.Config{}, slack.Config{})
	follower := bot.NewFollower(bot.FollowerConfig{Store: store, Adapters: []bot.Adapter{s}, Owner: "one", Log: logTo()})
	desk := bot.NewDesk(bot.DeskConfig{
		Store: store, Engine: bottest.TakesOrders{Store: store}, Inventory: bottest.Catalogue{}, Policy: pvecommands.DemoPolicy(),
		Adapters: []bot.Adapter{s}, Follower: follower, Log: logTo(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return follower.Run(ctx) })
	defer func() {
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	running(t, s, fake, 2, desk)
	order := func(by, channel, name string) {
		t.Helper()
		if _, err := fake.Command(t.Context(), by, channel, "install ubuntu --name "+name, ""); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(channel, words string) {
		t.Helper()
		until(t, words, func() bool {
			for _, m := range fake.Messages(channel) {
				if strings.Contains(m.Plain(), words) {
					return true
				}
			}
			return false
		})
	}
	end := func() {
		t.Helper()
		lease, err := store.Claim(t.Context(), "worker", provision.Wanted{Cluster: "pve"})
		if err == nil {
			_, err = store.Append(t.Context(), lease, provision.Event{Kind: provision.JobState, State: provision.StateSucceeded})
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	order(slackfake.Alice, slackfake.Private, "web-1")
	sees(slackfake.DM(slackfake.Alice), "web-1")
	until(t, "what to do about it", func() bool {
		all := fake.Ephemerals(slackfake.Alice)
		return len(all) == 1 && strings.Contains(all[0].Plain(), "Invite me")
	})
	end()
	sees(slackfake.DM(slackfake.Alice), "is ready")

	order(slackfake.Bob, slackfake.Ops, "web-2")
	sees(slackfake.Ops, "web-2")
	fake.Archive(slackfake.Ops)
	end()
	sees(slackfake.DM(slackfake.Bob), "is ready")
	if n := len(fake.Messages(slackfake.Private)); n != 0 {
		t.Errorf("%d messages where the bot is not", n)
	}
}

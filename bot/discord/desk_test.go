package discord_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// A VM is installed by form and by command, with the desk, the follower and the
// store that the bot has.
func TestWithTheRealDesk(t *testing.T) {
	t.Parallel()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	d, fake := onSockets(t, discordfake.Config{Unlimited: true}, discord.Config{Leader: store, Owner: "one"})
	follower := bot.NewFollower(bot.FollowerConfig{Store: store, Adapters: []bot.Adapter{d}, Owner: "one", Log: logTo()})
	desk := bot.NewDesk(bot.DeskConfig{
		Store: store, Engine: bottest.TakesOrders{Store: store}, Inventory: bottest.Catalogue{}, Policy: commands.DemoPolicy(),
		Adapters: []bot.Adapter{d}, Follower: follower, Log: logTo(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return follower.Run(gctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	running(t, d, fake, desk)

	bare, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install")
	if err != nil || bare.Modal == nil {
		t.Fatalf("a bare install: %+v, %v", bare, err)
	}
	if _, err := fake.Submit(t.Context(), discordfake.Alice, discordfake.Ops, *bare.Modal, map[string]string{"os": "ubuntu"}); err != nil {
		t.Fatal(err)
	}
	card := func(i int, words ...string) func() bool {
		return func() bool {
			all := fake.Messages(discordfake.Ops)
			if len(all) <= i || all[i].Thinking {
				return false
			}
			for _, w := range words {
				if !strings.Contains(all[i].Text, w) {
					return false
				}
			}
			return true
		}
	}
	until(t, "the first card", card(0, "Install ubuntu", "creating VM", "asked by alice"))
	if _, err := fake.Command(t.Context(), discordfake.Bob, discordfake.Ops, "install", opt("os", "ubuntu"), opt("name", "web-1")); err != nil {
		t.Fatal(err)
	}
	until(t, "the second card", card(1, "web-1", "asked by bob"))
	choices, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "install", discordfake.Option{Name: "os", Value: "u", Focused: true})
	if err != nil || len(choices.Choices) != 1 || choices.Choices[0].Value != "ubuntu" {
		t.Errorf("%+v, %v", choices, err)
	}
	if _, err := fake.Command(t.Context(), discordfake.Bob, discordfake.Ops, "nodes"); err != nil {
		t.Error(err)
	}
	until(t, "the nodes", func() bool {
		got := fake.Whispers(discordfake.Bob)
		return len(got) == 1 && strings.Contains(got[0].Text, "pve1")
	})

	lease, err := store.Claim(t.Context(), "worker", provision.Wanted{Cluster: "pve"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range []provision.Event{
		{Kind: provision.StepStarted, Step: "creating VM"},
		{Kind: provision.StepLog, Step: "creating VM", Text: "a line of qm"},
		{Kind: provision.StepDone, Step: "creating VM"},
		{Kind: provision.StepStarted, Step: "waiting for ready"},
		{Kind: provision.StepDone, Step: "waiting for ready"},
		{Kind: provision.JobState, State: provision.StateSucceeded},
	} {
		if _, err := store.Append(t.Context(), lease, ev); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the end", func() bool {
		m := fake.Messages(discordfake.Ops)[0]
		var thread strings.Builder
		for _, line := range m.Thread {
			thread.WriteString(line.Text + "\n")
		}
		return strings.Contains(m.Text, "is ready") && m.Archived && strings.Contains(thread.String(), "a line of qm") && strings.Contains(thread.String(), "succeeded")
	})
	if n := len(fake.Messages(discordfake.Ops)); n != 2 {
		t.Errorf("%d messages for two jobs", n)
	}
}

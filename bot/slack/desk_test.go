package slack_test

import (
	"context"
	"encoding/json"
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

// A VM is installed by form and by command, with the desk, the follower and the
// store that the bot has, and over a restart of the bot in the middle.
func TestWithTheRealDesk(t *testing.T) {
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s, fake := onSockets(t, slackfake.Config{}, slack.Config{})
	start := func(owner string) (stop func()) {
		follower := bot.NewFollower(bot.FollowerConfig{Store: store, Adapters: []bot.Adapter{s}, Owner: owner, Log: logTo()})
		desk := bot.NewDesk(bot.DeskConfig{
			Store: store, Engine: bottest.TakesOrders{Store: store}, Inventory: bottest.Catalogue{}, Policy: pvecommands.DemoPolicy(),
			Adapters: []bot.Adapter{s}, Follower: follower, Log: logTo(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error { return follower.Run(gctx) })
		disconnect := running(t, s, fake, 2, desk)
		return func() {
			disconnect()
			cancel()
			if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	stop := start("one")

	if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install", ""); err != nil {
		t.Fatal(err)
	}
	until(t, "the form", func() bool { return len(fake.Views(slackfake.Alice)) == 1 })
	form := fake.Views(slackfake.Alice)[0]
	nodes, err := fake.Suggest(t.Context(), slackfake.Alice, form.ID, "node", "p", map[string]string{"os": "ubuntu"})
	if err != nil || len(nodes) != 1 || nodes[0] != "pve1" {
		t.Errorf("nodes are %q, %v", nodes, err)
	}
	out, err := fake.Submit(t.Context(), slackfake.Alice, form.ID, map[string]string{"os": "ubuntu", "cpu": "lots"})
	if err != nil || !strings.Contains(out.Errors["cpu"], "lots") {
		t.Errorf("a wrong number of CPUs: %+v, %v", out, err)
	}
	if out, err = fake.Submit(t.Context(), slackfake.Alice, form.ID, map[string]string{"os": "ubuntu", "cpu": "4"}); err != nil || out.Errors != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	card := func(i int, words ...string) func() bool {
		return func() bool {
			all := fake.Messages(slackfake.Ops)
			if len(all) <= i {
				return false
			}
			for _, w := range words {
				if !strings.Contains(all[i].Plain(), w) {
					return false
				}
			}
			return true
		}
	}
	until(t, "the first card", card(0, "Install ubuntu", "creating VM", "asked by alice"))
	if _, err := fake.Command(t.Context(), slackfake.Bob, slackfake.Ops, "install ubuntu \u2014name web-1", ""); err != nil {
		t.Fatal(err)
	}
	until(t, "the second card", card(1, "web-1", "asked by bob"))
	for _, line := range []string{"nodes", "destory web-1"} {
		if _, err := fake.Command(t.Context(), slackfake.Bob, slackfake.Ops, line, ""); err != nil {
			t.Error(err)
		}
	}
	until(t, "private answers", func() bool {
		var seen strings.Builder
		for _, e := range fake.Ephemerals(slackfake.Bob) {
			seen.WriteString(e.Plain())
		}
		return strings.Contains(seen.String(), "pve1") && strings.Contains(seen.String(), "destory")
	})
	stop()

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
	stop = start("two")
	defer stop()
	until(t, "the end", func() bool {
		m := fake.Messages(slackfake.Ops)[0]
		var thread strings.Builder
		for _, reply := range m.Thread {
			thread.WriteString(reply.Plain())
		}
		return strings.Contains(m.Plain(), "is ready") && strings.Contains(thread.String(), "a line of qm") && strings.Contains(thread.String(), "succeeded")
	})
	all := fake.Messages(slackfake.Ops)
	if len(all) != 2 {
		t.Errorf("%d messages for two jobs", len(all))
	}
	ref, found, err := store.Card(t.Context(), "slack", lease.Job.ID)
	if err != nil || !found || !json.Valid(ref.Ref) || !strings.Contains(string(ref.Ref), all[0].TS) {
		t.Errorf("the stored ref is %s, %v", ref.Ref, err)
	}
}

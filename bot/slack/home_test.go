package slack_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
)

// Who sits in a channel by Slack Connect is told that the bot is not theirs,
// whatever they do; nothing of it reaches the desk.
func TestForeignWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []bot.InboundKind
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		h := &bottest.Script{OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			heard = append(heard, in.Kind)
			if in.Kind == bot.Command {
				f := installForm()
				return bot.Ack{Form: &f}
			}
			return bot.Ack{}
		}}
		running(t, s, fake, 2, h)
		ref, err := s.Post(t.Context(), ops, bot.Card{Job: 1, Title: "a job", Buttons: []bot.Button{{ID: "b", Label: "Cancel"}}})
		if err != nil {
			t.Fatal(err)
		}
		_ = ref
		if _, err := fake.Command(t.Context(), slackfake.Bob, slackfake.Ops, "install", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		view := fake.Views(slackfake.Bob)[0] // he opened it while he was one of us

		fake.Connect(slackfake.Bob, "T0FOREIGN")
		heard = nil
		told := func(what string, f func() error) {
			t.Helper()
			before := len(fake.Ephemerals(slackfake.Bob))
			if err := f(); err != nil {
				t.Errorf("%s: Slack shows a failure: %v", what, err)
			}
			synctest.Wait()
			all := fake.Ephemerals(slackfake.Bob)
			if len(all) != before+1 || !strings.Contains(all[len(all)-1].Plain(), "SLACK_TEAMS") {
				t.Errorf("%s: he is told %v", what, all)
			}
			if len(heard) > 0 {
				t.Errorf("%s: the desk hears %v", what, heard)
			}
		}
		told("a command", func() error {
			_, err := fake.Command(t.Context(), slackfake.Bob, slackfake.Ops, "destroy web-1", "")
			return err
		})
		told("a button", func() error {
			_, err := fake.Click(t.Context(), slackfake.Bob, slackfake.Ops, fake.Messages(slackfake.Ops)[0].TS, "Cancel", "")
			return err
		})
		if _, err := fake.Suggest(t.Context(), slackfake.Bob, view.ID, "node", "p", map[string]string{"os": "ubuntu"}); err != nil || len(heard) > 0 {
			t.Errorf("a completion: %v; the desk hears %v", err, heard)
		}
		told("a form", func() error {
			_, err := fake.Submit(t.Context(), slackfake.Bob, view.ID, map[string]string{"os": "ubuntu"})
			return err
		})

		if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install", ""); err != nil || len(heard) != 1 {
			t.Errorf("one of us: %v, %v", err, heard)
		}
	})
}

// Workspaces that SLACK_TEAMS names are welcome.
func TestWelcomeWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{Teams: []string{"T0FRIENDS"}})
		h := &bottest.Script{}
		running(t, s, fake, 2, h)
		for team, want := range map[string]int{"T0FRIENDS": 1, "T0OTHERS": 0} {
			fake.Connect(slackfake.Bob, team)
			before := len(h.Handled())
			if _, err := fake.Command(t.Context(), slackfake.Bob, slackfake.Ops, "list", ""); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := len(h.Handled()) - before; got != want {
				t.Errorf("%s: %d commands are handled, want %d", team, got, want)
			}
		}
	})
	for teams, ok := range map[string]bool{"T0FRIENDS": true, "E0ORG": true, "friends": false, "T1;T2": false, "C0OPS": false} {
		cfg := slack.Config{BotToken: "xoxb-1", AppToken: "xapp-1", Teams: []string{teams}}
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("SLACK_TEAMS=%s: %v", teams, err)
		}
	}
}

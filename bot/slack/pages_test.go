package slack_test

import (
	"context"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
)

// turner answers a command with a page, and a click with the next one.
type turner struct {
	bottest.Script
	s *slack.Slack
}

func (h *turner) Handle(ctx context.Context, in bot.Inbound) {
	c := bot.Card{Title: "VMs", Text: "page 1", Buttons: []bot.Button{{ID: "p1.2.X", Label: "Next"}}}
	if in.Kind == bot.Click {
		c = bot.Card{Title: "VMs", Text: "page 2", Instead: true}
	}
	_ = h.s.Whisper(ctx, in, c)
}

// The next page takes the place of the one before, for who turned it.
func TestPagesTurn(t *testing.T) {
	s, fake := onSockets(t, slackfake.Config{}, slack.Config{})
	h := &turner{s: s}
	running(t, s, fake, 2, h)
	for _, by := range []string{slackfake.Alice, slackfake.Bob} {
		if _, err := fake.Command(t.Context(), by, slackfake.Ops, "list", ""); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "two lists", func() bool { return len(fake.Ephemerals(slackfake.Alice))+len(fake.Ephemerals(slackfake.Bob)) == 2 })
	first := fake.Ephemerals(slackfake.Alice)[0]
	if _, err := fake.Click(t.Context(), slackfake.Bob, slackfake.Ops, first.TS, "Next", ""); err == nil {
		t.Error("Bob could press what only Alice sees")
	}
	if _, err := fake.Click(t.Context(), slackfake.Alice, slackfake.Ops, first.TS, "Next", ""); err != nil {
		t.Fatal(err)
	}
	until(t, "page 2", func() bool {
		all := fake.Ephemerals(slackfake.Alice)
		return len(all) == 1 && strings.Contains(all[0].Plain(), "page 2")
	})
	if got := fake.Ephemerals(slackfake.Bob)[0].Plain(); !strings.Contains(got, "page 1") {
		t.Errorf("Bob sees %q", got)
	}
}

package slack_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
)

// Tokens of two apps are told before anything is posted when the bot may ask
// whose it is, else with the first message.
func TestTokensOfTwoApps(t *testing.T) {
	const want = "it is of the app A0FAKE, but SLACK_BOT_TOKEN is of A0OTHER"
	scopes := []string{"commands", "chat:write", "chat:write.public"}

	s, _ := onSockets(t, slackfake.Config{BotApp: "A0OTHER", Scopes: append(scopes, "users:read")}, slack.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := s.Run(ctx, &bottest.Script{})
	if fatal, ok := errors.AsType[*slack.FatalError](err); !ok || fatal.Setting != "SLACK_APP_TOKEN" || !strings.Contains(err.Error(), want) {
		t.Errorf("Run: %v", err)
	}

	s, fake := onSockets(t, slackfake.Config{BotApp: "A0OTHER", Scopes: scopes}, slack.Config{})
	running(t, s, fake, 2, &bottest.Script{})
	if _, err := s.Post(t.Context(), ops, bot.Card{Job: 1, Title: "Install ubuntu"}); err != nil {
		t.Fatal(err)
	}
	if got := s.Health().Problem; !strings.Contains(got, want) {
		t.Errorf("the health says %q", got)
	}
}

package discord_test

import (
	"context"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// The next page takes the place of the one before, for who turned it; a card
// that all see stays as it is.
func TestPagesTurn(t *testing.T) {
	t.Parallel()
	d, fake := onSockets(t, discordfake.Config{}, discord.Config{})
	h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
		c := bot.Card{Title: "VMs", Text: "page 1", Buttons: []bot.Button{{ID: "p1.2.X", Label: "Next"}}}
		if in.Kind == bot.Click {
			c = bot.Card{Title: "VMs", Text: "page 2", Instead: true}
		}
		// The test may end, and the bot with it, as soon as Alice sees it.
		if err := d.Whisper(ctx, in, c); err != nil && ctx.Err() == nil {
			t.Errorf("Whisper: %v", err)
		}
	}}
	running(t, d, fake, h)
	if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "list"); err != nil {
		t.Fatal(err)
	}
	sees := func(n int, words string) {
		t.Helper()
		until(t, words, func() bool {
			all := fake.Whispers(discordfake.Alice)
			return len(all) == n && strings.Contains(all[n-1].Text, words)
		})
	}
	sees(1, "page 1")
	if _, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, fake.Whispers(discordfake.Alice)[0].ID, "Next"); err != nil {
		t.Fatal(err)
	}
	sees(1, "page 2")

	if _, err := d.Post(t.Context(), ops, bot.Card{Job: 1, Title: "Install", Buttons: []bot.Button{{ID: "p1.2.X", Label: "Next"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, only(t, fake, discordfake.Ops).ID, "Next"); err != nil {
		t.Fatal(err)
	}
	sees(2, "page 2")
	if got := only(t, fake, discordfake.Ops).Text; !strings.Contains(got, "Install") {
		t.Errorf("the card says %q", got)
	}
}

package discord_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// With DISCORD_GUILD_ID, who acts in another server is told so, whatever they
// do; nothing of it reaches the desk.
func TestForeignServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{Unlimited: true}, discord.Config{GuildID: discordfake.Guild})
		var heard []bot.InboundKind
		running(t, d, fake, &bottest.Script{OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			heard = append(heard, in.Kind)
			return bot.Ack{Whisper: &bot.Card{Title: "taken"}}
		}})
		if _, err := d.Post(t.Context(), ops, bot.Card{Job: 1, Title: "a job", Buttons: []bot.Button{{ID: "b", Label: "Retry"}}}); err != nil {
			t.Fatal(err)
		}
		fake.From("999999999999999999")
		acts := map[string]func() error{
			"a command": func() error {
				_, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "web-1"})
				return err
			},
			"a button": func() error {
				_, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, fake.Messages(discordfake.Ops)[0].ID, "Retry")
				return err
			},
			"a form": func() error {
				_, err := fake.Submit(t.Context(), discordfake.Alice, discordfake.Ops, discordfake.Modal{ID: "install"}, nil)
				return err
			},
		}
		for what, act := range acts {
			before := len(fake.Whispers(discordfake.Alice))
			if err := act(); err != nil {
				t.Errorf("%s: Discord shows a failure: %v", what, err)
			}
			synctest.Wait()
			if all := fake.Whispers(discordfake.Alice); len(all) != before+1 || !strings.Contains(all[len(all)-1].Text, "DISCORD_GUILD_ID") {
				t.Errorf("%s: she is told %+v", what, all)
			}
		}
		out, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "w", Focused: true})
		if err != nil || len(out.Choices) > 0 {
			t.Errorf("a completion: %+v, %v", out, err)
		}
		if len(heard) > 0 {
			t.Errorf("the desk hears %v", heard)
		}
		fake.From("")
		if err := acts["a command"](); err != nil || len(heard) != 1 {
			t.Errorf("at home: %v, %v", err, heard)
		}
	})
}

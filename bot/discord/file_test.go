package discord_test

import (
	"errors"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

func TestFile(t *testing.T) {
	t.Parallel()
	d, fake := onSockets(t, discordfake.Config{}, discord.Config{})
	ref, err := d.Post(t.Context(), ops, bot.Card{Job: 1, Title: "Install"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Say(t.Context(), ref, []string{"begun"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Edit(t.Context(), ref, bot.Card{Job: 1, Title: "Install", Final: true}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a line with @everyone in it\n", 1000)
	if err := d.File(t.Context(), ref, "job-1.log", []byte(text)); err != nil {
		t.Fatal(err)
	}
	m := only(t, fake, discordfake.Ops)
	if len(m.Thread) != 2 || len(m.Thread[1].Files) != 1 || m.Thread[1].Files[0] != (discordfake.File{Name: "job-1.log", Text: text}) || !m.Archived {
		t.Errorf("the thread has %+v, archived %v", m.Thread, m.Archived)
	}

	fake.Break(discordfake.Fault{Method: "POST", Path: "/messages", Times: 1, Status: 502})
	if err := d.File(t.Context(), ref, "job-1.log", []byte("again")); err != nil {
		t.Errorf("after a bad gateway: %v", err)
	}
	fake.Deny(discordfake.Ops, discordfake.AttachFiles)
	if err := d.File(t.Context(), ref, "job-1.log", []byte("text")); !errors.Is(err, bot.ErrGone) {
		t.Errorf("without Attach Files: %v", err)
	}
}

package bot_test

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/commands"
	"pvebot/provision"
)

// Whatever text comes, a card of it is lines that are safe to print.
func FuzzText(f *testing.F) {
	f.Add(bottest.Nasty, 10)
	f.Add("\u4e16\u754c\u0301 e\u0301", 3)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		c := bot.Card{
			Title: s, Text: s, Lines: []string{s}, Footer: s,
			Fields: []bot.Field{{Name: s, Value: s}},
			Table:  &bot.Table{Head: []string{s}, Rows: [][]string{{s, s}}},
			Steps:  []bot.CardStep{{Phase: s, Title: s, Text: s, Status: provision.Status(s), Fraction: float64(limit)}},
		}
		for _, l := range bot.Text(c) {
			if !utf8.ValidString(l.Text) || strings.ContainsAny(l.Text, "\n\r\x1b\x00\u202e\u2066\x7f\u009b") {
				t.Errorf("%q became %q", s, l.Text)
			}
		}
		limit %= 1 << 10
		if cut := bot.Cut(s, limit); utf8.RuneCountInString(cut) > max(limit, 0) {
			t.Errorf("Cut(%q, %d) = %q", s, limit, cut)
		} else if utf8.RuneCountInString(s) <= limit && cut != s {
			t.Errorf("Cut(%q, %d) = %q changed what fits", s, limit, cut)
		} else if utf8.ValidString(s) && !utf8.ValidString(cut) {
			t.Errorf("Cut(%q, %d) = %q broke a character", s, limit, cut)
		}
		if cut := bot.CutColumns(bot.Inert(s), limit); bot.Columns(cut) > max(limit, 0) {
			t.Errorf("CutColumns(%q, %d) = %q takes %d", s, limit, cut, bot.Columns(cut))
		}
	})
}

// Whatever a platform brings, it is answered once and orders nothing that
// nobody asked for.
func FuzzInbound(f *testing.F) {
	f.Add("click", "", "v1.cancel.1.", "", "")
	f.Add("click", "", "v1.cancel.1.0", "", "")
	f.Add("click", "", "v1.retry.1.d", "", "")
	f.Add("command", "/vm list", "", "", "")
	f.Add("submit", "", "", "install", "os")
	f.Add("complete", "/vm in", "", "", "")
	f.Add("command", "/vm migrate web-1 pve1 --online", "", "", "")
	f.Add("command", "/vm drain pve1", "", "", "")
	f.Add("command", "/vm can @U1 destroy web-1", "", "", "")
	f.Add("command", "/vm audit slack/U1", "", "", "")
	f.Add("click", "", "v1.extend.1.", "", "")
	f.Add("submit", "web-1", "", "destroy", "vm")
	f.Fuzz(func(t *testing.T, kind, text, button, form, field string) {
		s := newStore()
		chat := bottest.NewMemory("memory", bot.Pace{})
		engine := newEngine(s)
		d := bot.NewDesk(bot.DeskConfig{
			Store: s, Engine: engine, Inventory: inventory{}, Policy: commands.DemoPolicy(), Adapters: []bot.Adapter{chat},
		})
		job := s.submit(order(), recipe...)
		in := bot.Inbound{
			Platform: "memory", ID: "1", Kind: bot.InboundKind(kind), By: alice, Where: ops,
			Text: text, Button: button, Form: form, Fields: map[string]string{field: text}, At: now(),
		}
		ack := d.Triage(context.Background(), in)
		d.Handle(context.Background(), in)
		answers := len(chat.Whispered(alice)) + len(chat.Cards())
		if ack.Whisper != nil || ack.Form != nil || ack.Errors != nil {
			answers++
		}
		if in.Kind != bot.Complete && answers == 0 {
			t.Errorf("%+v was not answered", in)
		}
		if in.Kind == bot.Click && engine.orders > 0 {
			t.Errorf("the button %q ordered something", button)
		}
		if after, err := s.Job(t.Context(), job.ID); err != nil || after.State != job.State && in.Kind != bot.Command && button != "v1.cancel.1." {
			t.Errorf("%+v made job 1 %s", in, after.State)
		}
	})
}

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision/sqlstore"
)

// hears is a bot.Handler that only listens.
type hears chan bot.Inbound

func (h hears) Triage(_ context.Context, in bot.Inbound) bot.Ack { h <- in; return bot.Ack{} }
func (h hears) Handle(context.Context, bot.Inbound)              {}

// TestVerbsEverywhere: what every example of every verb asks for arrives whole
// from each chat. What it leads to from there on is the desk's business, and
// the same for all.
func TestVerbsEverywhere(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *house) scene{
		"slack": slackScene, "discord": discordScene, "web": webScene, "console": consoleScene,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			s := open(t, &house{store: store, clock: cluster.SystemClock{}})
			heard := make(hears, 10)
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			done := make(chan error, 1)
			go func() { done <- s.adapter.Run(ctx, heard) }()
			t.Cleanup(func() { stop(); <-done })
			for _, v := range commands.Verbs() {
				if len(v.Examples) == 0 {
					t.Errorf("%s has no example", v.Name)
				}
				for _, line := range v.Examples {
					meant := line
					if name == "discord" && v.Name == "can" { // who is picked from a list, by their id
						const id = "175928847299117063"
						line = strings.NewReplacer("@U012ABC", id, "slack/U012ABC", id).Replace(line)
						meant = strings.Replace(line, id, "@"+id, 1)
					}
					want, err := commands.Parse(meant)
					if err != nil {
						t.Fatal(err)
					}
					s.types(t, "alice", line)
					var in bot.Inbound
					select {
					case in = <-heard:
					case <-time.After(time.Minute):
						t.Fatalf("%s does not arrive", line)
					}
					got, err := commands.Parse(in.Text)
					if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" || in.Kind != bot.Command || in.By.ID == "" {
						t.Errorf("%s arrives as %s %q of %+v: %v\n%s", line, in.Kind, in.Text, in.By, err, d)
					}
				}
			}
		})
	}
}

package discord_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bwmarrin/discordgo"

	"pvebot/bot/discord/discordfake"
)

// toFake sends a client's calls to a fake, whatever address they are for.
type toFake struct{ base *url.URL }

func (r toFake) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host, req.Host = r.base.Scheme, r.base.Host, r.base.Host
	return http.DefaultTransport.RoundTrip(req)
}

// theirs is discordgo's client on a fake.
func theirs(t *testing.T) (*discordgo.Session, *discordfake.Fake) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := discordfake.New(discordfake.Config{Unlimited: true})
	fake.Start(l)
	t.Cleanup(func() { _ = l.Close(); fake.Close() })
	base, err := url.Parse(fake.URL())
	if err != nil {
		t.Fatal(err)
	}
	s, err := discordgo.New("Bot fake-token")
	if err != nil {
		t.Fatal(err)
	}
	s.Client = &http.Client{Transport: toFake{base}, Timeout: 10 * time.Second}
	s.Identify.Intents, s.StateEnabled, s.ShouldReconnectOnError, s.LogLevel = 0, false, false, -1
	return s, fake
}

// The fake is taken for Discord by a client that is not ours: it connects,
// defers a command, edits its answer, opens a thread and completes.
func TestTheirClientTakesTheFakeForDiscord(t *testing.T) {
	t.Parallel()
	s, fake := theirs(t)
	s.AddHandler(func(s *discordgo.Session, i *discordgo.InteractionCreate) {
		if i.Type == discordgo.InteractionApplicationCommandAutocomplete {
			_ = s.InteractionRespond(i.Interaction, &discordgo.InteractionResponse{
				Type: discordgo.InteractionApplicationCommandAutocompleteResult,
				Data: &discordgo.InteractionResponseData{Choices: []*discordgo.ApplicationCommandOptionChoice{{Name: "web-1", Value: "web-1"}}},
			})
			return
		}
		quiet := &discordgo.MessageAllowedMentions{Parse: []discordgo.AllowedMentionType{}}
		if err := s.InteractionRespond(i.Interaction, &discordgo.InteractionResponse{Type: discordgo.InteractionResponseDeferredChannelMessageWithSource}); err != nil {
			t.Errorf("respond: %v", err)
		}
		what := "took " + i.ApplicationCommandData().Options[0].Options[0].StringValue()
		m, err := s.InteractionResponseEdit(i.Interaction, &discordgo.WebhookEdit{Content: &what, AllowedMentions: quiet})
		if err != nil {
			t.Errorf("edit: %v", err)
			return
		}
		thread, err := s.MessageThreadStart(m.ChannelID, m.ID, "details", 60)
		if err != nil || thread.ID != m.ID {
			t.Errorf("thread: %+v, %v", thread, err)
			return
		}
		if _, err := s.ChannelMessageSendComplex(thread.ID, &discordgo.MessageSend{Content: "a line", AllowedMentions: quiet}); err != nil {
			t.Errorf("send: %v", err)
		}
	})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	until(t, "READY", func() bool { return fake.Ready() == 1 })
	if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "show", opt("vm", "web-1")); err != nil {
		t.Fatal(err)
	}
	until(t, "the thread", func() bool {
		all := fake.Messages(discordfake.Ops)
		return len(all) == 1 && all[0].Text == "took web-1" && len(all[0].Thread) == 1
	})
	out, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "w", Focused: true})
	if err != nil || len(out.Choices) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

// Why this package has a connection of its own: discordgo's Session locks
// itself up when the gateway says reconnect before READY. Nothing frees it, so
// that each time leaves a Session and its goroutine behind. When this test
// fails, discordgo has learned it, and ours may be able to go.
func TestTheirClientLocksUp(t *testing.T) {
	t.Parallel()
	s, fake := theirs(t)
	fake.Next(discordfake.Plan{Reconnect: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { defer cancel(); _ = s.Open() }() // for ever
	until(t, "the lock", func() bool {
		if ctx.Err() != nil {
			t.Fatal("discordgo's Open has returned")
		}
		all := make([]byte, 1<<20)
		for _, g := range strings.Split(string(all[:runtime.Stack(all, true)]), "\n\n") {
			if strings.Contains(g, "RWMutex).Lock") && strings.Contains(g, "discordgo.(*Session).CloseWithCode") && strings.Contains(g, "discordgo.(*Session).Open") {
				return true
			}
		}
		return false
	})
}

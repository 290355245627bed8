package slack_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
)

const signing = "a secret of the app's"

// calledBySlack is an adapter that the workspace calls, and where.
func calledBySlack(t testing.TB) (*slack.Slack, *slackfake.Fake, string) {
	t.Helper()
	var s *slack.Slack
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	fake := slackfake.New(slackfake.Config{RequestURL: server.URL + "/slack", SigningSecret: signing})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake.Start(l)
	s, err = slack.New(slack.Config{BotToken: slackfake.BotToken, SigningSecret: signing, APIURL: fake.URL(), Log: logTo()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		s.Close()
		fake.Close()
		for _, c := range fake.Complaints() {
			t.Errorf("Slack would complain: %s", c)
		}
	})
	return s, fake, server.URL + "/slack"
}

// By HTTP the adapter keeps the same promises as by sockets.
func TestConformanceByHTTP(t *testing.T) {
	bottest.Run(t, bottest.Harness{New: func(t testing.TB) bottest.Rig {
		s, fake, _ := calledBySlack(t)
		return rigOf(t, s, fake)
	}})
}

// Only what Slack has signed, lately and once, is taken.
func TestOnlySlackIsHeard(t *testing.T) {
	s, fake, address := calledBySlack(t)
	h := &bottest.Script{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	post := func(header http.Header, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(said)
	}
	from := slackfake.Team
	command := func(trigger string) string {
		return url.Values{"command": {"/vm"}, "text": {"list"}, "team_id": {from}, "user_id": {slackfake.Alice}, "channel_id": {slackfake.Ops}, "trigger_id": {trigger}}.Encode()
	}
	now := time.Now()
	if status, _ := post(slackfake.Sign(signing, now, command("t0")), command("t0")); status != http.StatusServiceUnavailable {
		t.Errorf("a bot that is not running answers %d", status)
	}
	go func() { done <- s.Run(ctx, h) }()
	until(t, "the bot", func() bool { return s.Link().Up })

	unsigned := slackfake.Sign(signing, now, command("t1"))
	unsigned.Del("X-Slack-Signature")
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		status int
	}{
		"no signature":      {unsigned, command("t1"), http.StatusUnauthorized},
		"another secret":    {slackfake.Sign("guessed", now, command("t1")), command("t1"), http.StatusUnauthorized},
		"another body":      {slackfake.Sign(signing, now, command("t1")), command("t2"), http.StatusUnauthorized},
		"old":               {slackfake.Sign(signing, now.Add(-6*time.Minute), command("t1")), command("t1"), http.StatusUnauthorized},
		"from the future":   {slackfake.Sign(signing, now.Add(6*time.Minute), command("t1")), command("t1"), http.StatusUnauthorized},
		"is ssl there":      {slackfake.Sign(signing, now, "ssl_check=1"), "ssl_check=1", http.StatusOK},
		"neither":           {slackfake.Sign(signing, now, "x=1"), "x=1", http.StatusBadRequest},
		"payload is broken": {slackfake.Sign(signing, now, "payload=%7B"), "payload=%7B", http.StatusBadRequest},
	} {
		if status, said := post(tt.header, tt.body); status != tt.status {
			t.Errorf("%s: %d %s", name, status, said)
		}
	}
	if n := len(h.Triaged()); n != 0 {
		t.Errorf("%d of them were heard", n)
	}

	good := slackfake.Sign(signing, now, command("t3"))
	if status, said := post(good, command("t3")); status != http.StatusOK || said != "" {
		t.Errorf("a command: %d %s", status, said)
	}
	if status, _ := post(good, command("t3")); status != http.StatusUnauthorized {
		t.Errorf("a replay is answered with %d", status)
	}
	// The same interaction in another request is done once.
	if status, _ := post(slackfake.Sign(signing, now.Add(-time.Second), command("t3")), command("t3")); status != http.StatusOK {
		t.Errorf("a second delivery is answered with %d", status)
	}
	from = "T0FOREIGN"
	if status, said := post(slackfake.Sign(signing, now, command("t5")), command("t5")); status != http.StatusOK || !strings.Contains(said, "SLACK_TEAMS") {
		t.Errorf("a command of another workspace: %d %s", status, said)
	}
	// What is in the address is not signed, and not read.
	if resp, err := http.Get(address + "?" + command("t4")); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a GET: %v, %v", resp, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := h.Counts()["list"]; got != 1 {
		t.Errorf("the command was handled %d times", got)
	}
	if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "list", ""); err == nil {
		t.Error("a bot that has ended answers")
	}
}

// Forms and completions travel in the answers.
func TestFormByHTTP(t *testing.T) {
	s, fake, _ := calledBySlack(t)
	h := formHandler()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	until(t, "the bot", func() bool { return s.Link().Up })
	if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install", ""); err != nil {
		t.Fatal(err)
	}
	until(t, "the form", func() bool { return len(fake.Views(slackfake.Alice)) == 1 })
	form := fake.Views(slackfake.Alice)[0]
	nodes, err := fake.Suggest(t.Context(), slackfake.Alice, form.ID, "node", "p", nil)
	if err != nil || len(nodes) != 1 || nodes[0] != "pve1" {
		t.Errorf("nodes are %q, %v", nodes, err)
	}
	out, err := fake.Submit(t.Context(), slackfake.Alice, form.ID, map[string]string{"cpu": "lots"})
	if err != nil || out.Errors["cpu"] != "Not a number." {
		t.Errorf("%+v, %v", out, err)
	}
}

// formHandler opens a form for a command, completes nodes, and takes no CPUs.
func formHandler() *bottest.Script {
	return &bottest.Script{OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
		switch in.Kind {
		case bot.Command:
			return bot.Ack{Form: &bot.Form{ID: "install", Title: "New VM", Fields: []bot.FormField{{Name: "cpu"}, {Name: "node"}}}}
		case bot.Complete:
			return bot.Ack{Choices: []bot.Choice{{Label: "pve1", Value: in.Text + "ve1"}}}
		default:
			return bot.Ack{Errors: map[string]string{"cpu": "Not a number."}}
		}
	}}
}

package slack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	"pvebot/provision"
)

func at(channel string) provision.Conversation {
	return provision.Conversation{Platform: "slack", Channel: channel}
}

func jobCard(job provision.JobID, text string) bot.Card {
	return bot.Card{
		Job: job, Title: fmt.Sprintf("Install ubuntu: web-%d", job), Tone: bot.Busy, Text: text,
		Steps:   []bot.CardStep{{Phase: "VM creation", Title: "creating VM", Status: provision.StepRunning}},
		Buttons: []bot.Button{{ID: "v1.cancel.1.", Label: "Cancel", Style: bot.Danger, Confirm: "Cancel this job?"}},
	}
}

func mustPost(t *testing.T, s *slack.Slack, where string, c bot.Card) bot.Ref {
	t.Helper()
	ref, err := s.Post(t.Context(), at(where), c)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// What Slack answers, and what the follower is told: the table of refusals.
func TestErrorsSayWhatToDo(t *testing.T) {
	gone := func(t *testing.T, err error) {
		if !errors.Is(err, bot.ErrGone) {
			t.Errorf("%v, want ErrGone", err)
		}
	}
	retry := func(t *testing.T, err error) {
		var busy *bot.BusyError
		if err == nil || errors.Is(err, bot.ErrGone) || errors.As(err, &busy) {
			t.Errorf("%v, want an error that is worth another try", err)
		}
	}
	busyFor := func(want time.Duration) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var busy *bot.BusyError
			if !errors.As(err, &busy) || busy.After != want {
				t.Errorf("%v, want a BusyError of %v", err, want)
			}
		}
	}
	for name, tc := range map[string]struct {
		fault slackfake.Fault
		want  func(*testing.T, error)
	}{
		"deleted":            {slackfake.Fault{Code: "message_not_found"}, gone},
		"not ours":           {slackfake.Fault{Code: "cant_update_message"}, gone},
		"edit window":        {slackfake.Fault{Code: "edit_window_closed"}, gone},
		"no such channel":    {slackfake.Fault{Code: "channel_not_found"}, gone},
		"not invited":        {slackfake.Fault{Code: "not_in_channel"}, gone},
		"archived":           {slackfake.Fault{Code: "is_archived"}, gone},
		"archived, on edit":  {slackfake.Fault{Code: "is_inactive"}, gone},
		"read-only":          {slackfake.Fault{Code: "restricted_action_read_only_channel"}, gone},
		"few may post":       {slackfake.Fault{Code: "restricted_action"}, gone},
		"replies only":       {slackfake.Fault{Code: "restricted_action_thread_only_channel"}, gone},
		"thread locked":      {slackfake.Fault{Code: "restricted_action_thread_locked"}, gone},
		"no threads":         {slackfake.Fault{Code: "restricted_action_non_threadable_channel"}, gone},
		"no replies":         {slackfake.Fault{Code: "cannot_reply_to_message"}, gone},
		"another kind":       {slackfake.Fault{Code: "block_mismatch"}, gone},
		"person left":        {slackfake.Fault{Code: "user_disabled"}, gone},
		"busy for a while":   {slackfake.Fault{RetryAfter: 7 * time.Second}, busyFor(7 * time.Second)},
		"429 without header": {slackfake.Fault{Status: 429}, busyFor(30 * time.Second)},
		"busy in words":      {slackfake.Fault{Code: "ratelimited"}, busyFor(30 * time.Second)},
		"message limit":      {slackfake.Fault{Code: "message_limit_exceeded"}, busyFor(30 * time.Second)},
		"down":               {slackfake.Fault{Status: 503}, retry},
		"answer lost":        {slackfake.Fault{Lose: true}, retry},
		"inside Slack":       {slackfake.Fault{Code: "internal_error"}, retry},
		"Slack is broken":    {slackfake.Fault{Code: "fatal_error"}, retry},
		"Slack is slow":      {slackfake.Fault{Code: "request_timeout"}, retry},
		"Slack is away":      {slackfake.Fault{Code: "service_unavailable"}, retry},
		"moved to a grid":    {slackfake.Fault{Code: "team_added_to_org"}, retry},
		"grid says no":       {slackfake.Fault{Code: "enterprise_is_restricted"}, retry},
		"keys withdrawn":     {slackfake.Fault{Code: "ekm_access_denied"}, retry},
		"wrong address":      {slackfake.Fault{Code: "accesslimited"}, retry},
		"token revoked":      {slackfake.Fault{Code: "token_revoked"}, retry},
		"scope missing":      {slackfake.Fault{Code: "missing_scope"}, retry},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
				ref := mustPost(t, s, slackfake.Ops, jobCard(1, "one"))
				tc.fault.Times = 3
				fake.Break(tc.fault)
				tc.want(t, s.Edit(t.Context(), ref, jobCard(1, "two")))
				tc.want(t, s.Say(t.Context(), ref, []string{"a line"}))
				_, err := s.Post(t.Context(), at(slackfake.Ops), jobCard(2, "one"))
				tc.want(t, err)
			})
		})
	}
}

// The same, where the workspace is the reason.
func TestPlacesThatTakeNoCards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		if _, err := s.Post(t.Context(), at(slackfake.Private), jobCard(1, "")); !errors.Is(err, bot.ErrGone) || !strings.Contains(err.Error(), "/invite") {
			t.Errorf("a private channel without the bot: %v", err)
		}
		mustPost(t, s, slackfake.General, jobCard(1, "")) // public: nobody needs to invite it
		fake.Lock(slackfake.General)
		if _, err := s.Post(t.Context(), at(slackfake.General), jobCard(2, "")); !errors.Is(err, bot.ErrGone) {
			t.Errorf("a channel where few may post: %v", err)
		}
		ref := mustPost(t, s, slackfake.Ops, jobCard(3, ""))
		fake.Archive(slackfake.Ops)
		if err := s.Edit(t.Context(), ref, jobCard(3, "two")); !errors.Is(err, bot.ErrGone) {
			t.Errorf("an archived channel: %v", err)
		}
		for _, ref := range []bot.Ref{nil, bot.Ref(`{}`), bot.Ref(`7`), bot.Ref(`{"channel":"C1"}`)} {
			if err := s.Edit(t.Context(), ref, jobCard(3, "")); !errors.Is(err, bot.ErrGone) {
				t.Errorf("ref %s: %v", ref, err)
			}
			if err := s.Say(t.Context(), ref, []string{"x"}); !errors.Is(err, bot.ErrGone) {
				t.Errorf("ref %s: %v", ref, err)
			}
		}
	})
}

func TestReplyToADeletedMessageIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		ref := mustPost(t, s, slackfake.Ops, jobCard(1, ""))
		fake.Delete(slackfake.Ops, fake.Messages(slackfake.Ops)[0].TS)
		if err := s.Say(t.Context(), ref, []string{"a line"}); !errors.Is(err, bot.ErrGone) {
			t.Errorf("Say: %v", err)
		}
		if got := fake.Messages(slackfake.Ops); len(got) != 0 {
			t.Errorf("the channel has %q", got[0].Plain())
		}
	})
}

// Nothing posts twice by itself: Slack has no idempotent post. With the right
// to read the channel a post whose answer was lost is found again.
func TestLostPost(t *testing.T) {
	for _, canRead := range []bool{true, false} {
		t.Run(fmt.Sprintf("may_read_%v", canRead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := slackfake.Config{Scopes: []string{"commands", "chat:write"}}
				if canRead {
					cfg.Scopes = append(cfg.Scopes, "channels:history")
				}
				s, fake := inMemory(t, cfg, slack.Config{})
				mustPost(t, s, slackfake.Ops, jobCard(7, "another job"))
				fake.Break(slackfake.Fault{Method: "chat.postMessage", Lose: true})
				if _, err := s.Post(t.Context(), at(slackfake.Ops), jobCard(1, "one")); err == nil {
					t.Fatal("the answer was lost, and Post says nothing")
				}
				if n := len(fake.Messages(slackfake.Ops)); n != 2 {
					t.Fatalf("one post made %d messages", n-1)
				}
				ref := mustPost(t, s, slackfake.Ops, jobCard(1, "two"))
				if err := s.Edit(t.Context(), ref, jobCard(1, "three")); err != nil {
					t.Fatal(err)
				}
				all := fake.Messages(slackfake.Ops)
				if want := map[bool]int{true: 2, false: 3}[canRead]; len(all) != want {
					t.Errorf("%d messages, want %d", len(all), want)
				}
				if !strings.Contains(all[len(all)-1].Plain(), "three") || strings.Contains(all[0].Plain(), "three") {
					t.Errorf("the ref leads to the wrong message; the last one is %q", all[len(all)-1].Plain())
				}
			})
		})
	}
}

// A card that Slack refuses is our mistake; it is shown in plain all the same.
func TestRefusedBlocksAreSentInPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		for _, code := range []string{"invalid_blocks", "msg_blocks_too_long", "msg_too_long"} {
			fake.Break(slackfake.Fault{Method: "chat.postMessage", Code: code})
			ref := mustPost(t, s, slackfake.Ops, jobCard(1, "the text"))
			fake.Break(slackfake.Fault{Method: "chat.update", Code: code})
			if err := s.Edit(t.Context(), ref, jobCard(1, "the end")); err != nil {
				t.Errorf("%s: %v", code, err)
			}
			all := fake.Messages(slackfake.Ops)
			if last := all[len(all)-1]; !strings.Contains(last.Plain(), "the end") || last.Acts() != nil {
				t.Errorf("%s: %q", code, last.Plain())
			}
		}
	})
}

// Edits carry blocks and text: with text alone Slack removes the blocks.
func TestEveryMessageHasBlocksAndText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		ref := mustPost(t, s, slackfake.Ops, jobCard(1, "one"))
		if err := s.Edit(t.Context(), ref, jobCard(1, "two")); err != nil {
			t.Fatal(err)
		}
		if err := s.Say(t.Context(), ref, []string{"line"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range fake.Journal("") {
			if c.Args["text"] == "" || c.Args["blocks"] == "" || c.Args["parse"] != "none" {
				t.Errorf("%s was sent with %v", c.Method, c.Args)
			}
			if c.Method == "chat.postMessage" && (c.Args["unfurl_links"] != "false" || c.Args["unfurl_media"] != "false") {
				t.Errorf("links are unfurled: %v", c.Args)
			}
		}
	})
}

// whisper sends a command, and whispers when it is handled.
func whisper(t *testing.T, channel string, harm func(*slackfake.Fake, *slack.Slack, bot.Inbound), n int) *slackfake.Fake {
	t.Helper()
	s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
	got := make(chan bot.Inbound, 1)
	running(t, s, fake, 2, &bottest.Script{OnHandle: func(_ context.Context, in bot.Inbound) { got <- in }})
	if _, err := fake.Command(t.Context(), slackfake.Alice, channel, "list", ""); err != nil {
		t.Fatal(err)
	}
	in := <-got
	harm(fake, s, in)
	// It comes back from the store.
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var stored bot.Inbound
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := s.Whisper(t.Context(), stored, bot.Card{Text: fmt.Sprintf("answer %d.", i)}); err != nil {
			t.Errorf("Whisper %d: %v", i, err)
		}
	}
	return fake
}

func wantWhispers(t *testing.T, fake *slackfake.Fake, n int) {
	t.Helper()
	var seen strings.Builder
	for _, e := range fake.Ephemerals(slackfake.Alice) {
		seen.WriteString(e.Plain())
	}
	for _, m := range fake.Messages(slackfake.DM(slackfake.Alice)) {
		seen.WriteString(m.Plain())
	}
	for i := range n {
		if strings.Count(seen.String(), fmt.Sprintf("answer %d.", i)) != 1 {
			t.Errorf("answer %d is not seen once in %q", i, seen.String())
		}
	}
	for _, c := range []string{slackfake.Ops, slackfake.General, slackfake.Private} {
		if got := fake.Messages(c); len(got) > 0 {
			t.Errorf("everybody in %s sees %q", c, got[0].Plain())
		}
	}
}

func TestWhisperFindsAWay(t *testing.T) {
	nothing := func(*slackfake.Fake, *slack.Slack, bot.Inbound) {}
	for name, tc := range map[string]struct {
		channel string
		n       int
		harm    func(*slackfake.Fake, *slack.Slack, bot.Inbound)
	}{
		"by response URL":                {slackfake.Ops, 5, nothing},
		"more than a response URL takes": {slackfake.Ops, 8, nothing},
		"in a channel without the bot":   {slackfake.Private, 3, nothing},
		"more, in one without the bot":   {slackfake.Private, 8, nothing},
		"an hour later":                  {slackfake.Ops, 2, func(*slackfake.Fake, *slack.Slack, bot.Inbound) { time.Sleep(time.Hour) }},
		"an hour later, without the bot": {slackfake.Private, 2, func(*slackfake.Fake, *slack.Slack, bot.Inbound) { time.Sleep(time.Hour) }},
		"response URLs are down": {slackfake.Ops, 1, func(f *slackfake.Fake, _ *slack.Slack, _ bot.Inbound) {
			f.Break(slackfake.Fault{Method: "hook", Status: 500})
		}},
		"in a channel that was archived": {slackfake.Ops, 1, func(f *slackfake.Fake, _ *slack.Slack, _ bot.Inbound) { f.Archive(slackfake.Ops) }},
		"archived and late": {slackfake.Ops, 1, func(f *slackfake.Fake, _ *slack.Slack, _ bot.Inbound) {
			f.Archive(slackfake.Ops)
			time.Sleep(time.Hour)
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wantWhispers(t, whisper(t, tc.channel, tc.harm, tc.n), tc.n)
			})
		})
	}
}

// A response URL comes from outside, and may have been in the store: only
// Slack's own hosts are called.
func TestForeignResponseURLIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		for _, u := range []string{
			"http://169.254.169.254/latest", "https://evil.example/hook", "https://slack.com.evil.example/x",
			"https://hooks.slack.com:8080/x", "https://u:p@hooks.slack.com/x", "file:///etc/passwd", "http://hooks.slack.com/x", "%",
		} {
			raw, err := json.Marshal(map[string]any{"url": u, "at": time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			in := bot.Inbound{By: alice, Where: ops, Reply: raw}
			if err := s.Whisper(t.Context(), in, bot.Card{Text: "hello"}); err != nil {
				t.Errorf("%s: %v", u, err)
			}
		}
		if n := len(fake.Journal("hook")) + len(fake.Complaints()); n != 0 {
			t.Errorf("%d calls of strange addresses: %v", n, fake.Complaints())
		}
		if n := len(fake.Ephemerals(slackfake.Alice)); n != 8 {
			t.Errorf("%d of 8 answers came another way", n)
		}
	})
}

func TestTokensHideThemselves(t *testing.T) {
	cfg := slack.Config{BotToken: "xoxb-very-secret", AppToken: "xapp-very-secret"}
	raw, err := json.Marshal(map[string]any{"b": cfg.BotToken, "a": cfg.AppToken})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		fmt.Sprint(cfg.BotToken), fmt.Sprintf("%v %+v %#v %s %q", cfg.AppToken, cfg.AppToken, cfg.AppToken, cfg.AppToken, cfg.AppToken),
		fmt.Sprintf("%+v", cfg), cfg.BotToken.LogValue().String(), string(raw),
	} {
		if strings.Contains(s, "secret") {
			t.Errorf("a token is shown: %s", s)
		}
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	_, err := slack.New(slack.Config{APIURL: "nowhere", Groups: []string{"ops"}})
	for _, want := range []string{"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_API_URL", "slack:ops"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not speak of %s", err, want)
		}
	}
}

// A response URL lets anybody answer in the bot's name; errors go to the log.
func TestErrorsDoNotTellResponseURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		fake.Break(slackfake.Fault{Lose: true, Times: 10})
		raw, err := json.Marshal(map[string]any{"url": strings.Replace(fake.URL(), "/api/", "/hook/a-secret", 1), "at": time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Whisper(t.Context(), bot.Inbound{By: alice, Where: ops, Reply: raw}, bot.Card{Text: "hello"})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Whisper: %v", err)
		}
	})
}

// A lost post that was found is not lost again when it can't be edited yet.
func TestLostPostThatIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := slackfake.Config{Scopes: []string{"commands", "chat:write", "channels:history"}}
		s, fake := inMemory(t, cfg, slack.Config{})
		fake.Break(slackfake.Fault{Method: "chat.postMessage", Lose: true})
		if _, err := s.Post(t.Context(), at(slackfake.Ops), jobCard(1, "one")); err == nil {
			t.Fatal("the answer was lost, and Post says nothing")
		}
		fake.Break(slackfake.Fault{Method: "chat.update", RetryAfter: time.Second})
		if _, err := s.Post(t.Context(), at(slackfake.Ops), jobCard(1, "two")); err == nil {
			t.Fatal("Slack is busy, and Post says nothing")
		}
		time.Sleep(2 * time.Second)
		mustPost(t, s, slackfake.Ops, jobCard(1, "three"))
		if all := fake.Messages(slackfake.Ops); len(all) != 1 {
			t.Errorf("%d cards of one job; the first says %q for ever", len(all), all[0].Plain())
		}
	})
}

package slack_test

import (
	"errors"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	"pvebot/provision"
)

func TestFile(t *testing.T) {
	s, fake := onSockets(t, slackfake.Config{}, slack.Config{})
	ref, err := s.Post(t.Context(), ops, bot.Card{Job: 1, Title: "Install"})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a line with <!channel> in it\n", 1000)
	if err := s.File(t.Context(), ref, "job-1.log", []byte(text)); err != nil {
		t.Fatal(err)
	}
	thread := fake.Messages(slackfake.Ops)[0].Thread
	if len(thread) != 1 || len(thread[0].Files) != 1 || thread[0].Files[0] != (slackfake.File{Name: "job-1.log", Text: text}) {
		t.Errorf("the thread has %+v", thread)
	}
}

func TestFilesThatAreNotTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		scopes []string
		where  string
		fault  slackfake.Fault
		gone   bool
		busy   bool
		want   string
	}{
		"no scope":     {scopes: []string{"commands", "chat:write"}, gone: true, want: "lacks files:write"},
		"no member":    {where: slackfake.General, gone: true, want: "/invite"},
		"no files":     {fault: slackfake.Fault{Method: "files.getUploadURLExternal", Code: "file_uploads_disabled"}, gone: true, want: "takes no files"},
		"rate limited": {fault: slackfake.Fault{Method: "files.completeUploadExternal", RetryAfter: 3e9}, busy: true},
		"not received": {fault: slackfake.Fault{Method: "upload", Status: 500}},
		"an outage":    {fault: slackfake.Fault{Method: "files.getUploadURLExternal", Status: 503}},
	} {
		t.Run(name, func(t *testing.T) {
			s, fake := onSockets(t, slackfake.Config{Scopes: tt.scopes}, slack.Config{})
			where := provision.Conversation{Platform: "slack", Channel: slackfake.Ops}
			if tt.where != "" {
				where.Channel = tt.where
			}
			ref, err := s.Post(t.Context(), where, bot.Card{Job: 1, Title: "Install"})
			if err != nil {
				t.Fatal(err)
			}
			if tt.fault.Method != "" {
				fake.Break(tt.fault)
			}
			err = s.File(t.Context(), ref, "job-1.log", []byte("text"))
			_, busy := errors.AsType[*bot.BusyError](err)
			if err == nil || errors.Is(err, bot.ErrGone) != tt.gone || busy != tt.busy || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("File: %v", err)
			}
		})
	}
}

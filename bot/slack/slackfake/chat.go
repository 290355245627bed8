package slackfake

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// message is a message with all that it ever showed.
type message struct {
	ts, thread string
	by         string
	shown      []Version
	metadata   json.RawMessage
	gone       bool
	edits      int
}

// Version is what a message showed from At on.
type Version struct {
	At     time.Time
	Text   string
	Blocks json.RawMessage
	Files  []File
	parse  string
}

// Ephemeral is a message that only To sees.
type Ephemeral struct {
	To, Channel, TS string
	Version
}

// destination finds where the bot wants to post; f.mu is held.
func (f *Fake) destination(id string) (*channel, string) {
	if f.users[id] {
		return f.dm(id), ""
	}
	c := f.channels[id]
	switch {
	case c == nil, c.private && !c.members[Bot]:
		return nil, "channel_not_found"
	case c.archived:
		return nil, "is_archived"
	case c.locked:
		return nil, "restricted_action"
	case !c.members[Bot] && !f.has("chat:write.public"):
		return nil, "not_in_channel"
	}
	return c, ""
}

func (f *Fake) has(scope string) bool {
	for _, s := range f.cfg.Scopes {
		if s == scope {
			return true
		}
	}
	return false
}

// content checks what a message is to show; f.mu is held.
func (f *Fake) content(method string, args map[string]string) (Version, map[string]any, string) {
	v := Version{At: f.clock.Now(), Text: args["text"], parse: args["parse"]}
	if raw := args["blocks"]; raw != "" {
		c := checkBlocks([]byte(raw), maxBlocks, messageBlocks)
		for _, s := range c.strangers {
			f.complain("%s: Slack knows no field %s", method, s)
		}
		switch {
		case len(c.wrong) > 0:
			return v, map[string]any{"response_metadata": map[string]any{"messages": c.wrong}}, "invalid_blocks"
		case c.chars > maxAllText:
			return v, nil, "msg_blocks_too_long"
		}
		v.Blocks = json.RawMessage(raw)
	}
	if v.Text == "" && len(v.Blocks) == 0 {
		return v, nil, "no_text"
	}
	if raw := args["metadata"]; len(raw) > maxMetadata {
		return v, nil, "metadata_too_large"
	}
	return v, nil, ""
}

func (f *Fake) postMessage(args map[string]string) (map[string]any, string) {
	c, code := f.destination(args["channel"])
	if code != "" {
		return nil, code
	}
	v, details, code := f.content("chat.postMessage", args)
	if code != "" {
		return details, code
	}
	answer := map[string]any{}
	if utf8.RuneCountInString(v.Text) > maxPostText {
		v.Text = string([]rune(v.Text)[:maxPostText])
		answer["warning"] = "message_truncated"
	}
	m := &message{ts: f.ts(), by: Bot, shown: []Version{v}}
	if raw := args["metadata"]; raw != "" {
		m.metadata = json.RawMessage(raw)
	}
	if at := args["thread_ts"]; at != "" {
		// A reply to a message that was deleted comes without its thread.
		if parent := c.find(at); parent != nil && parent.thread == "" {
			m.thread = at
		}
	}
	c.messages = append(c.messages, m)
	shown := map[string]any{
		"type": "message", "user": Bot, "ts": m.ts, "text": v.Text,
		"bot_id": botID, "app_id": f.cfg.BotApp, "bot_profile": map[string]any{"id": botID, "app_id": f.cfg.BotApp, "name": "pvebot"},
	}
	if m.thread != "" {
		shown["thread_ts"] = m.thread
	}
	answer["channel"], answer["ts"], answer["message"] = c.id, m.ts, shown
	return answer, ""
}

// find finds a message that is still there.
func (c *channel) find(ts string) *message {
	for _, m := range c.messages {
		if m.ts == ts && !m.gone {
			return m
		}
	}
	return nil
}

func (f *Fake) update(args map[string]string) (map[string]any, string) {
	c := f.channels[args["channel"]]
	if c == nil || c.private && !c.members[Bot] {
		return nil, "channel_not_found"
	}
	if c.archived {
		return nil, "is_inactive"
	}
	m := c.find(args["ts"])
	switch {
	case m == nil:
		return nil, "message_not_found"
	case m.by != Bot:
		return nil, "cant_update_message"
	case utf8.RuneCountInString(args["text"]) > maxUpdateText:
		return nil, "msg_too_long"
	}
	v, details, code := f.content("chat.update", args)
	if code != "" {
		return details, code
	}
	old := m.shown[len(m.shown)-1]
	if hasRich(old.Blocks) && !hasRich(v.Blocks) {
		return nil, "block_mismatch"
	}
	m.shown = append(m.shown, v)
	m.edits++
	return map[string]any{"channel": c.id, "ts": m.ts, "text": v.Text, "message": map[string]any{"text": v.Text, "user": Bot}}, ""
}

func hasRich(blocks json.RawMessage) bool {
	return strings.Contains(string(blocks), `"type":"rich_text"`)
}

func (f *Fake) remove(args map[string]string) (map[string]any, string) {
	c := f.channels[args["channel"]]
	if c == nil {
		return nil, "channel_not_found"
	}
	m := c.find(args["ts"])
	switch {
	case m == nil:
		return nil, "message_not_found"
	case m.by != Bot:
		return nil, "cant_delete_message"
	}
	m.gone = true
	return map[string]any{"channel": c.id, "ts": m.ts}, ""
}

func (f *Fake) postEphemeral(args map[string]string) (map[string]any, string) {
	c := f.channels[args["channel"]]
	switch {
	case c == nil, c.private && !c.members[Bot]:
		return nil, "channel_not_found"
	case c.archived:
		return nil, "is_archived"
	case !c.members[Bot] && !f.has("chat:write.public"):
		return nil, "not_in_channel"
	case !c.members[args["user"]]:
		return nil, "user_not_in_channel"
	case utf8.RuneCountInString(args["text"]) > maxUpdateText:
		return nil, "msg_too_long"
	}
	v, details, code := f.content("chat.postEphemeral", args)
	if code != "" {
		return details, code
	}
	return map[string]any{"message_ts": f.whisper(args["user"], c.id, v)}, ""
}

// whisper shows a message to one person; f.mu is held.
func (f *Fake) whisper(to, channelID string, v Version) (ts string) {
	ts = f.ts()
	f.ephemerals = append(f.ephemerals, Ephemeral{To: to, Channel: channelID, TS: ts, Version: v})
	return ts
}

// history answers newest first, as Slack does.
func (f *Fake) history(args map[string]string) (map[string]any, string) {
	c := f.channels[args["channel"]]
	switch {
	case c == nil, c.private && !c.members[Bot]:
		return nil, "channel_not_found"
	case !c.members[Bot]:
		return nil, "not_in_channel"
	}
	limit, err := strconv.Atoi(args["limit"])
	if err != nil || limit <= 0 {
		limit = 100
	}
	out := []map[string]any{}
	for i := len(c.messages) - 1; i >= 0 && len(out) < limit; i-- {
		m := c.messages[i]
		if m.gone || m.thread != "" || m.ts <= args["oldest"] {
			continue
		}
		row := map[string]any{"type": "message", "user": m.by, "ts": m.ts, "text": m.shown[len(m.shown)-1].Text}
		if args["include_all_metadata"] != "" && m.metadata != nil {
			row["metadata"] = m.metadata
		}
		out = append(out, row)
	}
	return map[string]any{"messages": out, "has_more": false}, ""
}

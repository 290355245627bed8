package discordfake

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// channel is a place for messages; threads are ones.
type channel struct {
	id               string
	kind             int
	parent           string // of a thread
	with             string // of a conversation with one person
	archived, locked bool
	denied           map[Permission]bool
	forbidden        []string // words that AutoMod blocks
	messages         []*message
}

func (c *channel) find(id string) *message {
	for _, m := range c.messages {
		if m.id == id && !m.gone {
			return m
		}
	}
	return nil
}

// content is what a message shows.
type content struct {
	Content    string           `json:"content"`
	Embeds     []map[string]any `json:"embeds"`
	Components []map[string]any `json:"components"`
	Flags      int              `json:"flags"`
	Files      []File           `json:"-"`
	At         time.Time        `json:"-"`
}

type message struct {
	id, channel string
	to          string // of an ephemeral one
	thinking    bool
	shown       []content
	nonce       string
	gone        bool
}

func (m *message) now() content { return m.shown[len(m.shown)-1] }

func (m *message) wire() map[string]any {
	c := m.now()
	if m.to != "" {
		c.Flags |= ephemeralFlag
	}
	return map[string]any{
		"id": m.id, "channel_id": m.channel, "type": 0, "content": c.Content, "embeds": orEmpty(seenEmbeds(c.Embeds)),
		"components": orEmpty(numbered(c.Components, new(int))), "flags": c.Flags, "timestamp": m.shown[0].At.UTC().Format(time.RFC3339),
		"edited_timestamp": nil, "tts": false, "mention_everyone": false, "mentions": []any{}, "mention_roles": []any{},
		"attachments": []any{}, "pinned": false,
		"author": botAuthor(),
	}
}

func botAuthor() map[string]any {
	return map[string]any{
		"id": botUser, "username": "pvebot", "discriminator": "0", "avatar": nil, "bot": true, "public_flags": 0, "flags": 0,
		"global_name": nil, "primary_guild": nil,
	}
}

// numbered are components as Discord gives them back: each has an id.
func numbered(list []map[string]any, n *int) []map[string]any {
	var out []map[string]any
	for _, c := range list {
		*n++
		c = maps.Clone(c)
		c["id"] = *n
		if inner, ok := c["components"].([]any); ok {
			c["components"] = numbered(listOf(inner), n)
		}
		out = append(out, c)
	}
	return out
}

// seenEmbeds are embeds as Discord gives them back.
func seenEmbeds(list []map[string]any) []map[string]any {
	var out []map[string]any
	for _, e := range list {
		e = maps.Clone(e)
		e["type"] = "rich"
		var fields []map[string]any
		for _, f := range listOf(e["fields"]) {
			f = maps.Clone(f)
			if f["inline"] == nil {
				f["inline"] = false
			}
			fields = append(fields, f)
		}
		if fields != nil {
			e["fields"] = fields
		}
		out = append(out, e)
	}
	return out
}

func orEmpty(list []map[string]any) any {
	if list == nil {
		return []any{}
	}
	return list
}

// reply is an answer of REST.
type reply struct {
	status int
	body   any // nil: none
	code   int
	header map[string]string
}

func ok(body any) reply   { return reply{status: 200, body: body} }
func noContent() reply    { return reply{status: 204} }
func made(body any) reply { return reply{status: 201, body: body} }

func refuse(status, code int, message string) reply {
	return reply{status: status, code: code, body: map[string]any{"code": code, "message": message}}
}

// writable finds a channel that can be written to; f.mu is held.
func (f *Fake) writable(id string) (*channel, *reply) {
	c := f.channels[id]
	deny := func(r reply) (*channel, *reply) { return nil, &r }
	switch {
	case c == nil:
		return deny(refuse(404, 10003, "Unknown Channel"))
	case !f.may(c, ViewChannel):
		return deny(refuse(403, 50001, "Missing Access"))
	case c.kind == thread && !f.may(c, SendInThreads), c.kind == textRoom && !f.may(c, SendMessages):
		return deny(refuse(403, 50013, "Missing Permissions"))
	}
	return c, nil
}

// createMessage is POST /channels/{channel}/messages.
func (f *Fake) createMessage(channelID string, body []byte, files []File) reply {
	c, no := f.writable(channelID)
	if no != nil {
		return *no
	}
	if len(files) > 0 && !f.may(c, AttachFiles) {
		return refuse(403, 50013, "Missing Permissions")
	}
	if c.archived && c.locked {
		return refuse(400, 160005, "Thread is locked")
	}
	now, no := f.content("create", c, body, createKeys)
	if no != nil {
		return *no
	}
	var extra struct {
		Nonce string `json:"nonce"`
		Once  bool   `json:"enforce_nonce"`
	}
	_ = json.Unmarshal(body, &extra)
	if extra.Nonce != "" && extra.Once {
		for _, m := range c.messages {
			if m.nonce == extra.Nonce && f.clock.Now().Sub(m.shown[0].At) < nonceTime {
				return ok(m.wire())
			}
		}
	}
	c.archived = false
	now.Files = files
	m := &message{id: f.id(), channel: c.id, shown: []content{now}, nonce: extra.Nonce}
	c.messages = append(c.messages, m)
	return ok(m.wire())
}

const nonceTime = 3 * time.Minute

// editMessage is PATCH /channels/{channel}/messages/{message}.
func (f *Fake) editMessage(channelID, messageID string, body []byte) reply {
	c := f.channels[channelID]
	switch {
	case c == nil:
		return refuse(404, 10003, "Unknown Channel")
	case !f.may(c, ViewChannel):
		return refuse(403, 50001, "Missing Access")
	}
	m := c.find(messageID)
	switch {
	case m == nil || m.to != "":
		return refuse(404, 10008, "Unknown Message")
	case c.archived:
		return refuse(400, 50083, "Thread is archived")
	}
	if age := f.clock.Now().Sub(bornAt(m.id)); age > time.Hour && !f.cfg.Unlimited {
		if b := f.bucket("old/"+channelID, 3, 20*time.Second); !b.take(f.clock.Now()) {
			return limited(b.reset.Sub(f.clock.Now()), false, 30046)
		}
	}
	now, no := f.content("edit", c, body, editKeys)
	if no != nil {
		return *no
	}
	m.shown = append(m.shown, now)
	return ok(m.wire())
}

// content reads and checks what is to be shown; f.mu is held.
func (f *Fake) content(what string, c *channel, body []byte, keys []string) (content, *reply) {
	deny := func(r reply) (content, *reply) { return content{}, &r }
	var raw map[string]any
	if err := json.Unmarshal(body, &raw); err != nil {
		return deny(refuse(400, 50109, "The request body contains invalid JSON."))
	}
	for k := range raw {
		if !slices.Contains(keys, k) {
			f.complain("%s: Discord knows no field %s", what, k)
		}
	}
	if m, ok := raw["allowed_mentions"].(map[string]any); !ok || m["parse"] == nil || len(m["parse"].([]any)) != 0 || m["users"] != nil || m["roles"] != nil {
		f.complain("%s: the message may mention people", what)
	}
	ck := &checker{}
	ck.message(raw)
	if len(ck.wrong) > 0 {
		return deny(reply{status: 400, code: 50035, body: map[string]any{
			"code": 50035, "message": "Invalid Form Body", "errors": map[string]any{"_errors": ck.wrong},
		}})
	}
	var out content
	if err := json.Unmarshal(body, &out); err != nil {
		return deny(refuse(400, 50109, "The request body contains invalid JSON."))
	}
	out.At = f.clock.Now()
	if out.Content == "" && len(out.Embeds) == 0 && len(out.Components) == 0 {
		return deny(refuse(400, 50006, "Cannot send an empty message"))
	}
	if c != nil && !f.may(c, EmbedLinks) {
		out.Embeds = nil // Discord drops them without a word
	}
	if c != nil {
		text := strings.ToLower(string(body))
		for place := c; place != nil; place = f.channels[place.parent] {
			for _, word := range place.forbidden {
				if strings.Contains(text, strings.ToLower(word)) {
					return deny(refuse(400, 200000, "Message was blocked by automatic moderation"))
				}
			}
		}
	}
	return out, nil
}

// startThread is POST /channels/{channel}/messages/{message}/threads.
func (f *Fake) startThread(channelID, messageID string, body []byte) reply {
	c := f.channels[channelID]
	var t struct {
		Name string `json:"name"`
		Auto int    `json:"auto_archive_duration"`
	}
	if err := json.Unmarshal(body, &t); err != nil || t.Name == "" || len([]rune(t.Name)) > 100 || !slices.Contains([]int{0, 60, 1440, 4320, 10080}, t.Auto) {
		return refuse(400, 50035, "Invalid Form Body")
	}
	switch {
	case c == nil:
		return refuse(404, 10003, "Unknown Channel")
	case !f.may(c, ViewChannel):
		return refuse(403, 50001, "Missing Access")
	case c.kind != textRoom:
		return refuse(400, 50024, "Cannot execute action on this channel type")
	case !f.may(c, CreateThreads):
		return refuse(403, 50013, "Missing Permissions")
	case c.find(messageID) == nil:
		return refuse(404, 10008, "Unknown Message")
	case f.channels[messageID] != nil:
		return refuse(400, 160004, "A thread has already been created for this message")
	}
	f.channels[messageID] = &channel{id: messageID, kind: thread, parent: channelID, denied: map[Permission]bool{}}
	return made(map[string]any{
		"id": messageID, "type": thread, "guild_id": Guild, "parent_id": channelID, "owner_id": botUser, "name": t.Name,
		"thread_metadata": map[string]any{"archived": false, "auto_archive_duration": t.Auto, "locked": false, "archive_timestamp": f.clock.Now().UTC().Format(time.RFC3339)},
		"message_count":   0, "member_count": 1, "total_message_sent": 0, "flags": 0,
	})
}

// showChannel is GET /channels/{channel}.
func (f *Fake) showChannel(id string) reply {
	c := f.channels[id]
	switch {
	case c == nil:
		return refuse(404, 10003, "Unknown Channel")
	case !f.may(c, ViewChannel):
		return refuse(403, 50001, "Missing Access")
	case c.kind == dmRoom:
		return ok(map[string]any{"id": id, "type": c.kind})
	}
	return ok(map[string]any{"id": id, "type": c.kind, "guild_id": Guild, "name": "channel-" + id})
}

// changeChannel is PATCH /channels/{channel}, of threads.
func (f *Fake) changeChannel(id string, body []byte) reply {
	c := f.channels[id]
	var change struct {
		Archived *bool `json:"archived"`
	}
	_ = json.Unmarshal(body, &change)
	switch {
	case c == nil:
		return refuse(404, 10003, "Unknown Channel")
	case c.kind != thread || change.Archived == nil:
		return refuse(403, 50013, "Missing Permissions")
	case c.locked:
		return refuse(403, 50013, "Missing Permissions")
	}
	c.archived = *change.Archived
	return ok(map[string]any{"id": id, "type": thread, "thread_metadata": map[string]any{"archived": c.archived, "locked": c.locked}})
}

package slackfake

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Message is a message as people see it now.
type Message struct {
	Channel, TS string
	By          string
	Version
	Thread []Version // the replies
	Edits  int
	Posted time.Time
}

// Messages are the messages of a channel that are still there, without those in
// threads, oldest first.
func (f *Fake) Messages(channelID string) []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Message
	c := f.channels[channelID]
	if c == nil {
		return nil
	}
	at := map[string]int{}
	for _, m := range c.messages {
		if m.gone {
			continue
		}
		now := m.shown[len(m.shown)-1]
		if m.thread == "" {
			at[m.ts] = len(out)
			out = append(out, Message{Channel: c.id, TS: m.ts, By: m.by, Version: now, Edits: m.edits, Posted: m.shown[0].At})
		} else if i, ok := at[m.thread]; ok {
			out[i].Thread = append(out[i].Thread, now)
		}
	}
	return out
}

// Shown is everything that a message ever showed, oldest first.
func (f *Fake) Shown(channelID, ts string) []Version {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.channels[channelID].messages {
		if m.ts == ts {
			return slices.Clone(m.shown)
		}
	}
	return nil
}

// Delete deletes a message, as a moderator would.
func (f *Fake) Delete(channelID, ts string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.channels[channelID].find(ts); m != nil {
		m.gone = true
	}
}

// Ephemerals are what one person was shown, oldest first.
func (f *Fake) Ephemerals(to string) []Ephemeral {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Ephemeral
	for _, e := range f.ephemerals {
		if e.To == to {
			out = append(out, e)
		}
	}
	return out
}

// Plain is what people read: formatting is gone, text is left. Blocks win over
// text, as on the screen.
func (v Version) Plain() string {
	for _, file := range v.Files {
		return "file " + file.Name
	}
	if len(v.Blocks) == 0 {
		return entities.Replace(v.Text)
	}
	var b strings.Builder
	flatten(&b, decode(v.Blocks))
	return b.String()
}

// entities are the three that Slack knows.
var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// flatten writes the texts of a payload in reading order, buttons left out.
func flatten(b *strings.Builder, v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			flatten(b, x)
		}
	case map[string]any:
		kind, _ := v["type"].(string)
		switch kind {
		case "button":
			return
		case "text", "plain_text":
			s, _ := v["text"].(string)
			b.WriteString(s)
		case "mrkdwn":
			s, _ := v["text"].(string)
			b.WriteString(entities.Replace(s))
		case "emoji":
			fmt.Fprintf(b, ":%v:", v["name"])
		case "link":
			fmt.Fprintf(b, "%v", v["url"])
		case "user", "usergroup", "channel", "broadcast", "date":
			fmt.Fprintf(b, "<%s>", kind)
		default:
			for _, name := range []string{"text", "fields", "elements"} {
				flatten(b, v[name])
			}
		}
		switch kind {
		case "header", "section", "context", "plain_text", "mrkdwn", "rich_text_section", "rich_text_preformatted", "rich_text_quote":
			b.WriteByte('\n')
		}
	}
}

var (
	markupRE = regexp.MustCompile(`<[^>]*>`)
	formatRE = regexp.MustCompile("(^|[^\\w*])\\*[^*\\s][^*]*\\*|(^|[^\\w_])_[^_\\s][^_]*_|(^|[^\\w~])~[^~\\s][^~]*~|`[^`]+`|(?m)^>")
	linkRE   = regexp.MustCompile(`https?://\S+`)
	emojiRE  = regexp.MustCompile(`:[a-z0-9_+-]+:`)
)

// Acts is what in this message does more than being read: mentions, links,
// formatting and emoji that text makes. Emoji and styles that are elements of
// their own are the bot's doing, and left out.
func (v Version) Acts() []string {
	var out []string
	// The text is what notifications show; blocks hide it.
	out = append(out, markupRE.FindAllString(v.Text, -1)...)
	if v.parse == "full" || len(v.Blocks) == 0 && v.parse != "none" {
		out = append(out, linkRE.FindAllString(v.Text, -1)...)
	}
	if len(v.Blocks) == 0 {
		out = append(out, formatRE.FindAllString(v.Text, -1)...)
	}
	return append(out, acts(decode(v.Blocks))...)
}

func acts(v any) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			out = append(out, acts(x)...)
		}
	case map[string]any:
		s, _ := v["text"].(string)
		switch v["type"] {
		case "mrkdwn":
			out = append(out, markupRE.FindAllString(s, -1)...)
			out = append(out, formatRE.FindAllString(s, -1)...)
			out = append(out, emojiRE.FindAllString(s, -1)...)
			if v["verbatim"] != true {
				out = append(out, linkRE.FindAllString(s, -1)...)
			}
		case "plain_text":
			if v["emoji"] != false {
				out = append(out, emojiRE.FindAllString(s, -1)...)
			}
		case "link", "user", "usergroup", "channel", "broadcast":
			raw, _ := json.Marshal(v)
			out = append(out, string(raw))
		}
		for _, x := range v {
			out = append(out, acts(x)...)
		}
	}
	return out
}

func decode(raw json.RawMessage) any {
	var v any
	_ = json.Unmarshal(raw, &v)
	return v
}

package discordfake

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Message is a message as people see it now.
type Message struct {
	ID, Channel string
	Text        string   // as it is read: formatting is gone
	Raw         []string // its texts as they were sent
	Buttons     []string // their labels
	Thread      []Message
	Archived    bool // of its thread
	Thinking    bool
	Files       []File
	Edits       int
	Posted      time.Time
}

func (f *Fake) see(m *message) Message {
	now := m.now()
	out := Message{ID: m.id, Channel: m.channel, Thinking: m.thinking, Edits: len(m.shown) - 1, Posted: m.shown[0].At, Raw: texts(now), Files: now.Files}
	out.Text = now.plain()
	for _, row := range now.Components {
		for _, b := range listOf(row["components"]) {
			label, _ := b["label"].(string)
			out.Buttons = append(out.Buttons, label)
		}
	}
	if t := f.channels[m.id]; t != nil {
		out.Archived = t.archived
		for _, line := range t.messages {
			if !line.gone {
				out.Thread = append(out.Thread, f.see(line))
			}
		}
	}
	return out
}

// Messages are what everybody sees in a channel, oldest first.
func (f *Fake) Messages(channelID string) []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.channels[channelID]
	if c == nil {
		return nil
	}
	var out []Message
	for _, m := range c.messages {
		if !m.gone && m.to == "" {
			out = append(out, f.see(m))
		}
	}
	return out
}

// Whispers are what one person alone sees, in channels and in the conversation
// with the bot, oldest first.
func (f *Fake) Whispers(person string) []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*message
	for _, c := range f.channels {
		for _, m := range c.messages {
			if !m.gone && (m.to == person || c.with == person) {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, func(a, b *message) int { return bornAt(a.id).Compare(bornAt(b.id))*2 + strings.Compare(a.id, b.id) })
	var out []Message
	for _, m := range found {
		out = append(out, f.see(m))
	}
	return out
}

// Shown is everything that a message ever showed, as it was read.
func (f *Fake) Shown(channelID, messageID string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, m := range f.channels[channelID].messages {
		if m.id == messageID {
			for _, c := range m.shown {
				out = append(out, c.plain())
			}
		}
	}
	return out
}

// texts are what a message shows where markup is read.
func texts(c content) []string {
	out := []string{c.Content}
	for _, e := range c.Embeds {
		s, _ := e["description"].(string)
		out = append(out, s)
		for _, f := range listOf(e["fields"]) {
			name, _ := f["name"].(string)
			value, _ := f["value"].(string)
			out = append(out, name, value)
		}
	}
	return out
}

func (c content) plain() string {
	var out []string
	for _, t := range texts(c) {
		if t != "" {
			out = append(out, Plain(t))
		}
	}
	for _, e := range c.Embeds {
		if footer, ok := e["footer"].(map[string]any); ok {
			s, _ := footer["text"].(string)
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n")
}

// span is a piece of a text: code, or text that is read for markup.
type span struct {
	text string
	code bool
}

// spans parts a text into code and the rest, as Discord does.
func spans(s string) []span {
	var out []span
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, span{text: b.String()})
		}
		b.Reset()
	}
	for i := 0; i < len(s); {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i += 2
			continue
		case strings.HasPrefix(s[i:], "```"):
			if end := strings.Index(s[i+3:], "```"); end >= 0 {
				flush()
				out = append(out, span{strings.TrimPrefix(s[i+3:i+3+end], "\n"), true})
				i += end + 6
				continue
			}
		case s[i] == '`':
			if end := strings.IndexByte(s[i+1:], '`'); end >= 0 {
				flush()
				out = append(out, span{s[i+1 : i+1+end], true})
				i += end + 2
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	flush()
	return out
}

var (
	escapeRE = regexp.MustCompile(`\\([^0-9A-Za-z\s])`)
	// What acts, once escapes are taken out.
	actRE = regexp.MustCompile("<[@#:/a-z]|\\*[^*\\s]|_[^_\\s][^_]*_|~~|\\|\\||\\[[^\\]]*\\]\\(|https?://\\S|discord://|(?m)^\\s*(#{1,3} |> |>>> |[-*+] |-# )|:[A-Za-z0-9_+-]+:|@everyone|@here|`")
)

// Plain is a text as it is read: formatting is gone, what was escaped is there.
func Plain(s string) string {
	var b strings.Builder
	for _, p := range spans(s) {
		if p.code {
			b.WriteString(p.text)
			continue
		}
		text := strings.ReplaceAll(hold(p.text), "**", "")
		b.WriteString(release(text))
	}
	return strings.ReplaceAll(strings.TrimRight(b.String(), "\n"), "\u200b", "")
}

// hold puts escaped characters out of markup's reach; release takes them back.
func hold(s string) string {
	return escapeRE.ReplaceAllStringFunc(s, func(m string) string { return "\ue000" + string([]rune(m)[1]+0xf0000) })
}

func release(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\ue000':
			return -1
		case r >= 0xf0000 && r < 0xf0000+0xf000:
			return r - 0xf0000
		}
		return r
	}, s)
}

// Acts is what in a text does more than being read: mentions, links,
// formatting, emoji.
func Acts(s string) []string {
	var out []string
	for _, p := range spans(s) {
		if !p.code {
			out = append(out, actRE.FindAllString(hold(p.text), -1)...)
		}
	}
	return out
}

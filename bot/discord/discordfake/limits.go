package discordfake

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// The keys of messages, where they are created, edited and in answers.
var (
	createKeys = []string{"content", "embeds", "components", "allowed_mentions", "flags", "nonce", "enforce_nonce", "tts", "message_reference"}
	editKeys   = []string{"content", "embeds", "components", "allowed_mentions", "flags"}
	answerKeys = []string{"content", "embeds", "components", "allowed_mentions", "flags", "tts"}
)

// checker collects what is wrong with a body.
type checker struct{ wrong []string }

func (c *checker) fail(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// text checks a string's length, in characters.
func (c *checker) text(where string, v any, least, most int) int {
	s, isText := v.(string)
	if v == nil && least == 0 {
		return 0
	}
	n := utf8.RuneCountInString(s)
	if !isText || n < least || n > most {
		c.fail("%s: must have %d to %d characters, has %d", where, least, most, n)
	}
	return n
}

func listOf(v any) []map[string]any {
	var out []map[string]any
	items, _ := v.([]any)
	for _, x := range items {
		m, _ := x.(map[string]any)
		out = append(out, m)
	}
	return out
}

func (c *checker) message(m map[string]any) {
	c.text("content", m["content"], 0, 2000)
	if m["nonce"] != nil {
		c.text("nonce", m["nonce"], 1, 25)
	}
	embeds := listOf(m["embeds"])
	if len(embeds) > 10 {
		c.fail("embeds: %d are too many", len(embeds))
	}
	sum := 0
	for i, e := range embeds {
		sum += c.embed(fmt.Sprintf("embeds[%d]", i), e)
	}
	if sum > 6000 {
		c.fail("embeds: %d characters are too many", sum)
	}
	c.rows("components", m["components"], map[string]bool{}, button)
}

func (c *checker) embed(where string, e map[string]any) int {
	sum := c.text(where+".title", e["title"], 0, 256) + c.text(where+".description", e["description"], 0, 4096)
	if footer, ok := e["footer"].(map[string]any); ok {
		sum += c.text(where+".footer.text", footer["text"], 1, 2048)
	}
	fields := listOf(e["fields"])
	if len(fields) > 25 {
		c.fail("%s.fields: %d are too many", where, len(fields))
	}
	for i, f := range fields {
		at := fmt.Sprintf("%s.fields[%d]", where, i)
		sum += c.text(at+".name", f["name"], 1, 256) + c.text(at+".value", f["value"], 1, 1024)
	}
	if sum == 0 {
		c.fail("%s: is empty", where)
	}
	return sum
}

// rows checks action rows and what is in them.
func (c *checker) rows(where string, v any, ids map[string]bool, part func(*checker, string, map[string]any, map[string]bool)) {
	rows := listOf(v)
	if len(rows) > 5 {
		c.fail("%s: %d rows are too many", where, len(rows))
	}
	for i, row := range rows {
		at := fmt.Sprintf("%s[%d]", where, i)
		parts := listOf(row["components"])
		if row["type"] != 1.0 || len(parts) == 0 || len(parts) > 5 {
			c.fail("%s: is no row of 1 to 5, type %v", at, row["type"])
		}
		for k, p := range parts {
			part(c, fmt.Sprintf("%s.components[%d]", at, k), p, ids)
		}
	}
}

func (c *checker) customID(where string, v any, ids map[string]bool) {
	c.text(where+".custom_id", v, 1, 100)
	if id, _ := v.(string); ids[id] {
		c.fail("%s.custom_id: %q is there twice", where, id)
	} else {
		ids[id] = true
	}
}

func button(c *checker, where string, b map[string]any, ids map[string]bool) {
	if b["type"] != 2.0 {
		c.fail("%s: is no button", where)
	}
	if style, _ := b["style"].(float64); style < 1 || style > 4 {
		c.fail("%s.style: %v", where, b["style"])
	}
	c.text(where+".label", b["label"], 1, 80)
	c.customID(where, b["custom_id"], ids)
}

func textInput(c *checker, where string, t map[string]any, ids map[string]bool) {
	if t["type"] != 4.0 {
		c.fail("%s: is no text input", where)
	}
	if style, _ := t["style"].(float64); style != 1 && style != 2 {
		c.fail("%s.style: %v", where, t["style"])
	}
	c.text(where+".label", t["label"], 1, 45)
	c.text(where+".placeholder", t["placeholder"], 0, 100)
	c.text(where+".value", t["value"], 0, 4000)
	c.customID(where, t["custom_id"], ids)
}

func (c *checker) modal(m map[string]any) {
	c.text("title", m["title"], 1, 45)
	c.text("custom_id", m["custom_id"], 1, 100)
	if rows := listOf(m["components"]); len(rows) == 0 {
		c.fail("components: a modal wants 1 to 5")
	} else {
		for i, row := range rows {
			if n := len(listOf(row["components"])); n != 1 {
				c.fail("components[%d]: a modal's row has one input, not %d", i, n)
			}
		}
	}
	c.rows("components", m["components"], map[string]bool{}, textInput)
}

func (c *checker) choices(v any) {
	all, isList := v.([]any)
	if !isList || len(all) > 25 {
		c.fail("choices: at most 25, have %d", len(all))
	}
	for i, ch := range listOf(v) {
		c.text(fmt.Sprintf("choices[%d].name", i), ch["name"], 1, 100)
		if s, isText := ch["value"].(string); isText {
			c.text(fmt.Sprintf("choices[%d].value", i), s, 0, 100)
		}
	}
}

// nameRE is costly to make, and every tool of a simulated node is this program.
var nameRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[-_'\p{L}\p{N}]{1,32}$`) })

// command checks a command, and returns how many characters it counts.
func (c *checker) command(where string, m map[string]any, depth int) int {
	name, _ := m["name"].(string)
	if !nameRE().MatchString(name) || name != lower(name) {
		c.fail("%s.name: %q", where, name)
	}
	sum := len([]rune(name)) + c.text(where+".description", m["description"], 1, 100)
	options := listOf(m["options"])
	if len(options) > 25 || depth > 2 {
		c.fail("%s.options: %d, depth %d", where, len(options), depth)
	}
	var names []string
	optional := false
	for i, o := range options {
		at := fmt.Sprintf("%s.options[%d]", where, i)
		sum += c.command(at, o, depth+1)
		n, _ := o["name"].(string)
		if slices.Contains(names, n) {
			c.fail("%s.name: %q is there twice", at, n)
		}
		names = append(names, n)
		required, _ := o["required"].(bool)
		if required && optional {
			c.fail("%s: required ones come first", at)
		}
		optional = optional || !required
		choices := listOf(o["choices"])
		if complete, _ := o["autocomplete"].(bool); complete && len(choices) > 0 {
			c.fail("%s: either choices or autocomplete", at)
		}
		if len(choices) > 25 {
			c.fail("%s.choices: %d are too many", at, len(choices))
		}
		for _, ch := range choices {
			sum += c.text(at+".choices.name", ch["name"], 1, 100)
			if s, isText := ch["value"].(string); isText {
				sum += len([]rune(s))
			}
		}
	}
	return sum
}

func lower(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r >= 'A' && r <= 'Z' {
			out[i] = r + 'a' - 'A'
		}
	}
	return string(out)
}

// bucket is a window of a rate limit.
type bucket struct {
	limit, left int
	window      time.Duration
	reset       time.Time
}

// bucket finds or makes one; f.mu is held.
func (f *Fake) bucket(name string, limit int, window time.Duration) *bucket {
	b := f.buckets[name]
	if b == nil {
		b = &bucket{limit: limit, window: window}
		f.buckets[name] = b
	}
	return b
}

func (b *bucket) take(now time.Time) bool {
	if !now.Before(b.reset) {
		b.left, b.reset = b.limit, now.Add(b.window)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// headers are Discord's, as they stand after a call.
func (b *bucket) headers(name string, now time.Time) map[string]string {
	return map[string]string{
		"X-RateLimit-Limit":       strconv.Itoa(b.limit),
		"X-RateLimit-Remaining":   strconv.Itoa(b.left),
		"X-RateLimit-Reset":       fmt.Sprintf("%.3f", float64(b.reset.UnixMilli())/1000),
		"X-RateLimit-Reset-After": fmt.Sprintf("%.3f", b.reset.Sub(now).Seconds()),
		"X-RateLimit-Bucket":      fmt.Sprintf("%x", name),
	}
}

// limited is a 429.
func limited(after time.Duration, global bool, code int) reply {
	secs := max(after.Seconds(), 0.001)
	body := map[string]any{"message": "You are being rate limited.", "retry_after": secs, "global": global, "code": code}
	h := map[string]string{"Retry-After": strconv.Itoa(int(secs) + 1), "X-RateLimit-Scope": "user"}
	if global {
		h["X-RateLimit-Global"], h["X-RateLimit-Scope"] = "true", "global"
	}
	return reply{status: 429, code: code, body: body, header: h}
}

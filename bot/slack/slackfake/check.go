package slackfake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// rule checks a value at a place; what is wrong goes to c.
type rule func(c *checker, at string, v any)

// checker walks a payload.
type checker struct {
	wrong     []string // as response_metadata.messages has it
	strangers []string // fields and types that this fake does not know
	chars     int      // in all texts
	blockIDs  map[string]bool
	inputs    []string // block ids of inputs
}

func (c *checker) fail(at, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("[ERROR] %s [json-pointer:%s]", fmt.Sprintf(format, args...), at))
}

// checkBlocks checks the blocks of a message or of a view.
func checkBlocks(raw []byte, most int, kinds map[string]rule) *checker {
	c := &checker{blockIDs: map[string]bool{}}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		c.fail("/blocks", "not JSON: %v", err)
		return c
	}
	list(0, most, byType(kinds))(c, "/blocks", v)
	return c
}

// object checks an object by its fields; the names of required ones end in !.
func object(fields map[string]rule) rule {
	return func(c *checker, at string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			c.fail(at, "must be an object")
			return
		}
		for name, r := range fields {
			name, required := strings.CutSuffix(name, "!")
			value, there := m[name]
			switch {
			case there:
				r(c, at+"/"+name, value)
			case required:
				c.fail(at, "missing required field: %s", name)
			}
		}
		for name := range m {
			_, optional := fields[name]
			_, required := fields[name+"!"]
			if !optional && !required {
				c.strangers = append(c.strangers, at+"/"+name)
			}
		}
	}
}

// byType checks an object by what its type says.
func byType(kinds map[string]rule) rule {
	return func(c *checker, at string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			c.fail(at, "must be an object")
			return
		}
		kind, _ := m["type"].(string)
		r, ok := kinds[kind]
		if !ok {
			c.fail(at+"/type", "unsupported type: %s", kind)
			return
		}
		r(c, at, v)
	}
}

func list(least, most int, each rule) rule {
	return func(c *checker, at string, v any) {
		l, ok := v.([]any)
		switch {
		case !ok:
			c.fail(at, "must be a list")
		case len(l) < least:
			c.fail(at, "no fewer than %d items allowed", least)
		case len(l) > most:
			c.fail(at, "no more than %d items allowed", most)
		}
		for i, item := range l {
			each(c, fmt.Sprintf("%s/%d", at, i), item)
		}
	}
}

// words is a string that people read.
func words(least, most int) rule {
	length := id(least, most)
	return func(c *checker, at string, v any) {
		length(c, at, v)
		s, _ := v.(string)
		c.chars += utf8.RuneCountInString(s)
	}
}

// id is a string that nobody reads.
func id(least, most int) rule {
	return func(c *checker, at string, v any) {
		s, ok := v.(string)
		n := utf8.RuneCountInString(s)
		switch {
		case !ok:
			c.fail(at, "must be a string")
		case n < least:
			c.fail(at, "must be more than %d characters", least-1)
		case n > most:
			c.fail(at, "must be less than %d characters", most+1)
		}
	}
}

func oneOf(values ...string) rule {
	return func(c *checker, at string, v any) {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			c.fail(at, "must be one of %v", values)
		}
	}
}

func boolean(c *checker, at string, v any) {
	if _, ok := v.(bool); !ok {
		c.fail(at, "must be a boolean")
	}
}

func number(least, most float64) rule {
	return func(c *checker, at string, v any) {
		if n, ok := v.(float64); !ok || n < least || n > most {
			c.fail(at, "must be a number from %v to %v", least, most)
		}
	}
}

// text is a text object: plain for labels, anyText where markup is allowed.
func text(kinds []string, most int) rule {
	return object(map[string]rule{
		"type!": oneOf(kinds...), "text!": words(1, most), "emoji": boolean, "verbatim": boolean,
	})
}

var (
	plain   = []string{"plain_text"}
	anyText = []string{"plain_text", "mrkdwn"}
)

// blockID checks that a block's id is its own.
func blockID(c *checker, at string, v any) {
	id(1, maxID)(c, at, v)
	s, _ := v.(string)
	if c.blockIDs[s] {
		c.fail(at, "block_id already exists: %s", s)
	}
	c.blockIDs[s] = true
}

// ownActions checks that the elements of a block have different action ids.
func ownActions(r rule) rule {
	return func(c *checker, at string, v any) {
		r(c, at, v)
		m, _ := v.(map[string]any)
		elements, _ := m["elements"].([]any)
		seen := map[string]bool{}
		for i, e := range elements {
			m, _ := e.(map[string]any)
			action, _ := m["action_id"].(string)
			if seen[action] {
				c.fail(fmt.Sprintf("%s/elements/%d/action_id", at, i), "action_id already exists: %s", action)
			}
			seen[action] = true
		}
	}
}

// CheckMessage is what Slack would find wrong with a message of these blocks,
// fields that it does not know included.
func CheckMessage(blocks []byte) []string {
	c := checkBlocks(blocks, maxBlocks, messageBlocks)
	wrong := c.wrong
	for _, s := range c.strangers {
		wrong = append(wrong, "unknown field "+s)
	}
	if c.chars > maxAllText {
		wrong = append(wrong, "msg_blocks_too_long")
	}
	return wrong
}

// CheckView is the same for a modal.
func CheckView(raw []byte) []string {
	c := &checker{blockIDs: map[string]bool{}}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return []string{err.Error()}
	}
	view(c, "/view", v)
	for _, s := range c.strangers {
		c.wrong = append(c.wrong, "unknown field "+s)
	}
	if len(raw) > maxViewBytes {
		c.wrong = append(c.wrong, "view_too_large")
	}
	return c.wrong
}

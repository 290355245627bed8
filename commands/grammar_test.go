package commands

import (
	"regexp"
	"strings"
	"testing"
)

// Discord's limits of command schemas: names, descriptions, numbers of
// options, and the whole command.
func TestTableFitsDiscord(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
	total := len("vm") + len("Proxmox VE")
	if n := len(Verbs()); n == 0 || n > 25 {
		t.Errorf("%d verbs, want 1 to 25", n)
	}
	holds := func(where, n, summary string) {
		t.Helper()
		if !name.MatchString(n) {
			t.Errorf("%s: bad name %q", where, n)
		}
		if len(summary) == 0 || len(summary) > 100 || strings.HasSuffix(summary, ".") {
			t.Errorf("%s: summary %q: want 1 to 100 characters without a final stop", where, summary)
		}
		total += len(n) + len(summary)
	}
	for _, v := range Verbs() {
		holds(v.Name, v.Name, v.Summary)
		if n := len(v.Params()); n > 25 {
			t.Errorf("%s: %d options, want at most 25", v.Name, n)
		}
		optional := false
		for _, p := range v.Params() {
			where := v.Name + " " + p.Label()
			holds(where, p.Name, p.Summary)
			if p.Required && optional {
				t.Errorf("%s: required after optional", where)
			}
			optional = optional || !p.Required
			if len(p.Choices) > 25 || len(p.Offers) > 25 {
				t.Errorf("%s: too many choices", where)
			}
			for _, c := range p.Choices {
				total += 2 * len(c)
			}
		}
	}
	if total > 8000 {
		t.Errorf("the whole command has %d characters, want at most 8000", total)
	}
}

// Rows hold together: no word means two things, and examples are right.
func TestTableIsSound(t *testing.T) { sound(t, table) }

func sound(t *testing.T, g grammar) {
	words := map[string]string{}
	claim := func(space, word, owner string) {
		if was, taken := words[space+" "+word]; taken {
			t.Errorf("%s: %s means %s and %s", space, word, was, owner)
		}
		words[space+" "+word] = owner
	}
	for _, v := range g {
		for _, word := range append([]string{v.Name}, v.Also...) {
			claim("verb", word, v.Name)
		}
		if len(v.Examples) == 0 {
			t.Errorf("%s: no example", v.Name)
		}
		for _, line := range v.Examples {
			if r, m := g.parse(line); m != nil || r.Verb() != v.Name {
				t.Errorf("%s: %s: %+v, %v", v.Name, line, r, m)
			}
		}
		if r, m := g.parse(v.Examples[0]); m == nil && g.format(r) != v.Examples[0] {
			t.Errorf("%s is written %s", v.Examples[0], g.format(r))
		}
		for _, p := range v.Params() {
			for _, word := range append([]string{p.Name}, p.Also...) {
				claim(v.Name, word, p.Name)
			}
			if p.Type == TypeBool {
				continue
			}
			for _, text := range append(append([]string{p.Example}, p.Choices...), p.Offers...) {
				if _, f := g.check(p, text); f != nil {
					t.Errorf("%s %s: %s", v.Name, p.Label(), f.say)
				}
			}
		}
	}
}

func TestVerbOf(t *testing.T) {
	if v, ok := VerbOf("LS"); !ok || v.Name != "list" {
		t.Errorf("LS: %v, %v", v.Name, ok)
	}
	if v, ok := VerbOf("nonsense"); ok {
		t.Errorf("nonsense: %v", v.Name)
	}
	verbs := Verbs()
	verbs[0].Name = "changed"
	if Verbs()[0].Name == "changed" {
		t.Error("a caller can change the table")
	}
}

// The types that no verb of the table has yet, in verbs that may come.
type ferry struct {
	VM, Node, Mode string
	Online         bool
	TTL            int64
	Note           string
}

func (ferry) Verb() string { return "ferry" }

var wider = newGrammar(append(Verbs(), Verb{
	Name: "ferry", Summary: "Move a VM to another node",
	Args: []Param{
		{Name: "vm", Type: TypeVM, Required: true, Summary: "The VM", Example: "web-1"},
		{Name: "node", Type: TypeNode, Required: true, Summary: "Where to", Example: "pve2"},
	},
	Flags: []Param{
		{Name: "online", Type: TypeBool, Summary: "While it runs"},
		{Name: "mode", Type: TypeEnum, Choices: []string{"fast", "safe"}, Summary: "How", Example: "fast"},
		{Name: "ttl", Type: TypeDuration, Min: 3600, Max: 90 * 86400, Summary: "How long", Example: "7d"},
		{Name: "note", Type: TypeText, Summary: "Why", Example: "disk is full"},
	},
	Examples: []string{"/vm ferry web-1 pve2"},
	build: func(v values) (Request, *Mistake) {
		return ferry{v.text("vm"), v.text("node"), v.text("mode"), v.num("online") == 1, v.num("ttl"), v.text("note")}, nil
	},
	fields: func(r Request) Fields {
		m := r.(ferry)
		f := Fields{"vm": m.VM, "node": m.Node, "mode": m.Mode, "note": m.Note}
		if m.Online {
			f["online"] = "true"
		}
		if m.TTL > 0 {
			f["ttl"] = seconds(m.TTL)
		}
		return f
	},
})...)

func TestRowsToCome(t *testing.T) {
	sound(t, wider)
	base := ferry{VM: "web-1", Node: "pve2"}
	with := func(change func(*ferry)) ferry { m := base; change(&m); return m }
	for _, tt := range []struct {
		line string
		want Request
	}{
		{"/vm ferry web-1 pve2", base},
		{"/vm ferry --online web-1 pve2", with(func(m *ferry) { m.Online = true })},
		{"/vm ferry web-1 pve2 --online=no", base},
		{"/vm ferry web-1 pve2 --mode SAFE --ttl 2w", with(func(m *ferry) { m.Mode, m.TTL = "safe", 14*86400 })},
		{"/vm ferry web-1 pve2 --ttl 90m", with(func(m *ferry) { m.TTL = 5400 })},
		{"/vm ferry web-1 pve2 --note it's full --online", with(func(m *ferry) { m.Note, m.Online = "it's full", true })},
		{`/vm ferry web-1 pve2 --note "say \"no\" \ or \\"`, with(func(m *ferry) { m.Note = `say "no" \ or \` })},
		{"/vm ferry web-1 pve2 --note \u201cpve\u201301 \u2014x\u201d", with(func(m *ferry) { m.Note = "pve\u201301 \u2014x" })},
		{"/vm ferry web-1 pve2 --note '--online'", with(func(m *ferry) { m.Note = "--online" })},
	} {
		got, m := wider.parse(tt.line)
		if m != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.line, got, m)
			continue
		}
		if again, m := wider.parse(wider.format(got)); m != nil || again != got {
			t.Errorf("%s: %s reads as %+v, %v", tt.line, wider.format(got), again, m)
		}
	}
	for _, tt := range []struct{ line, say, try string }{
		{"/vm ferry web-1", "ferry wants NODE: where to", "/vm ferry web-1 pve2"},
		{"/vm ferry web-1 pve2 --online=maybe", "--online is a switch and takes no value, got maybe", "/vm ferry web-1 pve2 --online"},
		{"/vm ferry web-1 pve2 --mode fats", "--mode is one of fast, safe, got fats; did you mean fast?", "/vm ferry web-1 pve2 --mode fast"},
		{"/vm ferry web-1 pve2 --ttl 5m", "--ttl wants a time from 1h to 90d, got 5m", "/vm ferry web-1 pve2 --ttl 7d"},
		{"/vm ferry web-1 pve2 --ttl soon", "--ttl wants a time like 12h, 7d or 2w, got soon", "/vm ferry web-1 pve2 --ttl 7d"},
		{`/vm ferry web-1 pve2 --note ""`, "--note wants some words", `/vm ferry web-1 pve2 --note "disk is full"`},
	} {
		if _, m := wider.parse(tt.line); m == nil || m.Say != tt.say || m.Try != tt.try {
			t.Errorf("%s: got %+v", tt.line, m)
		}
	}
}

// Text is the one type in which anything goes: it survives being written.
func FuzzText(f *testing.F) {
	for _, s := range []string{"it's", `a "b" \`, "--x", "`a` *b*", "<@U1|x> &lt; <http://a|a>", `<http://x\|x\>`, "\u2014a \u201cb\u201d", "'a' \"b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, m := wider.parse("/vm ferry web-1 pve2 --note " + s)
		if m != nil {
			if _, again := wider.parse(m.Try); again != nil {
				t.Errorf("%q: proposes %q: %s", s, m.Try, again.Say)
			}
			return
		}
		again, m := wider.parse(wider.format(r))
		if m != nil || again != r {
			t.Errorf("%q: %q reads as %+v, %v; want %+v", s, wider.format(r), again, m, r)
		}
	})
}

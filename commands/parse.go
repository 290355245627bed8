package commands

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// MaxLine is the longest line that is looked at, in bytes.
const MaxLine = 4000

// Parse reads a line of chat, with or without /vm or a mention of the bot
// before it. It is total: the error, when there is one, is a *Mistake, whose
// Try is a line that Parse takes. An empty line asks for help.
func Parse(line string) (Request, error) {
	r, m := table.parse(line)
	if m != nil {
		return nil, m
	}
	return r, nil
}

func (g grammar) parse(line string) (Request, *Mistake) {
	if len(line) > MaxLine {
		return nil, &Mistake{
			Say:    fmt.Sprintf("that line has %d characters, and I read at most %d", len(line), MaxLine),
			Try:    "/vm help",
			Secret: len(line) > 16*MaxLine || secretRE.MatchString(line), // to search a megabyte takes too long
		}
	}
	line = Normalise(line)
	words, complaint := split(line)
	words = unaddressed(words)
	if secretRE.MatchString(line) {
		m := exposed(g.verbOf(words))
		m.Try = g.example(m.Verb)
		return nil, m
	}
	if strange, ok := unreadable(line); ok {
		verb := g.verbOf(words)
		return nil, &Mistake{Say: strange, Verb: verb, Try: g.example(verb)}
	}
	if len(words) == 0 {
		return Help{}, nil
	}
	v := g.verb(words[0].text)
	if v == nil {
		return nil, g.unknownVerb(words)
	}
	return g.slot(v, words[1:], complaint)
}

// unaddressed drops what words say to whom: @bot, /vm, vm.
func unaddressed(words []word) []word {
	if len(words) > 0 && strings.HasPrefix(words[0].text, "@") {
		words = words[1:]
	}
	if len(words) > 0 {
		switch strings.ToLower(words[0].text) {
		case "/vm", "vm":
			words = words[1:]
		}
	}
	return words
}

// unreadable says which rune no command has: control characters, and what was
// no UTF-8.
func unreadable(line string) (string, bool) {
	for _, r := range line {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return fmt.Sprintf("the line has an invisible or broken character in it, %U; please type it again", r), true
		}
	}
	return "", false
}

func (g grammar) verbOf(words []word) string {
	if len(words) > 0 {
		if v := g.verb(words[0].text); v != nil {
			return v.Name
		}
	}
	return ""
}

// example is a line that is right, of the verb where there is one.
func (g grammar) example(verb string) string {
	if v := g.verb(verb); v != nil {
		return v.Examples[0]
	}
	return "/vm help"
}

func (g grammar) unknownVerb(words []word) *Mistake {
	said := strings.ToLower(words[0].text)
	m := &Mistake{Try: "/vm help", Secret: slices.ContainsFunc(words, word.isPassword)}
	near := Nearest(said, g.names())
	m.Say = fmt.Sprintf("there is no command %s%s", clip(words[0].text), meant(near))
	if near == "" {
		return m
	}
	m.Verb = near
	if r, wrong := g.slot(g.verb(near), words[1:], ""); wrong != nil {
		m.Try, m.Fields = wrong.Try, wrong.Fields
	} else {
		m.Try = g.format(r)
	}
	return m
}

// slot puts words into the verb's parameters. It goes on after the first thing
// that is wrong, so that the mistake can offer a line with all the rest.
func (g grammar) slot(v *Verb, words []word, complaint string) (Request, *Mistake) {
	s := slotter{verb: v, words: words, fields: Fields{}}
	if complaint != "" {
		s.wrong("", "%s", complaint)
	}
	if s.run(); s.help {
		return Help{Topic: v.Name}, nil
	}
	r, m := g.assemble(v, s.fields)
	if s.mistake != nil {
		m = s.mistake
		m.fix = s.fields
	}
	if m == nil {
		return r, nil
	}
	m.Verb, m.Fields = v.Name, s.fields
	m.Try = g.mend(v, m.fix)
	return nil, m
}

// slotter is the state of putting words into parameters.
type slotter struct {
	verb    *Verb
	words   []word
	fields  Fields
	args    int // so many of verb.Args are taken
	mistake *Mistake
	help    bool
	waiting *Param // the flag at the end that has no value yet
}

func (s *slotter) run() {
	for len(s.words) > 0 {
		w := s.words[0]
		s.words = s.words[1:]
		if w.isFlag() {
			s.flag(w)
		} else {
			s.arg(w)
		}
	}
}

// wrong notes a mistake, the first one only.
func (s *slotter) wrong(param, format string, a ...any) {
	if s.mistake == nil {
		s.mistake = &Mistake{Say: fmt.Sprintf(format, a...), Param: param}
	}
}

var negativeRE = regexp.MustCompile(`^-[0-9]`)

// isFlag: a word that begins with a dash, unless it is quoted or a number.
func (w word) isFlag() bool {
	return w.quoted != 0 && len(w.text) > 1 && w.text[0] == '-' && !negativeRE.MatchString(w.text)
}

// cut takes name=value apart; the value keeps whether it was quoted.
func (w word) cut() (name string, val word, ok bool) {
	name, text, ok := strings.Cut(w.text, "=")
	if w.quoted == 0 {
		return w.text, word{quoted: -1}, false
	}
	return name, word{text, w.quoted - len(name) - 1}, ok
}

func (s *slotter) arg(w word) {
	if name, _, ok := w.cut(); ok {
		if name = strings.ToLower(name); s.verb.flag(name) != nil || isPassword(name) {
			s.wrongFlag(name)
			s.flag(word{"--" + w.text, w.quoted + len("--")})
			return
		}
	}
	if w.isPassword() && strings.Contains(w.text, "=") { // in quotes, which some chats add
		s.password()
		return
	}
	if s.skip(); s.args == len(s.verb.Args) {
		s.wrong("", "%s is one word too many: it goes %s", clip(w.text), s.verb.Usage())
		return
	}
	p := s.verb.Args[s.args]
	s.args++
	s.set(p, s.greedy(p, w))
}

// skip passes over arguments that were given by name, as flags are.
func (s *slotter) skip() {
	for s.args < len(s.verb.Args) {
		if _, given := s.fields[s.verb.Args[s.args].Name]; !given {
			return
		}
		s.args++
	}
}

// flag takes a flag with its value. An argument can be given like one:
// --name web-2.
func (s *slotter) flag(w word) {
	dashed, val, hasValue := w.cut()
	name := strings.ToLower(strings.TrimLeft(dashed, "-"))
	p := s.verb.param(name)
	if p == nil {
		if name == "help" || name == "h" {
			s.help = true
			return
		}
		p = s.unknownFlag(dashed, name)
	} else if !strings.HasPrefix(dashed, "--") || strings.HasPrefix(dashed, "---") {
		s.wrongFlag(name)
	}
	if p != nil && isPassword(name) && (hasValue || len(s.words) > 0 && !strings.HasPrefix(s.words[0].text, "-")) {
		s.password() // they gave one
		return
	}
	if p != nil && p.Type == TypeBool {
		text := "true"
		if hasValue {
			text = val.text
		}
		s.set(*p, text)
		return
	}
	if !hasValue || val.text == "" && val.quoted < 0 {
		var ok bool
		if val, ok = s.value(); !ok {
			if p != nil {
				if len(s.words) == 0 {
					s.waiting = p
				}
				s.wrong(p.Name, "%s wants a value, like %s", p.Label(), p.Example)
			}
			return
		}
	}
	if p != nil {
		s.set(*p, s.greedy(*p, val))
	}
}

// wrongFlag complains about a flag that is not written as one.
func (s *slotter) wrongFlag(name string) {
	if isPassword(name) {
		s.password()
		return
	}
	p := s.verb.param(name)
	s.wrong(p.Name, "a flag begins with two dashes: --%s", p.Name)
}

// isPassword: the flags with which other tools take passwords.
func isPassword(name string) bool {
	return name == "password" || name == "passwd" || name == "pass" || name == "cipassword"
}

func (w word) isPassword() bool {
	name, _, _ := strings.Cut(w.text, "=")
	return isPassword(strings.ToLower(strings.TrimLeft(name, "-")))
}

// password refuses one. Its line is secret whatever else is wrong with it.
func (s *slotter) password() {
	s.mistake = &Mistake{Say: noPasswords, Secret: true}
}

const noPasswords = "I take no passwords, since everybody here can read them: give your SSH public key with --key, or let me make one: --password, without a word after it"

// unknownFlag complains, and returns the flag that was probably meant.
func (s *slotter) unknownFlag(dashed, name string) *Param {
	if isPassword(name) {
		s.password()
		return nil
	}
	if len(s.verb.Flags) == 0 {
		s.wrong("", "%s takes no flags, got %s", s.verb.Name, clip(dashed))
		return nil
	}
	near := Nearest(name, s.verb.flagNames())
	if near == "" {
		s.wrong("", "%s has no flag %s; it knows --%s", s.verb.Name, clip(dashed), strings.Join(s.verb.flagNames(), ", --"))
		return nil
	}
	s.wrong("", "%s has no flag %s%s", s.verb.Name, clip(dashed), meant("--"+near))
	return s.verb.flag(near)
}

// value takes the next word as a flag's value: web, = web, =web.
func (s *slotter) value() (word, bool) {
	for len(s.words) > 0 && !s.words[0].isFlag() {
		w := s.words[0]
		s.words = s.words[1:]
		if w.quoted == 0 {
			return w, true
		}
		text, eq := strings.CutPrefix(w.text, "=")
		if eq && text == "" && w.quoted < 0 {
			continue
		}
		if eq {
			w.quoted--
		}
		return word{text, w.quoted}, true
	}
	return word{}, false
}

var unitRE = regexp.MustCompile(`^(?i:[mgt]i?b?)$`)

// greedy adds the words after w that belong to the same value: all up to the
// next flag where a value is several words, the unit in "16 GB".
func (s *slotter) greedy(p Param, w word) string {
	text := w.text
	if w.quoted >= 0 {
		return text
	}
	for len(s.words) > 0 && !s.words[0].isFlag() && s.words[0].quoted < 0 {
		next := s.words[0].text
		if (p.Type == TypeSize || p.Type == TypeGrowth) && isNumber(text) && unitRE.MatchString(next) {
			text += next
		} else if p.Type == TypeKey || p.Type == TypeText {
			text += " " + next
		} else {
			break
		}
		s.words = s.words[1:]
	}
	return text
}

func (s *slotter) set(p Param, text string) {
	if _, twice := s.fields[p.Name]; twice {
		s.wrong(p.Name, "%s is given twice", p.Label())
		return
	}
	s.fields[p.Name] = text
}

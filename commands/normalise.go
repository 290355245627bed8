package commands

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Normalise undoes what keyboards and chat platforms do to a line: smart
// quotes and dashes, invisible and full-width characters, Slack's links,
// mentions and entities, code marks, line ends. The result is valid UTF-8 with
// single spaces, and normalising it again changes nothing.
//
// It guesses nothing about values: a dash inside a word or in quotes stays
// what it was, and control characters stay for Parse to refuse. Time grows
// with how deeply markup is nested; Parse looks at the length first.
func Normalise(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	// Taking one layer off can uncover another (&amp;lt;, a link in a link).
	// Each round makes s shorter, so len(s) rounds are enough for any line.
	for range len(s) + 1 {
		next := normaliseOnce(s)
		if next == s {
			break
		}
		s = next
	}
	return s
}

func normaliseOnce(s string) string {
	s = norm.NFKC.String(s)
	s = strings.Map(plainRune, s)
	s = entityRE.ReplaceAllStringFunc(s, unescape)
	s = unwrapAll(s)
	s = strings.Join(strings.Fields(s), " ")
	s = unmark(s)
	s = undash(s)
	return strings.Join(strings.Fields(s), " ")
}

// plainRune maps a rune to what it was before a keyboard or chat made it
// pretty; -1 drops it.
func plainRune(r rune) rune {
	switch r {
	case '\u201c', '\u201d', '\u201e', '\u201f', '\u00ab', '\u00bb':
		return '"'
	case '\u2018', '\u2019', '\u201a', '\u201b':
		return '\''
	case '\u2010': // hyphen, and what NFKC makes of the non-breaking one
		return '-'
	}
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.Is(unicode.Cf, r): // zero-width, bidi marks, soft hyphen, BOM
		return -1
	}
	return r
}

// entityRE finds the three entities that Slack writes, escaped any number of
// times: &lt; &amp;lt; &amp;
var entityRE = regexp.MustCompile(`&(?:amp;)*(lt|gt);|&(?:amp;)+`)

func unescape(s string) string {
	switch {
	case strings.HasSuffix(s, "lt;"):
		return "<"
	case strings.HasSuffix(s, "gt;"):
		return ">"
	}
	return "&"
}

// unwrapAll unwraps all markup, the innermost first.
func unwrapAll(s string) string {
	var out []byte
	var open []int // where in out a < is that waits for its >
	for i := range len(s) {
		out = append(out, s[i])
		switch s[i] {
		case '<':
			open = append(open, len(out)-1)
		case '>':
			if top := len(open) - 1; top >= 0 {
				out = append(out[:open[top]], unwrap(string(out[open[top]:]))...)
				open = open[:top]
			}
		}
	}
	return string(out)
}

// markupRE is <what|label>: mentions, channels and links of Slack, and
// mentions of Discord.
var markupRE = regexp.MustCompile(`^<(@[!&]?|#|!|(?i:https?|ftp|mailto|tel):)([^<>|\s]+)(?:\|([^<>|]*))?>$`)

// unwrap is the plain form of one piece of markup: @ID for people and groups,
// #NAME for channels, and for links what was typed. Anything else stays as it
// is.
func unwrap(s string) string {
	m := markupRE.FindStringSubmatch(s)
	if m == nil {
		return s
	}
	kind, what, label := strings.ToLower(m[1]), m[2], m[3]
	switch kind {
	case "@", "@!", "@&":
		return "@" + what
	case "!":
		if group, ok := strings.CutPrefix(what, "subteam^"); ok {
			return "@" + group
		}
		return "@" + what
	case "#":
		if label != "" {
			return "#" + label
		}
		return "#" + what
	case "mailto:", "tel:":
		if label != "" {
			return label
		}
		return what
	}
	// A word that looked like a host became a link: http://web.lab.io|web.lab.io.
	if host := strings.TrimLeft(what, "/"); label != "" && strings.TrimRight(host, "/") == strings.TrimRight(label, "/") {
		return label
	}
	return m[1] + what
}

// unmark drops marks of code and bold type that stand around a word or
// several, as in `web`, ```/vm list``` and **web**. Marks inside words and in
// quotes stay.
func unmark(s string) string {
	rs := []rune(s)
	type run struct{ at, n int }
	var open []run // runs that wait for their end
	drop := make([]bool, len(rs))
	ends := markEnds(rs)
	var q quoting
	for i := 0; i < len(rs); {
		if !isMark(rs[i]) || q.open() {
			q.next(rs[i])
			i++
			continue
		}
		n := 1
		for i+n < len(rs) && rs[i+n] == rs[i] {
			n++
		}
		starts := q.atStart()
		for range n {
			q.next(rs[i])
		}
		top := len(open) - 1
		switch {
		case ends[i+n] && top >= 0 && open[top].n == n && rs[open[top].at] == rs[i]:
			for k := range n {
				drop[open[top].at+k], drop[i+k] = true, true
			}
			open = open[:top]
		case starts && (!ends[i+n] || n >= 3): // a fence may stand alone
			open = append(open, run{i, n})
			q.restart() // what follows begins a word, mark or not
		}
		i += n
	}
	var b strings.Builder
	for i, r := range rs {
		if !drop[i] {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isMark(r rune) bool { return r == '`' || r == '*' }

// markEnds says for each index, and for the end, whether nothing but marks
// stands between it and the end of its word.
func markEnds(rs []rune) []bool {
	ends := make([]bool, len(rs)+1)
	ends[len(rs)] = true
	for i := len(rs) - 1; i >= 0; i-- {
		ends[i] = rs[i] == ' ' || isMark(rs[i]) && ends[i+1]
	}
	return ends
}

// undash turns the long dashes that keyboards make of -- back, where a flag
// can begin: at the start of a word, outside quotes, before a letter.
func undash(s string) string {
	rs := []rune(s)
	var b strings.Builder
	var q quoting
	for i := 0; i < len(rs); {
		n, pretty := dashes(rs[i:])
		if n == 0 || !q.wordStart() {
			q.next(rs[i])
			b.WriteRune(rs[i])
			i++
			continue
		}
		text := string(rs[i : i+n])
		if pretty {
			switch rest := rs[i+n:]; {
			case len(rest) > 1 && unicode.IsLetter(rest[0]) && unicode.IsLetter(rest[1]):
				text = "--"
			case len(rest) > 0 && (unicode.IsLetter(rest[0]) || unicode.IsDigit(rest[0])):
				text = "-"
			}
		}
		b.WriteString(text)
		for range n {
			q.next('-')
		}
		i += n
	}
	return b.String()
}

// dashes is the length of the run of dashes that rs begins with, and whether
// one of them is not the ASCII one.
func dashes(rs []rune) (n int, pretty bool) {
	for _, r := range rs {
		switch r {
		case '\u2012', '\u2013', '\u2014', '\u2015', '\u2212':
			pretty = true
		case '-':
		default:
			return n, pretty
		}
		n++
	}
	return n, pretty
}

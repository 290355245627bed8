package commands

import "strings"

// quoting follows where quotes open and close in a line. A quote opens only
// at the start of a word or right after =, so that an apostrophe inside a word
// is just that. In double quotes \" and \\ stand for " and \.
type quoting struct {
	quote  rune // the open one, 0 outside
	escape bool // the last rune was a backslash that escapes
	last   rune // 0 at the start of a word
}

func (q *quoting) open() bool { return q.quote != 0 }

// wordStart: the next rune begins a word.
func (q *quoting) wordStart() bool { return q.quote == 0 && (q.last == 0 || q.last == ' ') }

// atStart: the next rune begins a word or a flag's value; a quote opens here.
func (q *quoting) atStart() bool { return q.wordStart() || q.quote == 0 && q.last == '=' }

// restart makes the next rune the start of a word.
func (q *quoting) restart() { q.last = 0 }

// next takes r in and returns what of the text it brings: nothing for quotes
// that open or close and for a backslash that waits for what it escapes.
func (q *quoting) next(r rune) string {
	escaped := q.escape
	q.escape = false
	switch {
	case q.quote == 0:
		if (r == '"' || r == '\'') && q.atStart() {
			q.quote, q.last = r, r
			return ""
		}
	case escaped:
		if q.last = r; r != '"' && r != '\\' {
			return "\\" + string(r)
		}
		return string(r)
	case q.quote == '"' && r == '\\':
		q.escape = true
		return ""
	case r == q.quote:
		q.quote, q.last = 0, r
		return ""
	}
	q.last = r
	return string(r)
}

// word is a word of a line; quoted is where in text a quoted part begins, -1
// when there is none.
type word struct {
	text   string
	quoted int
}

// split takes a normalised line apart into words. The complaint, when there
// is one, is about quotes; the words are right all the same.
func split(line string) (words []word, complaint string) {
	rs := []rune(line)
	var q quoting
	var text strings.Builder
	started, quoted := false, -1
	end := func() {
		if started {
			words = append(words, word{text.String(), quoted})
		}
		text.Reset()
		started, quoted = false, -1
		q.restart()
	}
	for i, r := range rs {
		wasOpen := q.open()
		if !wasOpen && r == ' ' {
			end()
			continue
		}
		started = true
		text.WriteString(q.next(r))
		switch {
		case !wasOpen && q.open():
			quoted = text.Len()
		case wasOpen && !q.open():
			if i+1 < len(rs) && rs[i+1] != ' ' {
				complaint = "there must be a space after a closing quote"
			}
			end()
		}
	}
	if q.open() {
		complaint = "a quote is not closed: " + string(q.quote)
	}
	end()
	return words, complaint
}

package bot

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"

	"pvebot/provision"
)

// Line is one line of a card as plain text.
type Line struct {
	Text string // inert: no control characters, no line breaks
	Look Look
}

// Look says how a line may be coloured.
type Look string

// The looks.
const (
	LookPlain  Look = ""
	LookTitle  Look = "title"
	LookDim    Look = "dim"
	LookGood   Look = "good"
	LookBad    Look = "bad"
	LookBusy   Look = "busy"
	LookAsking Look = "asking"
)

// Text renders a card as plain lines of any width, for terminals, logs and
// mail; each piece of it is at most 1,000 runes long. Buttons are left out: only an adapter knows how they are pressed.
func Text(c Card) []Line {
	var out []Line
	add := func(look Look, text string) {
		out = append(out, Line{Text: strings.TrimRight(text, " "), Look: look})
	}
	if c.Title != "" {
		add(LookTitle, clean(c.Title))
	}
	out = append(out, stepLines(c.Steps)...)
	if c.Text != "" {
		for line := range strings.Lines(c.Text) {
			add(lookOf(c.Tone), clean(strings.TrimRight(line, "\r\n")))
		}
	}
	wide := 0
	for _, f := range c.Fields {
		wide = max(wide, Columns(clean(f.Name)))
	}
	for _, f := range c.Fields {
		add(LookPlain, "  "+pad(clean(f.Name), wide)+"  "+clean(f.Value))
	}
	if c.Table != nil {
		out = append(out, tableLines(*c.Table)...)
	}
	for _, line := range c.Lines {
		add(LookDim, "  | "+clean(line))
	}
	if c.Footer != "" {
		footer := clean(c.Footer)
		if c.Elapsed > 0 {
			footer += ", " + Took(c.Elapsed)
		}
		add(LookDim, footer)
	}
	return out
}

func stepLines(steps []CardStep) []Line {
	wide := 0
	for _, s := range steps {
		wide = max(wide, Columns(clean(s.Title)))
	}
	var out []Line
	phase := ""
	for i, s := range steps {
		if (i == 0 || s.Phase != phase) && s.Phase != "" {
			out = append(out, Line{Text: "  " + clean(s.Phase), Look: LookDim})
		}
		phase = s.Phase
		mark, look := markOf(s.Status)
		text := "    " + mark + " " + pad(clean(s.Title), wide)
		if s.Phase == "" { // on a level with phases
			text = "  " + mark + " " + pad(clean(s.Title), wide+2)
		}
		if s.Elapsed > 0 || !s.Started.IsZero() {
			text += fmt.Sprintf("  %6s", Took(s.Elapsed))
		}
		if s.Fraction > 0 {
			text += fmt.Sprintf("  %3.0f%%", min(s.Fraction, 1)*100)
		}
		if s.Text != "" {
			text += "  " + clean(s.Text)
		}
		out = append(out, Line{Text: strings.TrimRight(text, " "), Look: look})
	}
	return out
}

// StepLine is one step on a line of its own: mark, title, percentage, text.
func StepLine(s CardStep) string {
	mark, _ := markOf(s.Status)
	text := mark + " " + clean(s.Title)
	if s.Fraction > 0 {
		text += fmt.Sprintf(" %.0f%%", min(s.Fraction, 1)*100)
	}
	if s.Text != "" {
		text += ": " + clean(s.Text)
	}
	return text
}

func markOf(s provision.Status) (string, Look) {
	switch s {
	case provision.StepRunning:
		return "[*]", LookBusy
	case provision.StepOK:
		return "[+]", LookGood
	case provision.StepBad:
		return "[-]", LookBad
	case provision.StepUndoes:
		return "[<]", LookBusy
	case provision.StepReverted:
		return "[~]", LookDim
	default:
		return "[ ]", LookDim
	}
}

func lookOf(t Tone) Look {
	switch t {
	case Good:
		return LookGood
	case Bad:
		return LookBad
	case Busy:
		return LookBusy
	case Asking:
		return LookAsking
	default:
		return LookPlain
	}
}

func tableLines(t Table) []Line {
	var wide []int
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], Columns(clean(cell)))
		}
	}
	line := func(row []string, look Look) Line {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString("  " + pad(clean(cell), wide[i]))
		}
		return Line{Text: strings.TrimRight(b.String(), " "), Look: look}
	}
	var out []Line
	if len(t.Head) > 0 {
		out = append(out, line(t.Head, LookDim))
	}
	for _, row := range t.Rows {
		out = append(out, line(row, LookPlain))
	}
	return out
}

// cells measures text the same everywhere, whatever the locale says.
var cells = &runewidth.Condition{StrictEmojiNeutral: true}

// Columns is how many columns of a terminal s takes.
func Columns(s string) int { return cells.StringWidth(s) }

// CutColumns shortens s to at most width columns; what was cut ends with
// [Ellipsis].
func CutColumns(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return cells.Truncate(s, width, Ellipsis)
}

// longest is how many runes of one piece of text are shown, widest how many
// columns are kept free for one: a flood of text is cut before it is measured.
const (
	longest = 1000
	widest  = 60
)

func clean(s string) string { return Inert(Cut(s, longest)) }

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, min(width, widest)-Columns(s)))
}

// Inert makes text from anywhere fit for one line of a terminal or a log:
// line breaks and tabs become blanks, other control characters (escape
// sequences begin with one), broken UTF-8 and the characters that turn the
// direction of writing become U+FFFD.
func Inert(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar, unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Ellipsis marks text that was cut.
const Ellipsis = "\u2026"

// Cut shortens s to at most limit runes; what was cut ends with [Ellipsis].
func Cut(s string, limit int) string {
	if len(s) <= limit { // no string has more runes than bytes
		return s
	}
	n := 0
	last := 0 // where the limit-th rune begins
	for i := range s {
		if n++; n == limit {
			last = i
		}
		if n > limit {
			if limit <= 0 {
				return ""
			}
			return s[:last] + Ellipsis
		}
	}
	return s
}

// Took writes a duration for people: 0.3s, 12s, 1m05s, 2h07m, 5 days.
func Took(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

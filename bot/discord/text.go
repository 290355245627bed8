package discord

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"pvebot/bot"
)

// What Discord takes, in characters.
const (
	maxContent     = 2000
	maxDescription = 4096 // of an embed
	maxEmbed       = 6000 // all texts of all embeds of a message
	maxFields      = 25
	maxRow         = 5 // buttons in a row; also rows
	maxLabel       = 80
	maxID          = 100 // custom_id
)

// page is a text that is being written: what is left of its size.
type page struct{ left int }

// take cuts s to most characters and to what is left of the page.
func (p *page) take(s string, most int) string {
	s = bot.Cut(s, max(0, min(most, p.left)))
	p.left -= utf8.RuneCountInString(s)
	return s
}

// shown is text from anywhere, escaped and cut, line by line.
func (p *page) shown(s string, most int) string {
	most = min(most, p.left)
	var b strings.Builder
	size := 0
	for i, line := range strings.Split(strings.TrimRight(s, "\r\n"), "\n") {
		text := bot.Inert(strings.TrimRight(line, "\r"))
		if i > 0 {
			text = "\n" + text
		}
		out, whole := escape(text, most-size)
		b.WriteString(out)
		size += utf8.RuneCountInString(out)
		if !whole {
			break
		}
	}
	p.left -= size
	return b.String()
}

// escape makes s text that Discord shows as it is, of at most most characters;
// whole is false when something was cut, which an ellipsis says.
func escape(s string, most int) (out string, whole bool) {
	var b strings.Builder
	size := 0 // up to here
	kept := 0 // bytes of b that leave room for an ellipsis
	start := true
	for i, r := range s {
		piece := escaped(r, s[i+utf8.RuneLen(r):], start)
		if r != ' ' {
			start = r == '\n'
		}
		if size++; len(piece) > utf8.RuneLen(r) {
			size++
		}
		if size > most {
			if most <= 0 {
				return "", false
			}
			return b.String()[:kept] + bot.Ellipsis, false
		}
		b.WriteString(piece)
		if size < most {
			kept = b.Len()
		}
	}
	return b.String(), true
}

// noJoin is a space that is not seen.
const noJoin = "\u200b"

// escaped is r so that it makes no markup: rest follows it, start says that
// nothing but spaces stands before it on its line.
func escaped(r rune, rest string, start bool) string {
	switch r {
	case '\\', '`', '*', '_', '~', '|', '<', '[', ']':
		return `\` + string(r)
	case '>', '#', '-', '+':
		if start {
			return `\` + string(r)
		}
	case ':': // links, emoji
		if rest != "" && rest[0] != ' ' && rest[0] != '\n' {
			return `\:`
		}
	case '@':
		if strings.HasPrefix(rest, "everyone") || strings.HasPrefix(rest, "here") {
			return "@" + noJoin
		}
	}
	return string(r)
}

// mono is text as code within a line.
func mono(s string) string {
	s = strings.ReplaceAll(bot.Inert(s), "`", "\u02cb")
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// fenced is a line fit for a code block: no two backticks of it stand together.
func fenced(s string) string {
	for range 2 { // the first pass parts pairs, the second one what is left between them
		s = strings.ReplaceAll(s, "``", "`"+noJoin+"`")
	}
	return s
}

// maxLine is how long a line of many may be.
const maxLine = 900

// block is lines as a code block of at most most characters. When there are
// too many, the last line says how many are missing.
func (p *page) block(lines []string, most int) string {
	const fences = len("```\n```\n")
	left := min(most, p.left) - fences
	var b strings.Builder
	for i, line := range lines {
		line = fenced(bot.Cut(line, maxLine))
		size := utf8.RuneCountInString(line) + 1
		more := fmt.Sprintf("%s %d more lines\n", bot.Ellipsis, len(lines)-i)
		reserve := 0
		if i < len(lines)-1 {
			reserve = utf8.RuneCountInString(more)
		}
		if size+reserve > left {
			if utf8.RuneCountInString(more) <= left {
				b.WriteString(more)
			}
			break
		}
		left -= size
		b.WriteString(line + "\n")
	}
	if b.Len() == 0 {
		return ""
	}
	text := "```\n" + b.String() + "```\n"
	p.left -= utf8.RuneCountInString(text)
	return text
}

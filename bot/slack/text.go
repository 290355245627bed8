package slack

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"pvebot/bot"
)

// What Slack takes, in characters. Totals leave a margin.
const (
	maxBlocks      = 50    // of a message
	maxTitle       = 150   // of a header block
	maxPiece       = 3000  // of one text
	maxMessage     = 12000 // of all texts of a message together
	maxFallback    = 300   // of the text beside the blocks; Slack takes 4000 in an edit
	maxButtons     = 8     // of a message; Slack takes 25 in a row, people do not
	maxLabel       = 75    // of a button or an option
	maxID          = 255   // action_id, block_id
	maxConfirm     = 300   // of a confirmation's question
	maxConfirmWord = 30    // of its buttons
	maxFooter      = 500
	maxTable       = 6000
)

// page is a message that is being written: what is left of its size.
type page struct{ left int }

// clean is one line of text from anywhere, harmless and cut. It is cut first:
// there may be much of it.
func clean(s string, most int) string { return bot.Inert(bot.Cut(s, most)) }

// take is a clean line, cut to most characters and to what is left of the page.
func (p *page) take(s string, most int) string {
	s = clean(s, max(0, min(most, p.left)))
	p.left -= utf8.RuneCountInString(s)
	return s
}

// paragraph is the same for text of several lines.
func (p *page) paragraph(s string, most int) string {
	s = bot.Cut(strings.TrimRight(s, "\r\n"), max(0, min(most, p.left)))
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, bot.Inert(strings.TrimRight(line, "\r\n")))
	}
	p.left -= utf8.RuneCountInString(s)
	return strings.Join(out, "\n")
}

// maxLine is how long a line of many may be.
const maxLine = 1000

// lines fits lines into most characters and what is left of the page. When
// there are too many, the last one says how many are missing.
func (p *page) lines(lines []string, most int) []string {
	most = min(most, p.left)
	var out []string
	for i, line := range lines {
		line = clean(line, maxLine)
		size := utf8.RuneCountInString(line) + 1
		more := fmt.Sprintf("%s %d more lines", bot.Ellipsis, len(lines)-i)
		reserve := 0
		if i < len(lines)-1 {
			reserve = utf8.RuneCountInString(more) + 1
		}
		if size+reserve > most {
			if n := utf8.RuneCountInString(more); n <= most {
				out = append(out, more)
				p.left -= n
			}
			return out
		}
		most -= size
		p.left -= size
		out = append(out, line)
	}
	return out
}

// escaped is text for the places where Slack reads its own markup.
func escaped(s string) string { return escapes.Replace(s) }

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// pieces parts s into strings of at most maxPiece characters.
func pieces(s string) []string {
	var out []string
	for s != "" {
		end, n := len(s), 0
		for i := range s {
			if n == maxPiece {
				end = i
				break
			}
			n++
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return out
}

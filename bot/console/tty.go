package console

import (
	"io"
	"strconv"
	"strings"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// Escape sequences, the few that every terminal knows.
const (
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
	resetStyle = "\x1b[0m"
)

var styles = map[bot.Look]string{
	bot.LookTitle:  "\x1b[1m",
	bot.LookDim:    "\x1b[2m",
	bot.LookGood:   "\x1b[32m",
	bot.LookBad:    "\x1b[31m",
	bot.LookBusy:   "\x1b[36m",
	bot.LookAsking: "\x1b[33m",
}

// screen remembers the part of the terminal that is drawn again in place: the
// lines just above the cursor.
type screen struct {
	widths []int // columns of each line
	typed  int   // rows that the terminal's echo of typed lines added below
}

// rows is how many rows the drawn lines take at that width: fewer columns than
// they were drawn for make the terminal wrap them.
func (s *screen) rows(width int) int {
	n := s.typed
	for _, w := range s.widths {
		n += max(1, (w+width-1)/width)
	}
	return n
}

// draw shows the cards that still change in place. One that came to its end is
// printed in full above them, once; c.mu is held.
func (c *Console) draw(before bot.Card, i int) {
	var settled []bot.Line
	if c.cards[i].card.Final && !before.Final {
		settled = c.full(c.cards[i])
	}
	c.paint(settled)
}

// full is a card as it stays on the screen.
func (c *Console) full(s *shown) []bot.Line {
	lines := bot.Text(s.card)
	if b := c.buttonLine(s.card); b != "" {
		lines = append(lines, bot.Line{Text: b, Look: bot.LookAsking})
	}
	return lines
}

// print adds lines that stay, above what changes; c.mu is held.
func (c *Console) print(lines []bot.Line) {
	if c.cfg.TTY {
		c.paint(lines)
		return
	}
	c.write(lines)
}

// write adds lines at the end; c.mu is held.
func (c *Console) write(lines []bot.Line) {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(bot.Cut(l.Text, longestLine) + "\n")
	}
	c.out(b.String())
}

// paint replaces the drawn region by lines that stay and, below them, the
// region as it is now; c.mu is held.
func (c *Console) paint(stay []bot.Line) {
	width := c.width()
	c.painted = c.clock.Now()
	var b strings.Builder
	if n := c.screen.rows(width); n > 0 {
		b.WriteString("\x1b[" + strconv.Itoa(n) + "A")
	}
	b.WriteString("\r")
	for _, l := range stay {
		// What stays may wrap: nothing goes back over it.
		b.WriteString(c.styled(l, bot.Cut(l.Text, longestLine)) + eraseLine + "\n")
	}
	c.screen = screen{}
	for _, l := range c.region() {
		// One column stays free: at the last one terminals differ about where
		// the cursor is.
		text := bot.CutColumns(l.Text, width-1)
		b.WriteString(c.styled(l, text) + eraseLine + "\n")
		c.screen.widths = append(c.screen.widths, bot.Columns(text))
	}
	b.WriteString(eraseBelow)
	c.out(b.String())
}

func (c *Console) styled(l bot.Line, text string) string {
	if c.cfg.NoColor || styles[l.Look] == "" || text == "" {
		return text
	}
	return styles[l.Look] + text + resetStyle
}

// region is what all cards that still change look like now, within the height
// of the terminal: the cursor can't go back to what scrolled away.
func (c *Console) region() []bot.Line {
	var moving []*shown
	for _, s := range c.cards {
		if !s.card.Final {
			moving = append(moving, s)
		}
	}
	rows := max(1, c.height()-1)
	if len(moving) == 0 {
		return nil
	}
	each := rows / len(moving)
	var out []bot.Line
	for _, s := range moving {
		card := ticked(s.card, c.clock.Now().Sub(s.at))
		lines := fit(card, each, c.buttonLine(card))
		out = append(out, lines...)
	}
	if len(out) > rows { // more cards than rows
		out = append(out[:rows-1], bot.Line{Text: "... and more", Look: bot.LookDim})
	}
	return out
}

// ticked is the card d later: what runs has been running for longer.
func ticked(card bot.Card, d time.Duration) bot.Card {
	if card.Final || d <= 0 {
		return card
	}
	if card.Elapsed > 0 {
		card.Elapsed += d
	}
	steps := make([]bot.CardStep, len(card.Steps))
	copy(steps, card.Steps)
	for i, s := range steps {
		if runs(s) {
			steps[i].Elapsed += d
		}
	}
	card.Steps = steps
	return card
}

func runs(s bot.CardStep) bool {
	return s.Status == provision.StepRunning || s.Status == provision.StepUndoes
}

// ticking reports whether something on the screen runs.
func (c *Console) ticking() bool {
	for _, s := range c.cards {
		if s.card.Final {
			continue
		}
		for _, step := range s.card.Steps {
			if runs(step) {
				return true
			}
		}
	}
	return false
}

// out writes to the terminal; c.mu is held. After an error nothing more is
// written.
func (c *Console) out(s string) {
	if c.err != nil || s == "" {
		return
	}
	_, c.err = io.WriteString(c.cfg.Out, s)
}

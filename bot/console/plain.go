package console

import (
	"fmt"
	"strings"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// How often a step's progress is told where lines can't be taken back, and how
// long a line gets.
const (
	progressEvery = 5 * time.Second
	longestLine   = 400 // runes
)

// plain is what was told of a card in lines that stay.
type plain struct {
	moved  time.Time // when progress was last told
	button string
}

// news are the lines that tell what changed from one card to the next.
func (p *plain) news(before, card bot.Card, tag, buttons string, now time.Time) []bot.Line {
	var out []bot.Line
	fresh := before.Title == "" && before.Tone == bot.Plain && before.Steps == nil
	clock := func() string { return fmt.Sprintf("%s%6s  ", tag, bot.Took(card.Elapsed)) }
	add := func(look bot.Look, text string) {
		out = append(out, bot.Line{Text: bot.Cut(strings.TrimRight(text, " "), longestLine), Look: look})
	}
	if card.Title != before.Title {
		add(bot.LookTitle, tag+bot.Inert(card.Title))
	}
	for i, s := range card.Steps {
		var was bot.CardStep
		if i < len(before.Steps) {
			was = before.Steps[i]
		}
		switch {
		case s.Status != was.Status || !s.Started.Equal(was.Started):
			if s.Status == provision.StepPending {
				continue
			}
			line := bot.StepLine(s)
			if s.Status == provision.StepOK || s.Status == provision.StepBad {
				line += " (" + bot.Took(s.Elapsed) + ")"
			}
			add(bot.LookPlain, clock()+line)
			p.moved = now
		case s.Status == provision.StepRunning && (s.Text != was.Text || s.Fraction != was.Fraction) && now.Sub(p.moved) >= progressEvery:
			add(bot.LookPlain, clock()+bot.StepLine(s))
			p.moved = now
		}
	}
	rests := card.Final || card.Tone == bot.Asking
	changed := card.Tone != before.Tone || card.Final != before.Final
	if fresh || changed || rests && card.Text != before.Text {
		for line := range strings.Lines(card.Text) {
			add(bot.LookPlain, tag+bot.Inert(strings.TrimRight(line, "\r\n")))
		}
	}
	// On the way the steps tell what they chose.
	if fresh || changed && rests {
		for _, f := range card.Fields {
			add(bot.LookPlain, fmt.Sprintf("%s  %-4s  %s", tag, bot.Inert(f.Name), bot.Inert(f.Value)))
		}
	}
	if fresh || changed {
		rest := bot.Card{Table: card.Table, Lines: card.Lines}
		if rests || fresh {
			rest.Footer, rest.Elapsed = card.Footer, card.Elapsed
		}
		for _, l := range bot.Text(rest) {
			add(l.Look, tag+l.Text)
		}
	}
	if buttons != p.button {
		p.button = buttons
		if buttons != "" {
			add(bot.LookPlain, tag+buttons)
		}
	}
	return out
}

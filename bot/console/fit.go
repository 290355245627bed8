package console

import (
	"fmt"
	"slices"

	"pvebot/bot"
	"pvebot/provision"
)

// fit renders a card in at most rows lines: in full; else with the phases that
// are over, or to come, in one line each; else in one line.
func fit(card bot.Card, rows int, buttons string) []bot.Line {
	render := func(card bot.Card) []bot.Line {
		lines := bot.Text(card)
		if buttons != "" {
			lines = append(lines, bot.Line{Text: buttons, Look: bot.LookAsking})
		}
		return lines
	}
	if lines := render(card); len(lines) <= rows {
		return lines
	}
	folded := card
	folded.Steps = fold(card.Steps)
	if lines := render(folded); len(lines) <= rows {
		return lines
	}
	folded.Steps = slices.DeleteFunc(folded.Steps, func(s bot.CardStep) bool {
		return s.Status == provision.StepPending || s.Phase == "" && s.Status == provision.StepOK
	})
	folded.Fields, folded.Lines = nil, card.Lines[max(0, len(card.Lines)-2):]
	if lines := render(folded); len(lines) <= rows {
		return lines
	}
	return []bot.Line{brief(card)}
}

// fold makes one step of each phase whose steps all stand alike.
func fold(steps []bot.CardStep) []bot.CardStep {
	var out []bot.CardStep
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].Phase == steps[0].Phase {
			n++
		}
		phase := steps[:n]
		steps = steps[n:]
		same := !slices.ContainsFunc(phase, func(s bot.CardStep) bool { return s.Status != phase[0].Status })
		if !same || runs(phase[0]) || phase[0].Status == provision.StepBad || phase[0].Phase == "" {
			out = append(out, phase...)
			continue
		}
		whole := bot.CardStep{Title: phase[0].Phase, Status: phase[0].Status}
		for _, s := range phase {
			whole.Elapsed += s.Elapsed
		}
		if n > 1 {
			whole.Text = fmt.Sprintf("%d steps", n)
		}
		out = append(out, whole)
	}
	return out
}

// brief is a card in one line.
func brief(card bot.Card) bot.Line {
	text := bot.Inert(card.Title)
	if card.Text != "" {
		text += ": " + bot.Inert(card.Text)
	}
	if card.Elapsed > 0 {
		text = fmt.Sprintf("%6s  %s", bot.Took(card.Elapsed), text)
	}
	return bot.Line{Text: text, Look: bot.LookPlain}
}

package discord

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/bwmarrin/discordgo"

	"pvebot/bot"
	"pvebot/provision"
)

var (
	noEmbeds     = []*discordgo.MessageEmbed{}
	noComponents = []discordgo.MessageComponent{}
)

// How much of a card's parts is shown, in characters: less than Discord takes of
// each (a field's name 256, its value 1024, a footer 2048), and together no more
// than an embed takes.
const (
	titleSize  = 200
	textSize   = 1600
	stepsSize  = 2400
	linesSize  = 1100
	fieldSize  = 300
	nameSize   = 60
	footerSize = 300
	embedSize  = maxEmbed - 100
)

// render is a pure function of the card. What matters stands in the content,
// which is shown even where the bot may not embed; times are stamps that tick
// by themselves.
func render(c bot.Card) message {
	m := message{Content: contentOf(c), Embeds: noEmbeds, Components: buttonsOf(c.Buttons)}
	if e := embedOf(c); e.Description != "" || len(e.Fields) > 0 || e.Footer != nil {
		m.Embeds = []*discordgo.MessageEmbed{e}
	}
	return m
}

func contentOf(c bot.Card) string {
	p := page{left: maxContent - 50}
	var lines []string
	if title := p.shown(bot.Inert(c.Title), titleSize); title != "" {
		lines = append(lines, "**"+title+"**")
	}
	if text := p.shown(c.Text, textSize); text != "" {
		lines = append(lines, text)
	}
	if len(lines) == 0 {
		lines = []string{"pvebot"}
	}
	if mark := toneMark(c.Tone); mark != "" {
		lines[0] = mark + " " + lines[0]
	}
	return strings.Join(lines, "\n")
}

// least is a card without anything from outside.
func least(c bot.Card) message {
	text := "Discord does not let me show this answer."
	if c.Job != 0 {
		text = fmt.Sprintf("%s Job %d %s. Discord does not let me show more; /vm jobs does.", toneMark(c.Tone), c.Job, toneWord(c))
	}
	return message{Content: text, Embeds: noEmbeds, Components: buttonsOf(c.Buttons)}
}

func embedOf(c bot.Card) *discordgo.MessageEmbed {
	p := page{left: embedSize}
	e := &discordgo.MessageEmbed{Color: toneColor(c.Tone)}
	if footer := p.take(bot.Inert(c.Footer), footerSize); footer != "" {
		e.Footer = &discordgo.MessageEmbedFooter{Text: footer}
	}
	var b strings.Builder
	b.WriteString(p.steps(c.Steps))
	if t := times(c); t != "" {
		b.WriteString(p.take(t, 200))
	}
	lines := p.block(inertLines(c.Lines), linesSize)
	if c.Table != nil {
		b.WriteString(p.block(texts(bot.Text(bot.Card{Table: c.Table})), maxDescription-linesSize-len(b.String())))
	}
	b.WriteString(lines)
	e.Description = strings.TrimRight(b.String(), "\n")
	e.Fields = p.fields(c.Fields)
	return e
}

// times says since when, or how long, in stamps that need no edits.
func times(c bot.Card) string {
	switch {
	case c.Job == 0 || c.Started.IsZero():
		return ""
	case c.Final && c.Ended.IsZero():
		return ""
	case c.Final:
		return fmt.Sprintf("took %s, ended %s\n", bot.Took(max(0, c.Ended.Sub(c.Started))), stamp(c.Ended))
	default:
		return "asked " + stamp(c.Started) + "\n"
	}
}

// stamp is a time that each reader's Discord writes, like "5 minutes ago".
func stamp(t time.Time) string { return fmt.Sprintf("<t:%d:R>", t.Unix()) }

// steps are a line each, under the name of their phase.
func (p *page) steps(steps []bot.CardStep) string {
	left := page{left: min(stepsSize, p.left)}
	var b strings.Builder
	phase := ""
	for i, s := range steps {
		if left.left < 3*maxLabel {
			b.WriteString(fmt.Sprintf("%s %d more steps\n", bot.Ellipsis, len(steps)-i))
			break
		}
		if s.Phase != phase {
			phase = s.Phase
			b.WriteString("**" + left.shown(phase, maxLabel) + "**\n")
			left.left -= 5
		}
		b.WriteString(stepMark(s.Status) + " " + left.shown(s.Title, maxLabel))
		if s.Status == provision.StepRunning && !s.Started.IsZero() {
			b.WriteString(", since " + stamp(s.Started))
		} else if s.Elapsed > 0 || !s.Started.IsZero() {
			b.WriteString("  " + bot.Took(s.Elapsed))
		}
		if s.Fraction > 0 {
			b.WriteString("  " + bar(s.Fraction))
		}
		left.left -= 50
		if s.Text != "" {
			b.WriteString("  " + left.shown(bot.Inert(s.Text), 2*maxLabel))
		}
		b.WriteByte('\n')
	}
	p.left -= len([]rune(b.String()))
	return b.String()
}

// bar is a fraction to look at.
func bar(f float64) string {
	const width = 10
	f = min(max(f, 0), 1)
	full := int(f * width)
	return strings.Repeat("\u2588", full) + strings.Repeat("\u2591", width-full) + fmt.Sprintf(" %.0f%%", f*100)
}

func (p *page) fields(fields []bot.Field) []*discordgo.MessageEmbedField {
	var out []*discordgo.MessageEmbedField
	for i, f := range fields {
		if more := len(fields) - i; more > 1 && (len(out) == maxFields-1 || p.left < fieldSize+nameSize+50) {
			return append(out, &discordgo.MessageEmbedField{Name: bot.Ellipsis, Value: fmt.Sprintf("%d more", more)})
		}
		name := cmp.Or(p.shown(bot.Inert(f.Name), nameSize), noJoin)
		value := ""
		if f.Code {
			value = mono(p.take(f.Value, fieldSize))
		} else {
			value = p.shown(f.Value, fieldSize)
		}
		p.left -= 2
		out = append(out, &discordgo.MessageEmbedField{Name: name, Value: cmp.Or(strings.TrimSpace(value), noJoin), Inline: !f.Code && len(value) < 40})
	}
	return out
}

// buttonsOf are rows of buttons. One that must be confirmed asks first, since
// Discord has no such thing.
func buttonsOf(buttons []bot.Button) []discordgo.MessageComponent {
	rows := noComponents
	var row []discordgo.MessageComponent
	seen := map[string]bool{}
	flush := func() {
		if len(row) > 0 && len(rows) < maxRow {
			rows = append(rows, discordgo.ActionsRow{Components: row})
		}
		row = nil
	}
	for _, b := range buttons {
		id := askPrefix + b.ID
		if b.Confirm == "" {
			id = doPrefix + b.ID
		}
		if b.ID == "" || len(id) > maxID || seen[b.ID] {
			continue
		}
		seen[b.ID] = true
		row = append(row, discordgo.Button{CustomID: id, Label: labelOf(b.Label), Style: styleOf(b.Style)})
		if len(row) == maxRow {
			flush()
		}
	}
	flush()
	return rows
}

func labelOf(s string) string { return cmp.Or(bot.Cut(bot.Inert(s), maxLabel), "-") }

func styleOf(s bot.Style) discordgo.ButtonStyle {
	switch s {
	case bot.Primary:
		return discordgo.PrimaryButton
	case bot.Danger:
		return discordgo.DangerButton
	default:
		return discordgo.SecondaryButton
	}
}

func stepMark(s provision.Status) string {
	switch s {
	case provision.StepRunning:
		return "\u23f3"
	case provision.StepOK:
		return "\u2705"
	case provision.StepBad:
		return "\u274c"
	case provision.StepUndoes:
		return "\u23ea"
	case provision.StepReverted:
		return "\u21a9\ufe0f"
	default:
		return "\u25ab\ufe0f"
	}
}

func toneMark(t bot.Tone) string {
	switch t {
	case bot.Busy:
		return "\u23f3"
	case bot.Good:
		return "\u2705"
	case bot.Bad:
		return "\u274c"
	case bot.Asking:
		return "\u270b"
	default:
		return ""
	}
}

func toneColor(t bot.Tone) int {
	switch t {
	case bot.Busy:
		return 0x3498db
	case bot.Good:
		return 0x2ecc71
	case bot.Bad:
		return 0xe74c3c
	case bot.Asking:
		return 0xf1c40f
	default:
		return 0x95a5a6
	}
}

// toneWord is how a job is, in a word of ours.
func toneWord(c bot.Card) string {
	switch {
	case c.Tone == bot.Good:
		return "succeeded"
	case c.Tone == bot.Bad:
		return "failed"
	case c.Tone == bot.Asking:
		return "waits for a decision"
	case c.Final:
		return "has ended"
	default:
		return "goes on"
	}
}

func texts(lines []bot.Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func inertLines(lines []string) []string {
	var out []string
	for _, l := range lines {
		out = append(out, bot.Inert(l))
	}
	return out
}

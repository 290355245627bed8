package slack

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"pvebot/bot"
	"pvebot/provision"
)

// rendering is a card as Slack shows it: blocks, and the text that stands for
// them in notifications.
type rendering struct {
	text   string
	blocks []api.Block
}

// render is a pure function of the card. There is always a rich_text block:
// Slack refuses to turn a message with one into a message without.
func render(c bot.Card) rendering {
	p := page{left: maxMessage}
	title, footer := p.take(c.Title, maxTitle), p.take(c.Footer, maxFooter)
	buttons := p.buttons(c.Buttons)

	var b rich
	b.paragraph(toneMark(c.Tone), p.paragraph(c.Text, maxPiece))
	b.fields(&p, c.Fields)
	b.steps(&p, c.Steps)
	if c.Table != nil {
		b.fixed(p.lines(tableLines(*c.Table), maxTable))
	}
	b.fixed(p.lines(c.Lines, maxPiece))
	if len(b.elements) == 0 {
		b.paragraph("", cmp.Or(title, "-"))
	}

	var blocks []api.Block
	if title != "" {
		blocks = append(blocks, api.NewHeaderBlock(plain(title)))
	}
	blocks = append(blocks, api.NewRichTextBlock("", b.elements...))
	if len(buttons) > 0 {
		blocks = append(blocks, api.NewActionBlock("buttons", buttons...))
	}
	if footer != "" {
		blocks = append(blocks, api.NewContextBlock("", plain(footer)))
	}
	return rendering{text: fallback(c), blocks: blocks}
}

// fallback is a card in one line.
func fallback(c bot.Card) string {
	title, text := clean(c.Title, maxFallback), clean(c.Text, maxFallback)
	switch {
	case title == "" && text == "":
		title = "pvebot"
	case title != "" && text != "":
		title += ": "
	}
	return escaped(bot.Cut(title+text, maxFallback))
}

// plain is a text object that Slack does not parse.
func plain(s string) *api.TextBlockObject {
	return api.NewTextBlockObject(api.PlainTextType, cmp.Or(s, "-"), false, false)
}

func (p *page) buttons(buttons []bot.Button) []api.BlockElement {
	var out []api.BlockElement
	seen := map[string]bool{}
	for _, b := range buttons {
		if len(out) == maxButtons || b.ID == "" || len(b.ID) > maxID || seen[b.ID] {
			continue
		}
		seen[b.ID] = true
		label := p.take(b.Label, maxLabel)
		e := api.NewButtonBlockElement(b.ID, "", plain(label))
		switch b.Style {
		case bot.Primary:
			e.Style = api.StylePrimary
		case bot.Danger:
			e.Style = api.StyleDanger
		case bot.Neutral:
		}
		if b.Confirm != "" {
			yes := p.take(label, maxConfirmWord)
			e.Confirm = api.NewConfirmationBlockObject(
				plain(p.take(label, maxLabel)), plain(p.take(b.Confirm, maxConfirm)), plain(yes), plain(p.take("Back", maxConfirmWord)),
			).WithStyle(e.Style)
		}
		out = append(out, e)
	}
	return out
}

// rich collects the elements of a rich_text block.
type rich struct{ elements []api.RichTextElement }

var (
	bold = &api.RichTextSectionTextStyle{Bold: true}
	mono = &api.RichTextSectionTextStyle{Code: true}
)

// span is text as it is; nothing in it acts.
func span(s string, style *api.RichTextSectionTextStyle) []api.RichTextSectionElement {
	var out []api.RichTextSectionElement
	for _, piece := range pieces(s) {
		out = append(out, api.NewRichTextSectionTextElement(piece, style))
	}
	return out
}

func emoji(name string) api.RichTextSectionElement {
	return api.NewRichTextSectionEmojiElement(name, 0, nil)
}

func (b *rich) section(elements []api.RichTextSectionElement) {
	if len(elements) > 0 {
		b.elements = append(b.elements, api.NewRichTextSection(elements...))
	}
}

func (b *rich) paragraph(mark, text string) {
	if text == "" {
		return
	}
	var line []api.RichTextSectionElement
	if mark != "" {
		line = append(line, emoji(mark))
		text = " " + text
	}
	b.section(append(line, span(text+"\n", nil)...))
}

// fixed is text in columns.
func (b *rich) fixed(lines []string) {
	if len(lines) == 0 {
		return
	}
	b.elements = append(b.elements, &api.RichTextPreformatted{
		Type: api.RTEPreformatted, Elements: span(cmp.Or(strings.Join(lines, "\n"), " "), nil),
	})
}

// Fields get their line each; a value may have several words, a name rarely.
const (
	maxFields     = 20
	maxFieldName  = 60
	maxFieldValue = 400
)

func (b *rich) fields(p *page, fields []bot.Field) {
	var line []api.RichTextSectionElement
	for i, f := range fields {
		if i == maxFields {
			line = append(line, span(p.take(fmt.Sprintf("%s %d more", bot.Ellipsis, len(fields)-i), maxLabel)+"\n", nil)...)
			break
		}
		name, value := p.take(f.Name, maxFieldName), p.take(f.Value, maxFieldValue)
		line = append(line, span(name, bold)...)
		line = append(line, span("  ", nil)...)
		var style *api.RichTextSectionTextStyle
		if f.Code {
			style = mono
		}
		line = append(line, span(value, style)...)
		line = append(line, span("\n", nil)...)
		p.left -= 3
	}
	b.section(line)
}

const (
	maxSteps    = 60
	maxStepText = 200
)

// steps are a line each, under the name of their phase.
func (b *rich) steps(p *page, steps []bot.CardStep) {
	var out []api.RichTextSectionElement
	phase := ""
	for i, s := range steps {
		if i == maxSteps || p.left < 2*maxLabel {
			out = append(out, span(p.take(fmt.Sprintf("%s %d more steps", bot.Ellipsis, len(steps)-i), maxLabel)+"\n", nil)...)
			break
		}
		if i == 0 || s.Phase != phase {
			phase = s.Phase
			out = append(out, span(p.take(phase, maxLabel)+"\n", bold)...)
			p.left--
		}
		out = append(out, emoji(stepMark(s.Status)))
		out = append(out, span(" "+p.take(stepText(s), maxLabel+2*maxStepText)+"\n", nil)...)
		p.left -= 2
	}
	b.section(out)
}

func stepText(s bot.CardStep) string {
	text := clean(s.Title, maxLabel)
	if s.Elapsed > 0 || !s.Started.IsZero() {
		text += "  " + bot.Took(s.Elapsed)
	}
	if s.Fraction > 0 {
		text += "  " + bar(s.Fraction)
		if left, ok := remaining(s); ok {
			text += ", about " + bot.Took(left) + " left"
		}
	}
	if s.Text != "" {
		text += "  " + clean(s.Text, maxStepText)
	}
	return text
}

// bar is a fraction to look at.
func bar(f float64) string {
	const width = 10
	f = min(max(f, 0), 1)
	full := int(f * width)
	return strings.Repeat("\u2588", full) + strings.Repeat("\u2591", width-full) + fmt.Sprintf(" %.0f%%", f*100)
}

// remaining guesses how long a step goes on, once it has gone on for a while.
func remaining(s bot.CardStep) (time.Duration, bool) {
	if s.Fraction < 0.05 || s.Fraction >= 1 || s.Elapsed < 3*time.Second {
		return 0, false
	}
	return time.Duration(float64(s.Elapsed) * (1 - s.Fraction) / s.Fraction).Round(time.Second), true
}

func stepMark(s provision.Status) string {
	switch s {
	case provision.StepRunning:
		return "hourglass_flowing_sand"
	case provision.StepOK:
		return "white_check_mark"
	case provision.StepBad:
		return "x"
	case provision.StepUndoes:
		return "rewind"
	case provision.StepReverted:
		return "leftwards_arrow_with_hook"
	default:
		return "white_small_square"
	}
}

func toneMark(t bot.Tone) string {
	switch t {
	case bot.Busy:
		return "hourglass_flowing_sand"
	case bot.Good:
		return "white_check_mark"
	case bot.Bad:
		return "x"
	case bot.Asking:
		return "raised_hand"
	default:
		return ""
	}
}

func texts(lines []bot.Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

// maxCell is how wide a column may get.
const maxCell = 80

// tableLines are a table's rows in columns.
func tableLines(t bot.Table) []string {
	cut := func(row []string) []string {
		var out []string
		for _, cell := range row {
			out = append(out, bot.Cut(cell, maxCell))
		}
		return out
	}
	narrow := bot.Table{Head: cut(t.Head)}
	for _, row := range t.Rows {
		narrow.Rows = append(narrow.Rows, cut(row))
	}
	return texts(bot.Text(bot.Card{Table: &narrow}))
}

// spoken are lines as messages of a thread: as many as it takes, since a log
// is not cut, only its lines are.
func spoken(lines []string) []rendering {
	var out []rendering
	var rest []string
	for _, line := range lines {
		rest = append(rest, clean(line, maxLine))
	}
	for len(rest) > 0 {
		size, n := 0, 0
		for n < len(rest) && (n == 0 || size+len(rest[n]) < maxPiece) {
			size += len(rest[n]) + 1
			n++
		}
		var b rich
		b.fixed(rest[:n])
		out = append(out, rendering{
			text:   escaped(bot.Cut(strings.Join(rest[:n], " "), maxFallback)),
			blocks: []api.Block{api.NewRichTextBlock("", b.elements...)},
		})
		rest = rest[n:]
	}
	return out
}

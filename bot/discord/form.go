package discord

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/bwmarrin/discordgo"

	"pvebot/bot"
)

// Limits of forms and completions, in characters.
const (
	maxFormTitle  = 45
	maxFormFields = 5
	maxFormLabel  = 45
	maxHint       = 100
	maxInput      = 4000
	maxChoices    = 25
	maxChoice     = 100
)

// The ids of buttons say what a press does: nothing in them is trusted.
const (
	doPrefix  = "do:"
	askPrefix = "ask:" // opens a question
	yesPrefix = "yes:" // that was answered
)

// pressed reads the id of a button: asks is what must be confirmed first.
func pressed(id string) (button, asks string, sure bool) {
	if b, ok := strings.CutPrefix(id, askPrefix); ok {
		return b, b, false
	}
	if b, ok := strings.CutPrefix(id, yesPrefix); ok {
		return b, "", true
	}
	return strings.TrimPrefix(id, doPrefix), "", false
}

// areYouSure asks the presser of a button, who alone sees it.
func (d *Discord) areYouSure(id string) response {
	b := d.confirms.of(id)
	m := render(bot.Card{Tone: bot.Asking, Text: b.Confirm})
	m.Components = []discordgo.MessageComponent{discordgo.ActionsRow{Components: []discordgo.MessageComponent{
		discordgo.Button{CustomID: yesPrefix + id, Label: labelOf(b.Label), Style: styleOf(b.Style)},
	}}}
	m.Flags = ephemeral
	return response{Type: discordgo.InteractionResponseChannelMessageWithSource, Data: m, kind: answered}
}

// confirms are the questions of buttons that were shown lately. Of older ones
// the question is plainer.
type confirms struct {
	mu    sync.Mutex
	known map[string]bot.Button
}

func newConfirms() *confirms { return &confirms{known: map[string]bot.Button{}} }

const maxConfirms = 5000

func (c *confirms) note(buttons []bot.Button) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range buttons {
		if b.Confirm == "" {
			continue
		}
		if len(c.known) >= maxConfirms {
			clear(c.known)
		}
		c.known[b.ID] = b
	}
}

func (c *confirms) of(id string) bot.Button {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.known[id]
	if !ok {
		return bot.Button{ID: id, Label: "Yes", Style: bot.Danger, Confirm: "Are you sure?"}
	}
	return b
}

// formPrefix begins the id of a form; the verb and the values that it has no
// room for follow.
const formPrefix = "form?"

// modal is a form as Discord shows it: five fields at most. First come those
// that must be filled, then those that are, then the others; what was given but
// has no room is kept in the form's id.
func modal(f bot.Form) (any, error) {
	fields := slices.Clone(f.Fields)
	slices.SortStableFunc(fields, func(a, b bot.FormField) int { return rank(a) - rank(b) })
	keep := url.Values{"": {f.ID}}
	var rows []discordgo.MessageComponent
	for i, field := range fields {
		if i >= maxFormFields {
			if field.Value != "" {
				keep.Set(field.Name, field.Value)
			}
			continue
		}
		hint := field.Hint
		if len(field.Options) > 0 {
			var names []string
			for _, o := range field.Options {
				names = append(names, o.Value)
			}
			hint = strings.Join(names, ", ")
		}
		rows = append(rows, discordgo.ActionsRow{Components: []discordgo.MessageComponent{discordgo.TextInput{
			CustomID: field.Name, Style: discordgo.TextInputShort, Required: field.Required,
			Label:       bot.Cut(bot.Inert(cmp.Or(field.Label, field.Name)), maxFormLabel),
			Placeholder: bot.Cut(bot.Inert(hint), maxHint),
			Value:       bot.Cut(field.Value, maxInput),
			MaxLength:   maxInput,
		}}})
	}
	id := formPrefix + keep.Encode()
	if len(id) > maxID || len(rows) == 0 {
		return nil, errors.New("the form has no room for what was given")
	}
	title := cmp.Or(bot.Cut(bot.Inert(f.Title), maxFormTitle), f.ID)
	return map[string]any{"custom_id": id, "title": title, "components": rows}, nil
}

func rank(f bot.FormField) int {
	switch {
	case f.Required:
		return 0
	case f.Value != "":
		return 1
	default:
		return 2
	}
}

// formOf reads a form's id.
func formOf(id string) (verb string, hidden map[string]string) {
	hidden = map[string]string{}
	values, err := url.ParseQuery(strings.TrimPrefix(id, formPrefix))
	if err != nil {
		return "", hidden
	}
	for name := range values {
		if name != "" {
			hidden[name] = values.Get(name)
		}
	}
	return values.Get(""), hidden
}

// choicesOf turns completions of a line into those of the value at its end.
func choicesOf(before string, choices []bot.Choice) any {
	out := []*discordgo.ApplicationCommandOptionChoice{}
	for _, c := range choices {
		value, ok := strings.CutPrefix(c.Value, before)
		if value = unquote(value); !ok || value == "" || len([]rune(value)) > maxChoice || len(out) == maxChoices {
			continue // cut, a value would be another one
		}
		out = append(out, &discordgo.ApplicationCommandOptionChoice{
			Name: bot.Cut(bot.Inert(cmp.Or(c.Label, value)), maxChoice), Value: value,
		})
	}
	return map[string]any{"choices": out}
}

// unquote is the inverse of quote.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s[1 : len(s)-1])
}

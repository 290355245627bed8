package slack

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	api "github.com/slack-go/slack"

	"pvebot/bot"
	"pvebot/commands"
)

// Limits of forms, in characters.
const (
	maxFormTitle   = 24
	maxFormFields  = 100
	maxOptions     = 100
	maxOptionValue = 150
	maxHint        = 150
	maxInput       = 3000
)

// modal is a form as Slack shows it. Each field is a block of its name, so
// that errors find their place.
func modal(f bot.Form, back reply) (api.ModalViewRequest, error) {
	meta, err := json.Marshal(back)
	if err != nil {
		return api.ModalViewRequest{}, err
	}
	v := api.ModalViewRequest{
		Type: api.VTModal, CallbackID: f.ID, PrivateMetadata: string(meta),
		Title:  plain(clean(f.Title, maxFormTitle)),
		Submit: plain("Send"), Close: plain("Cancel"),
	}
	for i, field := range f.Fields {
		if i == maxFormFields {
			break
		}
		label := plain(clean(cmp.Or(field.Label, field.Name), maxLabel))
		var hint *api.TextBlockObject
		if field.Hint != "" {
			hint = plain(clean(field.Hint, maxHint))
		}
		in := api.NewInputBlock(field.Name, label, hint, inputOf(f.ID, field)).WithOptional(!field.Required)
		v.Blocks.BlockSet = append(v.Blocks.BlockSet, in)
	}
	return v, nil
}

func inputOf(form string, f bot.FormField) api.BlockElement {
	options := optionsOf(f.Options)
	var chosen *api.OptionBlockObject
	if f.Value != "" {
		chosen = optionOf(bot.Choice{Label: f.Value, Value: f.Value})
		if i := slices.IndexFunc(options, func(o *api.OptionBlockObject) bool { return o.Value == f.Value }); i >= 0 {
			chosen = options[i]
		} else if len(options) > 0 {
			chosen = nil // Slack takes only one of the options
		}
	}
	if len(options) > 0 {
		e := api.NewOptionsSelectBlockElement(api.OptTypeStatic, nil, f.Name, options...)
		e.InitialOption = chosen
		return e
	}
	if _, ok := lineBefore(form, f.Name, nil); ok && len(f.Value) <= maxOptionValue {
		e := api.NewOptionsSelectBlockElement(api.OptTypeExternal, nil, f.Name)
		least := 0
		e.MinQueryLength, e.InitialOption = &least, chosen
		return e
	}
	e := api.NewPlainTextInputBlockElement(nil, f.Name).WithMaxLength(maxInput)
	e.InitialValue = bot.Cut(f.Value, maxInput)
	return e
}

func optionsOf(choices []bot.Choice) []*api.OptionBlockObject {
	out := []*api.OptionBlockObject{} // Slack wants [] when there are none
	for _, c := range choices {
		if c.Value == "" || len([]rune(c.Value)) > maxOptionValue || len(out) == maxOptions {
			continue // cut, a value would be another one
		}
		out = append(out, optionOf(c))
	}
	return out
}

func optionOf(c bot.Choice) *api.OptionBlockObject {
	return api.NewOptionBlockObject(c.Value, plain(clean(cmp.Or(c.Label, c.Value), maxLabel)), nil)
}

// lineBefore is the command line up to a field's value, for the fields whose
// values the cluster knows: what is typed there is completed as on a line.
func lineBefore(form, name string, given map[string]string) (string, bool) {
	v, ok := commands.VerbOf(form)
	if !ok {
		return "", false
	}
	line := v.Name
	for _, p := range v.Args {
		if p.Name == name {
			return line + " ", completes(p.Type)
		}
		if given[p.Name] == "" {
			continue
		}
		line += " " + given[p.Name]
	}
	for _, p := range v.Flags {
		if p.Name == name {
			return line + " --" + p.Name + " ", completes(p.Type)
		}
	}
	return "", false
}

func completes(t commands.Type) bool {
	switch t {
	case commands.TypeVM, commands.TypeJob, commands.TypeNode, commands.TypeStorage:
		return true
	default:
		return false
	}
}

// suggestions turns completions of a line into options of the field at its
// end. Without any, what was typed is offered itself, so that a cluster which
// can't be asked does not keep anybody from filling in a form.
func suggestions(before, typed string, choices []bot.Choice) []*api.OptionBlockObject {
	var own []bot.Choice
	for _, c := range choices {
		if value, ok := strings.CutPrefix(c.Value, before); ok {
			own = append(own, bot.Choice{Label: c.Label, Value: value})
		}
	}
	if len(own) == 0 && strings.TrimSpace(typed) != "" {
		own = []bot.Choice{{Label: typed, Value: typed}}
	}
	return optionsOf(own)
}

// valuesOf reads what was filled in.
func valuesOf(state *api.ViewState) map[string]string {
	out := map[string]string{}
	if state == nil {
		return out
	}
	for block, actions := range state.Values {
		for _, a := range actions {
			if v := cmp.Or(a.Value, a.SelectedOption.Value); v != "" {
				out[block] = v
			}
		}
	}
	return out
}

// fieldErrors are errors that Slack can show: only those of fields that the
// form has, or it shows none. The rest goes to the first field.
func fieldErrors(v api.View, errs map[string]string) map[string]string {
	var blocks []string
	for _, b := range v.Blocks.BlockSet {
		if in, ok := b.(*api.InputBlock); ok {
			blocks = append(blocks, in.BlockID)
		}
	}
	out := map[string]string{}
	var rest []string
	for name, text := range errs {
		text = clean(text, maxHint)
		if slices.Contains(blocks, name) {
			out[name] = text
		} else {
			rest = append(rest, text)
		}
	}
	if len(rest) > 0 && len(blocks) > 0 {
		slices.Sort(rest)
		if first := out[blocks[0]]; first != "" {
			rest = append([]string{first}, rest...)
		}
		out[blocks[0]] = bot.Cut(strings.Join(rest, " "), maxHint)
	}
	return out
}

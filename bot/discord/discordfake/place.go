package discordfake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pvebot/bot/door"
)

// Place is the server for package door.
func (f *Fake) Place() door.Place { return &place{f: f} }

type place struct {
	f     *Fake
	mu    sync.Mutex
	forms []openForm
}

type openForm struct {
	person, room string
	modal        Modal
}

func (p *place) Name() string { return "Discord" }

func (p *place) People() []door.Named {
	return []door.Named{{ID: Alice, Name: nameOf(Alice)}, {ID: Bob, Name: nameOf(Bob)}}
}

func (p *place) Rooms() []door.Named {
	return []door.Named{{ID: Ops, Name: "ops"}, {ID: General, Name: "general"}, {ID: Private, Name: "private"}}
}

// Look shows what the bot wrote to the person alone in every room.
func (p *place) Look(person, room string) []door.Message {
	type dated struct {
		door.Message
		at time.Time
	}
	var all []dated
	add := func(m Message, private bool) {
		seen := door.Message{ID: m.ID, By: "pvebot", Text: m.Text, Buttons: m.Buttons, Private: private}
		if m.Thinking {
			seen.Text = "pvebot is thinking..."
		}
		for _, line := range m.Thread {
			seen.Thread = append(seen.Thread, strings.Split(strings.TrimSuffix(line.Text, "\n"), "\n")...)
		}
		all = append(all, dated{seen, m.Posted})
	}
	for _, m := range p.f.Messages(room) {
		add(m, false)
	}
	for _, m := range p.f.Whispers(person) {
		if m.Channel == room || !slices.ContainsFunc(p.Rooms(), func(r door.Named) bool { return r.ID == m.Channel }) {
			add(m, true)
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return a.at.Compare(b.at) })
	var out []door.Message
	for _, m := range all {
		out = append(out, m.Message)
	}
	return out
}

func (p *place) Forms(person string) []door.Form {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []door.Form
	for _, o := range p.forms {
		if o.person != person {
			continue
		}
		form := door.Form{ID: o.modal.ID, Title: o.modal.Title}
		for _, in := range o.modal.Fields {
			form.Fields = append(form.Fields, door.Field{Name: in.ID, Label: in.Label, Value: in.Value, Required: in.Required})
		}
		out = append(out, form)
	}
	return out
}

func (p *place) Type(ctx context.Context, person, room, line string) error {
	verb, options, err := p.f.Typed(line)
	if err != nil {
		return err
	}
	out, err := p.f.Command(ctx, person, room, verb, options...)
	return p.came(person, room, out, err)
}

// came keeps the form that came of something, if any.
func (p *place) came(person, room string, out Outcome, err error) error {
	if err == nil && out.Modal != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forms = append(p.forms, openForm{person, room, *out.Modal})
	}
	return err
}

func (p *place) Press(ctx context.Context, person, room, message, label string) error {
	for _, m := range p.f.Whispers(person) {
		if m.ID == message {
			room = m.Channel
		}
	}
	out, err := p.f.Click(ctx, person, room, message, label)
	return p.came(person, room, out, err)
}

// Send closes the form, as Discord does: what is wrong with it is told in a
// message.
func (p *place) Send(ctx context.Context, person, form string, values map[string]string) (map[string]string, error) {
	p.mu.Lock()
	i := slices.IndexFunc(p.forms, func(o openForm) bool { return o.person == person && o.modal.ID == form })
	if i < 0 {
		p.mu.Unlock()
		return nil, fmt.Errorf("there is no form %s", form)
	}
	o := p.forms[i]
	p.forms = slices.Delete(p.forms, i, i+1)
	p.mu.Unlock()
	out, err := p.f.Submit(ctx, person, o.room, o.modal, values)
	return nil, p.came(person, o.room, out, err)
}

// Typed is a line as Discord's command box makes a verb and options of it:
// words that belong to no --name fill the options in their order, and what the
// box would not send is an error.
func (f *Fake) Typed(line string) (verb string, options []Option, err error) {
	words := split(line)
	if len(words) == 0 || words[0] != "/vm" {
		return "", nil, errors.New("nobody answers that; type /vm and a command")
	}
	if words = words[1:]; len(words) == 0 {
		return "", nil, errors.New("/vm can't be sent without a subcommand")
	}
	verb = words[0]
	known, ok := f.subcommand(verb)
	if !ok {
		return "", nil, fmt.Errorf("/vm has no subcommand %s", verb)
	}
	given := map[string]string{}
	for words = words[1:]; len(words) > 0; words = words[1:] {
		name, value, byName := strings.Cut(strings.TrimPrefix(words[0], "--"), "=")
		if !strings.HasPrefix(words[0], "--") {
			i := slices.IndexFunc(known, func(o map[string]any) bool { return given[fmt.Sprint(o["name"])] == "" })
			if i < 0 {
				return "", nil, fmt.Errorf("there is no option for %q", words[0])
			}
			given[fmt.Sprint(known[i]["name"])] = words[0]
			continue
		}
		i := slices.IndexFunc(known, func(o map[string]any) bool { return o["name"] == name })
		switch {
		case i < 0:
			return "", nil, fmt.Errorf("/vm %s has no option %s", verb, name)
		case byName:
		case kindOf(known[i]) == optionBool:
			value = "true"
		case len(words) == 1:
			return "", nil, fmt.Errorf("the option %s is empty", name)
		default:
			value, words = words[1], words[1:]
		}
		given[name] = value
	}
	for _, o := range known {
		name := fmt.Sprint(o["name"])
		value, there := given[name]
		switch {
		case there:
			option, err := optionOf(name, kindOf(o), value)
			if err != nil {
				return "", nil, err
			}
			options = append(options, option)
		case o["required"] == true:
			return "", nil, fmt.Errorf("the option %s is required", name)
		}
	}
	return verb, options, nil
}

// Discord: types of options.
const (
	optionSub  = 1
	optionInt  = 4
	optionBool = 5
	optionUser = 6
)

func kindOf(option map[string]any) int {
	n, _ := option["type"].(float64)
	return int(n)
}

func optionOf(name string, kind int, value string) (Option, error) {
	switch kind {
	case optionInt:
		n, err := strconv.Atoi(value)
		if err != nil {
			return Option{}, fmt.Errorf("%s: %q is not a number", name, value)
		}
		return Option{Name: name, Value: n}, nil
	case optionBool:
		return Option{Name: name, Value: value == "true"}, nil
	case optionUser:
		for _, id := range []string{Alice, Bob} {
			if strings.TrimPrefix(value, "@") == nameOf(id) {
				value = id
			}
		}
		return Option{Name: name, Value: value, Person: true}, nil
	}
	return Option{Name: name, Value: value}, nil
}

// subcommand are the options of a subcommand of /vm, as it is registered.
func (f *Fake) subcommand(verb string) ([]map[string]any, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, commands := range f.commands {
		for _, c := range commands {
			for _, sub := range listOf(c["options"]) {
				if c["name"] == "vm" && sub["name"] == verb && kindOf(sub) == optionSub {
					return listOf(sub["options"]), true
				}
			}
		}
	}
	return nil, false
}

// split parts a line into words; "several words" are one.
func split(line string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if any {
		words = append(words, word.String())
	}
	return words
}

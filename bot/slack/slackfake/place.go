package slackfake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pvebot/bot/door"
)

// Place is the workspace for package door.
func (f *Fake) Place() door.Place { return place{f} }

type place struct{ f *Fake }

func (p place) Name() string { return "Slack" }

func (p place) People() []door.Named {
	return []door.Named{{ID: Alice, Name: nameOf(Alice)}, {ID: Bob, Name: nameOf(Bob)}}
}

func (p place) Rooms() []door.Named {
	return []door.Named{{ID: Ops, Name: "ops"}, {ID: General, Name: "general"}, {ID: Private, Name: "private"}}
}

// Look shows what the bot wrote to the person alone in every room.
func (p place) Look(person, room string) []door.Message {
	type dated struct {
		door.Message
		at time.Time
	}
	var all []dated
	for _, m := range slices.Concat(p.f.Messages(room), p.f.Messages(DM(person))) {
		seen := door.Message{ID: m.TS, By: "pvebot", Text: pictures.Replace(m.Plain()), Buttons: labels(m.Blocks), Private: m.Channel != room}
		for _, reply := range m.Thread {
			seen.Thread = append(seen.Thread, strings.Split(strings.TrimSuffix(reply.Plain(), "\n"), "\n")...)
		}
		all = append(all, dated{seen, m.Posted})
	}
	for _, e := range p.f.Ephemerals(person) {
		if e.Channel == room {
			all = append(all, dated{door.Message{ID: e.TS, By: "pvebot", Text: pictures.Replace(e.Plain()), Buttons: labels(e.Blocks), Private: true}, e.At})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return a.at.Compare(b.at) })
	var out []door.Message
	for _, m := range all {
		out = append(out, m.Message)
	}
	return out
}

// pictures are the emoji that are met here; others are shown by their names.
var pictures = strings.NewReplacer(
	":hourglass_flowing_sand:", "\u23f3", ":white_check_mark:", "\u2705", ":x:", "\u274c", ":rewind:", "\u23ea",
	":leftwards_arrow_with_hook:", "\u21a9", ":white_small_square:", "\u25ab", ":raised_hand:", "\u270b",
)

// labels are those of a message's buttons.
func labels(blocks json.RawMessage) []string {
	var out []string
	for _, b := range actionBlocks(blocks) {
		for _, e := range b.Elements {
			if text, ok := e["text"].(map[string]any); ok {
				out = append(out, fmt.Sprint(text["text"]))
			}
		}
	}
	return out
}

func (p place) Forms(person string) []door.Form {
	var out []door.Form
	for _, v := range p.f.Views(person) {
		form := door.Form{ID: v.ID, Title: textOf(v.Request["title"])}
		blocks, _ := v.Request["blocks"].([]any)
		for _, b := range blocks {
			m, _ := b.(map[string]any)
			e, ok := m["element"].(map[string]any)
			if !ok {
				continue
			}
			in := door.Field{Label: textOf(m["label"]), Required: m["optional"] != true}
			in.Name, _ = m["block_id"].(string)
			in.Value, _ = e["initial_value"].(string)
			if o, ok := e["initial_option"].(map[string]any); ok {
				in.Value, _ = o["value"].(string)
			}
			options, _ := e["options"].([]any)
			for _, o := range options {
				if o, ok := o.(map[string]any); ok {
					in.Options = append(in.Options, fmt.Sprint(o["value"]))
				}
			}
			form.Fields = append(form.Fields, in)
		}
		out = append(out, form)
	}
	return out
}

func textOf(object any) string {
	m, _ := object.(map[string]any)
	s, _ := m["text"].(string)
	return s
}

func (p place) Type(ctx context.Context, person, room, line string) error {
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "/vm")
	if !ok || text != "" && text[0] != ' ' {
		return errors.New("nobody answers that; type /vm and a command")
	}
	_, err := p.f.Command(ctx, person, room, strings.TrimSpace(text), "")
	return err
}

func (p place) Press(ctx context.Context, person, room, message, label string) error {
	for _, m := range p.f.Messages(DM(person)) {
		if m.TS == message {
			room = m.Channel
		}
	}
	_, err := p.f.Click(ctx, person, room, message, label, "")
	return err
}

func (p place) Send(ctx context.Context, person, form string, values map[string]string) (map[string]string, error) {
	given := maps.Clone(values)
	maps.DeleteFunc(given, func(_, v string) bool { return v == "" })
	out, err := p.f.Submit(ctx, person, form, given)
	return out.Errors, err
}

type actionBlock struct {
	Type     string           `json:"type"`
	BlockID  string           `json:"block_id"`
	Elements []map[string]any `json:"elements"`
}

// actionBlocks are the blocks with buttons.
func actionBlocks(blocks json.RawMessage) []actionBlock {
	var all, out []actionBlock
	_ = json.Unmarshal(blocks, &all)
	for i, b := range all {
		if b.Type == "actions" {
			b.BlockID = cmp.Or(b.BlockID, fmt.Sprintf("made-up-%d", i))
			out = append(out, b)
		}
	}
	return out
}

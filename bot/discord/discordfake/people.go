package discordfake

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
)

// The failures that people see.
var (
	ErrTimeout = errors.New("the application did not respond")
	ErrNobody  = errors.New("the application is offline")
)

// Outcome is what came of something that a person did.
type Outcome struct {
	ID      string        // the interaction
	Kind    string        // message, deferred, later, update, choices, modal
	Took    time.Duration // until the first answer
	Modal   *Modal
	Choices []Choice
}

// Choice is a completion.
type Choice struct{ Name, Value string }

// Modal is an open form.
type Modal struct {
	ID, Title string
	Fields    []Input
}

// Input is a field of a form.
type Input struct {
	ID, Label, Placeholder, Value string
	Required                      bool
}

func newModal(data map[string]any) *Modal {
	text := func(m map[string]any, k string) string { s, _ := m[k].(string); return s }
	out := &Modal{ID: text(data, "custom_id"), Title: text(data, "title")}
	for _, row := range listOf(data["components"]) {
		for _, in := range listOf(row["components"]) {
			required, _ := in["required"].(bool)
			out.Fields = append(out.Fields, Input{text(in, "custom_id"), text(in, "label"), text(in, "placeholder"), text(in, "value"), required})
		}
	}
	return out
}

// Option is a typed option of a command. Value is a string, a bool or a number;
// Person marks a string as somebody's id.
type Option struct {
	Name    string
	Value   any
	Person  bool
	Focused bool
}

func (o Option) wire() map[string]any {
	kind := 3
	switch o.Value.(type) {
	case bool:
		kind = 5
	case int, int64, float64:
		kind = 4
	}
	if o.Person {
		kind = 6
	}
	m := map[string]any{"name": o.Name, "type": kind, "value": o.Value}
	if o.Focused {
		m["focused"] = true
	}
	return m
}

// Command sends /vm VERB with options, once the command is registered.
func (f *Fake) Command(ctx context.Context, by, channelID, verb string, options ...Option) (Outcome, error) {
	return f.act(ctx, by, channelID, isCommand, nil, commandData(verb, options))
}

// Typing asks for completions while a command is typed: one option has the
// focus.
func (f *Fake) Typing(ctx context.Context, by, channelID, verb string, options ...Option) (Outcome, error) {
	return f.act(ctx, by, channelID, isComplete, nil, commandData(verb, options))
}

func commandData(verb string, options []Option) map[string]any {
	list := []any{}
	for _, o := range options {
		list = append(list, o.wire())
	}
	return map[string]any{"id": "1000000000000000099", "type": 1, "name": "vm", "options": []any{
		map[string]any{"type": 1, "name": verb, "options": list},
	}}
}

// Click presses the button with this label on a message.
func (f *Fake) Click(ctx context.Context, by, channelID, messageID, label string) (Outcome, error) {
	f.mu.Lock()
	var m *message
	if c := f.channels[channelID]; c != nil {
		m = c.find(messageID)
	}
	if m == nil || m.to != "" && m.to != by {
		f.mu.Unlock()
		return Outcome{}, fmt.Errorf("there is no message %s in %s", messageID, channelID)
	}
	id, found := "", false
	for _, row := range m.now().Components {
		for _, b := range listOf(row["components"]) {
			if b["label"] == label {
				id, _ = b["custom_id"].(string)
				found = true
			}
		}
	}
	f.mu.Unlock()
	if !found {
		return Outcome{}, fmt.Errorf("the message has no button %q", label)
	}
	return f.act(ctx, by, channelID, isClick, m, map[string]any{"custom_id": id, "component_type": 2})
}

// Submit sends a form.
func (f *Fake) Submit(ctx context.Context, by, channelID string, m Modal, values map[string]string) (Outcome, error) {
	rows := []any{}
	for i, in := range m.Fields {
		value := in.Value
		if v, given := values[in.ID]; given {
			value = v
		}
		if in.Required && value == "" {
			return Outcome{}, fmt.Errorf("%s must be filled", in.ID)
		}
		rows = append(rows, map[string]any{"type": 1, "id": i, "components": []any{map[string]any{"type": 4, "custom_id": in.ID, "value": value}}})
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if !slices.ContainsFunc(m.Fields, func(in Input) bool { return in.ID == k }) {
			return Outcome{}, fmt.Errorf("the form has no field %s", k)
		}
	}
	return f.act(ctx, by, channelID, isSubmit, nil, map[string]any{"custom_id": m.ID, "components": rows})
}

// From says from which server the next interactions come; "" is Guild.
func (f *Fake) From(guild string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guildID = guild
}

// where is the server of interactions; f.mu is held.
func (f *Fake) where() string { return cmp.Or(f.guildID, Guild) }

// act delivers an interaction and waits for its first answer.
func (f *Fake) act(ctx context.Context, by, channelID string, kind int, on *message, data map[string]any) (Outcome, error) {
	f.mu.Lock()
	c := f.channels[channelID]
	if c == nil {
		f.mu.Unlock()
		return Outcome{}, fmt.Errorf("there is no channel %s", channelID)
	}
	a := &action{id: f.id(), kind: kind, by: by, channel: channelID, on: on, at: f.clock.Now(), ended: make(chan struct{})}
	a.token = "token-of-" + a.id + strings.Repeat("x", 40)
	a.outcome.ID = a.id
	f.actions[a.id] = a
	p := map[string]any{
		"id": a.id, "application_id": App, "type": kind, "token": a.token, "version": 1, "data": data,
		"guild_id": f.where(), "guild": map[string]any{"id": f.where(), "locale": "en-US", "features": []any{}},
		"channel_id": channelID, "channel": map[string]any{"id": channelID, "type": c.kind, "name": "channel"},
		"member": f.member(by, f.roles[by]), "app_permissions": f.appPermissions(c),
		"locale": "en-US", "guild_locale": "en-US", "entitlements": []any{}, "context": 0,
		"authorizing_integration_owners": map[string]any{"0": Guild}, "attachment_size_limit": 10485760,
	}
	if on != nil {
		p["message"] = on.wire()
	}
	raw, err := json.Marshal(p)
	if err != nil {
		f.mu.Unlock()
		return Outcome{}, err
	}
	sent := f.dispatch("INTERACTION_CREATE", raw)
	f.mu.Unlock()
	if !sent {
		return Outcome{}, ErrNobody
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	late := make(chan struct{})
	go func() { defer close(late); _ = f.clock.Sleep(wait, firstAnswer+time.Millisecond) }()
	select {
	case <-a.ended:
	case <-late:
		if err := context.Cause(ctx); err != nil {
			return Outcome{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !a.answered {
		return Outcome{ID: a.id}, ErrTimeout
	}
	return a.outcome, nil
}

// Delete deletes a message, as a moderator would.
func (f *Fake) Delete(channelID, messageID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.channels[channelID].find(messageID); m != nil {
		m.gone = true
	}
}

// DeleteChannel deletes a channel or a thread.
func (f *Fake) DeleteChannel(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.channels, id)
}

// Lock archives and locks a thread, or only archives it.
func (f *Fake) Lock(threadID string, locked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels[threadID].archived, f.channels[threadID].locked = true, locked
}

// Forbid has AutoMod block messages with a word, in a channel and its threads.
func (f *Fake) Forbid(channelID, word string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels[channelID].forbidden = append(f.channels[channelID].forbidden, word)
}

package slackfake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// trigger is a trigger_id: it works once, for three seconds.
type trigger struct {
	by   string
	at   time.Time
	used bool
}

// Outcome is what came of something that a person did.
type Outcome struct {
	ID      string          // the trigger_id
	Payload json.RawMessage // of the ack
	Took    time.Duration   // until the ack
	Errors  map[string]string
}

// newTrigger makes a trigger and a response URL; f.mu is held.
func (f *Fake) newTrigger(by, channel, ts string, id string) (string, string) {
	if id == "" {
		id = f.id("trigger.")
	}
	f.triggers[id] = &trigger{by: by, at: f.clock.Now()}
	h := &hook{by: by, channel: channel, ts: ts, at: f.clock.Now()}
	name := f.id("H")
	f.hooks[name] = h
	return id, f.base + "/hook/" + name
}

// Command types /vm and a text in a channel. ID may be "", then one is made.
func (f *Fake) Command(ctx context.Context, by, channelID, text, id string) (Outcome, error) {
	f.mu.Lock()
	id, url := f.newTrigger(by, channelID, "", id)
	team := f.teamOf(by)
	f.mu.Unlock()
	payload, took, err := f.deliver(ctx, "slash_commands", map[string]any{
		"token": "fake", "team_id": team, "team_domain": "fake", "channel_id": channelID, "channel_name": "channel",
		"user_id": by, "user_name": nameOf(by), "command": "/vm", "text": text, "api_app_id": App,
		"response_url": url, "trigger_id": id, "is_enterprise_install": "false",
	}, func(payload json.RawMessage) { f.ackedMessage(by, channelID, payload) })
	return Outcome{ID: id, Payload: payload, Took: took}, err
}

// Connect makes somebody one of another workspace, who sits in the channels by
// Slack Connect.
func (f *Fake) Connect(user, team string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.teams == nil {
		f.teams = map[string]string{}
	}
	f.teams[user] = team
}

// teamOf is somebody's workspace; f.mu is held.
func (f *Fake) teamOf(user string) string { return cmp.Or(f.teams[user], Team) }

func nameOf(user string) string { return map[string]string{Alice: "alice", Bob: "bob"}[user] }

// ackedMessage shows the message that an ack carries; f.mu is held.
func (f *Fake) ackedMessage(by, channelID string, payload json.RawMessage) {
	var m struct {
		Text         string          `json:"text"`
		Blocks       json.RawMessage `json:"blocks"`
		ResponseType string          `json:"response_type"`
	}
	if json.Unmarshal(payload, &m) != nil || m.Text == "" && len(m.Blocks) == 0 {
		return
	}
	v, details, code := f.content("ack", map[string]string{"text": m.Text, "blocks": string(m.Blocks)})
	if code != "" {
		f.complain("ack: %s %v", code, details)
		return
	}
	if m.ResponseType == "in_channel" {
		c := f.channels[channelID]
		c.messages = append(c.messages, &message{ts: f.ts(), by: Bot, shown: []Version{v}})
		return
	}
	f.whisper(by, channelID, v)
}

// interaction is what all payloads of interactions have; f.mu is held.
func (f *Fake) interaction(kind, by string) map[string]any {
	return map[string]any{
		"type": kind, "token": "fake", "api_app_id": App, "is_enterprise_install": false, "enterprise": nil,
		"team": map[string]any{"id": Team, "domain": "fake"},
		"user": map[string]any{"id": by, "username": nameOf(by), "name": nameOf(by), "team_id": f.teamOf(by)},
	}
}

// Click presses the button with this label on a message that they see, and
// confirms it when it asks.
func (f *Fake) Click(ctx context.Context, by, channelID, ts, label, id string) (Outcome, error) {
	f.mu.Lock()
	c := f.channels[channelID]
	var m *message
	if c != nil {
		m = c.find(ts)
	}
	var shown Version
	i := slices.IndexFunc(f.ephemerals, func(e Ephemeral) bool { return e.To == by && e.TS == ts })
	switch {
	case m != nil:
		shown = m.shown[len(m.shown)-1]
	case i >= 0:
		shown = f.ephemerals[i].Version
	default:
		f.mu.Unlock()
		return Outcome{}, fmt.Errorf("there is no message %s in %s", ts, channelID)
	}
	action, block := buttonOf(shown.Blocks, label)
	if action == nil {
		f.mu.Unlock()
		return Outcome{}, fmt.Errorf("the message has no button %q", label)
	}
	id, url := f.newTrigger(by, channelID, ts, id)
	p := f.interaction("block_actions", by)
	p["container"] = map[string]any{"type": "message", "message_ts": ts, "channel_id": channelID, "is_ephemeral": m == nil}
	p["channel"] = map[string]any{"id": channelID, "name": "channel"}
	if m != nil { // what is not kept is not sent
		p["message"] = map[string]any{"type": "message", "user": Bot, "ts": ts, "text": shown.Text, "blocks": shown.Blocks}
	}
	p["state"] = map[string]any{"values": map[string]any{}}
	p["response_url"], p["trigger_id"] = url, id
	p["actions"] = []any{map[string]any{
		"type": "button", "action_id": action["action_id"], "block_id": block, "value": action["value"],
		"text": action["text"], "action_ts": f.ts(),
	}}
	f.mu.Unlock()
	payload, took, err := f.deliver(ctx, "interactive", p, nil)
	return Outcome{ID: id, Payload: payload, Took: took}, err
}

func buttonOf(blocks json.RawMessage, label string) (map[string]any, string) {
	for _, b := range actionBlocks(blocks) {
		for _, e := range b.Elements {
			if textOf(e["text"]) == label {
				return e, b.BlockID
			}
		}
	}
	return nil, ""
}

// View is a modal as a person sees it.
type View struct {
	ID, By  string
	Request map[string]any // as it was opened
	Closed  bool
	inputs  []string
}

// Fields are the modal's inputs by block id: the element of each.
func (v View) Fields() map[string]map[string]any {
	out := map[string]map[string]any{}
	blocks, _ := v.Request["blocks"].([]any)
	for _, b := range blocks {
		m, _ := b.(map[string]any)
		e, _ := m["element"].(map[string]any)
		id, _ := m["block_id"].(string)
		if m["type"] == "input" {
			out[id] = e
		}
	}
	return out
}

func (f *Fake) openView(args map[string]string) (map[string]any, string) {
	t := f.triggers[args["trigger_id"]]
	switch {
	case t == nil:
		return nil, "invalid_trigger_id"
	case t.used:
		return nil, "exchanged_trigger_id"
	case f.clock.Now().Sub(t.at) > triggerTime:
		return nil, "expired_trigger_id"
	}
	v, details, code := f.newView(t.by, []byte(args["view"]))
	if code != "" {
		return details, code
	}
	t.used = true
	f.views[v.ID] = v
	answer := maps.Clone(v.Request)
	answer["id"], answer["team_id"], answer["hash"] = v.ID, Team, f.id("hash.")
	return map[string]any{"view": answer}, ""
}

// newView checks a modal; f.mu is held.
func (f *Fake) newView(by string, raw []byte) (*View, map[string]any, string) {
	if len(raw) > maxViewBytes {
		return nil, nil, "view_too_large"
	}
	c := &checker{blockIDs: map[string]bool{}}
	var parsed map[string]any
	if err := json.Unmarshal(raw, &parsed); err != nil {
		return nil, nil, "invalid_arguments"
	}
	view(c, "/view", parsed)
	if len(c.inputs) > 0 && parsed["submit"] == nil {
		c.fail("/view/submit", "missing required field: submit")
	}
	for _, s := range c.strangers {
		f.complain("view: Slack knows no field %s", s)
	}
	if len(c.wrong) > 0 {
		return nil, map[string]any{"response_metadata": map[string]any{"messages": c.wrong}}, "invalid_arguments"
	}
	return &View{ID: f.id("V"), By: by, Request: parsed, inputs: c.inputs}, nil, ""
}

// Views are the modals that a person has open, oldest first.
func (f *Fake) Views(by string) []View {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []View
	for _, id := range slices.Sorted(maps.Keys(f.views)) {
		if v := f.views[id]; v.By == by && !v.Closed {
			out = append(out, *v)
		}
	}
	return out
}

// viewPayload is a modal as Slack sends it; f.mu is held.
func (f *Fake) viewPayload(v *View, values map[string]string) map[string]any {
	state := map[string]any{}
	for block, e := range v.inFields() {
		action, _ := e["action_id"].(string)
		kind, _ := e["type"].(string)
		value, given := values[block]
		entry := map[string]any{"type": kind}
		switch {
		case kind == "plain_text_input":
			entry["value"] = nil
			if given && value != "" {
				entry["value"] = value
			}
		case given && value != "":
			entry["selected_option"] = map[string]any{"text": map[string]any{"type": "plain_text", "text": value}, "value": value}
		default:
			entry["selected_option"] = nil
		}
		state[block] = map[string]any{action: entry}
	}
	p := maps.Clone(v.Request)
	p["id"], p["team_id"], p["app_id"], p["hash"], p["root_view_id"] = v.ID, Team, App, f.id("hash."), v.ID
	p["state"] = map[string]any{"values": state}
	return p
}

func (v *View) inFields() map[string]map[string]any { return View{Request: v.Request}.Fields() }

// Submit sends a modal with these values by block id.
func (f *Fake) Submit(ctx context.Context, by, viewID string, values map[string]string) (Outcome, error) {
	f.mu.Lock()
	v := f.views[viewID]
	if v == nil || v.Closed {
		f.mu.Unlock()
		return Outcome{}, fmt.Errorf("there is no modal %s", viewID)
	}
	id, _ := f.newTrigger(by, "", "", "")
	p := f.interaction("view_submission", by)
	p["trigger_id"], p["view"], p["response_urls"] = id, f.viewPayload(v, values), []any{}
	f.mu.Unlock()
	payload, took, err := f.deliver(ctx, "interactive", p, nil)
	out := Outcome{ID: id, Payload: payload, Took: took}
	if err != nil {
		return out, err
	}
	var answer struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
		View   json.RawMessage   `json:"view"`
	}
	if len(payload) > 0 {
		if err := json.Unmarshal(payload, &answer); err != nil {
			return out, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch answer.Action {
	case "errors":
		for block := range answer.Errors {
			if !slices.Contains(v.inputs, block) {
				return out, fmt.Errorf("we had some trouble connecting: an error for %q, which is no input", block)
			}
		}
		out.Errors = answer.Errors
	case "update":
		next, details, code := f.newView(by, answer.View)
		if code != "" {
			return out, fmt.Errorf("we had some trouble connecting: %s %v", code, details)
		}
		next.ID = v.ID
		f.views[v.ID] = next
	default:
		v.Closed = true
	}
	return out, nil
}

// Suggest types into a field of a modal that is filled as one types.
func (f *Fake) Suggest(ctx context.Context, by, viewID, block, typed string, values map[string]string) ([]string, error) {
	f.mu.Lock()
	v := f.views[viewID]
	if v == nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("there is no modal %s", viewID)
	}
	e := v.inFields()[block]
	if e["type"] != "external_select" {
		f.mu.Unlock()
		return nil, fmt.Errorf("%s is no external_select: %v", block, e["type"])
	}
	p := f.interaction("block_suggestion", by)
	p["action_id"], p["block_id"], p["value"], p["view"] = e["action_id"], block, typed, f.viewPayload(v, values)
	p["container"] = map[string]any{"type": "view", "view_id": viewID}
	f.mu.Unlock()
	payload, _, err := f.deliver(ctx, "interactive", p, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Options *[]struct {
			Value string `json:"value"`
		} `json:"options"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return nil, fmt.Errorf("options in %s: %w", payload, err)
	}
	if answer.Options == nil {
		return nil, fmt.Errorf("no options in %s", payload)
	}
	c := &checker{}
	var raw map[string]any
	_ = json.Unmarshal(payload, &raw)
	list(0, maxOptions, option)(c, "/options", raw["options"])
	if len(c.wrong) > 0 {
		return nil, fmt.Errorf("bad options: %v", c.wrong)
	}
	out := []string{}
	for _, o := range *answer.Options {
		out = append(out, o.Value)
	}
	return out, nil
}

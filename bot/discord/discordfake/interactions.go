package discordfake

import (
	"encoding/json"
	"time"
)

// How long Discord waits: for the first answer, and for the others.
const (
	firstAnswer = 3 * time.Second
	tokenTime   = 15 * time.Minute
)

// action is an interaction: something that a person did.
type action struct {
	id, token   string
	kind        int
	by, channel string
	on          *message // that was clicked
	at          time.Time
	ended       chan struct{} // closed with the first answer

	// Below: guarded by Fake.mu.
	outcome  Outcome
	answered bool
	original *message
	privy    bool // what it leads to is seen by one person
}

// Discord: the types of interactions and of first answers.
const (
	isCommand  = 2
	isClick    = 3
	isComplete = 4
	isSubmit   = 5

	asMessage  = 4
	asDeferred = 5
	asLater    = 6
	asUpdate   = 7
	asChoices  = 8
	asModal    = 9
)

const ephemeralFlag = 1 << 6

// callback is the first answer; f.mu is held.
func (f *Fake) callback(id, token string, body []byte) reply {
	a := f.actions[id]
	now := f.clock.Now()
	switch {
	case a == nil || a.token != token:
		return refuse(404, 10062, "Unknown interaction")
	case a.answered:
		return refuse(400, 40060, "Interaction has already been acknowledged.")
	case now.Sub(a.at) > firstAnswer:
		return refuse(404, 10062, "Unknown interaction")
	}
	var r struct {
		Type int             `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return refuse(400, 50109, "The request body contains invalid JSON.")
	}
	var data map[string]any
	_ = json.Unmarshal(r.Data, &data)
	wrongType := refuse(400, 50035, "Invalid Form Body: type")
	if (a.kind == isComplete) != (r.Type == asChoices) || a.kind == isSubmit && r.Type == asModal ||
		(r.Type == asLater || r.Type == asUpdate) && a.on == nil {
		return wrongType
	}
	flags, _ := data["flags"].(float64)
	switch r.Type {
	case asMessage:
		c, no := f.content("answer", f.channels[a.channel], r.Data, answerKeys)
		if no != nil {
			return *no
		}
		a.privy = int(flags)&ephemeralFlag != 0
		a.original = f.put(a, c)
		a.outcome.Kind = "message"
	case asDeferred:
		if int(flags) != 0 && int(flags) != ephemeralFlag {
			return wrongType
		}
		a.privy = int(flags)&ephemeralFlag != 0
		a.original = f.put(a, content{At: now})
		a.original.thinking = true
		a.outcome.Kind = "deferred"
	case asLater:
		a.original, a.outcome.Kind = a.on, "later"
		a.privy = a.on.to != ""
	case asUpdate:
		c, no := f.content("answer", f.channels[a.channel], r.Data, answerKeys)
		if no != nil {
			return *no
		}
		a.on.shown = append(a.on.shown, c)
		a.original, a.outcome.Kind = a.on, "update"
		a.privy = a.on.to != ""
	case asChoices:
		ck := &checker{}
		ck.choices(data["choices"])
		if len(ck.wrong) > 0 {
			return reply{status: 400, code: 50035, body: map[string]any{"code": 50035, "message": "Invalid Form Body", "errors": ck.wrong}}
		}
		for _, ch := range listOf(data["choices"]) {
			name, _ := ch["name"].(string)
			value, _ := ch["value"].(string)
			a.outcome.Choices = append(a.outcome.Choices, Choice{name, value})
		}
		a.outcome.Kind = "choices"
	case asModal:
		ck := &checker{}
		ck.modal(data)
		if len(ck.wrong) > 0 {
			return reply{status: 400, code: 50035, body: map[string]any{"code": 50035, "message": "Invalid Form Body", "errors": ck.wrong}}
		}
		a.outcome.Kind, a.outcome.Modal = "modal", newModal(data)
	default:
		return wrongType
	}
	a.answered = true
	a.outcome.Took = now.Sub(a.at)
	close(a.ended)
	return noContent()
}

// put shows what an interaction leads to; f.mu is held.
func (f *Fake) put(a *action, c content) *message {
	m := &message{id: f.id(), channel: a.channel, shown: []content{c}}
	if a.privy {
		m.to = a.by
	}
	ch := f.channels[a.channel]
	ch.messages = append(ch.messages, m)
	return m
}

// webhook answers what is below /webhooks: the other answers; f.mu is held.
func (f *Fake) webhook(method string, p []string, body []byte) reply {
	if len(p) < 3 || p[1] != App {
		return refuse(404, 10015, "Unknown Webhook")
	}
	var a *action
	for _, x := range f.actions {
		if x.token == p[2] {
			a = x
		}
	}
	switch {
	case a == nil || !a.answered:
		return refuse(404, 10015, "Unknown Webhook")
	case f.clock.Now().Sub(a.at) > tokenTime:
		return refuse(401, 50027, "Invalid Webhook Token")
	}
	if method == "POST" && len(p) == 3 {
		return f.followUp(a, body)
	}
	if len(p) != 5 || p[3] != "messages" || p[4] != "@original" {
		f.complain("Discord has no %s %v", method, p)
		return refuse(404, 10008, "Unknown Message")
	}
	if a.original == nil || a.original.gone {
		return refuse(404, 10008, "Unknown Message")
	}
	switch method {
	case "GET":
		return ok(a.original.wire())
	case "DELETE":
		a.original.gone = true
		return noContent()
	case "PATCH":
		c, no := f.content("edit of an answer", f.channels[a.channel], body, editKeys)
		if no != nil {
			return *no
		}
		if a.original.thinking {
			a.original.thinking, a.original.shown = false, nil
		}
		a.original.shown = append(a.original.shown, c)
		return ok(a.original.wire())
	}
	return refuse(405, 0, "405: Method Not Allowed")
}

// followUp is one more message. The first one after a deferral becomes the
// answer itself, seen by whom the deferral was seen by.
func (f *Fake) followUp(a *action, body []byte) reply {
	c, no := f.content("follow-up", f.channels[a.channel], body, answerKeys)
	if no != nil {
		return *no
	}
	if a.original != nil && a.original.thinking && !a.original.gone {
		a.original.thinking, a.original.shown = false, []content{c}
		return ok(a.original.wire())
	}
	was := a.privy
	a.privy = c.Flags&ephemeralFlag != 0
	m := f.put(a, c)
	a.privy = was
	return ok(m.wire())
}

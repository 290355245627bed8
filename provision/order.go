package provision

import "encoding/json"

// Actor is who asked: platform and id, never a display name.
type Actor struct {
	Platform string `json:"platform"`       // slack, discord, web, console, http, system
	ID       string `json:"id"`             // the platform's own id
	Name     string `json:"name,omitempty"` // for people to read; nothing is decided by it
}

// Key is platform/id, as policy and audit write it.
func (a Actor) Key() string { return a.Platform + "/" + a.ID }

// String is the actor's name as everybody may read it.
func (a Actor) String() string {
	if a.Name == "" || a.Name == addressed {
		return a.Key()
	}
	return a.Name
}

// addressed was the stored name of whoever sat at the bot's own machine up to
// version 0.1. To other readers it means themselves.
const addressed = "you"

// Same reports whether a and b are one person: display names do not count.
func (a Actor) Same(b Actor) bool { return a.Platform == b.Platform && a.ID == b.ID }

// Conversation is where an order came from and where its card goes.
type Conversation struct {
	Platform string `json:"platform"`
	Channel  string `json:"channel,omitempty"`
}

// Order is a Spec that policy let through.
type Order struct {
	Key     string // equal Keys are one order: platform/interaction id, or random
	Cluster string // the cluster it is for; only workers of that cluster claim it
	By      Actor
	Where   Conversation
	Spec    Spec
	Gate    *Gate // nil: nobody needs to approve
	// OnFailure is what a failed step does: OnFailureAsk parks the job for
	// people to decide, OnFailureUndo undoes at once.
	OnFailure OnFailure
	Text      string // the line as it was typed, for people to read
}

// Public is o without its secrets, for everybody who may read the order.
func (o Order) Public() Order {
	if s, ok := o.Spec.(Install); ok {
		s.PasswordHash = ""
		o.Spec = s
	}
	return o
}

// Public is e without the secrets of its order.
func (e Event) Public() Event {
	if e.Order != nil {
		o := e.Order.Public()
		e.Order = &o
	}
	return e
}

// OnFailure is what a failed step leads to.
type OnFailure string

// What a failed step leads to.
const (
	OnFailureUndo OnFailure = "undo"
	OnFailureAsk  OnFailure = "ask"
)

type orderJSON struct {
	Key       string          `json:"key"`
	Cluster   string          `json:"cluster,omitempty"`
	By        Actor           `json:"by"`
	Where     Conversation    `json:"where"`
	Spec      json.RawMessage `json:"spec"`
	Gate      *Gate           `json:"gate,omitempty"`
	OnFailure OnFailure       `json:"on_failure,omitempty"`
	Text      string          `json:"text,omitempty"`
}

// MarshalJSON writes the order's stored form.
func (o Order) MarshalJSON() ([]byte, error) {
	spec, err := MarshalSpec(o.Spec)
	if err != nil {
		return nil, err
	}
	return json.Marshal(orderJSON{o.Key, o.Cluster, o.By, o.Where, spec, o.Gate, o.OnFailure, o.Text})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *Order) UnmarshalJSON(data []byte) error {
	var j orderJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	spec, err := storedSpec(j.Spec)
	if err != nil {
		return err
	}
	*o = Order{j.Key, j.Cluster, j.By, j.Where, spec, j.Gate, j.OnFailure, j.Text}
	return nil
}

// Package bot is chat in and chat out; it decides nothing. An [Adapter] is one
// chat platform, the [Desk] turns what people write into orders and answers,
// and the [Follower] turns the events of jobs into edits of their cards.
//
// Cards carry plain, untrusted text: each adapter makes it inert in its own
// rendering. New adapters prove themselves with pvebot/bot/bottest.
package bot

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"pvebot/provision"
)

// Adapter is one chat platform. It translates; it decides nothing.
// All methods may be called by many goroutines at once.
type Adapter interface {
	// Name is the platform's name, as Actor and Conversation carry it.
	Name() string
	// Run receives until ctx ends, reconnecting by itself. Of each inbound it
	// first asks h.Triage, sends the Ack, and then calls h.Handle in a goroutine of
	// its own; it returns after all of these have ended.
	Run(ctx context.Context, h Handler) error
	// Post shows a new card. ErrGone when the conversation can't be written
	// to, *BusyError when the platform wants us to wait.
	Post(ctx context.Context, where provision.Conversation, c Card) (Ref, error)
	// Edit shows c in place of what is at ref; the same card twice is fine.
	// ErrGone when the message is not there any more, *BusyError as above.
	Edit(ctx context.Context, at Ref, c Card) error
	// Say adds lines to the thread of the card at ref, starting it if need be.
	Say(ctx context.Context, at Ref, lines []string) error
	// Whisper answers an inbound so that only its sender sees it.
	Whisper(ctx context.Context, to Inbound, c Card) error
	// Pace says how fast this platform may be written to.
	Pace() Pace
}

// Pace is a platform's budget for posts, edits and lines together.
type Pace struct {
	PerSecond float64       // refill, for the whole platform
	Burst     int           // at once
	MinGap    time.Duration // between two edits of one card
}

// Handler is what adapters bring their inbounds to. It answers its own panics.
type Handler interface {
	// Triage answers within a second, from memory and one store insert; only a
	// store that stands still takes longer.
	Triage(ctx context.Context, in Inbound) Ack
	// Handle does the rest.
	Handle(ctx context.Context, in Inbound)
}

// Dropper is a Handler that can be told that Handle will not be called: the
// sender was shown a failure, so nothing may come of the interaction any more.
type Dropper interface {
	Drop(ctx context.Context, in Inbound)
}

// Roster is an Adapter that can be asked which groups or roles somebody has
// now, as Inbound.Roles has them: what came with an interaction may be some
// minutes old. Who is not there any more has none.
type Roster interface {
	RolesOf(ctx context.Context, who provision.Actor, where provision.Conversation) ([]string, error)
}

// Confidant is an Adapter that can write to one person where nobody else reads:
// there a job is shown that can't be shown where it was ordered.
type Confidant interface {
	Private(ctx context.Context, with provision.Actor) (provision.Conversation, error)
}

// Ref is where a card was posted: opaque to all but its adapter.
type Ref json.RawMessage

// MarshalJSON implements json.Marshaler.
func (r Ref) MarshalJSON() ([]byte, error) { return json.RawMessage(r).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (r *Ref) UnmarshalJSON(b []byte) error { return (*json.RawMessage)(r).UnmarshalJSON(b) }

// ErrGone: the message or the conversation is not there any more.
var ErrGone = errors.New("message is gone")

// BusyError: the platform wants us to wait.
type BusyError struct{ After time.Duration }

func (e *BusyError) Error() string { return "platform is busy, try after " + e.After.String() }

// InboundKind is what somebody did.
type InboundKind string

// The kinds of inbounds.
const (
	Command  InboundKind = "command"  // typed a line: Text
	Click    InboundKind = "click"    // pressed a button: Button
	Submit   InboundKind = "submit"   // sent a form: Form and Fields
	Complete InboundKind = "complete" // wants completions of Text
)

// Inbound is something that a person did on a platform.
type Inbound struct {
	Platform string                 `json:"platform"`
	ID       string                 `json:"id"` // the platform's own id of the interaction; equal ids are one interaction
	Kind     InboundKind            `json:"kind"`
	By       provision.Actor        `json:"by"`
	Roles    []string               `json:"roles,omitempty"` // the platform's groups or roles of By, PLATFORM:ID
	Where    provision.Conversation `json:"where"`
	Text     string                 `json:"text,omitempty"`   // the line, with or without "/vm"
	Button   string                 `json:"button,omitempty"` // Button.ID; nothing in it is trusted
	Form     string                 `json:"form,omitempty"`
	Fields   map[string]string      `json:"fields,omitempty"`
	Reply    json.RawMessage        `json:"reply,omitempty"` // the adapter's own: how to answer
	At       time.Time              `json:"at"`
}

// Ack is the first answer to an inbound. Exactly one field is set; the zero
// Ack means "taken; the answer comes later".
type Ack struct {
	Whisper *Card             // only the asker sees it
	Update  *Card             // in place of the card that was clicked
	Form    *Form             // open a form
	Choices []Choice          // completions
	Errors  map[string]string // of a form's fields, by field name
}

// Choice is a completion.
type Choice struct{ Label, Value string }

// Form is a dialog, built from the grammar.
type Form struct {
	ID, Title string
	Fields    []FormField
}

// FormField is one input of a form.
type FormField struct {
	Name, Label, Hint, Value string
	Options                  []Choice // a select when not empty
	Required                 bool
}

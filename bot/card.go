package bot

import (
	"time"

	"pvebot/provision"
)

// Card is what a message shows. Everything in it is plain text from anywhere;
// adapters make it inert and cut it to their limits.
type Card struct {
	Job     provision.JobID // 0: an answer, not a job's card
	Seq     uint64          // of the job as shown
	By      provision.Actor // who ordered the job
	Title   string
	Tone    Tone
	Text    string // a paragraph; also the fallback for notifications
	Fields  []Field
	Steps   []CardStep
	Table   *Table
	Lines   []string // preformatted
	Buttons []Button
	Footer  string
	Elapsed time.Duration // of the job, when the card was made; 0: no clock
	Started time.Time     // for clocks that tick by themselves
	Ended   time.Time
	Final   bool // this is the job's last word
	// Instead says that this answer to a click takes the place of the message
	// that was clicked, where that was for the clicker alone.
	Instead bool
}

// Tone colours a card.
type Tone string

// The tones.
const (
	Plain  Tone = ""
	Busy   Tone = "busy"
	Good   Tone = "good"
	Bad    Tone = "bad"
	Asking Tone = "asking" // somebody must decide
)

// Field is a name with a value.
type Field struct {
	Name, Value string
	Code        bool // a command or address to be copied
}

// CardStep is a step as a card shows it.
type CardStep struct {
	Phase, Title string
	Status       provision.Status
	Text         string
	Fraction     float64       // 0 to 1 while it runs and tells
	Elapsed      time.Duration // 0: not started
	Started      time.Time
}

// Table is a small table.
type Table struct {
	Head []string
	Rows [][]string
}

// Button is something to press. ID comes back as Inbound.Button; nothing in
// it is trusted.
type Button struct {
	ID, Label string
	Style     Style
	Confirm   string // ask this first; "" does not
}

// Style colours a button.
type Style string

// The styles.
const (
	Neutral Style = ""
	Primary Style = "primary"
	Danger  Style = "danger"
)

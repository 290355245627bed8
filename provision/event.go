package provision

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/provision/guest"
)

// EventKind says what happened. The names are stored.
type EventKind string

// The kinds of events. State carries the job's new state where the kind is
// JobState; Step names the step of the Step kinds.
const (
	JobAccepted  EventKind = "job.accepted"  // always the first; carries Order, Plan and Claims
	JobState     EventKind = "job.state"     // State; Text and Err say why; Order, with its new gate, when it waits again
	GateVoted    EventKind = "gate.voted"    // By, Yes, As; Text is what it grants
	StepStarted  EventKind = "step.started"  // written before the effect
	StepProgress EventKind = "step.progress" // Fraction, Text; at most one in 2 s
	StepLog      EventKind = "step.log"      // Text: lines of detail, "\n" between them
	StepDone     EventKind = "step.done"     // written after the effect; Text is its result in a few words
	StepFailed   EventKind = "step.failed"   // Text, Err
	StepUndoing  EventKind = "step.undoing"  // written before the undo
	StepUndone   EventKind = "step.undone"
	FactsSet     EventKind = "facts.set"  // Facts: what was chosen, or learnt
	SlotTaken    EventKind = "slot.taken" // Pool, Slot
	SlotFreed    EventKind = "slot.freed" // Pool, Slot: given back before the job's end
)

// Event is a fact in a job's life. ID, Job, Seq, Pos and At are set by the
// store and the engine.
type Event struct {
	ID   string    `json:"id"` // random; tells an earlier try of one Append from a stranger's
	Job  JobID     `json:"job"`
	Seq  uint64    `json:"seq"` // 1, 2, 3, ... without holes in a job
	Pos  Position  `json:"pos"` // in the feed of all jobs; rises in commit order
	At   time.Time `json:"at"`  // UTC
	Kind EventKind `json:"kind"`

	Step     string      `json:"step,omitempty"`
	State    State       `json:"state,omitempty"`
	Text     string      `json:"text,omitempty"`
	Fraction *float64    `json:"fraction,omitempty"` // 0 to 1
	Err      *Problem    `json:"err,omitempty"`
	Facts    *Facts      `json:"facts,omitempty"`
	Pool     string      `json:"pool,omitempty"`
	Slot     string      `json:"slot,omitempty"`
	By       *Actor      `json:"by,omitempty"`
	Yes      bool        `json:"yes,omitempty"`
	As       []string    `json:"as,omitempty"`
	Order    *Order      `json:"order,omitempty"`
	Plan     []StepState `json:"plan,omitempty"`
	Claims   []Held      `json:"claims,omitempty"`

	More bool `json:"-"` // of Follow: the next event is there already
}

// Position is a place in the feed of all events, in commit order. 0 is before
// the first.
type Position int64

// Problem is an error as it is stored.
type Problem struct {
	Kind  Kind   `json:"kind"`
	Say   string `json:"say"`
	Try   string `json:"try,omitempty"`
	Cause string `json:"cause,omitempty"` // for the operator
	// Output is what the command that failed said last, "" when none did.
	Output string `json:"output,omitempty"`
}

// ProblemOf is the stored form of err.
func ProblemOf(err error) *Problem {
	if err == nil {
		return nil
	}
	say, try := Explain(err)
	p := &Problem{Kind: KindOf(err), Say: say, Try: try}
	if cause := err.Error(); cause != say {
		p.Cause = cause
	}
	if refused, ok := errors.AsType[*cluster.ExitError](err); ok {
		p.Output = refused.Stderr
	}
	if script, ok := errors.AsType[*guest.InitError](err); ok {
		p.Output = strings.Join(script.Last, "\n")
	}
	return p
}

// err is the error that ProblemOf made p of, as far as p tells.
func (p *Problem) err() error {
	e := &Error{Kind: p.Kind, Say: p.Say, Try: p.Try}
	if p.Cause != "" {
		e.Err = errors.New(p.Cause)
	}
	return e
}

// Waited is how far a step has seen the guest come that it waits for.
type Waited struct {
	Step  string    `json:"step"`
	Stage string    `json:"stage"`
	Since time.Time `json:"since"` // nothing has moved since then
}

// Told is how much of a command's output a step has told.
type Told struct {
	Step   string    `json:"step"`
	Offset int64     `json:"offset"` // in bytes
	At     time.Time `json:"at"`
}

// Facts are what a job chose or learnt about its VM. Setting facts overwrites
// the fields that are not zero.
type Facts struct {
	Cluster  string     `json:"cluster,omitempty"`
	VMID     int        `json:"vmid,omitempty"`
	IP       netip.Addr `json:"ip,omitzero"`
	Name     string     `json:"name,omitempty"`
	Node     string     `json:"node,omitempty"`
	Storage  string     `json:"storage,omitempty"`
	CPU      string     `json:"cpu,omitempty"`
	UUID     string     `json:"uuid,omitempty"`
	Image    string     `json:"image,omitempty"`    // path or volume id on the node
	Checksum string     `json:"checksum,omitempty"` // of the image, as its distributor has it
	Template int        `json:"template,omitempty"` // VMID of the one that is cloned; -1: none, the image is imported
	ETag     string     `json:"etag,omitempty"`     // of the image's URL
	Depot    string     `json:"depot,omitempty"`    // where the image goes: a storage, or a folder on the node
	User     string     `json:"user,omitempty"`
	BootID   string     `json:"boot_id,omitempty"`
	HostKey  string     `json:"host_key,omitempty"`  // the guest's, as an authorized_keys line
	Reboot   bool       `json:"reboot,omitempty"`    // the init script asks for one
	Task     string     `json:"task,omitempty"`      // key of the node task that runs now
	Ran      bool       `json:"ran,omitempty"`       // before it was switched off
	Bytes    int64      `json:"bytes,omitempty"`     // that a migration moves
	Was      Size       `json:"was,omitzero"`        // before a change
	Attempt  int        `json:"attempt,omitempty"`   // of create, after "already exists"
	Fixed    bool       `json:"fixed,omitempty"`     // the guest has an address of its own making: no cloud-init drive tells it one
	InitDone bool       `json:"init_done,omitempty"` // the init script has come to a good end
	Waited   Waited     `json:"waited,omitzero"`     // of a step that waits for the guest
	Told     Told       `json:"told,omitzero"`       // of a command that goes on without the bot
}

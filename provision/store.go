package provision

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// Store keeps jobs, their events, slots, gates, leases, inbox rows and card
// refs, and passes on questions. All methods may be called by many goroutines and, where the store is
// shared, by many bots at once. Times come from the store's clock.
//
// One writer per job's sequence: while a job is leased only its lease holder
// appends to it; Submit, Vote, Resolve and the sweeps write only to jobs that
// no lease holds. What comes from outside meanwhile (cancel requests, card
// refs, inbox rows) is kept beside the sequence.
type Store interface {
	// Submit makes o a job, in state waiting when o has a gate, else queued.
	// plan is frozen in it. A second order with the same Key, which may not be
	// empty, returns the first one's job as it is now. claims are slots that the job needs from its first moment
	// on, such as vm/CLUSTER/VMID ("one job per VM"): if one is held by
	// another job, Submit takes nothing and returns *HeldError.
	Submit(ctx context.Context, o Order, plan []StepState, claims ...Held) (Job, error)
	// Claim leases the oldest job that is wanted and is queued, or running or
	// undoing with no lease or one that ran out. A queued job becomes running by
	// it (a job.state event); taking over another's job writes no event.
	// ErrNothing: there is none now.
	Claim(ctx context.Context, owner string, w Wanted) (*Lease, error)
	// Free tells in how long the first job that is wanted is free to be claimed
	// if its holder does not renew the lease; 0: one is free now. False: there
	// is none that will be without an event.
	Free(ctx context.Context, w Wanted) (time.Duration, bool, error)
	// Append writes evs as the next events of the leased job, all or none,
	// renews the lease and tells what was asked for meanwhile. Without events
	// it only renews. ID, Job, Seq, Pos and At of evs are set by it, and
	// l.Job is folded forward. ErrFenced: another worker owns the job, or the
	// lease was given up; stop, touch nothing. A lease that ran out and that
	// nobody took over is renewed. An event that Job.Apply refuses fails the
	// whole call with its error.
	//
	// When the answer of a try got lost (any error but ErrFenced and Apply's),
	// calling it again with the same slice of events is safe as long as l was
	// not used in between: the first try wrote an Event.ID into each.
	//
	// An event with a state other than running or undoing gives the lease up.
	// A final one also frees the job's slots at once.
	Append(ctx context.Context, l *Lease, evs ...Event) (Signal, error)
	// Vote records a vote at a waiting job's gate and, when it decides, moves
	// the job: one no cancels it, and so many yes queue it that each of the
	// gate's requirements is met. Who may vote (Gate.Of), and As, was checked
	// by the caller. The errors are *Error: Conflict for a late vote, a
	// person's second one, one on another plan (Digest), or a yes to what is
	// decided already while others are waited for; Denied for the asker's own,
	// unless Gate.SoloOK; NotFound for no such job or gate. A person is whoever
	// Vote.Is says.
	Vote(ctx context.Context, v Vote) (Job, error)
	// Resolve decides what becomes of a parked job; a failed one can only be
	// retried. *Error of kind Conflict when it is in another state by now, or
	// when a retry finds it half undone. A retry of a failed job takes its
	// slots again (*HeldError when one is held by another) and makes its cards
	// unsettled.
	Resolve(ctx context.Context, r Resolution) (Job, error)
	// Cancel asks for a job's end: a waiting job, and a queued one that did
	// nothing yet, is cancelled at once; a parked or other queued one starts
	// undoing; a running one learns it by its next Append; one that is undoing
	// goes on with that. Where there is something to undo, Job.CancelAsked says
	// so from now on, also to whoever claims the job. *Error of kind Conflict
	// when it is over.
	Cancel(ctx context.Context, id JobID, by Actor) (Job, error)

	// Reserve takes the first of slots in pool that nobody holds and writes
	// the slot.taken event, in one transaction. One of slots that the job holds
	// already is returned as it is, before all others; so calling it again is
	// safe. *HeldError when all are taken. It fences and renews like Append.
	Reserve(ctx context.Context, l *Lease, pool string, slots ...string) (string, error)
	// Release frees one slot of the job (a slot.freed event); one it does not
	// hold is fine. The slot stays taken for cooling. It fences and renews like
	// Append.
	Release(ctx context.Context, l *Lease, pool, slot string, cooling time.Duration) error
	// Held lists the slots of a pool that are taken or cooling, by slot; the
	// value is the holding job, 0 for one that cools down.
	Held(ctx context.Context, pool string) (map[string]JobID, error)

	// Job returns one job, *Error of kind NotFound when there is none.
	Job(ctx context.Context, id JobID) (Job, error)
	// Jobs lists jobs, newest first.
	Jobs(ctx context.Context, f Filter) ([]Job, error)
	// Events yields a job's stored events with Seq > after, in order, and ends.
	// ErrPruned when they are not kept any more.
	Events(ctx context.Context, id JobID, after uint64) iter.Seq2[Event, error]
	// Follow yields every event with a position > after in commit order, then
	// live ones until ctx ends (whose cause is the last error) or the store is
	// closed (ErrClosed). Nobody waits for a slow reader, and it loses
	// nothing. ErrPruned when after is older than what is kept. Events are
	// shared between readers: what they point to is not to be changed. More is
	// set in those whose next one follows at once.
	Follow(ctx context.Context, after Position) iter.Seq2[Event, error]
	// Position is the newest position.
	Position(ctx context.Context) (Position, error)

	// SetCard records where a platform shows the job, over what it recorded
	// before. Cards lists a platform's refs whose card is not settled yet,
	// oldest job first. Card is one of them, settled or not; false: there is
	// none.
	SetCard(ctx context.Context, c CardRef) error
	Cards(ctx context.Context, platform string) ([]CardRef, error)
	Card(ctx context.Context, platform string, id JobID) (CardRef, bool, error)

	// Accept stores an interaction once: false when (platform, id) is known
	// already. A zero At becomes now. Unhandled lists those that were never
	// marked by Handled, oldest first.
	Accept(ctx context.Context, m Inbox) (bool, error)
	Handled(ctx context.Context, platform, id string) error
	Unhandled(ctx context.Context, platform string) ([]Inbox, error)

	// Lead takes or renews a role for ttl; false when another owner has it.
	// Resign gives it up; one that another has is left alone.
	Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error)
	Resign(ctx context.Context, role, owner string) error

	// Sweep moves the jobs whose time ran out: those parked for longer than
	// patience to undoing, those waiting at an expired gate to cancelled. It
	// returns how many moved. Many may sweep at once.
	Sweep(ctx context.Context, patience time.Duration) (int, error)

	// SaveVM records a VM, in place of an earlier record of its VMID in its
	// cluster. UpdateVM changes the record of the VM with that uuid; false when
	// there is none. Others' changes come before or after it, whole; change may
	// be called more than once. VMRecord returns a record, false when there is
	// none; VMRecords lists a cluster's, by VMID. ForgetVM removes one; none is
	// fine.
	SaveVM(ctx context.Context, r VMRecord) error
	UpdateVM(ctx context.Context, cluster string, vmid int, uuid string, change func(*VMRecord)) (bool, error)
	VMRecord(ctx context.Context, cluster string, vmid int) (VMRecord, bool, error)
	VMRecords(ctx context.Context, cluster string) ([]VMRecord, error)
	ForgetVM(ctx context.Context, cluster string, vmid int) error

	// Audit adds a row; Seq, At, Prev and Hash are set by it. AuditRows yields
	// rows in order. VerifyAudit reads all of them and returns the last one, the
	// zero AuditRow when there is none; its error names the first row that was
	// changed, or is missing. Rows count as changed, too, that a filter would no
	// longer find, or find for another. kept is the hash of a row that somebody
	// wrote down, which must be among them; "": nobody did. Who can write to the
	// store can cut the log off, or make a new one, but not with that hash in it.
	Audit(ctx context.Context, r AuditRow) error
	AuditRows(ctx context.Context, f AuditFilter) iter.Seq2[AuditRow, error]
	VerifyAudit(ctx context.Context, kept string) (last AuditRow, err error)

	Switchboard

	// Probe writes something that nobody reads, as an order is written, and
	// tells why that does not work: an *Error with the cause in words, and what
	// helps. It is cheap, and may be called as often as people ask how the bot
	// is: an answer may be some seconds old.
	Probe(ctx context.Context) error

	// Prune deletes the events of jobs that came to rest before a time, and
	// inbox rows handled by then and roles that lapsed by then, in batches,
	// and returns how many events went. The jobs themselves stay.
	Prune(ctx context.Context, before time.Time) (int, error)

	// Close ends all followers and closes the database. Calls after it fail.
	Close() error
}

// Wanted are the jobs that a worker would take.
type Wanted struct {
	Cluster string   // the jobs' Order.Cluster
	Kinds   []string // of the jobs' specs; all when empty
	Begun   bool     // only jobs that a worker had before
}

// Lease is a worker's hold on a job. One goroutine uses it at a time.
type Lease struct {
	Job   Job // folded forward by Append, Reserve and Release; for reading only
	Owner string
	Epoch int64
}

// Signal is what Append tells beside success.
type Signal struct {
	Cancel *Actor // somebody asked for the job's end
}

// Vote is one person's answer at a gate.
type Vote struct {
	Job    JobID     `json:"job"`
	By     Actor     `json:"by"`
	Yes    bool      `json:"yes"`
	Digest string    `json:"digest,omitempty"` // of the plan that was shown; must equal the gate's
	At     time.Time `json:"at"`
	// As are the voter's roles among those of the gate, where it has several
	// requirements: the vote counts in all that they are in.
	As []string `json:"as,omitempty"`
	// Grants says what a yes gives away, "" when nobody counts it.
	Grants string `json:"grants,omitempty"`
	// Also are the voter's other identities: one person has one vote.
	Also []Actor `json:"-"`
}

// Resolution is a person's decision about a parked or failed job.
type Resolution struct {
	Job JobID
	By  Actor
	Do  Decision
}

// Decision is what becomes of a parked job.
type Decision string

// The decisions about a parked job.
const (
	Retry    Decision = "retry"     // go on at the failed step: queued again
	RollBack Decision = "roll_back" // undo all steps
	Keep     Decision = "keep"      // leave everything as it is, for debugging: failed
)

// Filter selects jobs; zero fields do not.
type Filter struct {
	States  []State
	Keys    []string // of their orders
	By      *Actor
	Cluster string
	VMID    int
	Limit   int   // default 100
	Before  JobID // only older ones, for paging
}

// CardRef is where a platform shows a job.
type CardRef struct {
	Job      JobID
	Platform string
	Ref      json.RawMessage // the adapter's own
	Shown    uint64          // the job's seq that the card shows
	Said     uint64          // the job's seq up to which the thread has been told
	Settled  bool            // the final state was shown
}

// Inbox is an interaction as it came in.
type Inbox struct {
	Platform, ID string
	Data         json.RawMessage
	At           time.Time
}

var (
	// ErrFenced: the job has another owner now.
	ErrFenced = errors.New("another worker owns the job")
	// ErrNothing: there is no job to claim.
	ErrNothing = errors.New("no job to claim")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrUnattended: nobody works for the cluster.
	ErrUnattended = errors.New("nobody works for this cluster")
	// ErrPruned: the events asked for are not kept any more.
	ErrPruned = errors.New("events were pruned")
)

// HeldError says that slots are taken, and by which job.
type HeldError struct {
	Pool, Slot string
	By         JobID // who has it, of the first of them; 0: it cools down
}

func (e *HeldError) Error() string {
	switch {
	case e.Slot == "":
		return "pool " + e.Pool + " has no slot to offer"
	case e.By == 0:
		return "slot " + e.Pool + "/" + e.Slot + " was freed a short while ago and cools down"
	}
	return "slot " + e.Pool + "/" + e.Slot + " is held by job " + e.By.String()
}

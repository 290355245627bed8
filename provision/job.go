package provision

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// JobID numbers jobs from 1 on, in the order in which a store got them.
type JobID int64

func (id JobID) String() string { return strconv.FormatInt(int64(id), 10) }

// State is where a job stands. The names are stored.
type State string

// The states of a job.
const (
	StateWaiting   State = "waiting"   // for votes
	StateQueued    State = "queued"    // for a worker
	StateRunning   State = "running"   // a worker has it
	StateParked    State = "parked"    // a step failed; people decide: retry, roll back or keep
	StateUndoing   State = "undoing"   // a worker undoes it, newest step first
	StateSucceeded State = "succeeded" // all steps are done
	StateFailed    State = "failed"    // undone, or kept as it was
	StateCancelled State = "cancelled" // by a person, a rejection or an expiry; undone
)

// moves are all allowed changes of state.
var moves = map[State][]State{
	"":             {StateWaiting, StateQueued},
	StateWaiting:   {StateQueued, StateCancelled},
	StateQueued:    {StateRunning, StateUndoing, StateCancelled},
	StateRunning:   {StateSucceeded, StateParked, StateUndoing, StateQueued, StateWaiting},
	StateParked:    {StateQueued, StateUndoing, StateFailed},
	StateUndoing:   {StateFailed, StateCancelled, StateParked, StateUndoing}, // the last: for another worker
	StateSucceeded: {},
	StateFailed:    {StateQueued},
	StateCancelled: {},
}

// Final reports whether a job in state s rests for good (a failed one may be
// tried again by a person).
func (s State) Final() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}

// Job is the fold of its events.
type Job struct {
	ID      JobID       `json:"id"`
	Order   Order       `json:"order"`
	State   State       `json:"state"`
	Steps   []StepState `json:"steps"` // the plan, frozen when the order was accepted
	Facts   Facts       `json:"facts"`
	Problem *Problem    `json:"problem,omitempty"` // why it is parked, undoing, failed or cancelled
	Votes   []Vote      `json:"votes,omitempty"`
	Claims  []Held      `json:"claims,omitempty"` // slots it needs from its first moment on
	Slots   []Held      `json:"slots,omitempty"`  // held now, Claims among them
	Freed   []Held      `json:"freed,omitempty"`  // held when it failed; a retry takes them again
	Seq     uint64      `json:"seq"`              // of the last event
	Created time.Time   `json:"created"`
	Started time.Time   `json:"started,omitzero"` // first time running
	Ended   time.Time   `json:"ended,omitzero"`   // when it came to rest

	// Decided is what somebody decided last when it had failed, like "rolled
	// back by bob".
	Decided string `json:"decided,omitempty"`

	// CancelAsked is kept beside the sequence: somebody wants it stopped.
	CancelAsked *Actor `json:"cancel_asked,omitempty"`
}

// Held is a slot that a job took.
type Held struct {
	Pool string `json:"pool"`
	Slot string `json:"slot"`
}

// Status is where a step stands. The names are stored.
type Status string

// The statuses of a step.
const (
	StepPending  Status = ""
	StepRunning  Status = "running"
	StepOK       Status = "done"
	StepBad      Status = "failed"
	StepUndoes   Status = "undoing"
	StepReverted Status = "undone"
)

// StepState is a step of a job as people see it. Name is what plans are
// resumed by; Phase groups steps.
type StepState struct {
	Phase    string    `json:"phase"`
	Name     string    `json:"name"`
	Status   Status    `json:"status,omitempty"`
	Text     string    `json:"text,omitempty"`     // progress, result or failure, in a few words
	Fraction float64   `json:"fraction,omitempty"` // 0 to 1, while running
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	// Tried says of a pending step that an earlier try began it.
	Tried bool `json:"tried,omitempty"`
}

// Touched reports whether the step was ever begun, and not undone since: there
// may be something to undo.
func (s StepState) Touched() bool {
	return s.Tried || s.Status != StepPending && s.Status != StepReverted
}

// Elapsed is how long the step took, or has been taking at now.
func (s StepState) Elapsed(now time.Time) time.Duration {
	if s.Started.IsZero() {
		return 0
	}
	if s.Ended.IsZero() {
		return max(0, now.Sub(s.Started))
	}
	return s.Ended.Sub(s.Started)
}

// Elapsed is how long the job took, or has been taking at now, since it was
// created.
func (j *Job) Elapsed(now time.Time) time.Duration {
	if !j.Ended.IsZero() {
		now = j.Ended
	}
	return max(0, now.Sub(j.Created))
}

// Step returns the state of the step called name, nil when the plan has none.
func (j *Job) Step(name string) *StepState {
	i := slices.IndexFunc(j.Steps, func(s StepState) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &j.Steps[i]
}

// Apply folds the next event into j. It fails on a hole in the sequence, on a
// move that the table of states forbids and on a step that the plan does not
// have; j is then as it was. What copies of j share with it is never changed.
func (j *Job) Apply(e Event) error {
	if e.Seq != j.Seq+1 {
		return fmt.Errorf("job %d: event %d after %d", j.ID, e.Seq, j.Seq)
	}
	if e.Step != "" && j.Step(e.Step) == nil {
		return fmt.Errorf("job %d: no step %q in its plan", j.ID, e.Step)
	}
	switch e.Kind {
	case JobAccepted:
		if e.Order == nil {
			return fmt.Errorf("job %d: accepted without an order", j.ID)
		}
		if err := j.move(e); err != nil {
			return err
		}
		j.ID, j.Order, j.Created = e.Job, *e.Order, e.At
		j.Steps = slices.Clone(e.Plan)
		j.Claims = slices.Clone(e.Claims)
		j.Slots = slices.Clone(e.Claims)
	case JobState:
		if err := j.move(e); err != nil {
			return err
		}
	case StepStarted, StepProgress, StepDone, StepFailed, StepUndoing, StepUndone:
		if e.Step == "" {
			return fmt.Errorf("job %d: %s without a step", j.ID, e.Kind)
		}
		j.Steps = slices.Clone(j.Steps)
		j.Step(e.Step).apply(e)
	case GateVoted:
		if e.By == nil {
			return fmt.Errorf("job %d: vote without a voter", j.ID)
		}
		j.Votes = append(slices.Clip(j.Votes), Vote{Job: j.ID, By: *e.By, Yes: e.Yes, At: e.At, As: e.As, Grants: e.Text})
	case FactsSet:
		if e.Facts != nil {
			j.Facts.merge(*e.Facts)
		}
	case SlotTaken:
		j.Slots = append(slices.Clip(j.Slots), Held{e.Pool, e.Slot})
	case SlotFreed:
		j.Slots = slices.DeleteFunc(slices.Clone(j.Slots), func(h Held) bool { return h == Held{e.Pool, e.Slot} })
	case StepLog:
	default:
		return fmt.Errorf("job %d: event of unknown kind %q", j.ID, e.Kind)
	}
	j.Seq = e.Seq
	return nil
}

func (j *Job) move(e Event) error {
	from := j.State
	if !slices.Contains(moves[from], e.State) {
		return fmt.Errorf("job %d: can't go from %q to %q", j.ID, from, e.State)
	}
	j.State = e.State
	switch {
	case e.State == StateQueued && (from == StateParked || from == StateFailed):
		if from == StateFailed {
			j.Slots, j.Freed = j.Freed, nil
		}
		j.rewind()
	case e.State == StateWaiting && from == StateRunning: // another plan, other votes
		j.Votes = nil
		if e.Order != nil {
			j.Order.Spec, j.Order.Gate = e.Order.Spec, e.Order.Gate
		}
		j.rewind()
	case e.State.Final():
		if e.State == StateFailed {
			j.Freed = j.Slots
		}
		j.Slots = nil
	}
	if (from == StateParked || from == StateFailed) && e.By != nil {
		j.Decided = e.Text
	}
	switch {
	case e.Err != nil:
		j.Problem = e.Err
	case e.State == StateQueued || e.State == StateSucceeded:
		j.Problem = nil
	}
	if e.State == StateRunning && j.Started.IsZero() {
		j.Started = e.At
	}
	j.Ended = time.Time{}
	if e.State.Final() {
		j.Ended = e.At
	}
	return nil
}

// rewind makes the steps that failed or were undone pending again, for a
// retry. A job that was undone starts from nothing: its facts are gone with
// its effects, and of its slots it needs only those it claims.
func (j *Job) rewind() {
	j.Steps = slices.Clone(j.Steps)
	undone := slices.ContainsFunc(j.Steps, func(s StepState) bool { return s.Status == StepReverted })
	for i, s := range j.Steps {
		if undone || s.Status != StepOK {
			j.Steps[i] = StepState{Phase: s.Phase, Name: s.Name, Tried: !undone && s.Touched()}
		}
	}
	if undone {
		j.Facts = Facts{}
		j.Slots = j.Claims
	}
}

func (s *StepState) apply(e Event) {
	switch e.Kind {
	case StepStarted:
		*s = StepState{Phase: s.Phase, Name: s.Name, Status: StepRunning, Started: e.At}
	case StepProgress:
		if e.Fraction != nil {
			s.Fraction = *e.Fraction
		}
	case StepDone:
		s.Status, s.Ended, s.Fraction = StepOK, e.At, 0
	case StepFailed:
		s.Status, s.Ended = StepBad, e.At
	case StepUndoing:
		s.Status = StepUndoes
	case StepUndone:
		s.Status, s.Tried = StepReverted, false
	}
	if e.Text != "" || e.Kind == StepDone {
		s.Text = e.Text
	}
}

// merge overwrites the fields of f that are not zero in g.
func (f *Facts) merge(g Facts) {
	overwrite(&f.Cluster, g.Cluster)
	overwrite(&f.VMID, g.VMID)
	overwrite(&f.IP, g.IP)
	overwrite(&f.Name, g.Name)
	overwrite(&f.Node, g.Node)
	overwrite(&f.Storage, g.Storage)
	overwrite(&f.CPU, g.CPU)
	overwrite(&f.UUID, g.UUID)
	overwrite(&f.Image, g.Image)
	overwrite(&f.Checksum, g.Checksum)
	overwrite(&f.Template, g.Template)
	overwrite(&f.ETag, g.ETag)
	overwrite(&f.Depot, g.Depot)
	overwrite(&f.User, g.User)
	overwrite(&f.BootID, g.BootID)
	overwrite(&f.HostKey, g.HostKey)
	overwrite(&f.Reboot, g.Reboot)
	overwrite(&f.Task, g.Task)
	overwrite(&f.Ran, g.Ran)
	overwrite(&f.Bytes, g.Bytes)
	overwrite(&f.Was, g.Was)
	overwrite(&f.Attempt, g.Attempt)
	overwrite(&f.Fixed, g.Fixed)
	overwrite(&f.InitDone, g.InitDone)
	overwrite(&f.Waited, g.Waited)
	overwrite(&f.Told, g.Told)
}

func overwrite[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

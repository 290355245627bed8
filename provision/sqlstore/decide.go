package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pvebot/provision"
)

// decide runs do on a job in a transaction. do returns the events that change
// it; none: it stays as it is, but for what do set in the row.
func (s *Store) decide(ctx context.Context, id provision.JobID, do func(*txn, *row) ([]provision.Event, error)) (provision.Job, error) {
	var r *row
	err := s.write(ctx, func(t *txn) error {
		var err error
		if r, err = t.load(ctx, id); err != nil {
			return err
		}
		evs, err := do(t, r)
		if err != nil {
			return err
		}
		return t.change(ctx, r, evs...)
	})
	if err != nil {
		return provision.Job{}, err
	}
	return r.job, nil
}

// Vote implements provision.Store.
func (s *Store) Vote(ctx context.Context, v provision.Vote) (provision.Job, error) {
	return s.decide(ctx, v.Job, func(t *txn, r *row) ([]provision.Event, error) {
		if err := mayVote(&r.job, v, t.now); err != nil {
			return nil, err
		}
		evs := []provision.Event{{Kind: provision.GateVoted, By: &v.By, Yes: v.Yes, As: v.As, Text: v.Grants}}
		with := provision.Job{Order: r.job.Order, Votes: append(slices.Clip(r.job.Votes), v)}
		switch {
		case !v.Yes:
			evs = append(evs, cancelled(&v.By, "rejected by "+v.By.String()))
		case len(with.Missing()) == 0:
			evs = append(evs, provision.Event{Kind: provision.JobState, State: provision.StateQueued, By: &v.By,
				Text: "approved by " + v.By.String()})
		}
		return evs, nil
	})
}

// mayVote reports why v does not count, as an *Error.
func mayVote(j *provision.Job, v provision.Vote, now time.Time) error {
	gate := j.Order.Gate
	switch {
	case gate == nil:
		return provision.Errorf(provision.NotFound, "job %d needs no approval", j.ID)
	case j.State != provision.StateWaiting:
		return provision.Errorf(provision.Conflict, "that came too late: job %d %s", j.ID, already(j))
	case !gate.Expires.IsZero() && !now.Before(gate.Expires):
		return provision.Errorf(provision.Conflict, "that came too late: the approval of job %d has expired", j.ID)
	case v.Digest != gate.Digest:
		return provision.Errorf(provision.Conflict, "the plan of job %d is another one by now than the one that was shown", j.ID)
	case v.Is(j.Order.By) && !gate.SoloOK:
		return provision.Errorf(provision.Denied, "somebody else has to approve job %d: who asks for it can't", j.ID)
	case slices.ContainsFunc(j.Votes, v.Same):
		return provision.Errorf(provision.Conflict, "you have voted on job %d already", j.ID)
	case j.Idle(v):
		return provision.Errorf(provision.Conflict, "job %d does not need your vote: it waits for %s", j.ID, provision.Waits(j.Missing()))
	}
	return nil
}

// already says where a job stands, to people who came too late.
func already(j *provision.Job) string {
	switch j.State {
	case provision.StateWaiting:
		return "waits for approval"
	case provision.StateQueued:
		return "is queued already"
	case provision.StateRunning:
		return "is running already"
	case provision.StateParked:
		return "has stopped at a failure and waits for a decision"
	case provision.StateUndoing:
		return "is being undone"
	case provision.StateSucceeded:
		return "is done"
	case provision.StateFailed:
		return "has failed"
	case provision.StateCancelled:
		return "was cancelled"
	}
	return "is " + string(j.State)
}

// cancelled is the end of a job that did nothing yet.
func cancelled(by *provision.Actor, why string) provision.Event {
	return provision.Event{Kind: provision.JobState, State: provision.StateCancelled, By: by,
		Err: &provision.Problem{Kind: provision.Cancelled, Say: why}}
}

// Cancel implements provision.Store.
func (s *Store) Cancel(ctx context.Context, id provision.JobID, by provision.Actor) (provision.Job, error) {
	return s.decide(ctx, id, func(t *txn, r *row) ([]provision.Event, error) {
		why := "cancelled by " + by.String()
		j := &r.job
		switch j.State {
		case provision.StateWaiting:
			return []provision.Event{cancelled(&by, why)}, nil
		case provision.StateQueued:
			if !touched(j) {
				return []provision.Event{cancelled(&by, why)}, nil
			}
		case provision.StateParked:
		case provision.StateRunning, provision.StateUndoing:
			if j.CancelAsked == nil {
				j.CancelAsked = &by
			}
			return nil, nil
		default:
			return nil, provision.Errorf(provision.Conflict, "job %d %s: there is nothing to cancel", id, already(j))
		}
		j.CancelAsked = &by
		return []provision.Event{{Kind: provision.JobState, State: provision.StateUndoing, By: &by, Text: why}}, nil
	})
}

// touched reports whether a step of j was ever started: there may be
// something to undo.
func touched(j *provision.Job) bool {
	return slices.ContainsFunc(j.Steps, provision.StepState.Touched)
}

// Resolve implements provision.Store.
func (s *Store) Resolve(ctx context.Context, d provision.Resolution) (provision.Job, error) {
	return s.decide(ctx, d.Job, func(t *txn, r *row) ([]provision.Event, error) {
		j := &r.job
		e := provision.Event{Kind: provision.JobState, By: &d.By}
		if j.State != provision.StateParked && (j.State != provision.StateFailed || d.Do != provision.Retry) {
			return nil, provision.Errorf(provision.Conflict, "job %d %s: there is nothing to decide", j.ID, already(j))
		}
		switch d.Do {
		case provision.Retry:
			e.State, e.Text = provision.StateQueued, "tried again by "+d.By.String()
			if err := t.retry(ctx, r); err != nil {
				return nil, err
			}
		case provision.RollBack:
			e.State, e.Text = provision.StateUndoing, "rolled back by "+d.By.String()
		case provision.Keep:
			e.State, e.Text = provision.StateFailed, "kept as it is by "+d.By.String()
		default:
			return nil, provision.Errorf(provision.Invalid, "there is no decision %q", d.Do)
		}
		return []provision.Event{e}, nil
	})
}

// retry makes a parked or failed job ready to be queued again.
func (t *txn) retry(ctx context.Context, r *row) error {
	j := &r.job
	for _, s := range j.Steps {
		// Some effects are gone and others are not: only an undo that goes
		// all the way leaves something to start from.
		if s.Status == provision.StepUndoes || s.Status == provision.StepReverted && j.State == provision.StateParked {
			return &provision.Error{Kind: provision.Conflict,
				Say: fmt.Sprintf("job %d is half undone and can't be tried again", j.ID), Try: "roll it back first"}
		}
	}
	j.CancelAsked = nil // it was about the earlier try
	if j.State != provision.StateFailed {
		return nil
	}
	want, err := slotsOfRetry(*j)
	if err != nil {
		return err
	}
	if err := t.take(ctx, j.ID, want); err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE cards SET settled = FALSE WHERE job = $1`, j.ID)
	return err
}

// slotsOfRetry are the slots that j will hold when it is queued again.
func slotsOfRetry(j provision.Job) ([]provision.Held, error) {
	err := j.Apply(provision.Event{Seq: j.Seq + 1, Kind: provision.JobState, State: provision.StateQueued})
	return j.Slots, err
}

// Sweep implements provision.Store.
func (s *Store) Sweep(ctx context.Context, patience time.Duration) (int, error) {
	moved := 0
	var ids []provision.JobID
	err := s.write(ctx, func(t *txn) error {
		if _, err := t.exec(ctx, `DELETE FROM slots WHERE job = 0 AND cooling_until <= $1`, micros(t.now)); err != nil {
			return err
		}
		var err error
		ids, err = scanAll[provision.JobID](t.query(ctx, `SELECT id FROM jobs WHERE (state = 'parked' AND updated <= $1)
			OR (state = 'waiting' AND due > 0 AND due <= $2) ORDER BY id`,
			micros(t.now.Add(-patience)), micros(t.now)))
		return err
	})
	for _, id := range ids {
		if err != nil {
			break
		}
		var e provision.Event
		var ok bool
		_, err = s.decide(ctx, id, func(t *txn, r *row) ([]provision.Event, error) {
			if e, ok = overdue(r, t.now, patience); ok {
				return []provision.Event{e}, nil
			}
			return nil, nil // somebody decided meanwhile
		})
		if b, unread := errors.AsType[*brokenJob](err); unread {
			s.skip(fmt.Sprintf("job %d", b.id), b.err)
			err = nil // the others' time runs out, too
			continue
		}
		if err == nil && ok {
			moved++
		}
	}
	return moved, err
}

// overdue is what becomes of r's job because nobody decided in time.
func overdue(r *row, now time.Time, patience time.Duration) (provision.Event, bool) {
	switch j := &r.job; {
	case j.State == provision.StateWaiting && due(j) > 0 && due(j) <= micros(now):
		return cancelled(nil, "nobody approved it in time"), true
	case j.State == provision.StateParked && r.updated <= micros(now.Add(-patience)):
		return provision.Event{Kind: provision.JobState, State: provision.StateUndoing,
			Text: fmt.Sprintf("nobody decided for %v", patience)}, true
	}
	return provision.Event{}, false
}

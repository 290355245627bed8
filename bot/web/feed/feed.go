package feed

import (
	"context"
	"errors"
	"iter"

	"pvebot/provision"
)

// Source is where events come from. A provision.Store is one.
type Source interface {
	Job(ctx context.Context, id provision.JobID) (provision.Job, error)
	Events(ctx context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error]
	Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error]
	Position(ctx context.Context) (provision.Position, error)
}

// errGap: the feed went past events of the job that were not seen yet.
var errGap = errors.New("gap in the feed")

// Job yields the events of one job with Seq > after, each once and in order,
// and ends when the job has come to rest. An error is the last thing that it
// yields: ctx's cause, or what the store says.
func Job(ctx context.Context, src Source, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		t := tail{src: src, id: id, after: after, yield: yield}
		if err := t.run(ctx); err != nil && !errors.Is(err, errLeft) {
			yield(provision.Event{}, err)
		}
	}
}

// errLeft: the reader wants no more.
var errLeft = errors.New("the reader left")

type tail struct {
	src   Source
	id    provision.JobID
	after uint64
	yield func(provision.Event, error) bool
}

// run returns nil once the job rests and all was seen.
func (t *tail) run(ctx context.Context) error {
	for {
		// The position is taken before the stored events are read: what comes
		// in between is in both, and see tells by Seq.
		pos, err := t.src.Position(ctx)
		if err != nil {
			return err
		}
		for ev, err := range t.src.Events(ctx, t.id, t.after) {
			if err == nil {
				err = t.see(ev)
			}
			if err != nil {
				return err
			}
		}
		job, err := t.src.Job(ctx, t.id)
		if err != nil {
			return err
		}
		if job.State.Final() && t.after >= job.Seq {
			return nil
		}
		if err := t.live(ctx, pos); !errors.Is(err, provision.ErrPruned) && !errors.Is(err, errGap) {
			return err
		}
	}
}

func (t *tail) live(ctx context.Context, pos provision.Position) error {
	for ev, err := range t.src.Follow(ctx, pos) {
		switch {
		case err != nil:
			return err
		case ev.Job != t.id || ev.Seq <= t.after:
			continue
		case ev.Seq > t.after+1:
			return errGap
		}
		if err := t.see(ev); err != nil {
			return err
		}
		if ev.Kind == provision.JobState && ev.State.Final() {
			return nil
		}
	}
	return context.Cause(ctx)
}

func (t *tail) see(ev provision.Event) error {
	if ev.Seq <= t.after {
		return nil
	}
	t.after = ev.Seq
	if !t.yield(ev, nil) {
		return errLeft
	}
	return nil
}

// Await returns the job once it has come to rest, or is parked: then people
// have to decide. The error is ctx's cause, or what the store says.
func Await(ctx context.Context, src Source, id provision.JobID) (provision.Job, error) {
	for ev, err := range Job(ctx, src, id, 0) {
		if err != nil {
			return provision.Job{}, err
		}
		if ev.Kind == provision.JobState && ev.State == provision.StateParked {
			if job, err := src.Job(ctx, id); err != nil || job.State == provision.StateParked {
				return job, err
			}
		}
	}
	return src.Job(ctx, id)
}

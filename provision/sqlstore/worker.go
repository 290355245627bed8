package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pvebot/provision"
)

// Submit implements provision.Store.
func (s *Store) Submit(ctx context.Context, o provision.Order, plan []provision.StepState, claims ...provision.Held) (provision.Job, error) {
	if o.Key == "" || o.Spec == nil {
		return provision.Job{}, errors.New("an order needs a key and a spec")
	}
	var job provision.Job
	err := s.write(ctx, func(t *txn) error {
		// The counter's lock makes submitters queue up, so that ids have no
		// holes and the order's key is looked up once.
		var id provision.JobID
		if err := t.queryRow(ctx,
			`UPDATE feed SET value = value + 1 WHERE name = 'jobs' RETURNING value`).Scan(&id); err != nil {
			return err
		}
		r, err := scanRow(t.queryRow(ctx, `SELECT `+columns+` FROM jobs WHERE order_key = $1`, o.Key).Scan)
		if err == nil {
			job = r.job
			return errKnown
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		job, err = t.submit(ctx, id, o, plan, claims)
		return err
	})
	if errors.Is(err, errKnown) {
		err = nil
	}
	if err != nil {
		return provision.Job{}, err
	}
	return job, nil
}

// errKnown ends the transaction of an order that was submitted before.
var errKnown = errors.New("the order is known")

func (t *txn) submit(ctx context.Context, id provision.JobID, o provision.Order, plan []provision.StepState, claims []provision.Held) (provision.Job, error) {
	if err := t.take(ctx, id, claims); err != nil {
		return provision.Job{}, err
	}
	state := provision.StateQueued
	if o.Gate != nil {
		state = provision.StateWaiting
	}
	stored, err := o.Stored()
	if err != nil {
		return provision.Job{}, err
	}
	if _, err := t.exec(ctx, `INSERT INTO jobs (id, order_key, cluster, kind, state, platform, actor, vmid, snapshot, seq, created, updated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '', 0, $8, $8)`,
		id, o.Key, o.Cluster, stored.Spec.Kind(), state, o.By.Platform, o.By.ID, micros(t.now)); err != nil {
		return provision.Job{}, err
	}
	r := &row{job: provision.Job{ID: id}}
	err = t.change(ctx, r, provision.Event{
		Kind: provision.JobAccepted, State: state, By: &o.By, Order: &o, Plan: plan, Claims: claims,
	})
	return r.job, err
}

// Claim implements provision.Store.
func (s *Store) Claim(ctx context.Context, owner string, w provision.Wanted) (*provision.Lease, error) {
	if owner == "" {
		return nil, errors.New("a lease needs an owner")
	}
	for {
		l, err := s.claim(ctx, owner, w)
		b, ok := errors.AsType[*brokenJob](err)
		if !ok {
			return l, err
		}
		s.leave(b)
	}
}

func (s *Store) claim(ctx context.Context, owner string, w provision.Wanted) (*provision.Lease, error) {
	var l *provision.Lease
	err := s.write(ctx, func(t *txn) error {
		where, args := s.claimable(w, micros(t.now))
		r, err := scanRow(t.queryRow(ctx, `SELECT `+columns+` FROM jobs
			WHERE lease_until <= $1 AND `+where+`
			ORDER BY id LIMIT 1`+s.dialect.skipLocked, args...).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return provision.ErrNothing
		}
		if err != nil {
			return err
		}
		r.owner, r.epoch, r.leaseUntil = owner, r.epoch+1, micros(t.now.Add(s.lease))
		var evs []provision.Event
		if r.job.State == provision.StateQueued {
			evs = append(evs, provision.Event{Kind: provision.JobState, State: provision.StateRunning})
		}
		l = &provision.Lease{Owner: owner, Epoch: r.epoch}
		err = t.change(ctx, r, evs...)
		l.Job = r.job
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// claimable is the condition for jobs that are w's to work on, leased or not,
// and the query's arguments: those that are given, and its own after them.
func (s *Store) claimable(w provision.Wanted, args ...any) (string, []any) {
	mark := func(arg any) string {
		args = append(args, arg)
		return fmt.Sprintf("$%d", len(args))
	}
	where := `state IN ('queued', 'running', 'undoing') AND cluster = ` + mark(w.Cluster)
	if len(w.Kinds) > 0 {
		marks := make([]string, len(w.Kinds))
		for i, kind := range w.Kinds {
			marks[i] = mark(kind)
		}
		where += ` AND kind IN (` + strings.Join(marks, ", ") + `)`
	}
	if w.Begun {
		where += ` AND epoch > 0`
	}
	return where + s.readable(mark), args
}

// Free implements provision.Store.
func (s *Store) Free(ctx context.Context, w provision.Wanted) (time.Duration, bool, error) {
	now, err := s.now(ctx)
	if err != nil {
		return 0, false, err
	}
	var until sql.NullInt64
	where, args := s.claimable(w)
	err = s.queryRow(ctx, `SELECT min(lease_until) FROM jobs WHERE `+where, args...).Scan(&until)
	if err != nil || !until.Valid {
		return 0, false, err
	}
	return max(0, time.UnixMicro(until.Int64).Sub(now)), true, nil
}

// Append implements provision.Store.
func (s *Store) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	if s.dialect.append != nil && !s.readOnly {
		sig, done, err := s.dialect.append(ctx, l, evs)
		if done || err != nil {
			return sig, err
		}
	}
	var r *row
	err := s.writeNow(ctx, func(t *txn) error {
		var err error
		if r, err = t.loadLeased(ctx, l); err != nil {
			return err
		}
		if r.epoch != l.Epoch {
			return provision.ErrFenced
		}
		if len(evs) > 0 && r.job.Seq > l.Job.Seq {
			known, err := t.earlier(ctx, l, evs)
			if err != nil || known && r.owner != l.Owner { // it gave the lease up
				return err
			}
			if known { // the caller takes the answer for a renewal
				r.hold(nil, t.now.Add(s.lease))
				return t.save(ctx, r)
			}
		}
		if r.owner != l.Owner {
			return provision.ErrFenced
		}
		r.hold(evs, t.now.Add(s.lease))
		return t.change(ctx, r, evs...)
	})
	if err != nil {
		return provision.Signal{}, s.explain(err)
	}
	l.Job = r.job
	return provision.Signal{Cancel: r.job.CancelAsked}, nil
}

// hold renews the lease until then, or gives it up if evs, which are not folded
// yet, say so: the job comes to rest, or is put down as it is.
func (r *row) hold(evs []provision.Event, until time.Time) {
	r.leaseUntil = micros(until)
	state := r.job.State
	for _, e := range evs {
		if e.State == "" {
			continue
		}
		if e.State == state || e.State != provision.StateRunning && e.State != provision.StateUndoing {
			r.owner, r.leaseUntil = "", 0
		}
		state = e.State
	}
}

// earlier reports whether an earlier try wrote evs, whose answer got lost.
func (t *txn) earlier(ctx context.Context, l *provision.Lease, evs []provision.Event) (bool, error) {
	for i := range evs {
		e := &evs[i]
		if e.ID == "" {
			return false, nil // never tried
		}
		seq := l.Job.Seq + uint64(i) + 1
		var id string
		var pos provision.Position
		var at int64
		err := t.queryRow(ctx, `SELECT id, pos, at FROM events WHERE job = $1 AND seq = $2`,
			l.Job.ID, seq).Scan(&id, &pos, &at)
		if errors.Is(err, sql.ErrNoRows) || err == nil && id != e.ID {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		e.Job, e.Seq, e.Pos, e.At = l.Job.ID, seq, pos, time.UnixMicro(at).UTC()
	}
	return true, nil
}

// Reserve implements provision.Store.
func (s *Store) Reserve(ctx context.Context, l *provision.Lease, pool string, slots ...string) (string, error) {
	var got string
	err := s.leased(ctx, l, func(t *txn, r *row) ([]provision.Event, error) {
		for _, h := range r.job.Slots {
			if h.Pool == pool && slices.Contains(slots, h.Slot) {
				got = h.Slot
				return nil, nil
			}
		}
		taken, err := scanTaken(t.query(ctx, takenQuery, pool, micros(t.now)))
		if err != nil {
			return nil, err
		}
		for _, slot := range slots {
			if _, ok := taken[slot]; ok {
				continue
			}
			ok, err := t.takeOne(ctx, r.job.ID, provision.Held{Pool: pool, Slot: slot})
			if err != nil {
				return nil, err
			}
			if ok {
				got = slot
				return []provision.Event{{Kind: provision.SlotTaken, Pool: pool, Slot: slot}}, nil
			}
		}
		if len(slots) == 0 {
			return nil, &provision.HeldError{Pool: pool}
		}
		return nil, &provision.HeldError{Pool: pool, Slot: slots[0], By: taken[slots[0]]}
	})
	if err != nil {
		return "", err
	}
	return got, nil
}

// Release implements provision.Store.
func (s *Store) Release(ctx context.Context, l *provision.Lease, pool, slot string, cooling time.Duration) error {
	return s.leased(ctx, l, func(t *txn, r *row) ([]provision.Event, error) {
		if !slices.Contains(r.job.Slots, provision.Held{Pool: pool, Slot: slot}) {
			return nil, nil
		}
		var err error
		if cooling > 0 {
			_, err = t.exec(ctx, `UPDATE slots SET job = 0, cooling_until = $3 WHERE pool = $1 AND slot = $2`,
				pool, slot, micros(t.now.Add(cooling)))
		} else {
			_, err = t.exec(ctx, `DELETE FROM slots WHERE pool = $1 AND slot = $2`, pool, slot)
		}
		return []provision.Event{{Kind: provision.SlotFreed, Pool: pool, Slot: slot}}, err
	})
}

// leased runs do for the lease holder, records the events it returns, renews
// the lease and folds l.Job forward. It does not wait for a database that is
// away: how long to try is the lease holder's matter.
func (s *Store) leased(ctx context.Context, l *provision.Lease, do func(*txn, *row) ([]provision.Event, error)) error {
	var r *row
	err := s.writeNow(ctx, func(t *txn) error {
		var err error
		if r, err = t.loadLeased(ctx, l); err != nil {
			return err
		}
		if r.epoch != l.Epoch || r.owner != l.Owner {
			return provision.ErrFenced
		}
		evs, err := do(t, r)
		if err != nil {
			return err
		}
		r.hold(nil, t.now.Add(s.lease))
		return t.change(ctx, r, evs...)
	})
	if err == nil {
		l.Job = r.job
	}
	return s.explain(err)
}

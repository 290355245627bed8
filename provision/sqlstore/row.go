package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"pvebot/provision"
)

// row is a job with what its table keeps beside the fold of its events.
type row struct {
	job        provision.Job // CancelAsked is the column cancel_by
	owner      string
	epoch      int64
	leaseUntil int64
	updated    int64 // when the last event was written
}

// columns are what scanRow reads, beside the snapshot what is kept there.
const (
	columns = `id, snapshot, ` + beside
	beside  = `owner, epoch, lease_until, cancel_by, updated`
)

func scanRow(scan func(...any) error) (*row, error) {
	var r row
	var id provision.JobID
	var snapshot, cancelBy string
	if err := scan(&id, &snapshot, &r.owner, &r.epoch, &r.leaseUntil, &cancelBy, &r.updated); err != nil {
		return nil, err
	}
	if err := r.decode(snapshot, cancelBy); err != nil {
		return nil, unreadable(id, err)
	}
	return &r, nil
}

// decode reads the job; without a snapshot, r has it already.
func (r *row) decode(snapshot, cancelBy string) error {
	if snapshot != "" {
		r.job = provision.Job{}
		if err := json.Unmarshal([]byte(snapshot), &r.job); err != nil {
			return fmt.Errorf("its snapshot: %w", err)
		}
	}
	r.job.CancelAsked = nil
	if cancelBy != "" {
		if err := json.Unmarshal([]byte(cancelBy), &r.job.CancelAsked); err != nil {
			return fmt.Errorf("who cancelled it: %w", err)
		}
	}
	return nil
}

// load reads a job and locks it.
func (t *txn) load(ctx context.Context, id provision.JobID) (*row, error) {
	r, err := scanRow(t.queryRow(ctx,
		`SELECT `+columns+` FROM jobs WHERE id = $1`+t.s.dialect.forUpdate, id).Scan)
	return r, orNotFound(err, id)
}

// loadLeased is load for whoever holds l: a lease holder mostly knows the job as
// it is, and then its snapshot, which is long, is not read.
func (t *txn) loadLeased(ctx context.Context, l *provision.Lease) (*row, error) {
	r := &row{job: l.Job}
	var snapshot, cancelBy string
	err := t.queryRow(ctx,
		`SELECT CASE WHEN seq = $2 THEN '' ELSE snapshot END, `+beside+` FROM jobs WHERE id = $1`+t.s.dialect.forUpdate, l.Job.ID, l.Job.Seq).
		Scan(&snapshot, &r.owner, &r.epoch, &r.leaseUntil, &cancelBy, &r.updated)
	if err == nil {
		if err = r.decode(snapshot, cancelBy); err != nil {
			err = unreadable(l.Job.ID, err)
		}
	}
	return r, orNotFound(err, l.Job.ID)
}

func orNotFound(err error, id provision.JobID) error {
	if errors.Is(err, sql.ErrNoRows) {
		return provision.Errorf(provision.NotFound, "there is no job %d", id)
	}
	return err
}

// save stores r as it is now.
func (t *txn) save(ctx context.Context, r *row) error {
	snapshot, cancelBy, err := r.encode()
	if err != nil {
		return err
	}
	j := &r.job
	_, err = t.exec(ctx, `UPDATE jobs SET state = $2, vmid = $3, snapshot = $4, seq = $5, owner = $6,
		epoch = $7, lease_until = $8, cancel_by = $9, due = $10, updated = $11 WHERE id = $1`,
		j.ID, j.State, j.Facts.VMID, snapshot, j.Seq, r.owner,
		r.epoch, r.leaseUntil, cancelBy, due(j), r.updated)
	return err
}

// encode is r's job as it is stored.
func (r *row) encode() (snapshot, cancelBy string, err error) {
	j := r.job
	if j.Order, err = j.Order.Stored(); err != nil {
		return "", "", err
	}
	if j.CancelAsked != nil {
		by, err := json.Marshal(j.CancelAsked)
		if err != nil {
			return "", "", err
		}
		cancelBy, j.CancelAsked = string(by), nil
	}
	text, err := json.Marshal(j)
	return string(text), cancelBy, err
}

// due is when the job's time runs out by its own rules.
func due(j *provision.Job) int64 {
	if j.State == provision.StateWaiting && j.Order.Gate != nil {
		return micros(j.Order.Gate.Expires)
	}
	return 0
}

// fold folds evs into r's job as its next events, fills in what the store sets
// in them, all but their positions, and returns their stored form.
func (r *row) fold(now time.Time, evs []provision.Event) (data []string, err error) {
	data = make([]string, len(evs))
	for i := range evs {
		e := &evs[i]
		if e.ID == "" {
			e.ID = rand.Text()
		}
		e.Job, e.Seq, e.Pos, e.At = r.job.ID, r.job.Seq+1, 0, now
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		// What is folded is what readers will see.
		var stored provision.Event
		if err := json.Unmarshal(text, &stored); err != nil {
			return nil, fmt.Errorf("an event that would not survive being stored: %w", err)
		}
		if err := r.job.Apply(stored); err != nil {
			return nil, err
		}
		data[i] = string(text)
	}
	return data, nil
}

// record folds evs into r's job and writes them to the feed. r is to be saved
// after it. No other lock may be taken after it: positions must become visible
// in their order.
func (t *txn) record(ctx context.Context, r *row, evs ...provision.Event) error {
	if len(evs) == 0 {
		return nil
	}
	data, err := r.fold(t.now, evs)
	if err != nil {
		return err
	}
	var last provision.Position
	if err := t.queryRow(ctx, t.s.dialect.advance, len(evs)).Scan(&last); err != nil {
		return err
	}
	for i := range evs {
		e := &evs[i]
		e.Pos = last - provision.Position(len(evs)-1-i)
		if _, err := t.exec(ctx, `INSERT INTO events (pos, job, seq, id, at, kind, data)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			e.Pos, e.Job, e.Seq, e.ID, micros(e.At), e.Kind, data[i]); err != nil {
			return err
		}
	}
	r.updated = micros(t.now)
	t.wrote = true
	return nil
}

// freeSlots frees all slots of a job.
func (t *txn) freeSlots(ctx context.Context, id provision.JobID) error {
	_, err := t.exec(ctx, `DELETE FROM slots WHERE job = $1`, id)
	return err
}

// take takes slots for a job, all or none of them: *HeldError.
func (t *txn) take(ctx context.Context, id provision.JobID, slots []provision.Held) error {
	for _, h := range slots {
		ok, err := t.takeOne(ctx, id, h)
		if err != nil {
			return err
		}
		if !ok {
			by, err := t.holder(ctx, h)
			if err != nil {
				return err
			}
			return &provision.HeldError{Pool: h.Pool, Slot: h.Slot, By: by}
		}
	}
	return nil
}

// takeOne takes a slot that is free, or the job's already.
func (t *txn) takeOne(ctx context.Context, id provision.JobID, h provision.Held) (bool, error) {
	res, err := t.exec(ctx, `INSERT INTO slots (pool, slot, job) VALUES ($1, $2, $3)
		ON CONFLICT (pool, slot) DO UPDATE SET job = excluded.job, cooling_until = 0
		WHERE slots.job = excluded.job OR (slots.job = 0 AND slots.cooling_until <= $4)`,
		h.Pool, h.Slot, id, micros(t.now))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// holder is the job that holds a slot, 0 when it cools down.
func (t *txn) holder(ctx context.Context, h provision.Held) (by provision.JobID, err error) {
	err = t.queryRow(ctx, `SELECT job FROM slots WHERE pool = $1 AND slot = $2`, h.Pool, h.Slot).Scan(&by)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil // freed a moment ago
	}
	return by, err
}

// change records evs and what goes with them, and saves r.
func (t *txn) change(ctx context.Context, r *row, evs ...provision.Event) error {
	if slices.ContainsFunc(evs, func(e provision.Event) bool { return e.State.Final() }) {
		if err := t.freeSlots(ctx, r.job.ID); err != nil {
			return err
		}
	}
	if err := t.record(ctx, r, evs...); err != nil {
		return err
	}
	return t.save(ctx, r)
}

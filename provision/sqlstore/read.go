package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"pvebot/provision"
)

// page is how many events are read at once.
const page = 500

// scanAll reads rows of one column.
func scanAll[T any](rows *sql.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// Job implements provision.Store.
func (s *Store) Job(ctx context.Context, id provision.JobID) (provision.Job, error) {
	r, err := scanRow(s.queryRow(ctx, `SELECT `+columns+` FROM jobs WHERE id = $1`, id).Scan)
	if broken, ok := errors.AsType[*brokenJob](err); ok {
		return s.standIn(ctx, broken)
	}
	if err != nil {
		return provision.Job{}, orNotFound(err, id)
	}
	return r.job, nil
}

// Jobs implements provision.Store.
func (s *Store) Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error) {
	var where []string
	var args []any
	and := func(cond string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	among := func(column string, n int, value func(int) any) {
		marks := make([]string, n)
		for i := range marks {
			args = append(args, value(i))
			marks[i] = fmt.Sprintf("$%d", len(args))
		}
		if n > 0 {
			where = append(where, column+" IN ("+strings.Join(marks, ", ")+")")
		}
	}
	among("state", len(f.States), func(i int) any { return f.States[i] })
	among("order_key", len(f.Keys), func(i int) any { return f.Keys[i] })
	if f.By != nil {
		and("platform = $%d", f.By.Platform)
		and("actor = $%d", f.By.ID)
	}
	if f.Cluster != "" {
		and("cluster = $%d", f.Cluster)
	}
	if f.VMID != 0 {
		and("vmid = $%d", f.VMID)
	}
	if f.Before != 0 {
		and("id < $%d", f.Before)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	query := `SELECT ` + columns + ` FROM jobs`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	args = append(args, f.Limit)
	query += fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args))

	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	jobs, broken, err := readJobs(rows)
	for i, b := range broken {
		if err == nil {
			jobs[i], err = s.standIn(ctx, b)
		}
	}
	return jobs, err
}

// readJobs reads rows, and closes them. Of those that can't be read broken has
// why, by their place.
func readJobs(rows *sql.Rows) (jobs []provision.Job, broken map[int]*brokenJob, err error) {
	defer rows.Close()
	broken = map[int]*brokenJob{}
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if b, ok := errors.AsType[*brokenJob](err); ok {
			broken[len(jobs)] = b
			r = &row{}
		} else if err != nil {
			return nil, nil, err
		}
		jobs = append(jobs, r.job)
	}
	return jobs, broken, rows.Err()
}

// Events implements provision.Store.
func (s *Store) Events(ctx context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		job, err := s.Job(ctx, id)
		for err == nil && after < job.Seq {
			var evs []provision.Event
			evs, err = s.events(ctx, `job = $1 AND seq > $2 ORDER BY seq`, id, after)
			if err == nil && (len(evs) == 0 || evs[0].Seq != after+1) {
				err = provision.ErrPruned
			}
			for _, e := range evs {
				if err != nil {
					break
				}
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
		}
		if err != nil {
			yield(provision.Event{}, err)
		}
	}
}

// events reads one page of events.
func (s *Store) events(ctx context.Context, where string, args ...any) ([]provision.Event, error) {
	rows, err := s.query(ctx, fmt.Sprintf(`SELECT pos, job, seq, id, at, data FROM events WHERE %s LIMIT %d`, where, page), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var evs []provision.Event
	for rows.Next() {
		var c provision.Event // what the columns have
		var at int64
		var data []byte
		if err := rows.Scan(&c.Pos, &c.Job, &c.Seq, &c.ID, &at, &data); err != nil {
			return nil, err
		}
		var e provision.Event
		if err := json.Unmarshal(data, &e); err != nil {
			s.skip(fmt.Sprintf("event %d", c.Pos), err)
			e = c
			e.Kind, e.At, e.Text = provision.StepLog, time.UnixMicro(at).UTC(), "(what the store has of this event can't be read)"
		}
		e.Pos = c.Pos
		evs = append(evs, e)
	}
	return evs, rows.Err()
}

// Position implements provision.Store.
func (s *Store) Position(ctx context.Context) (provision.Position, error) {
	return s.counter(ctx, "pos")
}

// counter reads a counter of the feed.
func (s *Store) counter(ctx context.Context, name string) (pos provision.Position, err error) {
	err = s.queryRow(ctx, `SELECT value FROM feed WHERE name = $1`, name).Scan(&pos)
	return pos, err
}

// now is the time by the store's clock.
func (s *Store) now(ctx context.Context) (now time.Time, err error) {
	err = s.patiently(ctx, func() error { now, err = s.dialect.now(ctx, s.reads); return err })
	return now, s.closedOr(err)
}

// Held implements provision.Store.
func (s *Store) Held(ctx context.Context, pool string) (map[string]provision.JobID, error) {
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	return scanTaken(s.query(ctx, takenQuery, pool, micros(now)))
}

// takenQuery finds the slots of pool $1 that are held, or cooling at $2.
const takenQuery = `SELECT slot, job FROM slots WHERE pool = $1 AND (job <> 0 OR cooling_until > $2)`

func scanTaken(rows *sql.Rows, err error) (map[string]provision.JobID, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	taken := make(map[string]provision.JobID)
	for rows.Next() {
		var slot string
		var job provision.JobID
		if err := rows.Scan(&slot, &job); err != nil {
			return nil, err
		}
		taken[slot] = job
	}
	return taken, rows.Err()
}

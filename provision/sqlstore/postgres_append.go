package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"pvebot/provision"
)

// appendQuery is Append in one statement, and so in one round trip: fence,
// the job's row, positions and events. The feed's row is locked after the
// job's, as everywhere.
const appendQuery = `WITH u AS (
	UPDATE jobs SET state = $5, vmid = $6, snapshot = $7, seq = $4 + $8, updated = $9, due = $10,
		owner = CASE WHEN $11 THEN '' ELSE owner END,
		lease_until = CASE WHEN $11 THEN 0 ELSE ` + microsNow + ` + $12 END
	WHERE id = $1 AND epoch = $2 AND owner = $3 AND seq = $4
	RETURNING cancel_by
), f AS (
	UPDATE feed SET value = value + $8 FROM u WHERE name = 'pos' RETURNING value
), i AS (
	INSERT INTO events (pos, job, seq, id, at, kind, data)
	SELECT f.value - $8 + e.n, $1, $4 + e.n, e.id, $9, e.kind, e.data
	FROM f, unnest($13::text[], $14::text[], $15::text[]) WITH ORDINALITY AS e (id, kind, data, n)
)
SELECT u.cancel_by, f.value FROM u, f, pg_notify('` + channel + `', '')`

// renewQuery is Append without events.
const renewQuery = `UPDATE jobs SET lease_until = ` + microsNow + ` + $5
	WHERE id = $1 AND epoch = $2 AND owner = $3 AND seq = $4 RETURNING cancel_by, 0`

// appendAtOnce is Append as one statement, for the usual case: the lease
// holder knows the job as it is, and goes on with it. In all others done is
// false, nothing was written, and a transaction has to look closer.
func (s *Store) appendAtOnce(ctx context.Context, l *provision.Lease, evs []provision.Event) (sig provision.Signal, done bool, err error) {
	if slices.ContainsFunc(evs, func(e provision.Event) bool { return e.State.Final() }) {
		return sig, false, nil // slots are to be freed
	}
	r := &row{job: l.Job, owner: l.Owner, epoch: l.Epoch}
	now := s.guess.at(s.clock.Now()).Add(s.skew()).UTC().Truncate(time.Microsecond)
	r.hold(evs, now)
	data, err := r.fold(now, evs)
	if err != nil {
		return sig, false, nil // the transaction says so, about the job as it is stored
	}
	lease := (s.lease + s.skew()).Microseconds()
	query, args := renewQuery, []any{l.Job.ID, l.Epoch, l.Owner, l.Job.Seq, lease}
	if len(evs) > 0 {
		snapshot, _, err := r.encode()
		if err != nil {
			return sig, false, err
		}
		ids, kinds := make([]string, len(evs)), make([]string, len(evs))
		for i, e := range evs {
			ids[i], kinds[i] = e.ID, string(e.Kind)
		}
		query, args = appendQuery, []any{
			l.Job.ID, l.Epoch, l.Owner, l.Job.Seq, r.job.State, r.job.Facts.VMID, snapshot, len(evs),
			micros(now), due(&r.job), r.owner == "", lease, ids, kinds, data,
		}
	}
	var cancelBy string
	var last provision.Position
	err = s.db.QueryRowContext(ctx, query, args...).Scan(&cancelBy, &last)
	if errors.Is(err, sql.ErrNoRows) || err != nil && s.dialect.retry(err) {
		return sig, false, nil
	}
	if err != nil {
		return sig, false, s.closedOr(err)
	}
	for i := range evs {
		evs[i].Pos = last - provision.Position(len(evs)-1-i)
	}
	r.job.CancelAsked = nil
	if cancelBy != "" {
		if err := json.Unmarshal([]byte(cancelBy), &r.job.CancelAsked); err != nil {
			return sig, false, err
		}
	}
	if len(evs) > 0 {
		s.hub.poke()
	}
	l.Job = r.job
	return provision.Signal{Cancel: r.job.CancelAsked}, true, nil
}

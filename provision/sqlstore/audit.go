package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"pvebot/provision"
)

// auditPage is how many audit rows are read at once.
const auditPage = 500

// Audit implements provision.Store.
func (s *Store) Audit(ctx context.Context, r provision.AuditRow) error {
	return s.write(ctx, func(t *txn) error {
		// The counter's lock makes writers queue up, so that the chain has
		// one end.
		if err := t.queryRow(ctx, `UPDATE feed SET value = value + 1 WHERE name = 'audit' RETURNING value`).Scan(&r.Seq); err != nil {
			return err
		}
		r.At, r.Prev = t.now, ""
		if r.Seq > 1 {
			if err := t.queryRow(ctx, `SELECT hash FROM audit WHERE seq = $1`, r.Seq-1).Scan(&r.Prev); err != nil {
				return fmt.Errorf("audit row %d: %w", r.Seq-1, err)
			}
		}
		r.Hash = r.Sum()
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO audit (seq, platform, actor, cluster, vmid, job, hash, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			r.Seq, r.By.Platform, r.By.ID, r.Cluster, r.VMID, r.Job, r.Hash, string(data))
		return err
	})
}

// AuditRows implements provision.Store.
func (s *Store) AuditRows(ctx context.Context, f provision.AuditFilter) iter.Seq2[provision.AuditRow, error] {
	return func(yield func(provision.AuditRow, error) bool) {
		if f.Limit > 0 {
			rows, err := s.auditPage(ctx, f, "DESC", f.Limit)
			slices.Reverse(rows)
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
			if err != nil {
				yield(provision.AuditRow{}, err)
			}
			return
		}
		for {
			rows, err := s.auditPage(ctx, f, "ASC", auditPage)
			if err != nil {
				yield(provision.AuditRow{}, err)
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
				f.After = r.Seq
			}
			if len(rows) < auditPage {
				return
			}
		}
	}
}

func (s *Store) auditPage(ctx context.Context, f provision.AuditFilter, order string, limit int) ([]provision.AuditRow, error) {
	query, args := sealedQuery, []any{f.After}
	where := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = fmt.Sprintf(condition, len(args))
		}
		query += condition
	}
	if f.By != nil {
		where(` AND platform = $%d`, f.By.Platform)
		where(` AND actor = $%d`, f.By.ID)
	}
	if f.Cluster != "" {
		where(` AND cluster IN ($%d, '')`, f.Cluster)
	}
	if f.VMID != 0 {
		where(` AND vmid = $%d`, f.VMID)
	}
	if f.Job != 0 {
		where(` AND job = $%d`, f.Job)
	}
	query += ` ORDER BY seq ` + order
	where(` LIMIT $%d`, limit)
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	sealed, err := readSealed(rows)
	all := make([]provision.AuditRow, len(sealed))
	for i, r := range sealed {
		if r.broken != nil {
			s.skip(fmt.Sprintf("audit row %d", r.seq), r.broken)
			r.AuditRow = r.standIn()
		}
		all[i] = r.AuditRow
	}
	return all, err
}

// VerifyAudit implements provision.Store.
func (s *Store) VerifyAudit(ctx context.Context, kept string) (last provision.AuditRow, err error) {
	found := kept == ""
	for {
		rows, err := s.sealed(ctx, last.Seq)
		if err != nil {
			return last, err
		}
		for _, r := range rows {
			if err := r.follows(last); err != nil {
				return last, err
			}
			last, found = r.AuditRow, found || r.Hash == kept
		}
		if len(rows) < auditPage {
			break
		}
	}
	written, err := s.counter(ctx, "audit")
	switch {
	case err != nil:
		return last, err
	case int64(written) != last.Seq:
		return last, fmt.Errorf("audit rows after %d are missing", last.Seq)
	case !found:
		return last, fmt.Errorf("no audit row has the hash that was kept, %s: the log was cut off, or made anew", kept)
	}
	return last, nil
}

// sealedRow is an audit row with what its columns have, by which it is found.
type sealedRow struct {
	provision.AuditRow
	seq                            int64
	platform, actor, cluster, hash string
	vmid                           int
	job                            provision.JobID
	broken                         error // why the row itself can't be read
}

// standIn is the row as its columns have it.
func (r sealedRow) standIn() provision.AuditRow {
	return provision.AuditRow{
		Seq: r.seq, By: provision.Actor{Platform: r.platform, ID: r.actor}, What: "unreadable", VMID: r.vmid, Job: r.job,
		Cluster: r.cluster, Result: fmt.Sprintf(brokenSay, "this row"), Hash: r.hash,
	}
}

// follows reports why r is not the row that was written after last.
func (r sealedRow) follows(last provision.AuditRow) error {
	switch {
	case r.seq != last.Seq+1:
		return fmt.Errorf("audit row %d is missing", last.Seq+1)
	case r.broken != nil:
		return fmt.Errorf("audit row %d was changed: %w", r.seq, r.broken)
	case r.Seq != r.seq || r.Prev != last.Hash || r.Hash != r.Sum():
		return fmt.Errorf("audit row %d was changed", r.seq)
	}
	for _, column := range []struct {
		name string
		same bool
	}{
		{"platform", r.platform == r.By.Platform}, {"actor", r.actor == r.By.ID}, {"cluster", r.cluster == r.Cluster},
		{"vmid", r.vmid == r.VMID}, {"job", r.job == r.Job}, {"hash", r.hash == r.Hash},
	} {
		if !column.same {
			return fmt.Errorf("audit row %d was changed: its column %s is not what the row says, so that searches miss it", r.seq, column.name)
		}
	}
	return nil
}

// sealedQuery is what readSealed reads, after a row.
const sealedQuery = `SELECT seq, platform, actor, cluster, vmid, job, hash, data FROM audit WHERE seq > $1`

// sealed reads a page of audit rows after one.
func (s *Store) sealed(ctx context.Context, after int64) ([]sealedRow, error) {
	rows, err := s.query(ctx, sealedQuery+` ORDER BY seq LIMIT $2`, after, auditPage)
	if err != nil {
		return nil, err
	}
	return readSealed(rows)
}

// readSealed reads rows, and closes them.
func readSealed(rows *sql.Rows) ([]sealedRow, error) {
	defer rows.Close()
	var all []sealedRow
	for rows.Next() {
		var r sealedRow
		var data string
		if err := rows.Scan(&r.seq, &r.platform, &r.actor, &r.cluster, &r.vmid, &r.job, &r.hash, &data); err != nil {
			return nil, err
		}
		r.broken = json.Unmarshal([]byte(data), &r.AuditRow)
		all = append(all, r)
	}
	return all, rows.Err()
}

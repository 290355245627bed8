package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"pvebot/provision"
)

// SaveVM implements provision.Store.
func (s *Store) SaveVM(ctx context.Context, r provision.VMRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `INSERT INTO vms (cluster, vmid, data) VALUES ($1, $2, $3)
			ON CONFLICT (cluster, vmid) DO UPDATE SET data = excluded.data`, r.Cluster, r.VMID, string(data))
		return err
	})
}

// UpdateVM implements provision.Store.
func (s *Store) UpdateVM(ctx context.Context, cluster string, vmid int, uuid string, change func(*provision.VMRecord)) (known bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		r, found, err := scanVM(t.queryRow(ctx, `SELECT data FROM vms WHERE cluster = $1 AND vmid = $2`+s.dialect.forUpdate, cluster, vmid))
		if known = err == nil && found && r.UUID == uuid; !known {
			return err
		}
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE vms SET data = $3 WHERE cluster = $1 AND vmid = $2`, cluster, vmid, string(data))
		return err
	})
	return known && err == nil, err
}

// VMRecord implements provision.Store.
func (s *Store) VMRecord(ctx context.Context, cluster string, vmid int) (r provision.VMRecord, known bool, err error) {
	return scanVM(s.queryRow(ctx, `SELECT data FROM vms WHERE cluster = $1 AND vmid = $2`, cluster, vmid))
}

// scanVM reads a record, if there is one.
func scanVM(row answer) (r provision.VMRecord, known bool, err error) {
	var data string
	err = row.Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(data), &r)
	}
	return r, err == nil, err
}

// VMRecords implements provision.Store.
func (s *Store) VMRecords(ctx context.Context, cluster string) ([]provision.VMRecord, error) {
	rows, err := s.query(ctx, `SELECT data FROM vms WHERE cluster = $1 ORDER BY vmid`, cluster)
	if err != nil {
		return nil, err
	}
	return collect[provision.VMRecord](rows)
}

// collect reads rows of one column of JSON, and closes them.
func collect[T any](rows *sql.Rows) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		var data string
		if err := rows.Scan(&data); err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// ForgetVM implements provision.Store.
func (s *Store) ForgetVM(ctx context.Context, cluster string, vmid int) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `DELETE FROM vms WHERE cluster = $1 AND vmid = $2`, cluster, vmid)
		return err
	})
}

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

// auditPage is how many audit rows are read at once.
const auditPage = 500

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
	query, args := `SELECT data FROM audit WHERE seq > $1`, []any{f.After}
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
	return collect[provision.AuditRow](rows)
}

// VerifyAudit implements provision.Store.
func (s *Store) VerifyAudit(ctx context.Context) (int64, error) {
	var n int64
	var prev string
	for r, err := range s.AuditRows(ctx, provision.AuditFilter{}) {
		switch {
		case err != nil:
			return n, err
		case r.Seq != n+1:
			return n, fmt.Errorf("audit row %d is missing", n+1)
		case r.Prev != prev || r.Hash != r.Sum():
			return n, fmt.Errorf("audit row %d was changed", r.Seq)
		}
		n, prev = r.Seq, r.Hash
	}
	written, err := s.counter(ctx, "audit")
	if err == nil && int64(written) != n {
		err = fmt.Errorf("audit rows after %d are missing", n)
	}
	return n, err
}

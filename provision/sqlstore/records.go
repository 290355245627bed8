package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

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

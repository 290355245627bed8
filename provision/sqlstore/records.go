package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

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
		r, found, err := scanVM(cluster, vmid, t.queryRow(ctx, `SELECT data FROM vms WHERE cluster = $1 AND vmid = $2`+s.dialect.forUpdate, cluster, vmid))
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
	return scanVM(cluster, vmid, s.queryRow(ctx, `SELECT data FROM vms WHERE cluster = $1 AND vmid = $2`, cluster, vmid))
}

// scanVM reads a record, if there is one.
func scanVM(cluster string, vmid int, row answer) (r provision.VMRecord, known bool, err error) {
	var data string
	err = row.Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		return provision.VMRecord{}, false, &provision.Error{
			Kind: provision.Failed, Say: fmt.Sprintf(brokenSay, fmt.Sprintf("VM %d", vmid)) + ": whose it is, and how long it lives",
			Try: fmt.Sprintf("restore a backup of the store, or take the row out (DELETE FROM vms WHERE cluster = '%s' AND vmid = %d) and adopt the VM again", cluster, vmid), Err: err,
		}
	}
	return r, true, nil
}

// VMRecords implements provision.Store.
func (s *Store) VMRecords(ctx context.Context, cluster string) ([]provision.VMRecord, error) {
	rows, err := s.query(ctx, `SELECT vmid, data FROM vms WHERE cluster = $1 ORDER BY vmid`, cluster)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []provision.VMRecord
	for rows.Next() {
		var vmid int
		var data string
		if err := rows.Scan(&vmid, &data); err != nil {
			return nil, err
		}
		var r provision.VMRecord
		if err := json.Unmarshal([]byte(data), &r); err != nil {
			s.skip(fmt.Sprintf("VM %d of %s", vmid, cluster), err)
			r = provision.VMRecord{Cluster: cluster, VMID: vmid, Owner: provision.Actor{Name: "unreadable"}} // nobody's, and without an end
		}
		all = append(all, r)
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

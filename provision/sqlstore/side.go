package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"pvebot/provision"
)

// What is kept beside the jobs' sequences: card refs, inbox and roles.

// SetCard implements provision.Store.
func (s *Store) SetCard(ctx context.Context, c provision.CardRef) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `INSERT INTO cards (platform, job, ref, shown, said, settled) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (platform, job) DO UPDATE SET ref = excluded.ref, shown = excluded.shown,
			said = excluded.said, settled = excluded.settled`,
			c.Platform, c.Job, string(c.Ref), c.Shown, c.Said, c.Settled)
		return err
	})
}

const cardColumns = `job, platform, ref, shown, said, settled`

func scanCard(scan func(...any) error) (c provision.CardRef, err error) {
	var ref string
	err = scan(&c.Job, &c.Platform, &ref, &c.Shown, &c.Said, &c.Settled)
	if ref != "" {
		c.Ref = json.RawMessage(ref)
	}
	return c, err
}

// Cards implements provision.Store.
func (s *Store) Cards(ctx context.Context, platform string) ([]provision.CardRef, error) {
	rows, err := s.query(ctx, `SELECT `+cardColumns+` FROM cards
		WHERE platform = $1 AND NOT settled ORDER BY job`, platform)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var cards []provision.CardRef
	for rows.Next() {
		c, err := scanCard(rows.Scan)
		if err != nil {
			return nil, err
		}
		cards = append(cards, c)
	}
	return cards, rows.Err()
}

// Card implements provision.Store.
func (s *Store) Card(ctx context.Context, platform string, id provision.JobID) (provision.CardRef, bool, error) {
	c, err := scanCard(s.queryRow(ctx, `SELECT `+cardColumns+` FROM cards
		WHERE platform = $1 AND job = $2`, platform, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return provision.CardRef{}, false, nil
	}
	if err != nil {
		return provision.CardRef{}, false, err
	}
	return c, true, nil
}

// Accept implements provision.Store.
func (s *Store) Accept(ctx context.Context, m provision.Inbox) (bool, error) {
	var n int64
	tries := 0
	err := s.write(ctx, func(t *txn) error {
		tries++
		at := m.At
		if at.IsZero() {
			at = t.now
		}
		res, err := t.exec(ctx, `INSERT INTO inbox (platform, id, data, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (platform, id) DO NOTHING`, m.Platform, m.ID, string(m.Data), micros(at))
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	// What a second try finds was most likely written by the first, and an
	// interaction is better handled twice, as one order, than never.
	return n > 0 || tries > 1, err
}

// Handled implements provision.Store.
func (s *Store) Handled(ctx context.Context, platform, id string) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `UPDATE inbox SET handled = TRUE WHERE platform = $1 AND id = $2`, platform, id)
		return err
	})
}

// Unhandled implements provision.Store.
func (s *Store) Unhandled(ctx context.Context, platform string) ([]provision.Inbox, error) {
	rows, err := s.query(ctx, `SELECT platform, id, data, at FROM inbox
		WHERE platform = $1 AND NOT handled ORDER BY at, id`, platform)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []provision.Inbox
	for rows.Next() {
		var m provision.Inbox
		var data string
		var at int64
		if err := rows.Scan(&m.Platform, &m.ID, &data, &at); err != nil {
			return nil, err
		}
		if data != "" {
			m.Data = json.RawMessage(data)
		}
		m.At = time.UnixMicro(at).UTC()
		all = append(all, m)
	}
	return all, rows.Err()
}

// Lead implements provision.Store.
func (s *Store) Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error) {
	var n int64
	err := s.write(ctx, func(t *txn) error {
		res, err := t.exec(ctx, `INSERT INTO roles (name, owner, expires) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
			WHERE roles.owner = excluded.owner OR roles.expires <= $4`,
			role, owner, micros(t.now.Add(ttl)), micros(t.now))
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n > 0, err
}

// Resign implements provision.Store.
func (s *Store) Resign(ctx context.Context, role, owner string) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `DELETE FROM roles WHERE name = $1 AND owner = $2`, role, owner)
		return err
	})
}

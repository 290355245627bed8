package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"pvebot/provision"
)

// kept are the tables that a copy of a store consists of, with what orders
// their rows. The others hold what lives no longer than the bots do.
var kept = []struct{ name, order, columns string }{
	{"jobs", "id", "id, order_key, cluster, kind, state, platform, actor, vmid, snapshot, seq, epoch, cancel_by, due, created, updated"},
	{"events", "pos", "pos, job, seq, id, at, kind, data"},
	{"slots", "pool, slot", "pool, slot, job, cooling_until"},
	{"cards", "platform, job", "platform, job, ref, shown, said, settled"},
	{"inbox", "platform, id", "platform, id, data, at, handled"},
	{"vms", "cluster, vmid", "cluster, vmid, data"},
	{"audit", "seq", "seq, platform, actor, cluster, vmid, job, hash, data"},
	{"feed", "name", "name, value"},
}

// Copied is how many rows of a table were copied.
type Copied struct {
	Table string
	Rows  int64
}

// CopyTo copies all jobs, with everything that is known about them, into an
// empty store, in one transaction, and compares the counts. No bot may work on
// either of them meanwhile: *Error of kind Conflict when one has a lease or a
// role in s, or when to has something in it. Leases are not copied: jobs that
// are under way go on in to at once.
func (s *Store) CopyTo(ctx context.Context, to *Store) ([]Copied, error) {
	if err := s.idle(ctx); err != nil {
		return nil, err
	}
	var all []Copied
	err := to.writeOnce(ctx, func(t *txn) error {
		if err := t.empty(ctx); err != nil {
			return err
		}
		for _, table := range kept {
			n, err := s.copyTable(ctx, t, table.name, table.order, table.columns)
			if err != nil {
				return fmt.Errorf("copying %s: %w", table.name, err)
			}
			all = append(all, Copied{table.name, n})
		}
		return nil
	})
	return all, err
}

// idle makes sure that no bot works on the store. Of a directory its lock says
// so.
func (s *Store) idle(ctx context.Context) error {
	now, err := s.dialect.now(ctx, s.reads)
	if err != nil {
		return err
	}
	owners, err := scanAll[string](s.query(ctx, `SELECT owner FROM jobs WHERE owner <> '' AND lease_until > $1
		UNION SELECT owner FROM roles WHERE expires > $1`, micros(now)))
	if err != nil || len(owners) == 0 {
		return err
	}
	return &provision.Error{Kind: provision.Conflict,
		Say: "the store is in use by " + strings.Join(owners, ", "), Try: "stop the bots and wait for their lease to run out"}
}

// empty makes sure that nothing is in the store, and that nobody puts
// something into it during the transaction.
func (t *txn) empty(ctx context.Context) error {
	// Whoever orders something, or writes an event, waits for these.
	if _, err := t.exec(ctx, `UPDATE feed SET value = value`); err != nil {
		return err
	}
	for _, table := range kept {
		if table.name == "feed" {
			continue
		}
		n, err := t.count(ctx, table.name)
		if err != nil {
			return err
		}
		if n > 0 {
			return &provision.Error{Kind: provision.Conflict,
				Say: fmt.Sprintf("the store to copy to is not empty: it has %d rows in %s", n, table.name), Try: "give it another database or directory"}
		}
	}
	_, err := t.exec(ctx, `DELETE FROM feed`)
	return err
}

func (t *txn) count(ctx context.Context, table string) (n int64, err error) {
	return n, t.queryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n)
}

// copyTable copies a table of s and compares how many rows there are.
func (s *Store) copyTable(ctx context.Context, t *txn, name, order, columns string) (int64, error) {
	rows, err := s.query(ctx, fmt.Sprintf(`SELECT %s FROM %s ORDER BY %s`, columns, name, order))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	values, dest, marks := make([]any, len(names)), make([]any, len(names)), make([]string, len(names))
	for i := range names {
		dest[i], marks[i] = &values[i], fmt.Sprintf("$%d", i+1)
	}
	insert := fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`, name, columns, strings.Join(marks, ", "))
	var read int64
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return 0, err
		}
		if _, err := t.exec(ctx, insert, values...); err != nil {
			return 0, err
		}
		read++
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	written, err := t.count(ctx, name)
	if err == nil && written != read {
		err = fmt.Errorf("%d rows were read and %d are there", read, written)
	}
	return read, err
}

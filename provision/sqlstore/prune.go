package sqlstore

import (
	"context"
	"time"
)

// Prune implements provision.Store.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	const batch = 100 // jobs
	pruned := 0
	for {
		n, done := 0, false
		err := s.write(ctx, func(t *txn) error {
			ids, err := scanAll[int64](t.query(ctx, `SELECT id FROM jobs
				WHERE state IN ('succeeded', 'failed', 'cancelled') AND updated < $1
				AND EXISTS (SELECT 1 FROM events WHERE events.job = jobs.id) ORDER BY id LIMIT $2`+s.dialect.skipLocked,
				micros(before), batch))
			if err != nil {
				return err
			}
			n, done = 0, len(ids) < batch
			for _, id := range ids {
				positions, err := scanAll[int64](t.query(ctx, `DELETE FROM events WHERE job = $1 RETURNING pos`, id))
				if err != nil {
					return err
				}
				n += len(positions)
				for _, pos := range positions {
					if _, err := t.exec(ctx, `UPDATE feed SET value = $1 WHERE name = 'pruned' AND value < $1`, pos); err != nil {
						return err
					}
				}
			}
			if _, err = t.exec(ctx, `DELETE FROM inbox WHERE handled AND at < $1`, micros(before)); err != nil {
				return err
			}
			_, err = t.exec(ctx, `DELETE FROM roles WHERE expires < $1`, micros(before)) // of processes that died
			return err
		})
		if err != nil {
			return pruned, err
		}
		pruned += n
		if done {
			return pruned, nil
		}
	}
}

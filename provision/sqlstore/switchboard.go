package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"sync"
	"time"

	"pvebot/provision"
)

// forgetAfter is how old a question or an attendance gets before it is
// deleted. Nobody waits for an answer that long.
const (
	forgetQuestion = 5 * time.Minute
	forgetAttended = 30 * 24 * time.Hour
)

// bell wakes everybody who waits for it.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed, and replaced, by each ring
}

func newBell() *bell { return &bell{rung: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}

// next is closed by the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}

// tell has the bells ring, here and in the other bots, when t is committed.
func (t *txn) tell(ctx context.Context) error {
	t.asked = true
	if t.s.dialect.ring == "" {
		return nil
	}
	_, err := t.exec(ctx, t.s.dialect.ring)
	return err
}

// Attend implements provision.Store.
func (s *Store) Attend(ctx context.Context, cluster, owner string, ttl time.Duration) error {
	return s.write(ctx, func(t *txn) error {
		until := t.now.Add(ttl)
		if _, err := t.exec(ctx, `DELETE FROM attendants WHERE until < $1`, micros(t.now.Add(-forgetAttended))); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO attendants (cluster, owner, until) VALUES ($1, $2, $3)
			ON CONFLICT (cluster, owner) DO UPDATE SET until = excluded.until`, cluster, owner, micros(until)); err != nil {
			return err
		}
		if ttl > 0 {
			return nil
		}
		return t.tell(ctx) // whoever waits for an answer looks who is left
	})
}

// Attended implements provision.Store.
func (s *Store) Attended(ctx context.Context, cluster string) (until, now time.Time, err error) {
	var at int64
	err = s.queryRow(ctx, `SELECT COALESCE(MAX(until), 0) FROM attendants WHERE cluster = $1`, cluster).Scan(&at)
	if err == nil {
		now, err = s.dialect.now(ctx, s.reads)
	}
	if err != nil {
		return time.Time{}, time.Time{}, s.closedOr(err)
	}
	if at > 0 {
		until = time.UnixMicro(at).UTC()
	}
	return until, now.UTC(), nil
}

// Ask implements provision.Store.
func (s *Store) Ask(ctx context.Context, cluster string, question json.RawMessage) (json.RawMessage, error) {
	if err := s.attended(ctx, cluster); err != nil {
		return nil, err
	}
	id := rand.Text()
	err := s.write(ctx, func(t *txn) error {
		if _, err := t.exec(ctx, `INSERT INTO questions (id, cluster, asked, data) VALUES ($1, $2, $3, $4)`,
			id, cluster, micros(t.now), string(question)); err != nil {
			return err
		}
		return t.tell(ctx)
	})
	if err != nil {
		return nil, err
	}
	answer, err := s.awaitAnswer(ctx, cluster, id)
	forget := func(t *txn) error {
		_, err := t.exec(context.WithoutCancel(ctx), `DELETE FROM questions WHERE id = $1`, id)
		return err
	}
	if ferr := s.write(context.WithoutCancel(ctx), forget); ferr != nil && !errors.Is(ferr, provision.ErrClosed) {
		s.log.Warn("an old question is still in the store", "err", ferr)
	}
	return answer, err
}

// attended is ErrUnattended when nobody attends to cluster.
func (s *Store) attended(ctx context.Context, cluster string) error {
	until, now, err := s.Attended(ctx, cluster)
	if err == nil && !until.After(now) {
		err = provision.ErrUnattended
	}
	return err
}

func (s *Store) awaitAnswer(ctx context.Context, cluster, id string) (json.RawMessage, error) {
	for {
		bell := s.bell.next()
		var answer string
		err := s.queryRow(ctx, `SELECT answer FROM questions WHERE id = $1`, id).Scan(&answer)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, sql.ErrNoRows):
			return nil, provision.ErrUnattended // it was forgotten
		case err != nil:
			return nil, s.closedOr(err)
		case answer != "":
			return json.RawMessage(answer), nil
		}
		if err := s.attended(ctx, cluster); err != nil {
			return nil, err
		}
		select {
		case <-bell:
		case <-ctx.Done():
		}
	}
}

// Questions implements provision.Store.
func (s *Store) Questions(ctx context.Context, cluster string) iter.Seq2[provision.Question, error] {
	return func(yield func(provision.Question, error) bool) {
		for {
			bell := s.bell.next()
			questions, err := s.takeQuestions(ctx, cluster)
			if s.hub.isClosed() {
				err = provision.ErrClosed
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(provision.Question{}, err)
				return
			}
			for _, q := range questions {
				if !yield(q, nil) {
					return
				}
			}
			select {
			case <-bell:
			case <-ctx.Done():
			}
		}
	}
}

// takeQuestions takes all open questions about cluster. It looks before it
// writes: mostly there are none.
func (s *Store) takeQuestions(ctx context.Context, cluster string) (taken []provision.Question, err error) {
	var open bool
	err = s.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM questions WHERE cluster = $1 AND NOT taken)`, cluster).Scan(&open)
	if err != nil || !open {
		return nil, s.closedOr(err)
	}
	err = s.write(ctx, func(t *txn) error {
		taken = nil
		if _, err := t.exec(ctx, `DELETE FROM questions WHERE asked < $1`, micros(t.now.Add(-forgetQuestion))); err != nil {
			return err
		}
		rows, err := t.query(ctx, `UPDATE questions SET taken = TRUE WHERE id IN
			(SELECT id FROM questions WHERE cluster = $1 AND NOT taken ORDER BY asked, id LIMIT 100`+s.dialect.skipLocked+`)
			RETURNING id, data`, cluster)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var q provision.Question
			var data string
			if err := rows.Scan(&q.ID, &data); err != nil {
				return err
			}
			q.Data = json.RawMessage(data)
			taken = append(taken, q)
		}
		return rows.Err()
	})
	return taken, err
}

// Answer implements provision.Store.
func (s *Store) Answer(ctx context.Context, id string, answer json.RawMessage) error {
	return s.write(ctx, func(t *txn) error {
		if _, err := t.exec(ctx, `UPDATE questions SET answer = $2 WHERE id = $1 AND answer = ''`, id, string(answer)); err != nil {
			return err
		}
		return t.tell(ctx)
	})
}

package sqlstore

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// txn is a transaction that writes, with the time at which it began.
type txn struct {
	s   *Store
	tx  *sql.Tx
	now time.Time
	// wrote says that events were written: followers want to know.
	wrote bool
	// asked says that a question or an answer was written.
	asked bool
	// unprepared are the queries that the next transaction should find
	// prepared: while this one runs, it has the only connection.
	unprepared []string
}

func (t *txn) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := t.prepared(query); stmt != nil {
		return t.tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	}
	return t.tx.ExecContext(ctx, query, args...)
}

func (t *txn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := t.prepared(query); stmt != nil {
		return t.tx.StmtContext(ctx, stmt).QueryContext(ctx, args...)
	}
	return t.tx.QueryContext(ctx, query, args...)
}

func (t *txn) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := t.prepared(query); stmt != nil {
		return t.tx.StmtContext(ctx, stmt).QueryRowContext(ctx, args...)
	}
	return t.tx.QueryRowContext(ctx, query, args...)
}

// prepared is the prepared statement of a query, nil when there is none.
func (t *txn) prepared(query string) *sql.Stmt {
	if !t.s.dialect.prepare {
		return nil // the driver does it
	}
	stmt := t.s.prepared.get(query)
	if stmt == nil {
		t.unprepared = append(t.unprepared, query)
	}
	return stmt
}

// statements are prepared statements by their text. They live as long as
// their database.
type statements struct {
	mu     sync.Mutex
	byText map[string]*sql.Stmt
}

func (p *statements) get(query string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byText[query]
}

// add prepares a query. If it can't, the query stays as it is: slower.
func (p *statements) add(ctx context.Context, db *sql.DB, query string) {
	stmt, err := db.PrepareContext(ctx, query)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byText == nil {
		p.byText = make(map[string]*sql.Stmt)
	}
	if p.byText[query] != nil {
		stmt.Close() // another was quicker
		return
	}
	p.byText[query] = stmt
}

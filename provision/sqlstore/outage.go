package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// isOutage reports whether err says that the database server, or the way to
// it, is gone. What was asked for may have been done all the same.
func isOutage(err error) bool {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		// 08: connection exceptions, also PgBouncer's. 57P01 to 57P03: the
		// server shuts down, has crashed, starts up. 25P03: we stood still in
		// a transaction for too long, and it hung up.
		return strings.HasPrefix(pe.Code, "08") || slices.Contains([]string{"57P01", "57P02", "57P03", "25P03"}, pe.Code)
	}
	_, network := errors.AsType[net.Error](err)
	return network || pgconn.SafeToRetry(err) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// patiently calls do, and again while the database is away: for as long as a
// lease lasts, since whoever holds one has let go by then. So do may run again
// after it was carried out.
func (s *Store) patiently(ctx context.Context, do func() error) error {
	until := s.clock.Now().Add(s.lease)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do()
		if err == nil || s.dialect.outage == nil || !s.dialect.outage(err) || ctx.Err() != nil || !s.clock.Now().Before(until) {
			return err
		}
		if s.hub != nil && s.hub.isClosed() || s.clock.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

// query runs a query that changes nothing.
func (s *Store) query(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = s.patiently(ctx, func() error {
		rows, err = s.reads.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's
		return err
	})
	return rows, s.closedOr(err)
}

// queryRow runs a query that changes nothing and has at most one row.
func (s *Store) queryRow(ctx context.Context, query string, args ...any) scanner {
	return func(dest ...any) error {
		return s.closedOr(s.patiently(ctx, func() error { return s.reads.QueryRowContext(ctx, query, args...).Scan(dest...) }))
	}
}

// answer is a row that was asked for, an error of asking with it.
type answer interface{ Scan(dest ...any) error }

// scanner is the Scan of a row.
type scanner func(dest ...any) error

// Scan reads the row; sql.ErrNoRows when there is none.
func (scan scanner) Scan(dest ...any) error { return scan(dest...) }

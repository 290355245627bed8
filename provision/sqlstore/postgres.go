package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"pvebot/provision"
)

// channel is where bots tell each other, by NOTIFY, that there are events, or,
// with the payload ringing, that there is a question or an answer.
const (
	channel = "pvebot"
	ringing = "ring"
)

// openPostgres opens a database that other bots may use at the same time.
func (s *Store) openPostgres(ctx context.Context, url string, mustExist bool) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err // pgx leaves the password out
	}
	if !strings.Contains(url, "default_query_exec_mode=") {
		// Statements that live longer than a transaction do not survive
		// PgBouncer.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	s.addr, s.database = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.Database
	s.dialect = dialect{
		name:       goose.DialectPostgres,
		forUpdate:  " FOR UPDATE",
		skipLocked: " FOR UPDATE SKIP LOCKED",
		advance: `WITH f AS (UPDATE feed SET value = value + $1 WHERE name = 'pos' RETURNING value)
			SELECT value FROM f, pg_notify('` + channel + `', '')`,
		ring:   `SELECT pg_notify('` + channel + `', '` + ringing + `')`,
		poll:   time.Second,
		now:    s.databaseTime,
		begin:  s.beginPostgres,
		retry:  isConflict,
		outage: isOutage,
		append: s.appendAtOnce,
	}
	listener := config.Copy()
	config.DialFunc = impatient(config.DialFunc, s.clock, max(s.lease, leastSilence))
	s.db = stdlib.OpenDB(*config)
	s.db.SetMaxOpenConns(10)
	s.db.SetMaxIdleConns(10)
	s.reads = s.db
	if _, err := s.databaseTime(ctx, s.db); err != nil {
		return err
	}
	if s.readOnly || mustExist {
		if err := s.hasTables(ctx); err != nil {
			return err
		}
	}
	if s.readOnly {
		return s.migrate(ctx)
	}
	// Several bots may start at once. The lock is a row of a table: a
	// session's lock would not live behind PgBouncer.
	locker, err := lock.NewPostgresTableLocker()
	if err != nil {
		return err
	}
	if err := s.migrate(ctx, goose.WithLocker(locker)); err != nil {
		return err
	}
	s.listen = func(ctx context.Context) { s.listenPostgres(ctx, listener) }
	return nil
}

// hasTables makes sure that there is a store.
func (s *Store) hasTables(ctx context.Context) error {
	var there bool
	if err := s.db.QueryRowContext(ctx, `SELECT to_regclass('feed') IS NOT NULL`).Scan(&there); err != nil {
		return err
	}
	if !there {
		return &provision.Error{Kind: provision.NotFound, Say: "there is no store in the database " + s.database, Try: "see whether STORE_URL is right"}
	}
	return nil
}

// isConflict reports whether a transaction was undone by the database because
// of another one: serialization failure or deadlock.
func isConflict(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "40001" || pe.Code == "40P01")
}

// microsNow is the database's time as it is stored.
const microsNow = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// databaseTime asks the database for the time.
func (s *Store) databaseTime(ctx context.Context, q queryer) (time.Time, error) {
	var at int64
	if err := q.QueryRowContext(ctx, `SELECT `+microsNow).Scan(&at); err != nil {
		return time.Time{}, err
	}
	return s.told(at), nil
}

// idle is how long a transaction may stand still before the server undoes it.
// A bot that was frozen, or cut off without a word, in the middle of one would
// else keep its locks, and with them all other bots, for as long as it likes.
const idle = 2 * time.Second

// beginPostgres is the first statement of a transaction that writes.
func (s *Store) beginPostgres(ctx context.Context, tx queryer) (time.Time, error) {
	var set string
	var at int64
	query := fmt.Sprintf(`SELECT set_config('idle_in_transaction_session_timeout', '%d', true), `, idle.Milliseconds()) + microsNow
	if err := tx.QueryRowContext(ctx, query).Scan(&set, &at); err != nil {
		return time.Time{}, err
	}
	return s.told(at), nil
}

// told is the time by the database's clock, which has just said micros.
func (s *Store) told(micros int64) time.Time {
	at := time.UnixMicro(micros)
	s.guess.set(at, s.clock.Now())
	return at.Add(s.skew())
}

// guess is the database's time without asking for it: what it last said, and
// what our own clock measured since. It is a little late, never early.
type guess struct {
	mu         sync.Mutex
	said, when time.Time
}

func (g *guess) set(said, when time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said, g.when = said, when
}

// at is the guess when our own clock shows now.
func (g *guess) at(now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said.Add(now.Sub(g.when))
}

// listenPostgres pokes the hub whenever another bot says that there are
// events. It is a hint: what is missed, the next poll finds.
func (s *Store) listenPostgres(ctx context.Context, config *pgx.ConnConfig) {
	for ctx.Err() == nil {
		err := s.listenOnce(ctx, config)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("listening for new events failed; polling meanwhile", "err", err)
		s.clock.Sleep(ctx, 5*time.Second)
	}
}

func (s *Store) listenOnce(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), idle) // a server that has fallen silent says no goodbye
		defer cancel()
		conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	s.hub.poke()
	s.bell.ring()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("waiting for a notification: %w", err)
		}
		if n.Payload == ringing {
			s.bell.ring()
		} else {
			s.hub.poke()
		}
	}
}

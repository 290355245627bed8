package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"

	"pvebot/cluster"
	"pvebot/provision"
)

// Options change how a store works; zero fields mean the default.
type Options struct {
	// Lease is how long a job stays a worker's without Append: 30 s.
	Lease time.Duration
	// Clock is the store's time on SQLite, and what followers wait by:
	// cluster.SystemClock.
	Clock cluster.Clock
	// Log hears of what goes wrong in the background: nobody.
	Log *slog.Logger
	// ReadOnly opens an existing store without its lock, beside the process
	// that owns it. Whatever writes fails.
	ReadOnly bool
	// Existing refuses to make a store where there is none.
	Existing bool
}

// Store is a provision.Store on a SQL database.
type Store struct {
	db      *sql.DB // writes, and reads that belong to a write
	reads   *sql.DB // the same database as db on PostgreSQL
	dialect dialect
	// prepared holds the statements of writes: on SQLite, parsing costs as
	// much as running.
	prepared statements
	lease    time.Duration
	clock    cluster.Clock
	log      *slog.Logger
	hub      *hub
	bell     *bell // rings when there may be a question, or an answer
	probes   prober
	broken   unread

	stop     context.CancelFunc // ends the goroutines in running
	running  sync.WaitGroup
	closed   sync.Once
	readOnly bool

	// Of PostgreSQL alone.
	skew   func() time.Duration
	guess  guess
	listen func(context.Context) // until the context ends; nil: nobody tells
	// Where it is, for people: host and port, and the database's name.
	addr, database string

	// Of SQLite alone.
	dir     string       // the data directory, "" on PostgreSQL
	release func() error // gives the data directory's lock up
	opened  os.FileInfo  // the database, as it was opened for writing; nil: it was not
}

var _ provision.Store = (*Store)(nil)

// dialect is what differs between the databases.
type dialect struct {
	name goose.Dialect
	// forUpdate locks the rows that a SELECT finds, skipLocked those of them
	// that nobody else has locked. SQLite has one writer and needs neither.
	forUpdate, skipLocked string
	// advance moves the feed by $1 positions and returns the last of them.
	advance string
	// prepare says that statements are worth keeping prepared by us.
	prepare bool
	// poll is how often followers look without having been told to.
	poll time.Duration
	// now is the time; by the database's clock where several machines share
	// it.
	now func(context.Context, queryer) (time.Time, error)
	// begin is the first thing that a transaction that writes does; it returns
	// the time.
	begin func(context.Context, queryer) (time.Time, error)
	// retry reports whether err says that the transaction was not carried out
	// and may well be the next time.
	retry func(err error) bool
	// ring is a query that tells the other bots that there is a question or an
	// answer; "": there are no others.
	ring string
	// outage, where there is one, reports whether err says that the database
	// is away for a while.
	outage func(err error) bool
	// append, where there is one, is a quicker way for what Append mostly
	// does; done is false when it wrote nothing.
	append func(ctx context.Context, l *provision.Lease, evs []provision.Event) (_ provision.Signal, done bool, _ error)
}

// queryer is what now asks: a database or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Open opens the store at url, brings its schema up to date and starts to
// watch it. url is a directory or sqlite:DIR, where DIR is made when it is not
// there, or postgres://...
//
// A directory belongs to one process at a time: a second one gets an *Error of
// kind Conflict that names the first. On SQLite all leases and roles are void
// at start, for whoever held them is gone.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	return open(ctx, url, o, func() time.Duration { return 0 })
}

// open is Open with a skew that is added to the time of a database's clock, for
// tests that have to move it.
func open(ctx context.Context, url string, o Options, skew func() time.Duration) (*Store, error) {
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Clock == nil {
		o.Clock = cluster.SystemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{lease: o.Lease, clock: o.Clock, log: o.Log, readOnly: o.ReadOnly, skew: skew, probes: prober{turn: make(chan struct{}, 1)}}
	var err error
	switch scheme, rest, found := strings.Cut(url, ":"); {
	case found && scheme == "sqlite":
		err = s.openSQLite(ctx, rest, o.Existing)
	case found && (scheme == "postgres" || scheme == "postgresql"):
		err = s.openPostgres(ctx, url, o.Existing)
	default:
		err = s.openSQLite(ctx, url, o.Existing)
	}
	if err == nil {
		err = s.watch(ctx)
	}
	if err != nil {
		s.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date; of a store that is read only it wants
// that to be so already.
func (s *Store) migrate(ctx context.Context, o ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(s.dialect.name, s.db, files, append(o, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		return err
	}
	if !s.readOnly {
		done, err := p.Up(ctx)
		if err != nil {
			return fmt.Errorf("bringing the store's schema up to date: %w", err)
		}
		if len(done) > 0 {
			// Goose reads each migration into a buffer of 4 MB and keeps them in
			// a sync.Pool, which two collections empty. Left to itself, the heap
			// would grow to twice as much before the first.
			runtime.GC()
			debug.FreeOSMemory()
		}
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of the store's schema: %w", err)
	}
	if have != want {
		return &provision.Error{Kind: provision.Conflict,
			Say: fmt.Sprintf("the store has version %d of its schema, and this program knows %d", have, want),
			Try: "use the same version of pvebot as the store's owner"}
	}
	return nil
}

// Close implements provision.Store.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		if s.hub != nil {
			s.hub.close()
			s.bell.ring()
			s.stop()
		}
		s.running.Wait()
		if s.reads != nil && s.reads != s.db {
			err = errors.Join(err, s.reads.Close())
		}
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		if s.release != nil {
			err = errors.Join(err, s.release())
		}
	})
	return err
}

// write is writeNow, and again while the database is away: then do may find
// that it was committed the first time.
func (s *Store) write(ctx context.Context, do func(*txn) error) error {
	return s.explain(s.patiently(ctx, func() error { return s.writeNow(ctx, do) }))
}

// writeNow runs do in a transaction, again when the database asks for that, and
// wakes the followers when it is committed.
func (s *Store) writeNow(ctx context.Context, do func(*txn) error) error {
	const tries = 5
	for try := 1; ; try++ {
		err := s.writeOnce(ctx, do)
		if err == nil || try == tries || !s.dialect.retry(err) {
			return err
		}
	}
}

func (s *Store) writeOnce(ctx context.Context, do func(*txn) error) error {
	if s.readOnly {
		return provision.Errorf(provision.Conflict, "the store was opened for reading only")
	}
	if err := s.unmoved(); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.closedOr(err)
	}
	now, err := s.dialect.begin(ctx, tx)
	if err != nil {
		tx.Rollback()
		return err
	}
	t := &txn{s: s, tx: tx, now: now.UTC().Truncate(time.Microsecond)}
	err = do(t)
	if err == nil {
		err = tx.Commit()
	} else {
		tx.Rollback() // the connection is gone if that fails
	}
	// Also when the commit's outcome is unknown.
	if t.wrote {
		s.hub.poke()
	}
	if t.asked {
		s.bell.ring()
	}
	for _, query := range t.unprepared {
		s.prepared.add(ctx, s.db, query)
	}
	return err
}

// closedOr is ErrClosed when the store is closed, else err, explained.
func (s *Store) closedOr(err error) error {
	if s.hub != nil && s.hub.isClosed() {
		return provision.ErrClosed
	}
	return s.explain(err)
}

// micros is t as it is stored; 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

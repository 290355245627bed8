package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/alloc"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// stores calls do with an empty store of each kind: SQLite, and PostgreSQL
// where there is a server.
func (b *bench) stores(ctx context.Context, do func(name string, s *sqlstore.Store) error) error {
	data, err := os.MkdirTemp(b.dir, "data")
	if err != nil {
		return err
	}
	if err := b.withStore(ctx, "SQLite", "sqlite:"+data, do); err != nil || b.postgres == "" {
		return err
	}
	return b.onPostgres(ctx, func(name, url string) error { return b.withStore(ctx, name, url, do) })
}

func (b *bench) withStore(ctx context.Context, name, url string, do func(name string, s *sqlstore.Store) error) error {
	// Nobody renews the leases, and a slow machine takes its time.
	s, err := sqlstore.Open(ctx, url, sqlstore.Options{Lease: time.Hour})
	if err != nil {
		return err
	}
	return cmp.Or(do(name, s), s.Close())
}

// onPostgres calls do with a schema of its own, which goes afterwards.
func (b *bench) onPostgres(ctx context.Context, do func(name, url string) error) (err error) {
	db, err := sql.Open("pgx", b.postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var version, fsync string
	err = db.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('fsync')`).Scan(&version, &fsync)
	if err != nil {
		return err
	}
	version, _, _ = strings.Cut(version, " ")
	name := "PostgreSQL " + version
	if fsync != "on" {
		name += " without fsync"
	}
	schema := "bench_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA `+schema); err != nil {
		return err
	}
	defer func() {
		_, derr := db.ExecContext(context.WithoutCancel(ctx), `DROP SCHEMA `+schema+` CASCADE`)
		err = errors.Join(err, derr)
	}()
	u, err := url.Parse(b.postgres)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return do(name, u.String())
}

// leased submits n jobs and leases them.
func leased(ctx context.Context, s provision.Store, n int) ([]*provision.Lease, error) {
	var leases []*provision.Lease
	for i := range n {
		_, err := s.Submit(ctx, provision.Order{
			Key: fmt.Sprint(i), Cluster: "bench", By: provision.Actor{Platform: "web", ID: "local"}, Spec: provision.Install{OS: "ubuntu"},
		}, []provision.StepState{{Name: "assigning IP"}})
		if err != nil {
			return nil, err
		}
		l, err := s.Claim(ctx, "bench", provision.Wanted{Cluster: "bench"})
		if err != nil {
			return nil, err
		}
		leases = append(leases, l)
	}
	return leases, nil
}

// store measures appends, and their way to a reader of the feed.
func (b *bench) store(ctx context.Context) error {
	const writers, each = 16, 100
	t := b.out.add("The store",
		"Events of one job, one after the other, each on disk before the next; and how old it is when a reader of the feed has it. Then 16 jobs side by side.",
		"store", "an append, median / p99", "to a reader, median / p99", "events a second, 16 jobs")
	return b.stores(ctx, func(name string, s *sqlstore.Store) error {
		leases, err := leased(ctx, s, writers)
		if err != nil {
			return err
		}
		appends, heard, err := b.appends(ctx, s, leases[0], 10*each)
		if err != nil {
			return err
		}
		var g errgroup.Group
		began := b.clock.Now()
		for _, l := range leases {
			g.Go(func() error {
				for range each {
					if _, err := s.Append(ctx, l, aLine()); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		rate := writers * each / b.clock.Now().Sub(began).Seconds()
		t.row(name, appends.pair(.5, .99), heard.pair(.5, .99), fmt.Sprintf("%.0f", rate))
		return nil
	})
}

// aLine is an event as jobs have most.
func aLine() provision.Event {
	return provision.Event{Kind: provision.StepLog, Step: "assigning IP", Text: "a line of the init script's output"}
}

// appends makes n appends to a job, and returns how long each took and how
// long its way to a reader was, both from its beginning.
func (b *bench) appends(ctx context.Context, s provision.Store, l *provision.Lease, n int) (took, heard spread, err error) {
	from, err := s.Position(ctx)
	if err != nil {
		return nil, nil, err
	}
	arrived := make(chan error, 1)
	at := make([]time.Time, 0, n)
	go func() {
		for _, err := range s.Follow(ctx, from) {
			if at = append(at, b.clock.Now()); err != nil || len(at) == n {
				arrived <- err
				return
			}
		}
	}()
	began := make([]time.Time, n)
	for i := range n {
		began[i] = b.clock.Now()
		if _, err := s.Append(ctx, l, aLine()); err != nil {
			return nil, nil, err
		}
		took = append(took, b.clock.Now().Sub(began[i]))
	}
	if err := <-arrived; err != nil {
		return nil, nil, err
	}
	for i := range n {
		heard = append(heard, at[i].Sub(began[i]))
	}
	return took, heard, nil
}

// nobody answers at any address.
type nobody struct{}

func (nobody) Alive(context.Context, []netip.Addr) ([]netip.Addr, error) { return nil, nil }

// shelf is a ledger on a lease of its own, as a job has it.
type shelf struct {
	store provision.Store
	lease *provision.Lease
	pool  alloc.Pool
}

// Take implements alloc.Ledger.
func (s shelf) Take(ctx context.Context, candidates []alloc.Slot) (alloc.Slot, error) {
	slots := make([]string, len(candidates))
	for i, c := range candidates {
		slots[i] = fmt.Sprint(c.VMID)
	}
	got, err := s.store.Reserve(ctx, s.lease, s.pool.Name, slots...)
	if _, held := errors.AsType[*provision.HeldError](err); held {
		return alloc.Slot{}, alloc.ErrTaken
	}
	if err != nil {
		return alloc.Slot{}, err
	}
	var vmid int
	if _, err := fmt.Sscan(got, &vmid); err != nil {
		return alloc.Slot{}, err
	}
	return s.pool.Slot(vmid)
}

// allocation measures takers that all come at once.
func (b *bench) allocation(ctx context.Context) error {
	takers, networks := 280, 2 // of 155 slots each: a few are left over
	if b.full {
		takers, networks = 1000, 7
	}
	t := b.out.add("Allocation", fmt.Sprintf("%d jobs that take a VMID with its address at the same moment, from %d networks; every slot is on disk before it is given.", takers, networks),
		"store", "all have one after", "one taker, median / p99", "duplicates (aim: 0)")
	return b.stores(ctx, func(name string, s *sqlstore.Store) error {
		leases, err := leased(ctx, s, takers)
		if err != nil {
			return err
		}
		var mu sync.Mutex
		var times spread
		owners := map[netip.Addr]bool{}
		var g errgroup.Group
		began := b.clock.Now()
		for i, l := range leases {
			pool, err := alloc.NewPool(fmt.Sprintf("10.0.%d.1", i%networks), alloc.DefaultStart, alloc.DefaultEnd)
			if err != nil {
				return err
			}
			g.Go(func() error {
				began := b.clock.Now()
				slot, err := take(ctx, shelf{s, l, pool})
				took := b.clock.Now().Sub(began)
				mu.Lock()
				defer mu.Unlock()
				times, owners[slot.IP] = append(times, took), true
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		wall := b.clock.Now().Sub(began)
		t.row(name, wall, times.pair(.5, .99), takers-len(owners))
		return nil
	})
}

// take takes a slot, as often as it has to be tried: a machine that does other
// things may have had no time to probe. It counts.
func take(ctx context.Context, s shelf) (alloc.Slot, error) {
	a := alloc.Allocator{Pool: s.pool, Prober: nobody{}}
	for {
		slot, err := a.Take(ctx, alloc.Taken{}, 0, s)
		if !errors.Is(err, alloc.ErrProbe) || ctx.Err() != nil {
			return slot, err
		}
	}
}

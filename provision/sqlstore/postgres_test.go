package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/sqlstore/pgtest"
	"pvebot/provision/storetest"
)

// openURL opens a store on PostgreSQL whose time is the database's, moved as
// clock is.
func openURL(t testing.TB, url string, clock *storetest.Clock) *Store {
	t.Helper()
	s, err := open(t.Context(), url, Options{Lease: storetest.Lease}, clock.Moved)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// postgresHarness opens stores on databases that empty makes.
func postgresHarness(empty func(testing.TB) string) storetest.Harness {
	var urls sync.Map
	return storetest.Harness{
		Open: func(t testing.TB, clock *storetest.Clock) provision.Store {
			url := empty(t)
			s := openURL(t, url, clock)
			urls.Store(s, url)
			return s
		},
		Reopen: func(t testing.TB, s provision.Store, clock *storetest.Clock) provision.Store {
			url, _ := urls.Load(s)
			clock.Move(storetest.Lease) // nobody knows that the owner is dead
			return openURL(t, url.(string), clock)
		},
		Break: breakRow,
	}
}

func TestPostgres(t *testing.T) { storetest.Run(t, postgresHarness(pgtest.URL)) }

func TestPgBouncer(t *testing.T) { storetest.Run(t, postgresHarness(pgtest.PgBouncer)) }

func BenchmarkPostgresAppend(b *testing.B) { storetest.BenchmarkAppend(b, postgresHarness(pgtest.URL)) }

func BenchmarkPostgresFollow(b *testing.B) {
	storetest.BenchmarkFollow(b, postgresHarness(pgtest.URL), 8)
}

// TestTwoBots lets two bots start at once on one empty database, work on one
// job after the other, and follow each other's events.
func TestTwoBots(t *testing.T) {
	url := pgtest.URL(t)
	clock := storetest.NewClock()
	bots := make([]*Store, 2)
	var wg sync.WaitGroup
	for i := range bots {
		wg.Go(func() { bots[i] = openURL(t, url, clock) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	const jobs = 20
	for i := range jobs {
		if _, err := bots[i%2].Submit(t.Context(), order(fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	var did [jobs + 1]atomic.Int32
	for i, bot := range bots {
		for range 3 {
			wg.Go(func() {
				for {
					l, err := bot.Claim(t.Context(), fmt.Sprint("bot", i), provision.Wanted{Cluster: "main"})
					if errors.Is(err, provision.ErrNothing) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					did[l.Job.ID].Add(1)
					for _, e := range []provision.Event{
						{Kind: provision.StepLog, Text: "one"}, {Kind: provision.JobState, State: provision.StateSucceeded},
					} {
						if _, err := bot.Append(t.Context(), l, e); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, bot := range bots {
		wg.Go(func() {
			last := provision.Position(0)
			for e, err := range bot.Follow(ctx, 0) {
				if err != nil {
					t.Errorf("bot %d: %v", i, err)
					return
				}
				if e.Pos != last+1 {
					t.Errorf("bot %d: position %d after %d", i, e.Pos, last)
				}
				if last = e.Pos; last == 4*jobs {
					return
				}
			}
		})
	}
	wg.Wait()
	for id := 1; id <= jobs; id++ {
		if n := did[id].Load(); n != 1 {
			t.Errorf("job %d was claimed %d times", id, n)
		}
	}
}

func TestPostgresReadOnly(t *testing.T) {
	url := pgtest.URL(t)
	if _, err := Open(t.Context(), url, Options{ReadOnly: true}); provision.KindOf(err) != provision.NotFound {
		t.Errorf("where no store is: %v", err)
	}
	owner := openStore(t, url, Options{})
	reader := openStore(t, url, Options{ReadOnly: true})
	id := finished(t, owner, "a")
	if j, err := reader.Job(t.Context(), id); err != nil || j.State != provision.StateSucceeded {
		t.Errorf("read-only: %+v, %v", j, err)
	}
	if _, err := reader.Submit(t.Context(), order("b"), nil); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a write to a read-only store: %v", err)
	}
}

// TestQuickAppend holds the one-statement Append to what the transaction
// does, where it gives up.
func TestQuickAppend(t *testing.T) {
	clock := storetest.NewClock()
	s := openURL(t, pgtest.URL(t), clock)
	if _, err := s.Submit(t.Context(), order("a"), nil); err != nil {
		t.Fatal(err)
	}
	l, err := s.Claim(t.Context(), "w", provision.Wanted{Cluster: "main"})
	if err != nil {
		t.Fatal(err)
	}
	line := func() []provision.Event { return []provision.Event{{Kind: provision.StepLog, Text: "a line"}} }
	quick := func(l *provision.Lease, evs []provision.Event, want bool) {
		t.Helper()
		before := l.Job.Seq
		_, done, err := s.appendAtOnce(t.Context(), l, evs)
		if err != nil || done != want {
			t.Fatalf("done %v, %v; want %v", done, err, want)
		}
		if !done && l.Job.Seq != before {
			t.Error("it gave up and changed the lease's job")
		}
	}
	stale := *l
	quick(l, line(), true)
	quick(l, nil, true)
	quick(&stale, line(), false)
	quick(&stale, nil, false)
	other := *l
	other.Epoch--
	quick(&other, line(), false)
	other = *l
	other.Owner = "v"
	quick(&other, line(), false)
	quick(l, []provision.Event{{Kind: "nonsense"}}, false)
	quick(l, []provision.Event{{Kind: provision.JobState, State: provision.StateSucceeded}}, false)
	quick(l, []provision.Event{{Kind: provision.JobState, State: provision.StateParked}}, true)
	quick(l, nil, false) // it gave the lease up
}

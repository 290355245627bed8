package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/storetest"
)

// broken is a store with some of its methods replaced.
type broken struct {
	*Store
	submit  func(provision.Order) provision.Order
	claim   func(*provision.Lease, error) (*provision.Lease, error)
	append  func(l *provision.Lease, evs []provision.Event, real appendFunc) (provision.Signal, error)
	reserve func(slots []string, got string, err error) (string, error)
	vote    func(provision.Job, error) (provision.Job, error)
	cancel  func(provision.Job, error) (provision.Job, error)
	resolve func(provision.Job, error) (provision.Job, error)
	follow  func(provision.Event, error) (provision.Event, error)
	held    func(map[string]provision.JobID) map[string]provision.JobID
	jobs    func(provision.Filter) provision.Filter
	card    func(provision.CardRef) provision.CardRef
	accept  func(bool) bool
	free    func(time.Duration) time.Duration
	lead    func(bool) bool
	sweep   func(time.Duration) time.Duration
	probe   func(error) error
	release func(time.Duration) time.Duration
	vm      func(provision.VMRecord) provision.VMRecord
	update  func(read, write func())
	audit   func(provision.AuditRow) provision.AuditRow
	ask     func(json.RawMessage, error) (json.RawMessage, error)
	attend  func(time.Duration) time.Duration
}

type appendFunc func(*provision.Lease, ...provision.Event) (provision.Signal, error)

func (b *broken) Submit(ctx context.Context, o provision.Order, p []provision.StepState, c ...provision.Held) (provision.Job, error) {
	if b.submit != nil {
		o = b.submit(o)
	}
	if len(c) > 0 && b.reserve != nil {
		c = nil
	}
	return b.Store.Submit(ctx, o, p, c...)
}

func (b *broken) Claim(ctx context.Context, owner string, w provision.Wanted) (*provision.Lease, error) {
	l, err := b.Store.Claim(ctx, owner, w)
	if b.claim != nil {
		return b.claim(l, err)
	}
	return l, err
}

func (b *broken) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	real := func(l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
		return b.Store.Append(ctx, l, evs...)
	}
	if b.append != nil {
		return b.append(l, evs, real)
	}
	return real(l, evs...)
}

func (b *broken) Reserve(ctx context.Context, l *provision.Lease, pool string, slots ...string) (string, error) {
	got, err := b.Store.Reserve(ctx, l, pool, slots...)
	if b.reserve != nil {
		return b.reserve(slots, got, err)
	}
	return got, err
}

func (b *broken) Release(ctx context.Context, l *provision.Lease, pool, slot string, cooling time.Duration) error {
	if b.release != nil {
		cooling = b.release(cooling)
	}
	return b.Store.Release(ctx, l, pool, slot, cooling)
}

func (b *broken) Vote(ctx context.Context, v provision.Vote) (provision.Job, error) {
	j, err := b.Store.Vote(ctx, v)
	if b.vote != nil {
		return b.vote(j, err)
	}
	return j, err
}

func (b *broken) Cancel(ctx context.Context, id provision.JobID, by provision.Actor) (provision.Job, error) {
	j, err := b.Store.Cancel(ctx, id, by)
	if b.cancel != nil {
		return b.cancel(j, err)
	}
	return j, err
}

func (b *broken) Resolve(ctx context.Context, r provision.Resolution) (provision.Job, error) {
	j, err := b.Store.Resolve(ctx, r)
	if b.resolve != nil {
		return b.resolve(j, err)
	}
	return j, err
}

func (b *broken) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	if b.follow == nil {
		return b.Store.Follow(ctx, after)
	}
	return func(yield func(provision.Event, error) bool) {
		for e, err := range b.Store.Follow(ctx, after) {
			if !yield(b.follow(e, err)) {
				return
			}
		}
	}
}

func (b *broken) Held(ctx context.Context, pool string) (map[string]provision.JobID, error) {
	held, err := b.Store.Held(ctx, pool)
	if b.held != nil {
		held = b.held(held)
	}
	return held, err
}

func (b *broken) Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error) {
	if b.jobs != nil {
		f = b.jobs(f)
	}
	return b.Store.Jobs(ctx, f)
}

func (b *broken) SetCard(ctx context.Context, c provision.CardRef) error {
	if b.card != nil {
		c = b.card(c)
	}
	return b.Store.SetCard(ctx, c)
}

func (b *broken) Accept(ctx context.Context, m provision.Inbox) (bool, error) {
	ok, err := b.Store.Accept(ctx, m)
	if b.accept != nil {
		ok = b.accept(ok)
	}
	return ok, err
}

func (b *broken) Free(ctx context.Context, w provision.Wanted) (time.Duration, bool, error) {
	d, ok, err := b.Store.Free(ctx, w)
	if b.free != nil {
		d = b.free(d)
	}
	return d, ok, err
}

func (b *broken) Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error) {
	ok, err := b.Store.Lead(ctx, role, owner, ttl)
	if b.lead != nil {
		ok = b.lead(ok)
	}
	return ok, err
}

func (b *broken) Sweep(ctx context.Context, patience time.Duration) (int, error) {
	if b.sweep != nil {
		patience = b.sweep(patience)
	}
	return b.Store.Sweep(ctx, patience)
}

func (b *broken) Probe(ctx context.Context) error {
	err := b.Store.Probe(ctx)
	if b.probe != nil {
		err = b.probe(err)
	}
	return err
}

func (b *broken) SaveVM(ctx context.Context, r provision.VMRecord) error {
	if b.vm != nil {
		r = b.vm(r)
	}
	return b.Store.SaveVM(ctx, r)
}

func (b *broken) UpdateVM(ctx context.Context, cluster string, vmid int, uuid string, change func(*provision.VMRecord)) (known bool, err error) {
	if b.update == nil {
		return b.Store.UpdateVM(ctx, cluster, vmid, uuid, change)
	}
	var r provision.VMRecord
	b.update(
		func() { r, known, err = b.VMRecord(ctx, cluster, vmid) },
		func() {
			change(&r)
			err = errors.Join(err, b.SaveVM(ctx, r))
		},
	)
	return known, err
}

func (b *broken) Audit(ctx context.Context, r provision.AuditRow) error {
	if b.audit != nil {
		r = b.audit(r)
	}
	return b.Store.Audit(ctx, r)
}

func (b *broken) Ask(ctx context.Context, cluster string, question json.RawMessage) (json.RawMessage, error) {
	answer, err := b.Store.Ask(ctx, cluster, question)
	if b.ask != nil {
		return b.ask(answer, err)
	}
	return answer, err
}

func (b *broken) Attend(ctx context.Context, cluster, owner string, ttl time.Duration) error {
	if b.attend != nil {
		ttl = b.attend(ttl)
	}
	return b.Store.Attend(ctx, cluster, owner, ttl)
}

// forgive swallows every error of a decision.
func forgive(j provision.Job, _ error) (provision.Job, error) { return j, nil }

// TestBroken breaks the store in one way after the other; the suite's cases
// named beside it must notice.
func TestBroken(t *testing.T) {
	var serial, readers atomic.Int64
	twoRead := make(chan struct{})
	tests := map[string]struct {
		b     broken
		cases []string
	}{
		"every order is a new one": {
			broken{submit: func(o provision.Order) provision.Order {
				o.Key += time.Duration(serial.Add(1)).String()
				return o
			}},
			[]string{"submit", "submit at once"},
		},
		"a claim without a job": {
			broken{claim: func(l *provision.Lease, err error) (*provision.Lease, error) {
				if err != nil {
					return &provision.Lease{Job: provision.Job{ID: 1}}, nil
				}
				return l, nil
			}},
			[]string{"claim", "claim at once"},
		},
		"no fence": {
			broken{append: func(l *provision.Lease, evs []provision.Event, real appendFunc) (provision.Signal, error) {
				sig, err := real(l, evs...)
				if errors.Is(err, provision.ErrFenced) {
					err = nil
				}
				return sig, err
			}},
			[]string{"lease", "append", "crash"},
		},
		"one event after the other": {
			broken{append: func(l *provision.Lease, evs []provision.Event, real appendFunc) (sig provision.Signal, err error) {
				for i := range evs {
					if sig, err = real(l, evs[i:i+1]...); err != nil {
						break
					}
				}
				return sig, err
			}},
			[]string{"append refused", "cancel asked"},
		},
		"a retry is new": {
			broken{append: func(l *provision.Lease, evs []provision.Event, real appendFunc) (provision.Signal, error) {
				for i := range evs {
					evs[i].ID = ""
				}
				return real(l, evs...)
			}},
			[]string{"append again"},
		},
		"the lease's job stands still": {
			broken{append: func(l *provision.Lease, evs []provision.Event, real appendFunc) (provision.Signal, error) {
				other := *l
				return real(&other, evs...)
			}},
			[]string{"fold"},
		},
		"slots are given out twice": {
			broken{reserve: func(slots []string, got string, err error) (string, error) {
				if err != nil && len(slots) > 0 {
					return slots[0], nil
				}
				return got, err
			}},
			[]string{"reserve", "reserve at once", "submit with claims"},
		},
		"nothing cools down": {
			broken{release: func(time.Duration) time.Duration { return 0 }},
			[]string{"cooling"},
		},
		"slots look free": {
			broken{held: func(map[string]provision.JobID) map[string]provision.JobID { return nil }},
			[]string{"reserve"},
		},
		"every vote counts": {
			broken{vote: forgive},
			[]string{"vote refused", "vote at once"},
		},
		"no vote counts": {
			broken{vote: func(j provision.Job, _ error) (provision.Job, error) {
				return j, provision.Errorf(provision.Conflict, "no")
			}},
			[]string{"vote", "vote of several groups", "vote of one person"},
		},
		"what is over is cancelled": {broken{cancel: forgive}, []string{"cancel", "broken job"}},
		"anything is resolved":      {broken{resolve: forgive}, []string{"resolve", "retry"}},
		"the feed forgets": {
			broken{follow: func(e provision.Event, err error) (provision.Event, error) {
				if err == nil && e.Seq%5 == 0 {
					e.Text = ""
				}
				return e, err
			}},
			[]string{"follow"},
		},
		"the feed ends without a reason": {
			broken{follow: func(e provision.Event, _ error) (provision.Event, error) { return e, nil }},
			[]string{"follow ends", "broken event"},
		},
		"a page is everything":             {broken{jobs: func(f provision.Filter) provision.Filter { f.Limit = 0; return f }}, []string{"jobs"}},
		"everybody's jobs":                 {broken{jobs: func(f provision.Filter) provision.Filter { f.By = nil; return f }}, []string{"jobs"}},
		"cards never settle":               {broken{card: func(c provision.CardRef) provision.CardRef { c.Settled = false; return c }}, []string{"cards"}},
		"everything is news":               {broken{accept: func(bool) bool { return true }}, []string{"inbox"}},
		"leases never run out":             {broken{free: func(time.Duration) time.Duration { return storetest.Lease }}, []string{"free"}},
		"everybody leads":                  {broken{lead: func(bool) bool { return true }}, []string{"lead"}},
		"nobody leads":                     {broken{lead: func(bool) bool { return false }}, []string{"lead"}},
		"one cluster for all VMs":          {broken{vm: func(r provision.VMRecord) provision.VMRecord { r.Cluster = "pve"; return r }}, []string{"vm records", "broken records"}},
		"any VM is the one that was meant": {broken{update: func(read, write func()) { read(); write() }}, []string{"vm records"}},
		"an update is read first and written later": {broken{update: func(read, write func()) {
			read()
			if readers.Add(1) == 2 {
				close(twoRead)
			}
			<-twoRead
			write()
		}}, []string{"vm records at once"}},
		"nobody did it":           {broken{audit: func(r provision.AuditRow) provision.AuditRow { r.By = provision.Actor{}; return r }}, []string{"audit"}},
		"somebody always answers": {broken{ask: func(json.RawMessage, error) (json.RawMessage, error) { return json.RawMessage(`1`), nil }}, []string{"ask", "ask in vain"}},
		"attended for ever":       {broken{attend: func(time.Duration) time.Duration { return 1e4 * time.Hour }}, []string{"attended"}},
		"no patience":             {broken{sweep: func(time.Duration) time.Duration { return 0 }}, []string{"sweep"}},
		"always well":             {broken{probe: func(error) error { return nil }}, []string{"probe"}},
		"patience without an end": {broken{sweep: func(time.Duration) time.Duration { return 1e6 * time.Hour }}, []string{"sweep"}},
	}
	cases := make(map[string]storetest.Case)
	noticed := make(map[string]bool)
	for _, c := range storetest.Cases() {
		cases[c.Name] = c
	}
	for name, test := range tests {
		for _, c := range test.cases {
			noticed[c] = true
			t.Run(name+"/"+c, func(t *testing.T) {
				t.Parallel()
				h := around(t, test.b)
				if !fails(t, func(tb testing.TB) { cases[c].Run(tb, h) }) {
					t.Error("the suite did not notice")
				}
			})
		}
	}
	for _, c := range []string{"append again", "follow ends", "retry", "crash"} {
		t.Run("nothing is broken/"+c, func(t *testing.T) {
			t.Parallel()
			cases[c].Run(t, around(t, broken{}))
		})
	}
	for name := range cases {
		if !noticed[name] {
			t.Errorf("case %q was never seen to fail", name)
		}
	}
}

// around opens stores that are broken like b.
func around(t *testing.T, b broken) storetest.Harness {
	real := sqliteHarness()
	wrap := func(s provision.Store) provision.Store {
		b := b
		b.Store = s.(*Store)
		return &b
	}
	return storetest.Harness{
		Open: func(_ testing.TB, clock *storetest.Clock) provision.Store { return wrap(real.Open(t, clock)) },
		Reopen: func(_ testing.TB, s provision.Store, clock *storetest.Clock) provision.Store {
			return wrap(real.Reopen(t, s.(*broken).Store, clock))
		},
		Break: func(t testing.TB, s provision.Store, what string, id, n int64) {
			real.Break(t, s.(*broken).Store, what, id, n)
		},
	}
}

// recorder is a testing.TB whose failures are only recorded.
type recorder struct {
	testing.TB
	failed atomic.Bool
}

func (r *recorder) Error(...any)          { r.failed.Store(true) }
func (r *recorder) Errorf(string, ...any) { r.failed.Store(true) }
func (r *recorder) Fatal(...any)          { r.failed.Store(true); runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed.Store(true); runtime.Goexit() }

// fails reports whether check fails.
func fails(t *testing.T, check func(testing.TB)) bool {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	return r.failed.Load()
}

package alloc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ledger is a Ledger in memory, one taker's view of it being as good as
// another's.
type ledger struct {
	mu   sync.Mutex
	held map[Slot]bool
}

func (l *ledger) Take(_ context.Context, candidates []Slot) (Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range candidates {
		if !l.held[s] {
			if l.held == nil {
				l.held = make(map[Slot]bool)
			}
			l.held[s] = true
			return s, nil
		}
	}
	return Slot{}, fmt.Errorf("asking for %d: %w", len(candidates), ErrTaken)
}

// ledgerFunc and proberFunc are functions as what they are named after.
type (
	ledgerFunc func(ctx context.Context, candidates []Slot) (Slot, error)
	proberFunc func(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error)
)

func (f ledgerFunc) Take(ctx context.Context, candidates []Slot) (Slot, error) {
	return f(ctx, candidates)
}

func (f proberFunc) Alive(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
	return f(ctx, addrs)
}

// answering is a Prober for which the addresses with these last octets answer.
func answering(hosts ...int) Prober {
	return proberFunc(func(_ context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
		return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
			return !slices.Contains(hosts, hostOf(a))
		}), nil
	})
}

// noProber fails the test when something is probed.
func noProber(t *testing.T) Prober {
	return proberFunc(func(_ context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
		t.Errorf("probed %v", addrs)
		return nil, nil
	})
}

// span names every VMID from first to last.
func span(first, last int, by string) map[int]string {
	m := make(map[int]string)
	for id := first; id <= last; id++ {
		m[id] = by
	}
	return m
}

func TestTake(t *testing.T) {
	pool := mustPool(t, "192.168.0.1", 100, 254)
	ip := func(host int) netip.Addr { return withHost(pool.Gateway, host) }
	heldBy := func(vmids ...int) *ledger {
		l := &ledger{held: make(map[Slot]bool)}
		for _, id := range vmids {
			l.held[Slot{id, ip(id)}] = true
		}
		return l
	}
	everything := slices.Collect(func(yield func(int) bool) {
		for id := 100; id <= 254 && yield(id); id++ {
		}
	})

	tests := []struct {
		name   string
		taken  Taken
		prober Prober
		ledger *ledger
		want   int
		vmid   int
		err    string
	}{
		{name: "an empty pool", vmid: 100},
		{name: "the other end comes second", taken: Taken{VMIDs: span(100, 100, "VM 100 on pve1")}, vmid: 254},
		{name: "an address in a config counts", taken: Taken{Addrs: map[netip.Addr]string{ip(100): "VM 9000 on pve2"}}, vmid: 254},
		{name: "a slot that cools down counts", taken: Taken{Held: span(100, 100, "cools down")}, vmid: 254},
		{name: "taken without a reason is taken", taken: Taken{VMIDs: span(100, 100, "")}, vmid: 254},
		{name: "an answer counts", prober: answering(100, 254, 101), vmid: 253},
		{name: "what others hold is passed over", ledger: heldBy(100, 254), vmid: 101},
		{name: "the first batch is held", ledger: heldBy(100, 101, 102, 103, 104, 250, 251, 252, 253, 254), vmid: 105},
		{
			name:  "the last slot is found",
			taken: Taken{VMIDs: span(100, 176, "VM"), Held: span(178, 200, "held by job 7")}, prober: answering(everything[101:]...),
			vmid: 177,
		},
		{
			name: "full", taken: Taken{VMIDs: span(100, 200, "VM"), Held: span(190, 210, "held by job 7")},
			prober: answering(everything[111:131]...), ledger: heldBy(everything[131:]...),
			err: "no free address in 192.168.0.100-254: 101 used by VMs, 20 answer, 34 held",
		},
		{
			name: "full of VMs: nothing is probed", taken: Taken{VMIDs: span(100, 254, "VM")}, prober: noProber(t),
			err: "no free address in 192.168.0.100-254: 155 used by VMs",
		},
		{name: "asked for", want: 120, vmid: 120},
		{
			name: "asked for and used", want: 101, taken: Taken{VMIDs: span(101, 101, "VM 101 on pve1")}, prober: noProber(t),
			err: "id 101 (192.168.0.101) is not free: VM 101 on pve1",
		},
		{
			name: "asked for and its address used", want: 101, taken: Taken{Addrs: map[netip.Addr]string{ip(101): "VM 9000 on pve2"}},
			err: "id 101 (192.168.0.101) is not free: its address belongs to VM 9000 on pve2",
		},
		{
			name: "asked for and held", want: 101, taken: Taken{Held: span(101, 101, "held by job 7")},
			err: "id 101 (192.168.0.101) is not free: held by job 7",
		},
		{
			name: "asked for and answering", want: 101, prober: answering(101),
			err: "id 101 (192.168.0.101) is not free: something answers at its address",
		},
		{
			name: "asked for and just taken", want: 101, ledger: heldBy(101),
			err: "id 101 (192.168.0.101) is not free: another job has just taken it",
		},
		{name: "asked for out of range", want: 99, err: "id 99 is outside 100-254, the ids whose addresses are given out", prober: noProber(t)},
		{name: "asked for a negative id", want: -1, err: "id -1 is outside 100-254, the ids whose addresses are given out", prober: noProber(t)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prober == nil {
				tt.prober = answering()
			}
			if tt.ledger == nil {
				tt.ledger = &ledger{}
			}
			before := len(tt.ledger.held)
			a := &Allocator{Pool: pool, Prober: tt.prober}
			got, err := a.Take(t.Context(), tt.taken, tt.want, tt.ledger)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %+v, %v; want %s", got, err, tt.err)
				}
				if len(tt.ledger.held) != before {
					t.Error("it took a slot and failed")
				}
				return
			}
			if want := (Slot{tt.vmid, ip(tt.vmid)}); err != nil || got != want || !tt.ledger.held[want] {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// TestErrorTypes holds the promise of Take about its errors.
func TestErrorTypes(t *testing.T) {
	a := &Allocator{Pool: mustPool(t, "192.168.0.1", 100, 102), Prober: answering(100, 101)}
	l := &ledger{}
	if _, err := a.Take(t.Context(), Taken{}, 0, l); err != nil {
		t.Fatal(err)
	}
	_, err := a.Take(t.Context(), Taken{}, 0, l)
	if full, ok := errors.AsType[*FullError](err); !ok || full.Answering != 2 || full.Held != 1 || full.Used != 0 {
		t.Errorf("full: %#v", err)
	}
	_, err = a.Take(t.Context(), Taken{}, 101, l)
	if taken, ok := errors.AsType[*TakenError](err); !ok || taken.Slot.VMID != 101 {
		t.Errorf("taken: %#v", err)
	}
	_, err = a.Take(t.Context(), Taken{}, 103, l)
	if _, ok := errors.AsType[*RangeError](err); !ok {
		t.Errorf("out of range: %#v", err)
	}
	broken := errors.New("disk full")
	_, err = a.Take(t.Context(), Taken{}, 0, ledgerFunc(func(context.Context, []Slot) (Slot, error) { return Slot{}, broken }))
	if !errors.Is(err, broken) {
		t.Errorf("a ledger that fails: %v", err)
	}
}

func TestProbeThatFailsIsNotFree(t *testing.T) {
	cause := errors.New("pve1 does not answer")
	bad := withHost(netip.MustParseAddr("192.168.0.1"), 240)
	pool := mustPool(t, "192.168.0.1", 100, 254)
	for _, want := range []int{0, 240} {
		a := &Allocator{Pool: pool, Prober: proberFunc(func(_ context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
			if slices.Contains(addrs, bad) {
				return nil, cause
			}
			return addrs, nil // all of the other batches answer
		})}
		l := &ledger{}
		_, err := a.Take(t.Context(), Taken{}, want, l)
		if !errors.Is(err, ErrProbe) || !errors.Is(err, cause) || len(l.held) != 0 {
			t.Errorf("want %d: %v, %d held", want, err, len(l.held))
		}
	}
}

func TestProbesHaveOnePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allocator{
			Pool: mustPool(t, "192.168.0.1", 100, 254),
			Prober: proberFunc(func(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(patience / 5): // seven rounds do not fit
					return addrs, nil
				}
			}),
		}
		start := time.Now()
		_, err := a.Take(t.Context(), Taken{}, 0, &ledger{})
		if took := time.Since(start); took != patience {
			t.Errorf("it took %v", took)
		}
		if !errors.Is(err, ErrProbe) || !strings.Contains(err.Error(), "no answer within 30s") {
			t.Error(err)
		}
	})
}

// TestLedgerIsNotCutOff: probing may use up its time, the ledger's is the
// caller's.
func TestLedgerIsNotCutOff(t *testing.T) {
	a := &Allocator{Pool: mustPool(t, "192.168.0.1", 100, 254), Prober: answering()}
	_, err := a.Take(t.Context(), Taken{}, 0, ledgerFunc(func(ctx context.Context, c []Slot) (Slot, error) {
		if _, ok := ctx.Deadline(); ok {
			t.Error("the ledger got a deadline")
		}
		return c[0], nil
	}))
	if err != nil {
		t.Error(err)
	}
}

func TestCallerGivesUp(t *testing.T) {
	cause := errors.New("job cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &Allocator{
		Pool: mustPool(t, "192.168.0.1", 100, 254),
		Prober: proberFunc(func(ctx context.Context, _ []netip.Addr) ([]netip.Addr, error) {
			cancel(cause)
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}
	l := &ledger{}
	if _, err := a.Take(ctx, Taken{}, 0, l); !errors.Is(err, cause) || len(l.held) != 0 {
		t.Errorf("%v, %d held", err, len(l.held))
	}
}

// TestProbing: four addresses where that is enough; batches of 10, 4 at once,
// where it is not; nothing twice, and nothing that is known to be taken.
func TestProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var now, most, calls int
		asked := make(map[netip.Addr]bool)
		allAnswer := false
		a := &Allocator{
			Pool: mustPool(t, "192.168.0.1", 100, 254),
			Prober: proberFunc(func(_ context.Context, addrs []netip.Addr) ([]netip.Addr, error) {
				mu.Lock()
				now, calls = now+1, calls+1
				most = max(most, now)
				for _, addr := range addrs {
					if asked[addr] || hostOf(addr) < 110 {
						t.Errorf("%v was probed", addr)
					}
					asked[addr] = true
				}
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				now--
				mu.Unlock()
				if len(addrs) > 10 {
					t.Errorf("%d addresses in one probe", len(addrs))
				}
				if allAnswer {
					return addrs, nil
				}
				return nil, nil
			}),
		}
		known := Taken{VMIDs: span(100, 109, "VM")}
		if _, err := a.Take(t.Context(), known, 0, &ledger{}); err != nil || calls != 1 || len(asked) != 4 {
			t.Errorf("%v after %d probes of %d addresses, want 1 of 4", err, calls, len(asked))
		}
		clear(asked)
		calls, allAnswer = 0, true
		start := time.Now()
		_, err := a.Take(t.Context(), known, 0, &ledger{})
		if full, ok := errors.AsType[*FullError](err); !ok || full.Answering != 145 || full.Used != 10 {
			t.Error(err)
		}
		if calls != 16 || most != 4 || len(asked) != 145 {
			t.Errorf("%d probes, %d at once, of %d addresses; want 16, 4, 145", calls, most, len(asked))
		}
		if took := time.Since(start); took != 6*time.Second { // of 4, 10, 20, 40, 40, 31 addresses
			t.Errorf("16 probes of a second took %v", took)
		}
	})
}

// TestManyTakers: 1,000 takers at once, none twice, and nobody is turned away
// before the pool is full.
func TestManyTakers(t *testing.T) {
	a := &Allocator{Pool: mustPool(t, "192.168.0.1", 100, 254), Prober: answering(120, 121)}
	taken := Taken{VMIDs: span(100, 104, "VM")}
	l := &ledger{}
	const takers = 1000
	var wg sync.WaitGroup
	slots := make([]Slot, takers)
	errs := make([]error, takers)
	for i := range takers {
		wg.Go(func() {
			want := 0
			if i%10 == 0 {
				want = 100 + i%155
			}
			slots[i], errs[i] = a.Take(t.Context(), taken, want, l)
		})
	}
	wg.Wait()

	seen := make(map[Slot]bool)
	for i, s := range slots {
		if errs[i] != nil {
			_, full := errors.AsType[*FullError](errs[i])
			_, used := errors.AsType[*TakenError](errs[i])
			if !full && !used {
				t.Error(errs[i])
			}
			continue
		}
		if seen[s] {
			t.Errorf("%+v was given out twice", s)
		}
		seen[s] = true
	}
	if want := 155 - 5 - 2; len(seen) != want {
		t.Errorf("%d slots were given out, want %d", len(seen), want)
	}
}

// TestAnyWorld takes slots in random worlds until they are full: what is given
// out was free, and the counts of the FullError add up.
func TestAnyWorld(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		start := 100 + rnd.IntN(155)
		end := start + rnd.IntN(255-start)
		gateway := 1 + rnd.IntN(254)
		if start == end && gateway == start {
			gateway = 1
		}
		pool := mustPool(t, fmt.Sprintf("10.9.8.%d", gateway), start, end)
		taken := Taken{VMIDs: map[int]string{}, Addrs: map[netip.Addr]string{}, Held: map[int]string{}}
		var alive []int
		busy := make(map[int]bool)
		for id := 90; id < 260; id++ { // beyond the pool as well
			switch rnd.IntN(8) {
			case 0:
				taken.VMIDs[id] = "VM"
			case 1:
				if id < 256 {
					taken.Addrs[withHost(pool.Gateway, id)] = "VM"
				}
			case 2:
				taken.Held[id] = "job"
			case 3:
				alive = append(alive, id)
			default:
				continue
			}
			busy[id] = true
		}
		a := &Allocator{Pool: pool, Prober: answering(alive...)}
		l := &ledger{}
		for {
			s, err := a.Take(t.Context(), taken, 0, l)
			if full, ok := errors.AsType[*FullError](err); ok {
				if got, want := full.Used+full.Answering+full.Held, len(pool.candidates()); got != want {
					t.Errorf("seed %d: %v: counts are %d, want %d", seed, err, got, want)
				}
				break
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if busy[s.VMID] || s.IP == pool.Gateway {
				t.Errorf("seed %d: %+v was not free", seed, s)
			}
			busy[s.VMID] = true
		}
		for _, s := range pool.candidates() {
			if !busy[s.VMID] {
				t.Errorf("seed %d: %+v was free and not given out", seed, s)
			}
		}
	}
}

func BenchmarkTake(b *testing.B) {
	pool := mustPool(b, "192.168.0.1", 100, 254)
	for _, bm := range []struct {
		name  string
		taken Taken
	}{
		{"empty", Taken{}},
		{"crowded", Taken{VMIDs: span(100, 253, "VM")}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			a := &Allocator{Pool: pool, Prober: answering()}
			for b.Loop() {
				if _, err := a.Take(b.Context(), bm.taken, 0, &ledger{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	a := &Allocator{Pool: mustPool(b, "192.168.0.1", 100, 254), Prober: answering()}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Take(b.Context(), Taken{}, 0, &ledger{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// What is told later is asked once, while the first addresses are probed, and
// counts like what is known before.
func TestLater(t *testing.T) {
	pool := mustPool(t, "192.168.0.1", 100, 254)
	probing := make(chan struct{}, 10)
	asked := 0
	later := func(vmids map[int]string, err error) func(context.Context) (map[int]string, error) {
		return func(context.Context) (map[int]string, error) {
			asked++
			<-probing // ends only if they run side by side
			return vmids, err
		}
	}
	prober := proberFunc(func(context.Context, []netip.Addr) ([]netip.Addr, error) {
		probing <- struct{}{}
		return nil, nil
	})
	a := Allocator{Pool: pool, Prober: prober}

	first := maps.Collect(func(yield func(int, string) bool) {
		for id := range 5 { // all of the first batch, from both ends
			_ = yield(100+id, "volumes") && yield(254-id, "volumes")
		}
	})
	slot, err := a.Take(t.Context(), Taken{Later: later(first, nil)}, 0, &ledger{})
	if err != nil || slot.VMID != 105 || asked != 1 {
		t.Errorf("took %v, %v, after asking %d times", slot, err, asked)
	}
	_, err = a.Take(t.Context(), Taken{Later: later(map[int]string{120: "volumes of a former VM"}, nil)}, 120, &ledger{})
	var taken *TakenError
	if !errors.As(err, &taken) || taken.By != "volumes of a former VM" {
		t.Errorf("a VMID that owns volumes: %v", err)
	}
	broken := errors.New("no answer")
	if _, err := a.Take(t.Context(), Taken{Later: later(nil, broken)}, 0, &ledger{}); !errors.Is(err, broken) || errors.Is(err, ErrProbe) {
		t.Errorf("an error of what is told later: %v", err)
	}
}

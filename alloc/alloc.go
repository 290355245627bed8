package alloc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// first is how many addresses are asked about at first: nearly always one
	// of them is free, and each is a process on a node.
	first = 4
	// batch is how many addresses one probe asks about, at most.
	batch = 10
	// parallel is how many probes run at once, at most; each is a command on
	// a node.
	parallel = 4
	// patience is what all probes of one Take have together. A node that is
	// asked for many at once needs a while.
	patience = 30 * time.Second
)

// Taken is why slots are not free, as far as that is known before anything is
// probed. The values are for people and name what has the slot: "VM 101 on
// pve1", "volumes of a former VM", "held by job 7". What the taker itself holds
// does not belong here.
type Taken struct {
	VMIDs map[int]string        // guests of the cluster, and VMIDs that still own volumes
	Addrs map[netip.Addr]string // static addresses in the configs of guests
	Held  map[int]string        // VMIDs of slots that other jobs hold, or that cool down
	// Later tells further VMIDs that are taken, where that takes a while: it is
	// asked once, while the first addresses are probed. Take returns its error.
	// nil: there are none.
	Later func(ctx context.Context) (map[int]string, error)
}

// Prober finds out which addresses are in use.
// It is called by several goroutines at once.
type Prober interface {
	// Alive returns those of addrs that answer. It looks at all of them at
	// once, and ends when ctx does. When it can't tell for each of addrs, it
	// fails.
	Alive(ctx context.Context, addrs []netip.Addr) ([]netip.Addr, error)
}

// Ledger remembers who holds which slot. It is what keeps two takers apart,
// so it is shared by all of them: by all goroutines, and all bots of a cluster.
type Ledger interface {
	// Take holds the first of candidates that nobody holds, in one atomic
	// step, and returns it. ErrTaken when others hold all of them. For a taker
	// that holds a slot of the pool already, a ledger may return that one.
	Take(ctx context.Context, candidates []Slot) (Slot, error)
}

// Allocator chooses slots of one pool. It keeps nothing between calls and may
// be used by many goroutines at once.
type Allocator struct {
	Pool   Pool
	Prober Prober
}

// Take takes a free slot: the one with VMID want, or any when want is 0. What
// taken names is left out, the rest is probed, and what does not answer is
// offered to ledger.
//
// The errors are *RangeError and *TakenError (only when want is not 0),
// *FullError (only when it is 0), ErrProbe with its cause, or the ledger's
// own. After an error nothing is held.
func (a *Allocator) Take(ctx context.Context, taken Taken, want int, ledger Ledger) (Slot, error) {
	if want != 0 {
		return a.takeOne(ctx, taken, want, ledger)
	}
	full := &FullError{Pool: a.Pool}
	candidates := slices.DeleteFunc(a.Pool.candidates(), func(s Slot) bool {
		state, _ := taken.look(s)
		switch state {
		case unknown:
			return false
		case used:
			full.Used++
		case held:
			full.Held++
		}
		return true
	})

	probes, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	late := &later{ask: taken.Later}
	// Only a crowded pool is worth several probes at once.
	for n, next := first, batch; len(candidates) > 0; n, next = next, min(2*next, parallel*batch) {
		round := candidates[:min(n, len(candidates))]
		candidates = candidates[len(round):]

		free, err := a.probe(ctx, probes, round, late)
		if err != nil {
			return Slot{}, err
		}
		full.Answering += len(round) - len(free)
		free = slices.DeleteFunc(free, func(s Slot) bool {
			_, used := late.vmids[s.VMID]
			if used {
				full.Used++
			}
			return used
		})
		if len(free) == 0 {
			continue
		}
		slot, err := ledger.Take(ctx, free)
		if !errors.Is(err, ErrTaken) {
			return slot, err
		}
		full.Held += len(free)
	}
	return Slot{}, full
}

// takeOne takes the slot with VMID want.
func (a *Allocator) takeOne(ctx context.Context, taken Taken, want int, ledger Ledger) (Slot, error) {
	slot, err := a.Pool.Slot(want)
	if err != nil {
		return Slot{}, err
	}
	if state, by := taken.look(slot); state != unknown {
		return Slot{}, &TakenError{Slot: slot, By: by}
	}
	probes, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	late := &later{ask: taken.Later}
	free, err := a.probe(ctx, probes, []Slot{slot}, late)
	if err != nil {
		return Slot{}, err
	}
	if by, used := late.vmids[want]; used {
		return Slot{}, &TakenError{Slot: slot, By: by}
	}
	if len(free) == 0 {
		return Slot{}, &TakenError{Slot: slot, By: "something answers at its address"}
	}
	got, err := ledger.Take(ctx, free)
	if errors.Is(err, ErrTaken) {
		return Slot{}, &TakenError{Slot: slot, By: "another job has just taken it"}
	}
	return got, err
}

// later is what Taken.Later tells, once it was asked.
type later struct {
	ask   func(ctx context.Context) (map[int]string, error) // nil: not any more
	vmids map[int]string
}

// probe returns the silent ones of slots, and the first time asks meanwhile
// what is told later. Probes ends before ctx does.
func (a *Allocator) probe(ctx, probes context.Context, slots []Slot, l *later) (free []Slot, err error) {
	if l.ask == nil {
		return a.silent(probes, slots)
	}
	ask := l.ask
	l.ask = nil
	probes, cancel := context.WithCancel(probes)
	defer cancel()
	var g errgroup.Group
	g.Go(func() (err error) {
		if l.vmids, err = ask(ctx); err != nil {
			cancel()
		}
		return err
	})
	free, err = a.silent(probes, slots)
	if lerr := g.Wait(); lerr != nil {
		return nil, lerr
	}
	return free, err
}

// silent returns the slots at whose addresses nothing answers, in their order.
func (a *Allocator) silent(ctx context.Context, slots []Slot) ([]Slot, error) {
	if a.Pool.Dynamic() {
		return slots, nil // they have no address that could answer
	}
	batches := slices.Collect(slices.Chunk(slots, batch))
	answers := make([][]netip.Addr, len(batches))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, b := range batches {
		g.Go(func() error {
			addrs := make([]netip.Addr, len(b))
			for j, s := range b {
				addrs[j] = s.IP
			}
			var err error
			answers[i], err = a.Prober.Alive(gctx, addrs)
			return err
		})
	}
	err := g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // says more than "context deadline exceeded"
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProbe, err)
	}
	alive := make(map[netip.Addr]bool)
	for _, addr := range slices.Concat(answers...) {
		alive[addr] = true
	}
	var free []Slot
	for _, s := range slots {
		if !alive[s.IP] {
			free = append(free, s)
		}
	}
	return free, nil
}

// state is what is known about a slot without asking anybody.
type state int

const (
	unknown state = iota
	used
	held
)

// look says what is known about s, and what has it.
func (t Taken) look(s Slot) (is state, by string) {
	if by, ok := t.VMIDs[s.VMID]; ok {
		return used, by
	}
	if by, ok := t.Addrs[s.IP]; ok {
		return used, "its address belongs to " + by
	}
	if by, ok := t.Held[s.VMID]; ok {
		return held, by
	}
	return unknown, ""
}

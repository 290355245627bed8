package alloc

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrTaken is a Ledger's answer when others hold every candidate.
	ErrTaken = errors.New("every candidate is held by somebody else")
	// ErrProbe: it could not be found out which addresses answer, so none of
	// them counts as free. The cause is wrapped beside it.
	ErrProbe = errors.New("can't find out which addresses are in use")

	// errSlow is the cause of a probe that was cut off.
	errSlow = fmt.Errorf("no answer within %v", patience)
)

// FullError says that no slot of a pool is free, and why. The counts add up to
// the pool's slots.
type FullError struct {
	Pool      Pool
	Used      int // by guests, their configs or volumes
	Answering int // at their address, though the cluster does not know them
	Held      int // by other jobs, or cooling down
}

func (e *FullError) Error() string {
	var why []string
	for _, r := range []struct {
		n    int
		text string
	}{
		{e.Used, "%d used by VMs"}, {e.Answering, "%d answer"}, {e.Held, "%d held"},
	} {
		if r.n > 0 {
			why = append(why, fmt.Sprintf(r.text, r.n))
		}
	}
	return fmt.Sprintf("no free address in %v: %s", e.Pool, strings.Join(why, ", "))
}

// Left is how many slots of a pool seem to be free before anything is probed. The
// error is for those that are not.
func (p Pool) Left(taken Taken) (int, *FullError) {
	left, full := 0, &FullError{Pool: p}
	for _, s := range p.candidates() {
		switch state, _ := taken.look(s); state {
		case unknown:
			left++
		case used:
			full.Used++
		case held:
			full.Held++
		}
	}
	return left, full
}

// Free says what has a slot, nil when nothing seems to.
func (p Pool) Free(s Slot, taken Taken) error {
	if state, by := taken.look(s); state != unknown {
		return &TakenError{Slot: s, By: by}
	}
	return nil
}

// TakenError says that the slot that was asked for is not free.
type TakenError struct {
	Slot Slot
	By   string // what has it, as it completes the sentence: VM 101 on pve1
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("id %d (%v) is not free: %s", e.Slot.VMID, e.Slot.IP, e.By)
}

// RangeError says that a pool has no slot of the VMID that was asked for.
type RangeError struct {
	Pool Pool
	VMID int
}

func (e *RangeError) Error() string {
	if e.VMID >= e.Pool.Start && e.VMID <= e.Pool.End {
		return fmt.Sprintf("id %d would have the gateway's address %v", e.VMID, e.Pool.Gateway)
	}
	return fmt.Sprintf("id %d is outside %d-%d, the ids whose addresses are given out", e.VMID, e.Pool.Start, e.Pool.End)
}

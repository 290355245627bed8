package torture

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"pvebot/provision"
)

// Deadly is a store that kills its process, with SIGKILL, at the first border
// of a step that no process has died at yet: before the step's effect, after
// it, after the record that it is done; the same for undoing it, and around
// slots and ends. It also notes what it acknowledged, for people who look
// later.
type Deadly struct {
	provision.Store
	// Borders lists the borders that somebody died at, one a line. Without it
	// nobody dies.
	Borders string
	// Acked lists the events that were acknowledged: JOB SEQ ID.
	Acked string

	mu sync.Mutex
}

// Append implements provision.Store.
func (d *Deadly) Append(ctx context.Context, l *provision.Lease, evs ...provision.Event) (provision.Signal, error) {
	for _, e := range evs {
		switch e.Kind {
		case provision.StepDone, provision.StepUndone:
			d.border(l, e.Step, "has its effect, "+string(e.Kind)+" is not written")
		case provision.JobState:
			d.border(l, "", "is not "+string(e.State)+" yet")
		}
	}
	sig, err := d.Store.Append(ctx, l, evs...)
	if err != nil {
		return sig, err
	}
	d.note(evs)
	for _, e := range evs {
		switch e.Kind {
		case provision.StepStarted, provision.StepUndoing, provision.StepDone, provision.StepUndone:
			d.border(l, e.Step, string(e.Kind)+" is written")
		case provision.JobState:
			d.border(l, "", "is "+string(e.State))
		}
	}
	return sig, nil
}

// Reserve implements provision.Store.
func (d *Deadly) Reserve(ctx context.Context, l *provision.Lease, pool string, slots ...string) (string, error) {
	got, err := d.Store.Reserve(ctx, l, pool, slots...)
	if err == nil {
		d.border(l, "", "has a slot of "+kindOf(pool))
	}
	return got, err
}

// Release implements provision.Store.
func (d *Deadly) Release(ctx context.Context, l *provision.Lease, pool, slot string, cooling time.Duration) error {
	err := d.Store.Release(ctx, l, pool, slot, cooling)
	if err == nil {
		d.border(l, "", "gave back a slot of "+kindOf(pool))
	}
	return err
}

// kindOf is the kind of a pool, without which one it is.
func kindOf(pool string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(pool, "places/"), "/")
	return kind
}

// border dies, unless somebody did here before.
func (d *Deadly) border(l *provision.Lease, step, where string) {
	if d.Borders == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := fmt.Sprintf("%s: %s %s", l.Job.Order.Spec.Kind(), step, where)
	known, err := os.ReadFile(d.Borders)
	if err == nil && strings.Contains("\n"+string(known), "\n"+name+"\n") {
		return
	}
	if err := write(d.Borders, name+"\n"); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // a signal to oneself takes a moment
}

// note writes down what was acknowledged.
func (d *Deadly) note(evs []provision.Event) {
	var lines strings.Builder
	for _, e := range evs {
		fmt.Fprintf(&lines, "%d %d %s\n", e.Job, e.Seq, e.ID)
	}
	if err := write(d.Acked, lines.String()); err != nil {
		panic(err)
	}
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/provision"
)

// inboxRole is the role of who takes up what others left behind; see seatRole.
const inboxRole = "inbox"

const (
	// stale is how old an interaction may be to be taken up. What is older, its
	// sender has given up on.
	stale = 15 * time.Minute
	// abandoned is how old an unhandled interaction without a seat is before its
	// process is held for dead. One that died before this desk opened is not
	// waited for.
	abandoned = time.Minute
	// lookEvery is how often a desk looks for what others left behind.
	lookEvery = time.Second
	// takeUpAtOnce is how many interactions about one cluster are taken up at a
	// time.
	takeUpAtOnce = 4
	// takeUpTime is what each of them gets, and after how long none is begun
	// before there was another look. What is cut short is taken up again.
	takeUpTime = 2 * time.Minute
)

// left is an interaction as it is stored.
type left struct {
	Inbound
	Seat string `json:"seat,omitempty"` // of the desk that took it
}

// Run takes up, until ctx ends, what dying bots left unhandled. Of several bots
// on one store, one does: the one that gets the dead one's seat.
func (d *Desk) Run(ctx context.Context) error {
	var keeper sync.WaitGroup
	keeper.Go(func() { d.keep(ctx) })
	for ctx.Err() == nil {
		if err := d.Recover(ctx); err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, "can't take up what was left unhandled; trying again", "err", err)
		}
		if d.clock.Sleep(ctx, min(lookEvery, d.ttl/3)) != nil {
			break
		}
	}
	keeper.Wait()
	d.mu.Lock()
	own, busy := d.own, len(d.taken) > 0
	d.mu.Unlock()
	if own != nil && !busy { // else it lapses, when nobody here is at it any more
		d.stand(ctx, own)
	}
	return nil
}

// Recover takes up once what others left unhandled. What was done already is
// not done again: orders have keys, jobs at rest know what they were asked.
func (d *Desk) Recover(ctx context.Context) error {
	rows, err := d.unhandled(ctx)
	errs := []error{err}
	var seats []string
	for _, row := range rows {
		if name := d.seatOf(row); d.leftBehind(row) && !slices.Contains(seats, name) {
			seats = append(seats, name)
		}
	}
	found := make([]error, len(seats))
	var taking sync.WaitGroup
	for i, name := range seats {
		taking.Go(func() {
			s, err := d.sit(ctx, name)
			if s != nil { // else somebody is at it
				err = d.takeOver(ctx, s)
				d.stand(ctx, s)
			}
			found[i] = err
		})
	}
	taking.Wait()
	return errors.Join(append(errs, found...)...)
}

// unhandled are the interactions of the desk's platforms that nobody has marked
// as handled.
func (d *Desk) unhandled(ctx context.Context) ([]provision.Inbox, error) {
	var all []provision.Inbox
	var errs []error
	for name := range d.adapters {
		rows, err := d.store.Unhandled(ctx, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("inbox of %s: %w", name, err))
		}
		all = append(all, rows...)
	}
	return all, errors.Join(errs...)
}

// seatOf is the seat in which an interaction was taken; one that can't be read
// has none.
func (d *Desk) seatOf(row provision.Inbox) string {
	var l left
	if err := json.Unmarshal(row.Data, &l); err != nil {
		return ""
	}
	return l.Seat
}

// leftBehind reports whether nobody may be at an interaction any more: whoever
// gets its seat knows.
func (d *Desk) leftBehind(row provision.Inbox) bool {
	name := d.seatOf(row)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, here := d.taken[inboundKey(Inbound{Platform: row.Platform, ID: row.ID})]; here || d.own != nil && d.own.name == name {
		return false
	}
	return name != "" || row.At.Before(d.opened) || d.clock.Now().Sub(row.At) >= abandoned
}

// takeOver handles what was left in a seat. It looks anew: what was handled
// before the seat was had is done. Clusters don't wait for each other.
func (d *Desk) takeOver(ctx context.Context, s *seat) error {
	ctx, done := s.within(ctx)
	defer done()
	rows, err := d.unhandled(ctx)
	queues := map[string][]provision.Inbox{}
	for _, row := range rows {
		if d.seatOf(row) == s.name && d.leftBehind(row) {
			name := d.clusterOf(ctx, row)
			queues[name] = append(queues[name], row)
		}
	}
	began := d.clock.Now()
	var taking sync.WaitGroup
	for _, queue := range queues {
		taking.Go(func() {
			var g errgroup.Group
			g.SetLimit(takeUpAtOnce)
			for _, row := range queue {
				g.Go(func() error {
					if ctx.Err() == nil && d.clock.Now().Sub(began) < takeUpTime {
						d.takeUp(ctx, row)
					}
					return nil
				})
			}
			_ = g.Wait()
		})
	}
	taking.Wait()
	return err
}

// clusterOf is the cluster that an interaction is about, "" when that can't be
// told.
func (d *Desk) clusterOf(ctx context.Context, row provision.Inbox) string {
	var in Inbound
	if err := json.Unmarshal(row.Data, &in); err != nil || !d.several() {
		return ""
	}
	if p, ok := pressOf(in.Button); ok {
		job, err := d.store.Job(ctx, p.Job)
		if err != nil {
			return ""
		}
		return job.Order.Cluster
	}
	if t, ok := turnOf(in.Button); ok {
		in.Kind, in.Text = Command, t.Line
	}
	req, err := requestOf(in)
	if err != nil {
		return ""
	}
	at, _, err := d.counterFor(in, req)
	if err != nil {
		return ""
	}
	return at.cluster
}

func (d *Desk) takeUp(ctx context.Context, row provision.Inbox) {
	ctx, cancel := context.WithTimeout(ctx, takeUpTime)
	defer cancel()
	in := Inbound{Platform: row.Platform, ID: row.ID}
	if err := json.Unmarshal(row.Data, &in); err != nil || in.ID != row.ID {
		d.log.WarnContext(ctx, "dropped an interaction that can't be read", "platform", row.Platform, "id", row.ID, "err", err)
		d.handled(ctx, Inbound{Platform: row.Platform, ID: row.ID})
		return
	}
	if d.clock.Now().Sub(row.At) > stale {
		d.whisper(ctx, in, noteCard(Bad, "I was away when you asked for this, so I did nothing. Ask again if you still want it"))
		d.handled(ctx, in)
		return
	}
	d.process(ctx, in)
}

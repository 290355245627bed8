package bot

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"
)

// seat is a desk's hold on the interactions that it took: a role in the store,
// which lapses when the desk's process dies or freezes. Then another desk may
// have the seat, and with it what was left there.
type seat struct {
	name string
	// ctx ends when the seat may be another's.
	ctx  context.Context
	lose context.CancelCauseFunc

	renewed time.Time // Desk.mu guards it
}

// errSeatLost: another desk may be at what was taken here.
var errSeatLost = errors.New("another bot may have taken this over")

// seatRole is a seat's role in the store. What has no seat was taken by a desk
// that could not have one.
func seatRole(name string) string {
	if name == "" {
		return inboxRole
	}
	return inboxRole + "/" + name
}

// seated is the desk's own seat, nil when it has none just now.
func (d *Desk) seated() *seat {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.own == nil || !d.fresh(d.own) {
		return nil
	}
	return d.own
}

// fresh reports whether nobody else can have s yet. A process that slept finds
// out here, before its timers do. d.mu is held.
func (d *Desk) fresh(s *seat) bool {
	return s.ctx.Err() == nil && d.clock.Now().Sub(s.renewed) < d.ttl*7/10
}

// sit takes a seat that nobody holds; nil: somebody does.
func (d *Desk) sit(ctx context.Context, name string) (*seat, error) {
	asked := d.clock.Now()
	led, err := d.store.Lead(ctx, seatRole(name), d.self, d.ttl)
	if err != nil || !led {
		return nil, err
	}
	s := &seat{name: name, renewed: asked}
	s.ctx, s.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seats[s] = true
	return s, nil
}

// stand gives a seat up. What was taken there and not handled is left for
// whoever has it next.
func (d *Desk) stand(ctx context.Context, s *seat) {
	d.forsake(s)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roleRenew)
	defer cancel()
	if err := d.store.Resign(ctx, seatRole(s.name), d.self); err != nil {
		d.log.WarnContext(ctx, "can't give up the role", "role", seatRole(s.name), "err", err)
	}
}

// forsake stops all work on what was taken in a seat.
func (d *Desk) forsake(s *seat) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seats, s)
	if d.own == s {
		d.own = nil
	}
	s.lose(errSeatLost)
}

// keep has a seat of the desk's own, and renews all that it has, until ctx ends.
func (d *Desk) keep(ctx context.Context) {
	for {
		d.mu.Lock()
		held := slices.Collect(maps.Keys(d.seats))
		d.mu.Unlock()
		for _, s := range held {
			d.renew(ctx, s)
		}
		if d.seated() == nil {
			s, err := d.sit(ctx, rand.Text())
			if err != nil && ctx.Err() == nil {
				d.log.WarnContext(ctx, "can't take a seat; what is asked for now waits for a minute should this bot die", "err", err)
			}
			d.mu.Lock()
			d.own = s
			d.mu.Unlock()
		}
		if d.clock.Sleep(ctx, d.ttl/3) != nil {
			return
		}
	}
}

func (d *Desk) renew(ctx context.Context, s *seat) {
	if s.ctx.Err() != nil {
		return // given up meanwhile
	}
	asked := d.clock.Now()
	d.mu.Lock()
	fresh := d.fresh(s)
	d.mu.Unlock()
	led, err := false, error(nil)
	if fresh {
		try, cancel := context.WithTimeout(ctx, d.ttl/3)
		led, err = d.store.Lead(try, seatRole(s.name), d.self, d.ttl)
		cancel()
	}
	switch {
	case ctx.Err() != nil:
	case err != nil: // it may still be ours
		d.log.WarnContext(ctx, "can't renew the role", "role", seatRole(s.name), "err", err)
	case !led:
		d.forsake(s)
		d.log.WarnContext(ctx, "lost the role; another bot takes up what is left", "role", seatRole(s.name))
	default:
		d.mu.Lock()
		s.renewed = asked
		d.mu.Unlock()
	}
}

// within is ctx, ended when the seat is lost.
func (s *seat) within(ctx context.Context) (context.Context, func()) {
	if s == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

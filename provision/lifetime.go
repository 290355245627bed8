package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// How a VM's life ends: its owner is reminded, it is stopped, and a day after
// its owner was told so it is destroyed. Each follows the one before, however
// late that was: a bot that was off, or whose clock jumped, skips none.

const (
	// grace is the time between the stop, as soon as it was told, and the end.
	grace = 24 * time.Hour
	// tellFor is how long it is tried to tell: a platform that is gone for good
	// keeps no VM.
	tellFor = 7 * 24 * time.Hour
	// maxStopDays is how many days back it is looked for a stop.
	maxStopDays = 30
)

// reminderLead is how long before its end of life a VM's owner is reminded: a
// day, or a quarter of a shorter life. Half of it is left also when the
// reminder is late.
func reminderLead(r VMRecord) time.Duration { return min(24*time.Hour, r.Until.Sub(r.Created)/4) }

// system is who orders what nobody asked for.
var system = Actor{Platform: "system", ID: "lifetime", Name: "the bot"}

func endTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// endOfLife orders what is due: the reminder, the stop, the end. Orders have
// keys made of the VM and the time, so that asking twice is one order. A stop or
// an end that failed or was cancelled is ordered again the next day. Nothing is
// destroyed unless sure says that the time can be relied upon.
//
// looked is when this was done last, zero when that is not known: what was not
// told then and is told now was told since.
func (e *Engine) endOfLife(ctx context.Context, looked time.Time, sure bool) error {
	records, err := e.store.VMRecords(ctx, e.kit.cluster.Name())
	if err != nil {
		return err
	}
	now := e.clock.Now()
	var errs []error
	for _, r := range records {
		if r.Until.IsZero() || now.Before(r.Until.Add(-reminderLead(r))) {
			continue
		}
		l := ending{e: e, r: r, now: now, looked: looked, sure: sure}
		errs = append(errs, l.goOn(ctx))
	}
	return errors.Join(errs...)
}

// ending is the end of one VM's life, as it is now.
type ending struct {
	e           *Engine
	r           VMRecord
	vm          VMRef // as it is there
	now, looked time.Time
	sure        bool
}

// goOn orders what is due.
func (l *ending) goOn(ctx context.Context) error {
	there, c, err := l.e.kit.same(ctx, VMRef{VMID: l.r.VMID, UUID: l.r.UUID})
	if KindOf(err) == NotFound || KindOf(err) == Conflict {
		return l.e.store.ForgetVM(ctx, l.r.Cluster, l.r.VMID) // somebody removed it by hand
	}
	if err != nil {
		return err
	}
	there.Name = cmp.Or(c.Options["name"], l.r.Name) // it may have another one by now
	l.vm = there
	if !l.r.Reminded {
		return l.remind(ctx)
	}
	warned, err := l.warned(ctx)
	if err != nil || !warned || l.now.Before(l.r.Until) {
		return err
	}
	switch told := l.r.Told; {
	case told.IsZero():
		return l.stop(ctx)
	case told.After(l.now.Add(time.Minute)): // the clock was ahead
		return l.tell(ctx, l.now)
	case l.now.Before(told.Add(grace)) || !l.sure:
		return nil
	}
	spec, err := l.e.Prepare(ctx, Destroy{VM: l.vm})
	if err != nil {
		return err // it is told to the operator each time, and tried again
	}
	return l.order(ctx, fmt.Sprintf("%s/%d", l.key("destroy"), l.day()), "destroy; a cancel holds for a day, /vm extend for longer", spec)
}

// key of an order, of the first day.
func (l *ending) key(what string) string {
	return fmt.Sprintf("system/%s/%s/%s/%d", what, l.r.Cluster, l.r.UUID, l.r.Until.Unix())
}

// day counts the days since the end of life, from 0 on.
func (l *ending) day() int { return int(l.now.Sub(l.r.Until) / (24 * time.Hour)) }

// order makes a job, and a card where the owner will see it.
func (l *ending) order(ctx context.Context, key, text string, spec Spec) error {
	job, err := l.e.Submit(ctx, Order{
		Key: key, By: system, Where: l.r.Where,
		Spec: spec, OnFailure: OnFailureAsk, Text: fmt.Sprintf("end of life of %s: %s", l.vm, text),
	})
	if err != nil {
		return err
	}
	return l.e.show(ctx, job)
}

func (l *ending) remind(ctx context.Context) error {
	err := l.order(ctx, l.key("remind"), "remind", Remind{VM: l.vm, Until: l.r.Until})
	return errors.Join(err, l.note(ctx, func(r *VMRecord) { r.Reminded = true }))
}

// note changes the record, unless the life was extended meanwhile.
func (l *ending) note(ctx context.Context, change func(*VMRecord)) error {
	return l.e.kit.updateRecord(ctx, VMRef{VMID: l.r.VMID, UUID: l.r.UUID}, func(r *VMRecord) {
		if r.Until.Equal(l.r.Until) {
			change(r)
		}
	})
}

// tell notes since when the owner knows that the life is over.
func (l *ending) tell(ctx context.Context, since time.Time) error {
	return l.note(ctx, func(r *VMRecord) { r.Told = since.UTC() })
}

// newest is the newest job that has one of the keys.
func (l *ending) newest(ctx context.Context, keys ...string) (Job, bool, error) {
	jobs, err := l.e.store.Jobs(ctx, Filter{Keys: keys, Limit: 1})
	if err != nil || len(jobs) == 0 {
		return Job{}, false, err
	}
	return jobs[0], true, nil
}

// warned reports whether the reminder came, and long enough ago.
func (l *ending) warned(ctx context.Context) (bool, error) {
	job, known, err := l.newest(ctx, l.key("remind"))
	switch {
	case err != nil:
		return false, err
	case !known: // it was given by a version that had other keys
		return true, nil
	case !job.State.Final():
		return false, nil
	}
	since := l.now.Sub(job.Ended)
	return since < 0 || since >= reminderLead(l.r)/2, nil
}

// stop sees to it that the VM is off, and that its owner is told so.
func (l *ending) stop(ctx context.Context) error {
	stopKey := func(day int) string {
		if day == 0 {
			return l.key("stop")
		}
		return fmt.Sprintf("%s/%d", l.key("stop"), day)
	}
	keys := []string{l.key("over"), l.key("stop")}
	for day := max(1, l.day()-maxStopDays); day <= l.day(); day++ {
		keys = append(keys, stopKey(day))
	}
	job, known, err := l.newest(ctx, keys...)
	switch {
	case err != nil:
		return err
	case known && !job.State.Final():
		return nil
	case known && job.State == StateSucceeded:
		return l.await(ctx, job)
	}
	spec, err := l.e.Prepare(ctx, Power{Do: "stop", VM: l.vm})
	switch {
	case err == nil:
		return l.order(ctx, stopKey(l.day()), "stop", spec)
	case KindOf(err) != Conflict:
		return err
	}
	// It is off, or nobody may switch it off: its owner has to know all the same.
	return l.order(ctx, l.key("over"), "it is destroyed in a day; /vm extend keeps it", Remind{VM: l.vm, Until: l.r.Until, Over: true})
}

// await notes that the owner was told of a job's end, as soon as that is so.
func (l *ending) await(ctx context.Context, job Job) error {
	told, err := l.e.told(ctx, job)
	if err != nil || !told && l.now.Before(job.Ended.Add(tellFor)) {
		return err
	}
	since := l.now
	if !l.looked.IsZero() && job.Ended.Before(l.now) {
		since = l.looked
		if since.Before(job.Ended) {
			since = job.Ended
		}
	}
	if err := l.tell(ctx, since); err != nil {
		return err
	}
	l.r.Told = since
	if l.now.Before(since.Add(grace)) {
		return nil
	}
	return l.goOn(ctx)
}

// told reports whether people can see a job's end where they look for it.
func (e *Engine) told(ctx context.Context, job Job) (bool, error) {
	where := job.Order.Where.Platform
	if where == "" {
		return true, nil
	}
	card, known, err := e.store.Card(ctx, where, job.ID)
	return known && card.Settled, err
}

// stillOver makes sure that a life which is over, as the sweep saw when it
// ordered the job, was not extended before the job had the VM, and that its owner
// has known for so long. What people order is theirs to decide.
func (k *kit) stillOver(ctx context.Context, w *Work, known time.Duration) error {
	if w.Job().Order.By.Key() != system.Key() {
		return nil
	}
	ref := w.Job().Order.Spec.(VMSpec).Target()
	r, there, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	now := k.clock.Now()
	switch {
	case err != nil:
		return err
	case !there || r.UUID != ref.UUID || r.Until.IsZero():
		return Errorf(Cancelled, "%s has no end of life any more", ref)
	case now.Before(r.Until):
		return Errorf(Cancelled, "the life of %s was extended meanwhile, until %s", ref, endTime(r.Until))
	case known > 0 && (r.Told.IsZero() || now.Before(r.Told.Add(known))):
		return Errorf(Cancelled, "the owner of %s was not told a day ago that its life is over", ref)
	}
	return nil
}

// show asks for a card of a job that nobody's line led to, where the VM's owner
// will see it. Whoever writes there posts what has no message yet.
func (e *Engine) show(ctx context.Context, job Job) error {
	where := job.Order.Where.Platform
	if where == "" {
		return nil
	}
	_, known, err := e.store.Card(ctx, where, job.ID)
	if err != nil || known {
		return err
	}
	return e.store.SetCard(ctx, CardRef{Job: job.ID, Platform: where, Ref: json.RawMessage("null")})
}

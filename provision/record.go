package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// What the store knows of VMs: their owners, and how long they live.

// maxLife is how far away a VM's end of life can be.
const maxLife = 5 * 365 * 24 * time.Hour

func (k *kit) prepareExtend(ctx context.Context, s Extend) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	switch now := k.clock.Now(); {
	case !s.Until.After(now):
		return nil, Errorf(Invalid, "%s is over already", s.Until.UTC().Format(time.DateTime))
	case s.Until.After(now.Add(maxLife)):
		return nil, Errorf(Invalid, "that is more than five years away")
	}
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	if err != nil {
		return nil, err
	}
	if !known || r.UUID != c.UUID() {
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s belongs to nobody, so it has no end of life", ref), Try: fmt.Sprintf("vm adopt %d", ref.VMID)}
	}
	return s, s.longer(r)
}

// longer makes sure that s gives the VM a longer life than it has: an end that
// came sooner would be a stop, and a destroy, by another name.
func (s Extend) longer(r VMRecord) error {
	switch {
	case r.Until.IsZero():
		return Errorf(Conflict, "%s has no end of life, so there is nothing to extend", s.VM)
	case !s.Until.After(r.Until):
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s lives until %s already, and to extend never shortens", s.VM, r.Until.UTC().Format("2006-01-02 15:04 MST")),
			Try: "a later time",
		}
	}
	return nil
}

func (k *kit) extend(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Extend)
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	until := s.Until.UTC()
	err = k.updateRecord(ctx, s.VM, func(r *VMRecord) {
		if until = s.Until.UTC(); s.longer(*r) == nil {
			r.Until, r.Reminded = until, false
		} else { // it was extended further meanwhile, or this step before
			until = r.Until
		}
	})
	if until.IsZero() {
		w.Result("%s has no end of life", ref)
	} else {
		w.Result("%s lives until %s", ref, until.Format("2006-01-02 15:04 MST"))
	}
	return err
}

func (k *kit) prepareAdopt(ctx context.Context, s Adopt) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	if err != nil {
		return nil, err
	}
	if known && r.UUID == c.UUID() {
		return nil, Errorf(Conflict, "%s belongs to %s", ref, r.Owner)
	}
	if c.UUID() == "" {
		return nil, &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s has no uuid that it could be known by", ref),
			Try: fmt.Sprintf("qm set %d --smbios1 uuid=$(uuidgen) on %s", ref.VMID, ref.Node),
		}
	}
	s.VM.UUID = c.UUID()
	return s, nil
}

func (k *kit) adopt(ctx context.Context, w *Work) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	order := w.Job().Order
	w.Result("%s belongs to %s", ref, order.By)
	return k.store.SaveVM(ctx, VMRecord{
		Cluster: k.cluster.Name(), VMID: ref.VMID, UUID: c.UUID(), Name: ref.Name, Owner: order.By, Where: order.Where,
		Cores: option(c, "cores", 1), MemoryMB: option(c, "memory", 512), DiskMB: c.DiskSize(bootDisk) >> 20, Created: k.clock.Now().UTC(),
	})
}

func (k *kit) remind(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Remind)
	w.Result("%s ends at %s", s.VM, s.Until.UTC().Format("2006-01-02 15:04 MST"))
	return w.Learn(ctx, Facts{VMID: s.VM.VMID, Name: s.VM.Name, Node: s.VM.Node})
}

// grace is the time between a VM's end of life, when it is stopped, and its
// end, when it is destroyed.
const grace = 24 * time.Hour

// reminderLead is how long before its end of life a VM's owner is reminded: a
// day, or a quarter of a shorter life.
func reminderLead(r VMRecord) time.Duration { return min(24*time.Hour, r.Until.Sub(r.Created)/4) }

// system is who orders what nobody asked for.
var system = Actor{Platform: "system", ID: "lifetime", Name: "the bot"}

// endOfLife orders what is due: the reminder, the stop, the end. Orders have
// keys made of the VM and the time, so that asking twice is one order. An end
// that failed or was cancelled is ordered again the next day.
func (e *Engine) endOfLife(ctx context.Context) error {
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
		errs = append(errs, e.endOne(ctx, r, now))
	}
	return errors.Join(errs...)
}

func (e *Engine) endOne(ctx context.Context, r VMRecord, now time.Time) error {
	ref := VMRef{VMID: r.VMID, UUID: r.UUID}
	there, c, err := e.kit.same(ctx, ref)
	if KindOf(err) == NotFound || KindOf(err) == Conflict {
		return e.store.ForgetVM(ctx, r.Cluster, r.VMID) // somebody removed it by hand
	}
	if err != nil {
		return err
	}
	there.Name = cmp.Or(c.Options["name"], r.Name) // it may have another one by now
	order := func(what string, spec Spec) error {
		key, text := fmt.Sprintf("system/%s/%s/%s/%d", what, r.Cluster, r.UUID, r.Until.Unix()), what
		if what == "destroy" { // a stop has no second day
			key += fmt.Sprintf("/%d", now.Sub(r.Until)/(24*time.Hour))
			text += "; a cancel holds for a day, /vm extend for longer"
		}
		job, err := e.Submit(ctx, Order{
			Key: key, By: system, Where: r.Where,
			Spec: spec, OnFailure: OnFailureAsk, Text: fmt.Sprintf("end of life of %s: %s", there, text),
		})
		if err != nil {
			return err
		}
		return e.show(ctx, job)
	}
	switch {
	case now.Before(r.Until):
		if r.Reminded {
			return nil
		}
		return errors.Join(order("remind", Remind{VM: there, Until: r.Until}), e.kit.updateRecord(ctx, ref, func(now *VMRecord) {
			now.Reminded = now.Reminded || now.Until.Equal(r.Until) // else it was extended meanwhile
		}))
	case now.Before(r.Until.Add(grace)):
		if spec, err := e.Prepare(ctx, Power{Do: "stop", VM: there}); err == nil {
			return order("stop", spec)
		}
		return nil // it does not run, or can't be stopped now
	}
	spec, err := e.Prepare(ctx, Destroy{VM: there})
	if err != nil {
		return err // it is told to the operator each time, and tried again
	}
	return order("destroy", spec)
}

// stillOver makes sure that a life which is over since so long, as the sweep saw
// when it ordered the job, was not extended before the job had the VM. What
// people order is theirs to decide.
func (k *kit) stillOver(ctx context.Context, w *Work, since time.Duration) error {
	if w.Job().Order.By.Key() != system.Key() {
		return nil
	}
	ref := w.Job().Order.Spec.(VMSpec).Target()
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	switch {
	case err != nil:
		return err
	case !known || r.UUID != ref.UUID || r.Until.IsZero():
		return Errorf(Cancelled, "%s has no end of life any more", ref)
	case k.clock.Now().Before(r.Until.Add(since)):
		return Errorf(Cancelled, "the life of %s was extended meanwhile, until %s", ref, r.Until.UTC().Format("2006-01-02 15:04 MST"))
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

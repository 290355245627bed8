package provision

import (
	"context"
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
			Kind: Conflict, Say: fmt.Sprintf("%s lives until %s already, and to extend never shortens", s.VM, endTime(r.Until)),
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
			r.Until, r.Reminded, r.Told = until, false, time.Time{}
		} else { // it was extended further meanwhile, or this step before
			until = r.Until
		}
	})
	if until.IsZero() {
		w.Result("%s has no end of life", ref)
	} else {
		w.Result("%s lives until %s", ref, endTime(until))
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
		Cores: option(c, "cores", 1), MemoryMB: option(c, "memory", 512), DiskMB: c.DisksSize() >> 20, Created: k.clock.Now().UTC(),
	})
}

func (k *kit) remind(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Remind)
	if w.Result("%s ends at %s", s.VM, endTime(s.Until)); s.Over {
		w.Result("the life of %s was over at %s; it is destroyed a day from now, unless somebody extends it", s.VM, endTime(s.Until))
	}
	return w.Learn(ctx, Facts{VMID: s.VM.VMID, Name: s.VM.Name, Node: s.VM.Node})
}

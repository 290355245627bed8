package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pvebot/cluster"
)

func (k *kit) snapshotPlan() plan {
	return plan{
		{Phase: "snapshot", Name: "taking snapshot", Run: k.takeSnapshot, Done: k.hasSnapshot, Undo: k.dropSnapshot, Changes: true},
	}
}

// rollingBack is the step after which a VM may have another name.
const rollingBack = "rolling back"

func (k *kit) rollbackPlan() plan {
	return plan{
		{Phase: "rollback", Name: "checking snapshot", Run: k.checkSnapshot},
		{Phase: "rollback", Name: "stopping VM", Run: k.powerOff, Done: k.isStopped, Undo: k.powerOnAgain, Changes: true},
		{Phase: "rollback", Name: rollingBack, Run: k.rollBack, Done: never, Changes: true},
		{Phase: "rollback", Name: "starting VM", Run: k.startAgain, Done: k.isRunning, Changes: true},
		{Phase: "rollback", Name: "finalizing", Run: k.tellRollback},
	}
}

// Snapshots lists the snapshots of a VM, oldest first.
func (e *Engine) Snapshots(ctx context.Context, vm VMRef) ([]cluster.VMSnapshot, error) {
	ref, _, err := e.kit.same(ctx, vm)
	if err != nil {
		return nil, err
	}
	return e.kit.snapshots(ctx, ref)
}

func (k *kit) snapshots(ctx context.Context, ref VMRef) ([]cluster.VMSnapshot, error) {
	list, err := k.cluster.Snapshots(ctx, ref.Node, ref.VMID)
	return list, unreachable(ref.String(), err)
}

func named(list []cluster.VMSnapshot, name string) bool {
	return slices.ContainsFunc(list, func(s cluster.VMSnapshot) bool { return s.Name == name })
}

func (k *kit) prepareSnapshot(ctx context.Context, s Snapshot) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	s.Name = cmp.Or(s.Name, "bot-"+k.clock.Now().UTC().Format("20060102-150405"))
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := k.free(ctx, ref, c); err != nil {
		return nil, err
	}
	if err := k.takesSnapshots(ctx, ref, c); err != nil {
		return nil, err
	}
	list, err := k.snapshots(ctx, ref)
	if err != nil {
		return nil, err
	}
	if named(list, s.Name) {
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s has a snapshot %s already", ref, s.Name), Try: "choose another name"}
	}
	return s, nil
}

func (k *kit) prepareRollback(ctx context.Context, s Rollback) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	if err := errors.Join(k.notBot(ref), k.free(ctx, ref, c)); err != nil {
		return nil, err
	}
	if err := k.knowsSnapshot(ctx, s); err != nil {
		return nil, err
	}
	if s.Size, err = k.sizeThen(ctx, s); err != nil {
		return nil, err
	}
	return s, k.runsAgain(ctx, s)
}

// sizeThen is what the VM had at the snapshot, and gets back.
func (k *kit) sizeThen(ctx context.Context, s Rollback) (Size, error) {
	c, err := k.cluster.SnapshotConfig(ctx, s.VM.Node, s.VM.VMID, s.Name)
	if err != nil {
		return Size{}, unreachable(s.VM.String(), err)
	}
	return sizeIn(c), nil
}

// previewRollback shows what comes back. Orders of bots that did not look at it
// keep the digest that they were shown with.
func (k *kit) previewRollback(ctx context.Context, s Rollback) (Plan, error) {
	ref, c, err := k.same(ctx, s.VM)
	p := Plan{Title: fmt.Sprintf("rollback %s", ref), Lines: []string{"on " + ref.Node}}
	if err != nil {
		return p, err
	}
	s.VM = ref
	if s.Size == (Size{}) {
		p.Digest = digest(k.cluster.Name(), ref.VMID, ref.UUID, s.Kind())
		return p, nil
	}
	then, err := k.sizeThen(ctx, s)
	if err != nil {
		return p, err
	}
	if now := sizeIn(c); then != now {
		p.Lines = append(p.Lines, fmt.Sprintf("it has %s, and gets back %s", now, then))
	}
	p.Digest = digest(k.cluster.Name(), ref.VMID, ref.UUID, s.Kind(), s.Name, then)
	return p, nil
}

// runsAgain says why the VM could not run as it was at the snapshot: one that
// runs is started again. PVE: so is every VM whose snapshot has its memory.
func (k *kit) runsAgain(ctx context.Context, s Rollback) error {
	status, err := k.cluster.Status(ctx, s.VM.Node, s.VM.VMID)
	if err != nil {
		return unreachable(s.VM.String(), err)
	}
	c, err := k.cluster.SnapshotConfig(ctx, s.VM.Node, s.VM.VMID, s.Name)
	if err != nil {
		return unreachable(s.VM.String(), err)
	}
	if status == "stopped" && c.Options["vmstate"] == "" {
		return nil
	}
	err = k.canRun(ctx, s.VM, c)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Conflict {
		e.Say = fmt.Sprintf("%s could not run as it was at %s: %s", s.VM, s.Name, e.Say)
		e.Try = fmt.Sprintf("vm migrate %d to a larger node", s.VM.VMID)
	}
	return err
}

// knowsSnapshot says why there is no going back to the snapshot.
func (k *kit) knowsSnapshot(ctx context.Context, s Rollback) error {
	list, err := k.snapshots(ctx, s.VM)
	if err != nil {
		return err
	}
	if named(list, s.Name) {
		return k.mayGoBack(ctx, s, list)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return &Error{
		Kind: NotFound, Say: fmt.Sprintf("%s has no snapshot %s; it has %s", s.VM, s.Name, cmp.Or(strings.Join(names, ", "), "none")),
		Try: fmt.Sprintf("vm snapshots %d", s.VM.VMID),
	}
}

func (k *kit) takeSnapshot(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Snapshot)
	err := k.act(ctx, w, "snapshot", "taking the snapshot", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartSnapshot(ctx, node, key, vmid, s.Name, "by pvebot for "+w.Job().Order.By.Key()+mark(w))
	})
	w.Result("%s has a snapshot %s", s.VM, s.Name)
	return err
}

// mark ends the description of the job's snapshot: of another one of that name
// the job must keep its hands off.
func mark(w *Work) string { return fmt.Sprintf(" (job %d)", w.Job().ID) }

func (k *kit) hasSnapshot(ctx context.Context, w *Work) (bool, error) {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return false, err
	}
	list, err := k.snapshots(ctx, ref)
	return c.Lock() == "" && slices.ContainsFunc(list, func(s cluster.VMSnapshot) bool {
		return s.Name == w.Job().Order.Spec.(Snapshot).Name && strings.HasSuffix(s.Description, mark(w))
	}), err
}

func (k *kit) dropSnapshot(ctx context.Context, w *Work) error {
	if err := k.awaitAct(ctx, w, "snapshot"); err != nil {
		return err
	}
	there, err := k.hasSnapshot(ctx, w)
	if err != nil || !there {
		return err
	}
	return k.act(ctx, w, "delsnapshot", "removing the snapshot", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartDeleteSnapshot(ctx, node, key, vmid, w.Job().Order.Spec.(Snapshot).Name)
	})
}

// checkSnapshot remembers whether the VM runs: a rollback leaves it stopped.
func (k *kit) checkSnapshot(ctx context.Context, w *Work) error {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	s := w.Job().Order.Spec.(Rollback)
	s.VM = ref
	if err := k.knowsSnapshot(ctx, s); err != nil {
		return err
	}
	then, err := k.sizeThen(ctx, s)
	switch {
	case err != nil:
		return err
	case s.Size != (Size{}) && s.Size != then:
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("the snapshot %s of %s is another one by now: it has %s, and had %s", s.Name, ref, then, s.Size),
			Try: fmt.Sprintf("look at it with vm snapshots %d, and ask again", ref.VMID),
		}
	}
	running, err := k.isRunning(ctx, w)
	if err != nil {
		return err
	}
	return w.Learn(ctx, Facts{VMID: ref.VMID, Name: ref.Name, Node: ref.Node, Ran: running})
}

func (k *kit) rollBack(ctx context.Context, w *Work) error {
	return k.act(ctx, w, "rollback", "rolling back", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartRollback(ctx, node, key, vmid, w.Job().Order.Spec.(Rollback).Name)
	})
}

// tellRollback says where the VM is now.
func (k *kit) tellRollback(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Rollback)
	running, err := k.isRunning(ctx, w)
	if err != nil {
		return err
	}
	w.Result("%s is back at %s, and off", s.VM, s.Name)
	if running {
		w.Result("%s is back at %s, and runs", s.VM, s.Name)
	}
	return nil
}

// startAgain starts what ran before.
func (k *kit) startAgain(ctx context.Context, w *Work) error {
	if !w.Facts().Ran {
		w.Result("it did not run before")
		return nil
	}
	return k.powerOn(ctx, w)
}

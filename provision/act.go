package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"pvebot/cluster"
)

// free makes sure that nobody else holds the VM: PVE's lock, or its high
// availability, which would undo what we do or do it behind our back.
func (k *kit) free(ctx context.Context, ref VMRef, c cluster.VMConfig) error {
	if lock := c.Lock(); lock != "" {
		return &Error{Kind: Busy, Say: fmt.Sprintf("%s is locked (%s)", ref, lock), Try: "wait until that is over"}
	}
	managed, err := k.cluster.HAManaged(ctx)
	if err != nil {
		return unreachable("the cluster", err)
	}
	if managed[ref.VMID] {
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s is managed by PVE's high availability", ref),
			Try: outOfHA(ref.VMID),
		}
	}
	return nil
}

// outOfHA is what people can do with a VM that high availability looks after.
func outOfHA(vmid int) string {
	return fmt.Sprintf("use ha-manager, or take it out: ha-manager remove vm:%d", vmid)
}

// notBot refuses to switch off what the bot, or its database, runs in.
func (k *kit) notBot(ref VMRef) error {
	if ref.VMID != k.settings.BotVMID || ref.VMID == 0 {
		return nil
	}
	return &Error{Kind: Conflict, Say: fmt.Sprintf("%s is where the bot itself runs", ref), Try: fmt.Sprintf("qm on %s, by hand", ref.Node)}
}

// change runs do on the node where the VM is now, if it still is the one that
// the order meant and nobody else holds it.
func (k *kit) change(ctx context.Context, w *Work, doing string, do func(ctx context.Context, node string, vmid int) error) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	if err := k.free(ctx, ref, c); err != nil {
		return err
	}
	w.Result("on %s", ref.Node)
	err = do(ctx, ref.Node, ref.VMID)
	if cluster.IsNoVM(err) { // it moved just now
		if ref, _, err = k.meant(ctx, w); err == nil {
			w.Result("on %s", ref.Node)
			err = do(ctx, ref.Node, ref.VMID)
		}
	}
	return failed(doing, ref.Node, err)
}

// act is change for what takes its time. It runs as a node task, which neither
// a connection that breaks nor a bot that dies can end; one that an earlier
// worker began is followed. Key tells it from other acts on the VM.
func (k *kit) act(ctx context.Context, w *Work, key, doing string, start func(ctx context.Context, node, key string, vmid int) (cluster.Task, error)) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	key = actKey(key, ref, w)
	task, err := k.cluster.Tasks().Find(ctx, ref.Node, key)
	switch {
	case err == nil && w.resumed:
		return failed(doing, ref.Node, k.watch(ctx, w, task))
	case err == nil: // of an earlier try
		err = k.cluster.Tasks().Forget(ctx, task)
	case errors.Is(err, cluster.ErrNoTask):
		err = nil
	}
	if err != nil {
		return unreachable("node "+ref.Node, err)
	}
	if err := k.free(ctx, ref, c); err != nil {
		return err
	}
	return k.change(ctx, w, doing, func(ctx context.Context, node string, vmid int) error {
		task, err := start(ctx, node, key, vmid)
		if err != nil {
			return err
		}
		return k.watch(ctx, w, task)
	})
}

func actKey(key string, ref VMRef, w *Work) string {
	return fmt.Sprintf("%s-%s-%d", key, cmp.Or(ref.UUID, "vm"), w.Job().ID)
}

// awaitAct waits for the end of an act that may still run, whatever becomes of
// it: for who undoes it.
func (k *kit) awaitAct(ctx context.Context, w *Work, key string) error {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	task, err := k.cluster.Tasks().Find(ctx, ref.Node, actKey(key, ref, w))
	if errors.Is(err, cluster.ErrNoTask) {
		return nil
	}
	if err != nil {
		return unreachable("node "+ref.Node, err)
	}
	for _, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// watch follows a task to its end; what it says goes to the job's thread.
func (k *kit) watch(ctx context.Context, w *Work, task cluster.Task) error {
	for line, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if err != nil {
			return err // the task stays until it is tried again: it tells why
		}
		w.Log(ctx, line.Text)
	}
	return k.forget(ctx, w, task)
}

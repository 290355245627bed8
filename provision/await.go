package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"pvebot/provision/guest"
)

// entry is a way into a VM's guest that follows the VM when somebody moves it.
type entry struct {
	k     *kit
	vmid  int
	node  atomic.Pointer[string]
	where func(context.Context) (string, error) // where the VM is, if it still is the one that is meant
}

// enter adds to a guest's access how to dial it, and who watches over its VM.
func (k *kit) enter(a guest.Access, vmid int, node string, where func(context.Context) (string, error)) *guest.Guest {
	e := &entry{k: k, vmid: vmid, where: where}
	e.node.Store(&node)
	a.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return k.guests.Dial(ctx, *e.node.Load(), addr)
	}
	a.Signers, a.Clock, a.Stall, a.Watch = k.guests.Signers, k.clock, k.settings.Stall, e.watch
	return guest.Open(a)
}

// watch says why a guest is not waited for any longer: its VM is gone, another
// one, or off. It costs little: two files, and a look at the cluster that
// everybody shares; only a VM that seems to be off is asked itself.
func (e *entry) watch(ctx context.Context) error {
	node, err := e.where(ctx)
	if kind := KindOf(err); err != nil && (kind == NotFound || kind == Conflict) {
		return err
	}
	if err != nil {
		return nil // who does not answer says nothing of the VM
	}
	e.node.Store(&node)
	return e.k.offMeanwhile(ctx, node, e.vmid)
}

// offMeanwhile is an error when the VM does not run.
func (k *kit) offMeanwhile(ctx context.Context, node string, vmid int) error {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil
	}
	for _, v := range r.VMs {
		if v.VMID == vmid && v.Status == "running" {
			return nil
		}
	}
	status, err := k.cluster.Status(ctx, node, vmid)
	if err != nil || status != "stopped" {
		return nil
	}
	return &Error{Kind: Failed, Say: fmt.Sprintf("VM %d was switched off while the bot waited for it", vmid), Err: errOff}
}

// errOff: a VM was switched off by somebody, or from within.
var errOff = errors.New("the VM is off")

// waited is how far an earlier worker saw the guest come in this step.
func (w *Work) waited() guest.Waited {
	f := w.Facts().Waited
	if !w.resumed || f.Step != w.step {
		return guest.Waited{}
	}
	return guest.Waited{Stage: f.Stage, Since: f.Since}
}

// waits tells how far the guest has come, and keeps since when for whoever goes on.
func (w *Work) waits(ctx context.Context, p guest.Progress) {
	if p.Moved {
		now := Waited{Step: w.step, Stage: p.Text, Since: w.h.clock.Now().UTC()}
		if err := w.Learn(ctx, Facts{Waited: now}); err != nil {
			w.h.log.Debug("how far the guest has come was not stored", "err", err)
		}
	}
	w.Progress(ctx, -1, p.Text)
}

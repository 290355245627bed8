package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"pvebot/cluster"
	"pvebot/provision/guest"
	"pvebot/sh"
)

// ownVM finds the job's VM and makes sure that it is still the one that the
// job made: VMIDs are handed out again.
func (k *kit) ownVM(ctx context.Context, w *Work) (node string, c cluster.VMConfig, err error) {
	f := w.Facts()
	g, c, err := k.cluster.Find(ctx, f.VMID)
	if errors.Is(err, cluster.ErrNoVM) {
		return "", c, k.interrupted(w, f.VMID, &Error{Kind: NotFound, Say: fmt.Sprintf("VM %d is gone: somebody removed it", f.VMID), Err: err})
	}
	if err != nil {
		return "", c, unreachable("the cluster", err)
	}
	if !ours(c, w.Job()) {
		return "", c, Errorf(Conflict, "VM %d on %s is not the one that this job made", f.VMID, g.Node)
	}
	return g.Node, c, nil
}

// growDisk makes the disk as large as ordered: an import has the image's size.
func (k *kit) growDisk(ctx context.Context, w *Work) error {
	node, _, err := k.ownVM(ctx, w)
	if err != nil {
		return err
	}
	w.Result("disk of %s", size(w.install().DiskMB))
	return failed("growing the disk", node, k.cluster.Resize(ctx, node, w.Facts().VMID, newDisk, w.install().DiskMB<<20))
}

func (k *kit) diskGrown(ctx context.Context, w *Work) (bool, error) {
	_, c, err := k.ownVM(ctx, w)
	if err != nil {
		return false, err
	}
	w.Result("disk of %s", size(w.install().DiskMB))
	return c.DiskSize(newDisk) >= w.install().DiskMB<<20, nil
}

func (k *kit) startVM(ctx context.Context, w *Work) error {
	node, _, err := k.ownVM(ctx, w)
	if err != nil {
		return err
	}
	return failed("starting the VM", node, k.cluster.Start(ctx, node, w.Facts().VMID))
}

func (k *kit) vmRuns(ctx context.Context, w *Work) (bool, error) {
	node, _, err := k.ownVM(ctx, w)
	if err != nil {
		return false, err
	}
	status, err := k.cluster.Status(ctx, node, w.Facts().VMID)
	return status == "running", unreachable("node "+node, err)
}

// stopVM undoes the start, if the VM is still the job's own.
func (k *kit) stopVM(ctx context.Context, w *Work) error {
	node, _, err := k.ownVM(ctx, w)
	if kind := KindOf(err); err != nil && (kind == NotFound || kind == Conflict) {
		return nil // removeVM decides about what is there
	}
	if err != nil {
		return err
	}
	return failed("stopping the VM", node, k.cluster.Stop(ctx, node, w.Facts().VMID))
}

// guest opens the way into the job's VM.
func (k *kit) guest(ctx context.Context, w *Work) (*guest.Guest, error) {
	where := func(ctx context.Context) (string, error) {
		node, _, err := k.ownVM(ctx, w)
		return node, err
	}
	node, err := where(ctx)
	if err != nil {
		return nil, err
	}
	f := w.Facts()
	return k.enter(guest.Access{
		Addr: net.JoinHostPort(f.IP.String(), "22"), User: f.User, HostKey: f.HostKey, Waited: w.waited(),
	}, f.VMID, node, where), nil
}

// waitReady waits until the guest can be used, and pins its host key.
func (k *kit) waitReady(ctx context.Context, w *Work) error {
	if err := k.learnAddress(ctx, w); err != nil {
		return err
	}
	state, err := k.await(ctx, w, "")
	if err != nil {
		return err
	}
	return w.Learn(ctx, Facts{BootID: state.BootID, HostKey: state.HostKey})
}

// await waits until the guest is ready on a boot other than after. The fact
// BootID stays the boot that is to end: who is resumed asks for another one
// again.
func (k *kit) await(ctx context.Context, w *Work, after string) (guest.State, error) {
	g, err := k.guest(ctx, w)
	if err != nil {
		return guest.State{}, err
	}
	defer g.Close()
	began := k.clock.Now()
	state, err := g.Ready(ctx, after, func(p guest.Progress) { w.waits(ctx, p) })
	if err != nil {
		return state, k.notReady(ctx, w, w.Facts().VMID, err)
	}
	for _, warning := range state.Warnings {
		w.Log(ctx, "cloud-init warns: "+warning)
	}
	w.Result("ready after %s", k.clock.Now().Sub(began).Round(100*time.Millisecond))
	return state, nil
}

// notReady explains why a guest did not get ready: with what cloud-init left in
// its log, and with what the guest agent says where SSH is shut.
func (k *kit) notReady(ctx context.Context, w *Work, vmid int, err error) error {
	if failure, ok := errors.AsType[*guest.CloudInitError](err); ok {
		for _, line := range slices.Concat(failure.Errors, failure.Log) {
			w.Log(ctx, "cloud-init: "+line)
		}
	}
	trouble := k.guestTrouble(w, vmid, err)
	if stalled, ok := errors.AsType[*guest.StalledError](err); ok && stalled.Closed() && k.agentAnswers(ctx, vmid) {
		return &Error{
			Kind: Failed, Say: fmt.Sprintf("VM %d runs, for its agent answers, but %s", vmid, stalled.Short()),
			Try: "look at the guest's firewall, and at the way from its node to it", Err: err,
		}
	}
	return trouble
}

// agentAnswers reports whether the VM's guest agent is known to answer.
func (k *kit) agentAnswers(ctx context.Context, vmid int) bool {
	g, err := k.cluster.Locate(ctx, vmid)
	if err != nil {
		return false
	}
	answers, err := k.cluster.AgentAnswers(ctx, g.Node, vmid)
	return err == nil && answers
}

// guestTrouble explains an error of the guest package: what happened, why, and
// what to do. What happens to the VM then is the order's business, so that no
// advice speaks of keeping it.
func (k *kit) guestTrouble(w *Work, vmid int, err error) error {
	if errors.Is(err, errCancelAsked) || errors.Is(err, context.Canceled) {
		return err
	}
	if own, ok := errors.AsType[*Error](err); ok { // what Watch found
		return k.interrupted(w, vmid, own)
	}
	e := &Error{Kind: Failed, Say: err.Error(), Try: k.lookAtConsole(w, vmid), Err: err}
	if failure, ok := errors.AsType[*guest.CloudInitError](err); ok {
		e.Say = failure.Short()
	}
	if stalled, ok := errors.AsType[*guest.StalledError](err); ok {
		e.Say = fmt.Sprintf("VM %d does not get ready: %s", vmid, stalled.Short())
	}
	if _, ok := errors.AsType[*guest.HostKeyError](err); ok {
		e.Try = fmt.Sprintf("compare it on the console, qm terminal %d: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", vmid)
	}
	if failure, ok := errors.AsType[*guest.InitError](err); ok {
		e.Say = fmt.Sprintf("the init script failed (exit status %d)", failure.Status)
		if n := len(failure.Last); n > 0 {
			e.Say += ": " + failure.Last[n-1]
		}
		switch failure.Status {
		case sh.StatusRefused:
			e.Try = "ask your admin to look at VM_TIMEZONE, VM_LOCALE, VM_SWAP_MB, VM_PACKAGES and VM_UPGRADE"
		case sh.StatusSources:
			e.Try = "look at the way from the VM to its package sources: gateway, nameserver, proxy"
		case sh.StatusPackages:
			e.Try = "ask your admin to look at VM_PACKAGES, or try again when the package sources are well"
		}
	}
	return e
}

// undone reports whether a step that fails takes the VM away at once.
func undone(w *Work) bool {
	_, makes := w.Job().Order.Spec.(Install)
	return makes && w.Job().Order.OnFailure != OnFailureAsk
}

// lookAtConsole is advice that holds whatever becomes of the VM.
func (k *kit) lookAtConsole(w *Work, vmid int) string {
	switch _, makes := w.Job().Order.Spec.(Install); {
	case undone(w):
		return fmt.Sprintf("order it again, and watch its console meanwhile: qm terminal VMID on %s", w.Facts().Node)
	case makes:
		return fmt.Sprintf("before it is rolled back, look at its console: qm terminal %d on %s", vmid, w.Facts().Node)
	}
	return fmt.Sprintf("look at its console: qm terminal %d", vmid)
}

// interrupted says what to do about a VM that somebody took away, or switched
// off.
func (k *kit) interrupted(w *Work, vmid int, e *Error) error {
	said := *e
	_, makes := w.Job().Order.Spec.(Install)
	switch {
	case undone(w) || makes && !errors.Is(e, errOff):
		said.Try = "order it again"
	case makes:
		said.Try = fmt.Sprintf("qm start %d on %s, then Retry", vmid, w.Facts().Node)
	case errors.Is(e, errOff):
		said.Try = fmt.Sprintf("vm start %d", vmid)
	}
	return &said
}

// initKey names the run of the init script in the guest.
func initKey(f Facts) string { return "init-" + f.UUID }

// initGuest runs the OS's init script in the guest, where it goes on without the
// bot; one that an earlier worker began is followed from where that was.
func (k *kit) initGuest(ctx context.Context, w *Work) error {
	img, err := k.imageOf(w)
	if err != nil {
		return err
	}
	script, ok := img.InitScript()
	if !ok {
		w.Result("%s has no init script: it is what cloud-init made of it", img.Title)
		return nil
	}
	f := w.Facts()
	if f.InitDone {
		w.Result("it has ended well")
		return nil
	}
	g, err := k.guest(ctx, w)
	if err != nil {
		return err
	}
	defer g.Close()
	told, err := w.told(ctx)
	if err != nil {
		return err
	}
	lines := 0
	reboot, err := g.Init(ctx, guest.Script{
		Key: initKey(f), Text: script, Env: k.settings.InitEnv, Again: !w.resumed, Seen: told.Offset, Moved: told.At,
		Line: func(line string, next int64) {
			lines++
			w.LogUpTo(ctx, next, line)
			w.Progress(ctx, -1, line)
		},
	})
	if errors.Is(context.Cause(ctx), errCancelAsked) {
		k.endInit(ctx, w, g)
	}
	if err != nil {
		return k.initTrouble(ctx, w, g, err)
	}
	w.Result("%d lines of output", lines)
	if err := w.Learn(ctx, Facts{Reboot: reboot, InitDone: true}); err != nil {
		return err
	}
	if err := g.Forget(ctx, initKey(f)); err != nil { // a reboot removes it, too
		w.Log(ctx, fmt.Sprintf("the output of the init script stays in the guest, in %s: %v", guest.RunDir, err))
	}
	return nil
}

// initTrouble explains why the init script did not come to a good end. A
// connection that broke is not the script's end.
func (k *kit) initTrouble(ctx context.Context, w *Work, g *guest.Guest, err error) error {
	if errors.Is(err, cluster.ErrNotStarted) || errors.Is(err, cluster.ErrLost) {
		return &Error{
			Kind: Unavailable, Say: fmt.Sprintf("the connection to VM %d broke during its init script", w.Facts().VMID),
			Try: k.lookAtConsole(w, w.Facts().VMID), Err: err,
		}
	}
	if _, failed := errors.AsType[*guest.InitError](err); failed { // it has been read to its end
		if err := g.Forget(ctx, initKey(w.Facts())); err != nil {
			w.Log(ctx, fmt.Sprintf("the output of the init script stays in the guest, in %s: %v", guest.RunDir, err))
		}
	}
	return k.guestTrouble(w, w.Facts().VMID, err)
}

// endInitTime is how long the end of a script is waited for that nobody wants any
// more. What follows takes the guest away.
const endInitTime = 10 * time.Second

func (k *kit) endInit(ctx context.Context, w *Work, g *guest.Guest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endInitTime)
	defer cancel()
	if err := g.End(ctx, initKey(w.Facts())); err != nil {
		w.Log(ctx, fmt.Sprintf("the init script may go on: %v", err))
	}
}

// rebootGuest reboots where the init script asked for it; a changed boot id
// proves it.
func (k *kit) rebootGuest(ctx context.Context, w *Work) error {
	f := w.Facts()
	if !f.Reboot {
		w.Result("not needed")
		return nil
	}
	g, err := k.guest(ctx, w)
	if err != nil {
		return err
	}
	err = g.Reboot(ctx, f.BootID)
	g.Close()
	if err != nil {
		return k.guestTrouble(w, w.Facts().VMID, err)
	}
	_, err = k.await(ctx, w, f.BootID)
	return err
}

// guestRebooted is asked after a crash: a boot id other than the remembered
// one says that the reboot happened. One that is under way can't be asked, so
// it is waited for.
func (k *kit) guestRebooted(ctx context.Context, w *Work) (bool, error) {
	f := w.Facts()
	if !f.Reboot {
		w.Result("not needed")
		return true, nil
	}
	state, err := k.await(ctx, w, "")
	return err == nil && state.BootID != f.BootID, err
}

// finish says what people need to know.
func (k *kit) finish(ctx context.Context, w *Work) error {
	node, _, err := k.ownVM(ctx, w)
	if err != nil {
		return err
	}
	f, job := w.Facts(), w.Job()
	spec := w.install()
	r := VMRecord{
		Cluster: k.cluster.Name(), VMID: f.VMID, UUID: f.UUID, Name: f.Name, Owner: job.Order.By, Where: job.Order.Where, Job: job.ID,
		IP: f.IP, User: f.User, HostKey: f.HostKey, Cores: spec.Cores, MemoryMB: spec.MemoryMB, DiskMB: spec.DiskMB,
		Created: k.clock.Now().UTC(),
	}
	if spec.TTL > 0 {
		r.Until = r.Created.Add(spec.TTL)
	}
	if err := k.store.SaveVM(ctx, r); err != nil {
		return err
	}
	w.Result("VM %d (%s) on %s at %s, user %s, installed in %s", f.VMID, f.Name, cmp.Or(node, f.Node), f.IP, f.User,
		job.Elapsed(k.clock.Now()).Round(time.Second))
	return w.Learn(ctx, Facts{Node: node})
}

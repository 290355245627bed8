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
	g, err := k.cluster.Locate(ctx, f.VMID)
	if errors.Is(err, cluster.ErrNoVM) {
		return "", c, &Error{Kind: NotFound, Say: fmt.Sprintf("VM %d is gone: somebody removed it", f.VMID), Err: err}
	}
	if err == nil {
		c, err = k.cluster.VMConfig(ctx, g.Node, f.VMID)
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
	return failed("growing the disk", node, k.cluster.Resize(ctx, node, w.Facts().VMID, bootDisk, w.install().DiskMB<<20))
}

func (k *kit) diskGrown(ctx context.Context, w *Work) (bool, error) {
	_, c, err := k.ownVM(ctx, w)
	if err != nil {
		return false, err
	}
	w.Result("disk of %s", size(w.install().DiskMB))
	return c.DiskSize(bootDisk) >= w.install().DiskMB<<20, nil
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
	node, _, err := k.ownVM(ctx, w)
	if err != nil {
		return nil, err
	}
	f := w.Facts()
	return guest.Open(guest.Access{
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return k.guests.Dial(ctx, node, addr) },
		Addr: net.JoinHostPort(f.IP.String(), "22"), User: f.User,
		Signers: k.guests.Signers, HostKey: f.HostKey, Clock: k.clock, Stall: k.settings.Stall,
	}), nil
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
	state, err := g.Ready(ctx, after, func(p guest.Progress) { w.Progress(ctx, -1, p.Text) })
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
	trouble := guestTrouble(vmid, err)
	if stalled, ok := errors.AsType[*guest.StalledError](err); ok && stalled.Closed() && k.agentAnswers(ctx, vmid) {
		return &Error{
			Kind: Failed, Say: fmt.Sprintf("%v. Its agent answers, so it runs", err),
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

// guestTrouble explains an error of the guest package.
func guestTrouble(vmid int, err error) error {
	if errors.Is(err, errCancelAsked) || errors.Is(err, context.Canceled) {
		return err
	}
	e := &Error{Kind: Failed, Say: err.Error(), Try: fmt.Sprintf("keep the VM and look at its console: qm terminal %d", vmid), Err: err}
	if failure, ok := errors.AsType[*guest.CloudInitError](err); ok {
		e.Say = failure.Short()
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

// initGuest runs the OS's init script in the guest. The script is idempotent,
// so that it is simply run again after a crash.
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
	g, err := k.guest(ctx, w)
	if err != nil {
		return err
	}
	defer g.Close()
	lines := 0
	reboot, err := g.Init(ctx, script, k.settings.InitEnv, func(line string) {
		lines++
		w.Log(ctx, line)
		w.Progress(ctx, -1, line)
	})
	if err != nil {
		return guestTrouble(w.Facts().VMID, err)
	}
	w.Result("%d lines of output", lines)
	if reboot {
		return w.Learn(ctx, Facts{Reboot: true})
	}
	return nil
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
	err = g.Reboot(ctx)
	g.Close()
	if err != nil {
		return guestTrouble(w.Facts().VMID, err)
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

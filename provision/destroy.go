package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pvebot/cluster"
)

// destroyPlan stops a VM and removes it with the disks that were shown.
func (k *kit) destroyPlan() plan {
	return plan{
		{Phase: "destroy", Name: "checking VM", Run: k.checkDoomed},
		{Phase: "destroy", Name: "stopping VM", Run: k.powerOff, Done: k.isStopped, Undo: k.powerOnAgain, Changes: true},
		{Phase: "destroy", Name: "destroying VM", Run: k.destroy, Done: k.isGone, Changes: true},
		{Phase: "destroy", Name: "finalizing", Run: k.forgetVM},
	}
}

var (
	diskOption = regexp.MustCompile(`^(scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+$`)
	detached   = regexp.MustCompile(`^unused\d+$`)
)

// volumes are the volumes that a VM's configuration names, those of detached
// disks apart. CD-ROM images that are no volumes of the VM stay.
func volumes(c cluster.VMConfig) (attached, loose []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		if !diskOption.MatchString(name) {
			continue
		}
		volume, rest, _ := strings.Cut(c.Options[name], ",")
		if volume == "none" || volume == "cdrom" || strings.Contains(rest, "media=cdrom") && !strings.Contains(volume, "cloudinit") {
			continue
		}
		if detached.MatchString(name) {
			loose = append(loose, volume)
		} else {
			attached = append(attached, volume)
		}
	}
	return attached, loose
}

func (k *kit) prepareDestroy(ctx context.Context, s Destroy) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	if err := k.mayDestroy(ctx, s, c); err != nil {
		return nil, err
	}
	attached, loose := volumes(c)
	s.Volumes = append(attached, loose...)
	return s, nil
}

func (k *kit) mayDestroy(ctx context.Context, s Destroy, c cluster.VMConfig) error {
	if err := k.free(ctx, s.VM, c); err != nil {
		return err
	}
	if err := k.notBot(s.VM); err != nil {
		return err
	}
	if c.Options["protection"] == "1" {
		return &Error{Kind: Conflict, Say: fmt.Sprintf("%s is protected", s.VM), Try: fmt.Sprintf("qm set %d --protection 0 on %s", s.VM.VMID, s.VM.Node)}
	}
	if _, loose := volumes(c); len(loose) > 0 && !s.Detached {
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s has detached disks that would go with it: %s", s.VM, strings.Join(loose, ", ")),
			Try: "add --detached if they shall go, else move them to another VM first",
		}
	}
	return nil
}

// checkDoomed compares what is there with what was shown.
func (k *kit) checkDoomed(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Destroy)
	if err := k.stillOver(ctx, w, grace); err != nil {
		return err
	}
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	s.VM = ref
	if err := k.mayDestroy(ctx, s, c); err != nil {
		return err
	}
	attached, loose := volumes(c)
	for _, v := range append(attached, loose...) {
		if !slices.Contains(s.Volumes, v) {
			return &Error{Kind: Conflict, Say: fmt.Sprintf("%s has a disk by now that was not shown: %s", ref, v), Try: "ask again"}
		}
	}
	running, err := k.isRunning(ctx, w)
	if err != nil {
		return err
	}
	w.Result("%s", strings.Join(s.Volumes, ", "))
	return w.Learn(ctx, Facts{VMID: ref.VMID, Name: ref.Name, Node: ref.Node, Ran: running})
}

func (k *kit) destroy(ctx context.Context, w *Work) error {
	return k.act(ctx, w, "destroy", "destroying the VM", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartDestroy(ctx, node, key, vmid, cluster.DestroyOptions{})
	})
}

func (k *kit) isGone(ctx context.Context, w *Work) (bool, error) {
	_, err := k.cluster.Locate(ctx, w.Facts().VMID)
	if errors.Is(err, cluster.ErrNoVM) {
		return true, nil
	}
	return false, unreachable("the cluster", err)
}

// forgetVM drops the VM's record. Its address may be taken again after a
// while.
func (k *kit) forgetVM(ctx context.Context, w *Work) error {
	gone, err := k.isGone(ctx, w)
	if err != nil {
		return err
	}
	vmid := w.Facts().VMID
	if !gone {
		return Errorf(Failed, "VM %d is still there", vmid)
	}
	if err := k.coolDown(ctx, w, vmid); err != nil {
		return err
	}
	s := w.Job().Order.Spec.(Destroy)
	w.Result("%s is gone, with %s", s.VM, count(len(s.Volumes), "volume"))
	return k.store.ForgetVM(ctx, k.cluster.Name(), vmid)
}

// coolDown keeps a VMID and its address from being handed out at once.
func (k *kit) coolDown(ctx context.Context, w *Work, vmid int) error {
	slot := strconv.Itoa(vmid)
	_, err := w.Reserve(ctx, k.slotPool(), slot)
	if _, held := errors.AsType[*HeldError](err); held {
		return nil // somebody has it already
	}
	if err != nil {
		return err
	}
	return w.Release(ctx, k.slotPool(), slot, slotCooling)
}

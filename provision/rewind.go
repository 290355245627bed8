package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pvebot/cluster"
)

// mayGoBack says why PVE would refuse to take the VM back to a snapshot that it
// has. PVE: on ZFS, and where snapshots are chains of volumes, only the newest
// snapshot of a volume can be gone back to.
func (k *kit) mayGoBack(ctx context.Context, s Rollback, list []cluster.VMSnapshot) error {
	at := slices.IndexFunc(list, func(l cluster.VMSnapshot) bool { return l.Name == s.Name })
	if at < 0 || at == len(list)-1 {
		return nil
	}
	c, err := k.cluster.SnapshotConfig(ctx, s.VM.Node, s.VM.VMID, s.Name)
	if err != nil {
		return unreachable(s.VM.String(), err)
	}
	strict, err := k.onlyNewest(ctx, s.VM.Node, c.Volumes())
	if err != nil || len(strict) == 0 {
		return err
	}
	var later []string
	for _, l := range list[at+1:] {
		has, err := k.cluster.SnapshotConfig(ctx, s.VM.Node, s.VM.VMID, l.Name)
		if err != nil {
			return unreachable(s.VM.String(), err)
		}
		if slices.ContainsFunc(has.Volumes(), func(v string) bool { return strict[v] != "" }) {
			later = append(later, l.Name)
		}
	}
	if len(later) == 0 {
		return nil
	}
	volume := slices.Sorted(maps.Keys(strict))[0]
	return &Error{
		Kind: Conflict,
		Say: fmt.Sprintf("%s can't go back to %s: %s is %s, where PVE goes back to the newest snapshot alone, and %s came later",
			s.VM, s.Name, volume, strict[volume], strings.Join(later, ", ")),
		Try: fmt.Sprintf("vm rollback %d %s, or remove what came later: qm delsnapshot %d %s on %s",
			s.VM.VMID, later[len(later)-1], s.VM.VMID, later[len(later)-1], s.VM.Node),
	}
}

// onlyNewest are those of a node's volumes that can only go back to their newest
// snapshot, with what they are on.
func (k *kit) onlyNewest(ctx context.Context, node string, volumes []string) (map[string]string, error) {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	chains, err := k.chains(ctx, r, node, volumes)
	if err != nil {
		return nil, err
	}
	strict := map[string]string{}
	for _, v := range volumes {
		switch kind := storageType(r, node, v); {
		case kind == "zfspool" || kind == "zfs":
			strict[v] = "on ZFS"
		case chains[v]:
			strict[v] = "a chain of volumes"
		}
	}
	return strict, nil
}

// chains are those of a node's volumes whose snapshots are chains of volumes. PVE
// 9: that is a property of the storage (snapshot-as-volume-chain), which a
// volume shows by what it stands on; volumes of LVM have no other snapshots.
func (k *kit) chains(ctx context.Context, r cluster.Resources, node string, volumes []string) (map[string]bool, error) {
	chained, asked := map[string]bool{}, map[string]bool{}
	for _, v := range volumes {
		storage, _, _ := strings.Cut(v, ":")
		kind := storageType(r, node, v)
		if kind == "lvm" {
			chained[v] = true
		}
		if !slices.Contains(fileTypes, kind) || !strings.HasSuffix(v, ".qcow2") || asked[storage] {
			continue
		}
		asked[storage] = true
		list, err := k.cluster.Volumes(ctx, node, storage)
		if err != nil {
			return nil, unreachable("storage "+storage, err)
		}
		for _, l := range list {
			if strings.HasPrefix(l.Parent, "snap-") {
				chained[l.ID] = true
			}
		}
	}
	return chained, nil
}

// takesSnapshots says which of the VM's disks PVE takes no snapshots of: it takes
// those of all of them, or none. What is a device or a file of the node has none.
func (k *kit) takesSnapshots(ctx context.Context, vm VMRef, c cluster.VMConfig) error {
	r, err := k.view.resources(ctx)
	if err != nil {
		return err
	}
	for _, v := range c.Volumes() {
		if why := noSnapshots(storageType(r, vm.Node, v), v); why != "" {
			return &Error{
				Kind: Conflict, Say: fmt.Sprintf("there are no snapshots of %s: %s is %s", vm, v, why),
				Try: fmt.Sprintf("move the disk to a storage that has snapshots, with qm disk move on %s", vm.Node),
			}
		}
	}
	for _, disk := range c.Disks() {
		path, _, _ := strings.Cut(strings.TrimPrefix(c.Options[disk], "file="), ",")
		if strings.HasPrefix(path, "/") {
			return &Error{
				Kind: Conflict, Say: fmt.Sprintf("there are no snapshots of %s: %s is %s of %s itself", vm, disk, path, vm.Node),
				Try: fmt.Sprintf("take the disk out before it: qm set %d --delete %s on %s", vm.VMID, disk, vm.Node),
			}
		}
	}
	return nil
}

// noSnapshots says why a volume on a type of storage has no snapshots, "" where it
// has some or nobody knows. PVE: files have those of their format; LVM has none
// but as a chain of volumes (snapshot-as-volume-chain, PVE 9), which are qcow2.
func noSnapshots(kind, volume string) string {
	qcow2 := strings.HasSuffix(volume, ".qcow2")
	switch {
	case slices.Contains(fileTypes, kind) && !qcow2:
		return "a file that is not qcow2"
	case kind == "lvm" && !qcow2:
		return "on LVM that is not thin"
	case kind == "iscsi" || kind == "iscsidirect":
		return "on iSCSI"
	}
	return ""
}

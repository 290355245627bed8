package provision

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"pvebot/cluster"
)

// usableStorage says why a disk of mb MiB can't go to a storage of a node, of
// which other jobs will soon take some MiB. Thin storages hand out more than
// they have, so only what is nearly full is refused there.
func usableStorage(r cluster.Resources, node, name string, mb, soon int64) error {
	var fit []string
	for _, s := range r.Storages {
		if s.Node != node {
			continue
		}
		images := slices.Contains(s.Content, "images")
		if s.Name != name {
			if images {
				fit = append(fit, s.Name)
			}
			continue
		}
		switch free := max(0, s.Avail>>20-soon); {
		case !images:
			return &Error{Kind: Invalid, Say: fmt.Sprintf("storage %s is not for VM disks", name), Try: useStorage(r, node)}
		case !s.Active:
			return &Error{Kind: Unavailable, Say: fmt.Sprintf("storage %s is not available on %s", name, node), Try: useStorage(r, node)}
		case s.Total > 0 && mb > s.Total>>20:
			return &Error{
				Kind: Full, Say: fmt.Sprintf("storage %s on %s has %s in all, which is too little for a disk of %s", name, node, size(s.Total>>20), size(mb)),
				Try: "a smaller --disk",
			}
		case s.Total > 0 && free < need(s, mb):
			return &Error{
				Kind: Full, Say: fmt.Sprintf("storage %s on %s has %s free, which is too little for a disk of %s", name, node, size(free), size(mb)),
				Try: "choose another --storage or --node, or make room",
			}
		}
		return nil
	}
	slices.Sort(fit)
	return &Error{
		Kind: NotFound, Say: fmt.Sprintf("node %s has no storage %s; for VM disks it has %s", node, name, cmp.Or(strings.Join(fit, ", "), "none")),
		Try: useStorage(r, node),
	}
}

// useStorage suggests a storage for VM disks on a node.
func useStorage(r cluster.Resources, node string) string {
	for _, s := range r.Storages {
		if s.Node == node && s.Active && slices.Contains(s.Content, "images") {
			return "--storage " + s.Name
		}
	}
	return ""
}

// need is how many MiB must be free for a disk of mb: all of it, or on thin
// storage 4 GiB, about what a fresh system writes. PVE's own installer makes
// ZFS pools sparse, so those count as thin.
func need(s cluster.Storage, mb int64) int64 {
	switch s.Type {
	case "lvm", "iscsi", "iscsidirect":
		return mb
	}
	return min(mb, 4096)
}

// soonOn is what jobs in flight will take of a storage as a node sees it, in
// MiB: the jobs of all nodes when it is shared.
func (s *site) soonOn(node, storage string) (mb int64) {
	at := slices.IndexFunc(s.Storages, func(st cluster.Storage) bool { return st.Name == storage && st.Node == node })
	if at < 0 {
		return 0
	}
	for _, j := range s.flight {
		i, ok := j.Order.Spec.(Install)
		if ok && j.Facts.Storage == storage && (s.Storages[at].Shared || j.Facts.Node == node) {
			mb += need(s.Storages[at], i.DiskMB)
		}
	}
	return mb
}

// promised warns of a thin storage whose disks may together take more than it
// has, with mb MiB more of them on a node.
func (k *kit) promised(ctx context.Context, r cluster.Resources, node, storage string, mb int64) string {
	i := slices.IndexFunc(r.Storages, func(s cluster.Storage) bool { return s.Node == node && s.Name == storage })
	if i < 0 || r.Storages[i].Total == 0 || need(r.Storages[i], math.MaxInt64) == math.MaxInt64 || mb == 0 {
		return ""
	}
	volumes, err := k.cluster.Volumes(ctx, node, storage)
	if err != nil {
		say, _ := Explain(unreachable("storage "+storage, err))
		return fmt.Sprintf("how much of storage %s on %s is promised already is not known: %s", storage, node, say)
	}
	sum := mb
	for _, v := range volumes {
		if v.Content == "images" || v.Content == "rootdir" {
			sum += v.Size >> 20
		}
	}
	if total := r.Storages[i].Total >> 20; sum > total {
		return fmt.Sprintf("storage %s on %s has %s, and its disks may take %s with this: it fills up when they are used", storage, node, size(total), size(sum))
	}
	return ""
}

// storageType is the type of the storage that a volume is on.
func storageType(r cluster.Resources, node, volume string) string {
	name, _, _ := strings.Cut(volume, ":") // a storage's name will do
	for _, s := range r.Storages {
		if s.Node == node && s.Name == name {
			return s.Type
		}
	}
	return ""
}

// fileTypes are the types of storage that keep disks as files of a format of
// choice.
var fileTypes = []string{"dir", "nfs", "cifs", "glusterfs"}

// diskFormat is the format for a new disk on a storage, "" where the storage has
// but one. PVE makes a raw file of an image that is imported by its path, of which
// no snapshot can be taken.
func diskFormat(r cluster.Resources, node, storage string) string {
	if slices.Contains(fileTypes, storageType(r, node, storage)) {
		return "qcow2"
	}
	return ""
}

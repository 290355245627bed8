package pvesim

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Storages on which a snapshot is more than a mark inside a volume: ZFS, where
// only the newest can be gone back to, and chains of volumes (PVE 9), where the
// past is a file of its own that the present stands on.

// nextSnapshot numbers the snapshots of the cluster. Sim.mu must be held.
func (s *Sim) nextSnapshot() int {
	s.lastSnapshot++
	return s.lastSnapshot
}

// onlyNewest says whether a volume can only go back to its newest snapshot.
func (st *store) onlyNewest() bool { return st.spec.VolumeChain || st.spec.Type == "zfspool" }

// canGoBack is what PVE checks of each disk before it stops the VM. Sim.mu must
// be held.
func (s *Sim) canGoBack(v *vm, sn *snapshot, name string) error {
	for _, k := range snapshotDrives(sn.opts) {
		id := volumeOf(sn.opts[k])
		st, vol := s.volume(v.node, id)
		if vol == nil || !st.onlyNewest() {
			continue
		}
		if newest, _ := v.newest(id); newest != name {
			what := id // ZFS says the id, the others the volume's name
			if st.spec.VolumeChain {
				what = vol.path
			}
			return fail("can't rollback, '%s' is not most recent snapshot on '%s'", name, what)
		}
	}
	return nil
}

// newest is the last snapshot that has a volume, "" for none.
func (v *vm) newest(id string) (name string, number int) {
	for n, sn := range v.snapshots {
		if _, has := sn.sizes[id]; has && sn.number > number {
			name, number = n, sn.number
		}
	}
	return name, number
}

// sendsSnapshots says whether a volume can be copied with its snapshots. PVE: of
// a chain it would have to copy the whole of it.
func (st *store) sendsSnapshots(vol *volume) bool {
	return st.spec.Type == "zfspool" || st.spec.Type == "btrfs" || vol.format == "qcow2" && !st.spec.VolumeChain
}

// rechain says of each disk on a chain of volumes what it stands on now. Sim.mu
// must be held.
func (s *Sim) rechain(v *vm) {
	for _, k := range snapshotDrives(v.opts) {
		st, vol := s.volume(v.node, volumeOf(v.opts[k]))
		if vol == nil || !st.spec.VolumeChain {
			continue
		}
		vol.backing = ""
		if name, _ := v.newest(st.id(vol)); name != "" {
			vol.backing = st.chained(vol, name)
		}
	}
}

// chained is the name that a volume's past of a snapshot has. PVE: no list of
// the storage's content shows it but as the parent of what stands on it.
func (st *store) chained(vol *volume, snapshot string) string {
	file := filepath.Base(vol.path)
	if st.files() {
		return "snap-" + snapshot + "-" + file
	}
	return "snap_" + strings.TrimSuffix(file, ".qcow2") + "_" + snapshot + ".qcow2"
}

// snapshotLine is what a snapshot of a volume prints; qemu says whether QEMU
// itself takes it where it can.
func (st *store) snapshotLine(vol *volume, name string, qemu bool) string {
	switch {
	case st.spec.Type == "lvmthin":
		return fmt.Sprintf("  Logical volume \"snap_%s_%s\" created.", vol.path, name)
	case qemu && st.files() && st.spec.Type != "btrfs" && !st.spec.VolumeChain:
		return "internal qemu snapshot"
	}
	return ""
}

package pvesim

import (
	"fmt"
	"strconv"
)

// What a test or a demo plants: states that people and other tools leave
// behind. Each panics when there is no such VM.

// edit changes a VM and its conf file.
func (s *Sim) edit(vmid int, change func(v *vm)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vms[vmid]
	if v == nil {
		panic(fmt.Sprintf("pvesim: no VM %d", vmid))
	}
	change(v)
	s.saveVM(v)
}

// HoldLock sets the lock option of a VM; "" takes it away.
func (s *Sim) HoldLock(vmid int, lock string) {
	s.edit(vmid, func(v *vm) {
		v.opts["lock"] = lock
		if lock == "" {
			delete(v.opts, "lock")
		}
	})
}

// SetOption sets an option of a VM's conf file; "" takes it away. Nothing is
// checked.
func (s *Sim) SetOption(vmid int, key, value string) {
	s.edit(vmid, func(v *vm) {
		switch {
		case key == "description":
			v.description = value
		case value == "":
			delete(v.opts, key)
		default:
			v.opts[key] = value
		}
	})
}

// Protect sets a VM's protection flag.
func (s *Sim) Protect(vmid int) { s.SetOption(vmid, "protection", "1") }

// Passthrough gives a VM a device of its node.
func (s *Sim) Passthrough(vmid int) { s.SetOption(vmid, "hostpci0", "0000:01:00.0") }

// HAManaged puts a VM under high availability, in its present state.
func (s *Sim) HAManaged(vmid int) {
	s.edit(vmid, func(v *vm) {
		s.ha[v.id] = "stopped"
		if v.running {
			s.ha[v.id] = "started"
		}
		s.writeHA()
	})
}

// AttachISO puts a CD-ROM image of a storage that is not shared into a VM's
// drive.
func (s *Sim) AttachISO(vmid int) {
	s.edit(vmid, func(v *vm) {
		for _, st := range s.stores {
			if st.node == v.node.name && st.holds("iso") {
				vol := &volume{path: "iso/debian-12-netinst.iso", content: "iso", format: "iso", size: 631 * mib, taken: 631 * mib, created: s.now()}
				st.add(vol)
				v.opts["ide3"] = st.id(vol) + ",media=cdrom,size=" + formatSize(vol.size)
				return
			}
		}
		panic("pvesim: no storage for CD-ROM images on " + v.node.name)
	})
}

// Detach gives a VM a disk that was once attached: unused0.
func (s *Sim) Detach(vmid int) {
	s.edit(vmid, func(v *vm) {
		st := s.store(v.node, s.imageStorage())
		vol := &volume{path: st.freeName(v.id, "raw"), content: "images", format: "raw", size: 4 * gib, taken: gib, vmid: v.id, created: s.now()}
		st.add(vol)
		v.opts[freeUnused(v.opts)] = st.id(vol)
	})
}

// Template makes a template of a VM, which is switched off.
func (s *Sim) Template(vmid int) {
	s.edit(vmid, func(v *vm) {
		v.halt()
		s.makeTemplate(v)
	})
}

// Pause makes a running VM stand still.
func (s *Sim) Pause(vmid int) { s.edit(vmid, func(v *vm) { v.paused = v.running }) }

// Recycle makes another VM of a VMID: another uuid, another name.
func (s *Sim) Recycle(vmid int) {
	s.edit(vmid, func(v *vm) {
		v.opts["smbios1"] = "uuid=" + s.uuid()
		v.opts["name"] = "other-" + strconv.Itoa(vmid)
	})
}

// Move moves a stopped VM, or one whose disks are shared, behind everybody's
// back.
func (s *Sim) Move(vmid int, node string) {
	to := s.mustNode(node)
	s.edit(vmid, func(v *vm) {
		for _, id := range s.owned(v.node, v.id) {
			st, vol := s.volume(v.node, id)
			if st.node != "" {
				delete(st.vols, vol.path)
				s.store(to, st.spec.Name).add(vol)
			}
		}
		s.moveVM(v, to)
	})
}

// Backup puts a backup of a VM on a storage, as PVE's own backup job does. It
// returns its volume id.
func (s *Sim) Backup(vmid int, storage string) (id string) {
	s.edit(vmid, func(v *vm) {
		st := s.store(v.node, storage)
		path := fmt.Sprintf("backup/vzdump-qemu-%d-2026_11_27-02_00_00.vma.zst", vmid)
		vol := &volume{path: path, content: "backup", format: "vma.zst", size: gib, taken: gib, vmid: vmid, created: s.now()}
		st.add(vol)
		id = st.id(vol)
	})
	return id
}

// AttachDisk gives a VM another disk, on the storage of that name.
func (s *Sim) AttachDisk(vmid int, key, storage, format string, size int64) {
	s.edit(vmid, func(v *vm) {
		st := s.store(v.node, storage)
		vol := &volume{path: st.freeName(v.id, format), content: "images", format: format, size: size, taken: size / 4, vmid: v.id, created: s.now()}
		st.add(vol)
		v.opts[key] = st.id(vol) + ",size=" + formatSize(size)
	})
}

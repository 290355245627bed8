package pvesim

import (
	"errors"
	"fmt"
	"strings"
)

// hasClones says whether other volumes stand on this one. PVE: of thin volumes
// and of btrfs nobody can tell, and they stand on their own.
func (s *Sim) hasClones(st *store, vol *volume) bool {
	for _, v := range st.vols {
		if v.base == vol.path && v.base != "" {
			return true
		}
	}
	return false
}

// qmTemplate is POST .../template. PVE: qm ends with 0 when its task failed.
func (c *call) qmTemplate(a args) error {
	vmid := a.values["vmid"]
	check := func() (*vm, error) {
		v, err := c.find(vmid)
		switch {
		case err != nil:
			return nil, err
		case unlocked(v, a) != nil:
			return nil, unlocked(v, a)
		case len(v.snapshots) > 0:
			return nil, fail("unable to create template, because VM contains snapshots")
		case v.template():
			return nil, fail("you can't convert a template to a template")
		case v.running:
			return nil, failStatus(25, "you can't convert a VM to template if VM is running")
		}
		for _, key := range snapshotDrives(v.opts) {
			if st, vol := c.sim.volume(v.node, volumeOf(v.opts[key])); vol != nil && !st.kind().clones {
				return nil, fail("can't create base images in %s storage", st.spec.Type)
			}
		}
		return v, nil
	}
	c.sim.mu.Lock()
	_, err := check()
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = c.work("qmtemplate", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		var lines []string
		err = w.do(func() error {
			v, err := check()
			if err != nil {
				return err
			}
			lines = w.sim.makeTemplate(v)
			w.sim.saveVM(v)
			return nil
		})
		if err != nil {
			return err
		}
		return w.say(strings.Join(lines, "\n"))
	})
	if f, ok := errors.AsType[*failure](err); ok {
		c.err(f.text)
		return nil
	}
	return err
}

// makeTemplate turns a VM's disks into bases, and returns what is printed.
// Sim.mu must be held.
func (s *Sim) makeTemplate(v *vm) []string {
	var lines []string
	for _, key := range snapshotDrives(v.opts) {
		st, vol := s.volume(v.node, volumeOf(v.opts[key]))
		if vol == nil || strings.Contains(vol.path, "base-") {
			continue
		}
		old, from := st.id(vol), vol.path
		delete(st.vols, vol.path)
		vol.path = strings.Replace(vol.path, "vm-", "base-", 1)
		st.add(vol)
		v.renameVolume(old, st.id(vol))
		if st.kind().lvm {
			lines = append(lines, fmt.Sprintf("  Renamed \"%s\" to \"%s\" in volume group \"pve\"", from, vol.path))
		}
	}
	v.opts["template"] = "1"
	return lines
}

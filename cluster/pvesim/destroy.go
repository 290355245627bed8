package pvesim

import (
	"fmt"
	"strings"
)

func (c *call) qmDestroy(a args) error {
	vmid := a.values["vmid"]
	check := func() (*vm, error) {
		v, err := c.find(vmid)
		switch {
		case err != nil:
			return nil, err
		case unlocked(v, a) != nil:
			return nil, unlocked(v, a)
		case v.opts["protection"] == "1":
			return nil, fail("can't remove VM %s - protection mode enabled", vmid)
		case c.sim.ha[v.id] != "" && !a.is("purge"):
			return nil, fail("unable to remove VM %s - used in HA resources and purge parameter not set.", vmid)
		case v.running:
			return nil, failStatus(25, "VM %s is running - destroy failed", vmid)
		}
		return v, nil
	}
	c.sim.mu.Lock()
	_, err := check()
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = c.work("qmdestroy", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		if err := w.sleep(w.sim.opts.Latency.Destroy); err != nil {
			return err
		}
		var lines []string
		err = w.do(func() error {
			v, err := check()
			if err != nil {
				return err
			}
			if base := w.sim.baseInUse(v); base != "" {
				return fail("base volume '%s' is still in use by linked cloned", base) // sic
			}
			lines = w.sim.destroy(v, a.is("destroy-unreferenced-disks"))
			if a.is("purge") {
				lines = append(lines, fmt.Sprintf("purging VM %s from related configurations..", vmid))
			}
			if w.sim.ha[v.id] != "" {
				delete(w.sim.ha, v.id)
				w.sim.writeHA()
				lines = append(lines, fmt.Sprintf("NOTE: removed VM %s from HA resource configuration.", vmid))
			}
			return nil
		})
		if err != nil {
			return err
		}
		return w.say(strings.Join(lines, "\n"))
	})
	return err
}

// baseInUse names a volume of the VM that linked clones stand on.
func (s *Sim) baseInUse(v *vm) string {
	for _, d := range v.disks() {
		if st, vol := s.volume(v.node, volumeOf(v.opts[d])); vol != nil && s.hasClones(st, vol) {
			return st.id(vol)
		}
	}
	return ""
}

// destroy removes a VM with the volumes of its conf file and, when asked, all
// others that carry its number. It returns what is printed.
func (s *Sim) destroy(v *vm, unreferenced bool) []string {
	var ids, lines []string
	for _, d := range v.disks() {
		ids = append(ids, volumeOf(v.opts[d]))
	}
	if unreferenced {
		ids = append(ids, s.owned(v.node, v.id)...)
	}
	for _, id := range ids {
		st, vol := s.volume(v.node, id)
		if vol == nil || vol.vmid != v.id {
			continue
		}
		delete(st.vols, vol.path)
		if line := st.freed(vol); line != "" {
			lines = append(lines, line)
		}
	}
	v.halt()
	s.discardGuest(v)
	s.forgetVM(v)
	return lines
}

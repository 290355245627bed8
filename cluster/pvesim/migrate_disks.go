package pvesim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// localVolumes are the volumes of a VM that its node does not share. Sim.mu
// must be held.
func (s *Sim) localVolumes(v *vm, a args) []localVolume {
	var out []localVolume
	for _, key := range v.disks() {
		st, vol := s.volume(v.node, volumeOf(v.opts[key]))
		if vol == nil || st.node == "" {
			continue
		}
		l := localVolume{
			id: st.id(vol), key: key, ref: "attached", size: vol.size, target: mapStorage(a.values["targetstorage"], st.spec.Name),
		}
		switch {
		case strings.Contains(l.id, "-cloudinit"):
			l.ref = "generated"
		case isUnused(key):
			l.ref = "unused"
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b localVolume) int { return strings.Compare(a.id, b.id) })
	return out
}

// immovable is why a local volume can't be moved, "" when it can. Sim.mu must
// be held.
func (s *Sim) immovable(v *vm, l localVolume, online bool) string {
	st, vol := s.volume(v.node, l.id)
	snapshots := false
	for _, sn := range v.snapshots {
		_, has := sn.sizes[l.id]
		snapshots = snapshots || has
	}
	switch {
	case isCDROM(v.opts[l.key]) && l.ref != "generated":
		return "local cdrom image"
	case vol.vmid != v.id:
		return fmt.Sprintf("owned by other VM (owner = VM %d)", vol.vmid)
	case snapshots && online:
		return "online storage migration not possible if non-replicated snapshot exists"
	case snapshots && !st.sendsSnapshots(vol):
		return "non-migratable snapshot exists"
	case s.hasClones(st, vol):
		return "referenced by linked clone(s)"
	}
	return ""
}

// target allocates the volume that another becomes there.
func (m *migration) target(l localVolume) (st *store, vol, source *volume, err error) {
	err = m.do(func() error {
		if !m.to.online() {
			return fail("ssh: connect to host %s port 22: No route to host", m.to.spec.IP)
		}
		_, source = m.sim.volume(m.from, l.id)
		st = m.sim.store(m.to, l.target)
		format := st.format(source.format)
		path := st.freeName(m.v.id, format)
		if l.ref == "generated" {
			path = st.vmPath(m.v.id, "cloudinit", format)
		} else if same := st.samePath(source); st.vols[same] == nil && format == source.format {
			path = same
		}
		vol = &volume{
			path: path, content: "images", format: format, size: source.size, vmid: m.v.id, system: source.system, created: m.sim.now(),
		}
		if source.size > st.free() {
			return fail("no space left on storage '%s'", l.target)
		}
		st.add(vol)
		m.moved[l.id] = st.id(vol)
		return nil
	})
	return st, vol, source, err
}

// migrateSteps is how many lines of progress a disk shows.
const migrateSteps = 12

// share is the part of the whole time that some bytes take.
func (m *migration) share(bytes int64) time.Duration {
	var all int64
	for _, l := range m.local {
		all += l.size
	}
	if all == 0 {
		return 0
	}
	return time.Duration(float64(m.sim.opts.Latency.Migrate) * float64(bytes) / float64(all))
}

// copyOffline sends a volume's bytes through dd, which tells how many.
func (m *migration) copyOffline(l localVolume) error {
	st, vol, _, err := m.target(l)
	if err != nil {
		return err
	}
	if line := st.allocated(vol); line != "" {
		if err := m.log("%s", line); err != nil {
			return err
		}
	}
	began := m.sim.now()
	steps := migrateSteps
	if l.size < gib {
		steps = 1
	}
	for i := 1; i <= steps; i++ {
		if err := m.sleep(m.share(l.size) / time.Duration(steps)); err != nil {
			return err
		}
		done := l.size * int64(i) / int64(steps)
		if err := m.grow(st, vol, done); err != nil {
			return err
		}
		if i == steps {
			blocks := (done + 64*kib - 1) / (64 * kib)
			if err := m.log("%d+0 records in\n%d+0 records out", blocks, blocks); err != nil {
				return err
			}
		}
		if err := m.log("%s", ddProgress(done, m.sim.now().Sub(began))); err != nil {
			return err
		}
	}
	if err := m.log("successfully imported '%s'", st.id(vol)); err != nil {
		return err
	}
	return m.log("volume '%s' is '%s' on the target", l.id, st.id(vol))
}

// ddProgress is what dd prints of what it has copied.
func ddProgress(bytes int64, took time.Duration) string {
	seconds := max(took.Seconds(), 0.1)
	if bytes < 1000 {
		return fmt.Sprintf("%d bytes copied, %.0f s, %s/s", bytes, seconds, decimalBytes(float64(bytes)/seconds))
	}
	return fmt.Sprintf("%d bytes (%s, %s) copied, %.0f s, %s/s", bytes, decimalBytes(float64(bytes)), renderBytes(bytes), seconds, decimalBytes(float64(bytes)/seconds))
}

// decimalBytes writes 2.1 GB.
func decimalBytes(f float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if f >= 10 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// grow notes how much of a volume has arrived.
func (m *migration) grow(st *store, vol *volume, done int64) error {
	return m.do(func() error {
		switch {
		case !m.to.online():
			return fail("command 'pvesm import' failed: exit code 255")
		case done-vol.taken > st.free():
			return fail("command 'pvesm import' failed: No space left on device")
		}
		vol.taken = done
		return nil
	})
}

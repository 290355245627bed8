package pvesim

import (
	"fmt"
	"strings"
	"time"
)

// phase2 starts the VM on its target, mirrors its disks and sends its memory.
func (m *migration) phase2() error {
	if err := m.log("starting VM %d on remote node '%s'", m.v.id, m.to.name); err != nil {
		return err
	}
	if err := m.wake(); err != nil {
		return err
	}
	live := m.of(true)
	for _, l := range live {
		st, vol, _, err := m.target(l)
		if err != nil {
			return err
		}
		if err := m.log("volume '%s' is '%s' on the target", l.id, st.id(vol)); err != nil {
			return err
		}
	}
	if err := m.log("start remote tunnel\nssh tunnel ver 1"); err != nil {
		return err
	}
	if len(live) > 0 {
		if err := m.log("starting storage migration"); err != nil {
			return err
		}
	}
	for _, l := range live {
		if err := m.mirror(l); err != nil {
			return err
		}
	}
	if len(live) > 0 {
		if err := m.say("all 'mirror' jobs are ready"); err != nil {
			return err
		}
		if err := m.log("switching mirror jobs to actively synced mode"); err != nil {
			return err
		}
	}
	if err := m.memory(); err != nil {
		return err
	}
	for _, l := range live {
		line := "mirror-" + l.key
		if err := m.say(line + ": Completing block job...\n" + line + ": Completed successfully.\n" + line + ": mirror-job finished"); err != nil {
			return err
		}
	}
	return nil
}

// wake is the start of the VM's other half on the target.
func (m *migration) wake() error {
	line, reason := "", ""
	err := m.do(func() error {
		if !m.to.online() {
			return fail("ssh: connect to host %s port 22: No route to host", m.to.spec.IP)
		}
		said, err := m.to.canRun(m.v)
		if err != nil {
			line, reason = said, err.Error()
		}
		return nil
	})
	if err != nil || reason == "" {
		return err
	}
	for _, text := range []string{line, reason} {
		if text == "" {
			continue
		}
		if err := m.log("[%s] %s", m.to.name, text); err != nil {
			return err
		}
	}
	return fail("remote command failed with exit code 255")
}

// mirror copies a disk of the running VM. PVE: these lines have no time.
func (m *migration) mirror(l localVolume) error {
	if err := m.log("%s: start migration to nbd:unix:/run/qemu-server/%d_nbd.migrate:exportname=drive-%s", l.key, m.v.id, l.key); err != nil {
		return err
	}
	if err := m.say("drive mirror is starting for drive-" + l.key); err != nil {
		return err
	}
	st, vol := m.there(l)
	if vol == nil {
		return fail("volume '%s' does not exist", m.moved[l.id])
	}
	began := m.sim.now()
	for i := range migrateSteps + 1 {
		if i > 0 {
			if err := m.sleep(m.share(l.size) / migrateSteps); err != nil {
				return err
			}
		}
		done := l.size * int64(i) / migrateSteps
		if err := m.grow(st, vol, done); err != nil {
			return err
		}
		ready := ""
		if i == migrateSteps {
			ready = ", ready"
		}
		took := m.sim.now().Sub(began) / time.Second
		if err := m.say(fmt.Sprintf("mirror-%s: %s in %ds%s", l.key, transferred(done, l.size), took, ready)); err != nil {
			return err
		}
	}
	return nil
}

// there is the volume that another becomes.
func (m *migration) there(l localVolume) (*store, *volume) {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	return m.sim.volume(m.to, m.moved[l.id])
}

// memorySteps is how many lines of progress the memory shows.
const memorySteps = 5

// memory sends what the VM has in memory, while it goes on running.
func (m *migration) memory() error {
	uri := fmt.Sprintf("unix:/run/qemu-server/%d.migrate", m.v.id)
	if err := m.log("starting online/live migration on %s\nset migration capabilities\nmigration downtime limit: 100 ms\n"+
		"migration cachesize: 256.0 MiB\nset migration parameters\nstart migrate command to %s", uri, uri); err != nil {
		return err
	}
	m.sim.mu.Lock()
	all := m.v.memory()
	m.sim.mu.Unlock()
	for i := 1; i <= memorySteps; i++ {
		if err := m.sleep(m.sim.opts.Latency.Migrate / 2 / memorySteps); err != nil {
			return err
		}
		if !m.to.online() {
			return fail("migration status error: failed\naborting")
		}
		if err := m.log("migration active, transferred %s of %s VM-state, 115.2 MiB/s", renderBytes(all*int64(i)/(memorySteps+1)), renderBytes(all)); err != nil {
			return err
		}
	}
	return m.log("average migration speed: 1.0 GiB/s - downtime 52 ms\nmigration completed, transferred %s VM-state\nmigration status: completed", renderBytes(all))
}

// handOver makes the VM the target's. From then on there is no way back.
func (m *migration) handOver() error {
	var removed []string
	err := m.do(func() error {
		for _, l := range m.local {
			st, vol := m.sim.volume(m.from, l.id)
			delete(st.vols, vol.path)
			if line := st.freed(vol); line != "" {
				removed = append(removed, line)
			}
			m.v.renameVolume(l.id, m.moved[l.id])
		}
		if m.online {
			m.v.pid = m.sim.nextPid()
		}
		m.sim.moveVM(m.v, m.to) // still locked
		return nil
	})
	if err != nil {
		return err
	}
	// What is left to do is done also when nobody listens any more.
	if len(removed) > 0 {
		_ = m.log("%s", strings.Join(removed, "\n"))
	}
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	delete(m.v.opts, "lock")
	m.sim.saveVM(m.v)
	return nil
}

// carry moves a VM with its volumes at once, as the HA manager's own migration
// ends. Sim.mu must be held.
func (s *Sim) carry(v *vm, to *node) {
	if s.checkTarget(v, to, args{}) != nil || s.checkDevices(v, to, args{}) != nil {
		return
	}
	for _, l := range s.localVolumes(v, args{}) {
		st, vol := s.volume(v.node, l.id)
		delete(st.vols, vol.path)
		s.store(to, st.spec.Name).add(vol)
	}
	s.moveVM(v, to)
}

// renameVolume changes the name of a volume wherever the VM names it.
func (v *vm) renameVolume(from, to string) {
	rename := func(opts map[string]string) {
		for k, value := range opts {
			if volumeOf(value) == from {
				opts[k] = strings.Replace(value, from, to, 1)
			}
		}
	}
	rename(v.opts)
	for _, sn := range v.snapshots {
		rename(sn.opts)
		if size, ok := sn.sizes[from]; ok {
			delete(sn.sizes, from)
			sn.sizes[to] = size
		}
	}
}

package pvesim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// migration is a run of `qm migrate`. Its lines begin with the time, as PVE
// prints them; what went wrong stands there, and not in the task's error.
type migration struct {
	*worker
	v       *vm
	from    *node
	to      *node
	a       args
	online  bool
	began   time.Time
	local   []localVolume
	moved   map[string]string // volume ids here and there
	problem bool              // it ended, but not well
}

// localVolume is a volume that has to travel.
type localVolume struct {
	id     string
	key    string // the option that names it
	ref    string // attached, unused, generated, snapshot
	target string // storage
	size   int64  // bytes
}

func (c *call) qmMigrate(a args) error {
	vmid, target := a.values["vmid"], a.values["target"]
	if target == c.node.name {
		return badParam(a.cmd, "target", "target is local node.")
	}
	if !c.sim.hasQuorum() {
		return fail("cluster not ready - no quorum?")
	}
	to := c.sim.node(target)
	if to == nil {
		return fail("no such cluster node '%s'", target)
	}
	c.sim.mu.Lock()
	v, online, err := c.checkMigrate(vmid, to, a)
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	if a.is("online") && !online {
		c.err("VM isn't running. Doing offline migration instead.")
	}
	if c.sim.managed(vmid) {
		_, err := c.haRequest("hamigrate", vmid, fmt.Sprintf("Requesting HA migration for VM %s to node %s", vmid, target), func(v *vm) {
			c.sim.carry(v, to)
		})
		return err
	}
	_, err = c.work("qmigrate", vmid, func(w *worker) error {
		unlock, err := w.lockMigration(w.ctx, vmid)
		if err != nil {
			return err
		}
		defer unlock()
		m := &migration{worker: w, v: v, from: w.node, to: to, a: a, online: online, began: w.sim.now(), moved: map[string]string{}}
		return m.run()
	})
	return err
}

// log prints a line of the migration. Its error says that the worker must
// stop.
func (m *migration) log(format string, a ...any) error { return m.say(m.line("", format, a...)) }

// complain prints an error line, also when the worker was told to stop.
func (m *migration) complain(format string, a ...any) {
	line := m.line("ERROR: ", format, a...)
	m.sim.mu.Lock()
	m.task.log = append(m.task.log, line)
	m.sim.mu.Unlock()
	_ = m.out(line) // a reader that is gone changes nothing any more
}

func (m *migration) line(prefix, format string, a ...any) string {
	now := m.sim.now().Format(time.DateTime)
	var b strings.Builder
	for line := range strings.SplitSeq(fmt.Sprintf(format, a...), "\n") {
		fmt.Fprintf(&b, "%s %s%s\n", now, prefix, line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (m *migration) duration() string {
	d := m.sim.now().Sub(m.began) / time.Second
	return fmt.Sprintf("%02d:%02d:%02d", d/3600, d/60%60, d%60)
}

// run is the whole migration.
func (m *migration) run() error {
	release, err := m.lockVM(m.ctx, fmt.Sprint(m.v.id), lockWait)
	if err == nil {
		defer release()
		err = m.prepare()
	}
	if err == nil {
		err = m.travel()
	}
	switch {
	case errors.Is(err, errKilled):
		return err // nobody is left to clean up
	case err != nil:
		if errors.Is(err, errInterrupted) || errors.Is(err, errGone) {
			err = errors.New("interrupted by signal")
		}
		m.complain("migration aborted (duration %s): %s", m.duration(), strings.TrimSpace(err.Error()))
		return fail("migration aborted")
	case m.problem:
		m.complain("migration finished with problems (duration %s)", m.duration())
		return fail("migration problems")
	}
	return m.log("migration finished successfully (duration %s)", m.duration())
}

// prepare looks at everything once more, under the VM's lock.
func (m *migration) prepare() error {
	err := m.do(func() error {
		if _, err := m.find(fmt.Sprint(m.v.id)); err != nil {
			return err
		}
		if err := unlocked(m.v, m.a); err != nil {
			return err
		}
		if m.v.running && !m.online {
			return fail("can't migrate running VM without --online")
		}
		if err := m.sim.checkDevices(m.v, m.to, m.a); err != nil {
			return err
		}
		return m.sim.checkTarget(m.v, m.to, m.a)
	})
	if err != nil {
		return err
	}
	if m.online {
		if err := m.log("conntrack state migration not supported or disabled, active connections might get dropped"); err != nil {
			return err
		}
	}
	if m.to.online() {
		return nil
	}
	if err := m.log("# /usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias=%s' root@%s /bin/true", m.to.name, m.to.spec.IP); err != nil {
		return err
	}
	if err := m.log("ssh: connect to host %s port 22: No route to host", m.to.spec.IP); err != nil {
		return err
	}
	//lint:ignore ST1005 PVE's own words
	return errors.New("Can't connect to destination address using public key")
}

// travel copies, hands over and cleans up.
func (m *migration) travel() error {
	err := m.phase1()
	if errors.Is(err, errKilled) {
		return err
	}
	if err != nil {
		m.complain("%s", strings.TrimSpace(err.Error()))
		_ = m.log("aborting phase 1 - cleanup resources") // said when anybody still listens
		m.takeBack()
		return err
	}
	if m.online {
		if err := m.phase2(); errors.Is(err, errKilled) {
			return err
		} else if err != nil {
			m.problem = true
			m.complain("online migrate failure - %s", strings.TrimSpace(err.Error()))
			_ = m.log("aborting phase 2 - cleanup resources\nmigrate_cancel")
			m.takeBack()
			return nil
		}
	}
	return m.handOver()
}

// takeBack removes what was made on the target, and the lock.
func (m *migration) takeBack() {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	for _, id := range m.moved {
		if st, vol := m.sim.volume(m.to, id); vol != nil {
			delete(st.vols, vol.path)
		}
	}
	delete(m.v.opts, "lock")
	m.sim.saveVM(m.v)
}

// phase1 locks the VM and copies what can be copied while nothing runs on it.
func (m *migration) phase1() error {
	if err := m.log("starting migration of VM %d to node '%s' (%s)", m.v.id, m.to.name, m.to.spec.IP); err != nil {
		return err
	}
	err := m.do(func() error {
		m.v.opts["lock"] = "migrate"
		m.sim.saveVM(m.v)
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.scan(); err != nil {
		return prefixed(err, "Problem found while scanning volumes - ")
	}
	offline := m.of(false)
	if len(offline) > 0 {
		if err := m.log("copying local disk images"); err != nil {
			return err
		}
	}
	for _, l := range offline {
		if err := m.copyOffline(l); err != nil {
			return prefixed(err, "storage migration for '%s' to storage '%s' failed - ", l.id, l.target)
		}
	}
	return nil
}

// of are the volumes that are mirrored while the VM runs, or the others.
func (m *migration) of(live bool) []localVolume {
	var out []localVolume
	for _, l := range m.local {
		if (m.online && l.ref == "attached") == live {
			out = append(out, l)
		}
	}
	return out
}

// scan lists the volumes that are only here, and what forbids to move them.
func (m *migration) scan() error {
	var found, trouble []string
	abort := false
	err := m.do(func() error {
		m.local = m.sim.localVolumes(m.v, m.a)
		for _, l := range m.local {
			reason := m.sim.immovable(m.v, l, m.online)
			if reason == "" && m.online && l.ref == "attached" && !m.a.is("with-local-disks") {
				reason = "can't live migrate attached local disks without with-local-disks option"
			}
			switch l.ref {
			case "generated":
				found = append(found, fmt.Sprintf("found generated disk '%s' (in current VM config)", l.id))
			default:
				found = append(found, fmt.Sprintf("found local disk '%s' (%s)", l.id, l.ref))
			}
			if reason != "" {
				abort = true
				trouble = append(trouble, fmt.Sprintf("can't migrate local disk '%s': %s", l.id, reason))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, line := range append(found, trouble...) { // PVE: a warning has no prefix
		if err := m.log("%s", line); err != nil {
			return err
		}
	}
	if abort {
		return fail("can't migrate VM - check log")
	}
	return m.do(func() error {
		for _, l := range m.local {
			if _, vol := m.sim.volume(m.from, l.id); vol.base != "" {
				return fail("can't migrate '%s' as it's a clone of '%s'", l.id, vol.base[strings.LastIndexByte(vol.base, '/')+1:])
			}
		}
		return nil
	})
}

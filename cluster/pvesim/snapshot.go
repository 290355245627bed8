package pvesim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster/pvesim/simguest"
)

// snapshot is a snapshot of a VM: a section of its conf file, and what was on
// its disks then.
type snapshot struct {
	opts        map[string]string // with parent and snaptime
	description string
	at          time.Time
	number      int              // of all that were ever taken: times may be equal
	state       string           // prepare and delete, while it is taken or removed
	memory      bool             // it has the VM's memory
	sizes       map[string]int64 // of volumes, in bytes
	disk        *simguest.Disk   // nil when the VM never booted
}

func (sn *snapshot) conf() string {
	opts := maps.Clone(sn.opts)
	opts["snaptime"] = strconv.FormatInt(sn.at.Unix(), 10)
	if sn.state != "" {
		opts["snapstate"] = sn.state
	}
	return commented(sn.description) + sortedLines(opts)
}

// snapshotDrives are the disks of which a snapshot is taken.
func snapshotDrives(opts map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		if isDisk(k) && !isCDROM(opts[k]) && volumeOf(opts[k]) != "" {
			out = append(out, k)
		}
	}
	return out
}

// checkSnapshots: PVE asks for the snapshots of all disks or none. What is no
// volume has none.
func (s *Sim) checkSnapshots(v *vm) error {
	for k, value := range v.opts {
		if isDisk(k) && strings.HasPrefix(strings.TrimPrefix(value, "file="), "/") && !isCDROM(value) {
			return fail("snapshot feature is not available")
		}
	}
	for _, k := range snapshotDrives(v.opts) {
		st, vol := s.volume(v.node, volumeOf(v.opts[k]))
		if vol == nil || !st.snapshots(vol) {
			return fail("snapshot feature is not available")
		}
	}
	return nil
}

func (c *call) qmSnapshot(a args) error {
	vmid, name := a.values["vmid"], a.values["snapname"]
	if name == "current" || strings.EqualFold(name, "pending") {
		return fail("unable to use snapshot name '%s' (reserved name)", name)
	}
	if err := c.exists(vmid); err != nil {
		return err
	}
	_, err := c.work("qmsnapshot", vmid, func(w *worker) error { return w.takeSnapshot(vmid, name, a) })
	return err
}

// exists is the look at the conf file before a task is made.
func (c *call) exists(vmid string) error {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	_, err := c.find(vmid)
	return err
}

func (w *worker) takeSnapshot(vmid, name string, a args) error {
	v, sn, err := w.prepareSnapshot(vmid, name, a)
	if err != nil {
		return err
	}
	for _, k := range snapshotDrives(sn.opts) {
		if err := w.snapshotDrive(v, sn, k, name); err != nil {
			if errors.Is(err, errKilled) {
				return err // the lock stays, and so does the half snapshot
			}
			w.sim.mu.Lock()
			defer w.sim.mu.Unlock()
			delete(v.snapshots, name)
			delete(v.opts, "lock")
			w.sim.saveVM(v)
			return err
		}
	}
	return w.do(func() error {
		sn.state = ""
		delete(v.opts, "lock")
		v.opts["parent"] = name
		if v.guest != nil {
			sn.disk = v.guest.Disk()
		}
		w.sim.rechain(v)
		w.sim.saveVM(v)
		return nil
	})
}

func (w *worker) prepareSnapshot(vmid, name string, a args) (*vm, *snapshot, error) {
	release, err := w.lockVM(w.ctx, vmid, lockWait)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	var v *vm
	var sn *snapshot
	err = w.do(func() error {
		if v, err = w.find(vmid); err != nil {
			return err
		}
		if v.template() {
			return fail("you can't take a snapshot if it's a template")
		}
		if err := unlocked(v, a); err != nil {
			return err
		}
		if v.snapshots[name] != nil {
			return fail("snapshot name '%s' already used", name)
		}
		if err := w.sim.checkSnapshots(v); err != nil {
			return err
		}
		sn = &snapshot{
			opts: maps.Clone(v.opts), description: a.values["description"], at: w.sim.now(), state: "prepare", number: w.sim.nextSnapshot(),
			memory: a.is("vmstate") && v.running, sizes: map[string]int64{},
		}
		if v.snapshots == nil {
			v.snapshots = map[string]*snapshot{}
		}
		v.snapshots[name] = sn
		v.opts["lock"] = "snapshot"
		w.sim.saveVM(v)
		return nil
	})
	return v, sn, err
}

func (w *worker) snapshotDrive(v *vm, sn *snapshot, key, name string) error {
	id := volumeOf(sn.opts[key])
	if err := w.say(fmt.Sprintf("snapshotting 'drive-%s' (%s)", key, id)); err != nil {
		return err
	}
	if err := w.sleep(w.sim.opts.Latency.Snapshot); err != nil {
		return err
	}
	line := ""
	err := w.do(func() error {
		st, vol := w.sim.volume(v.node, id)
		if vol == nil {
			return fail("volume '%s' does not exist", id)
		}
		sn.sizes[id] = vol.size
		line = st.snapshotLine(vol, name, v.running && w.sim.release() >= 9)
		return nil
	})
	if err != nil {
		return err
	}
	return w.say(line)
}

func (c *call) qmDelSnapshot(a args) error {
	vmid, name := a.values["vmid"], a.values["snapname"]
	_, err := c.work("qmdelsnapshot", vmid, func(w *worker) error {
		unlock, err := w.lockMigration(w.ctx, vmid)
		if err != nil {
			return fail("Failed to obtain guest migration lock - replication running?")
		}
		defer unlock()
		v, sn, err := w.holdSnapshot(vmid, name, "snapshot-delete", a)
		if err != nil {
			return err
		}
		for _, k := range snapshotDrives(sn.opts) {
			if err := w.sleep(w.sim.opts.Latency.Snapshot); err != nil {
				return err
			}
			line := ""
			err := w.do(func() error {
				if st, vol := w.sim.volume(v.node, volumeOf(sn.opts[k])); vol != nil && st.spec.Type == "lvmthin" {
					line = fmt.Sprintf("  Logical volume \"snap_%s_%s\" successfully removed.", vol.path, name)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if err := w.say(line); err != nil {
				return err
			}
		}
		return w.do(func() error {
			v.forgetSnapshot(name)
			w.sim.rechain(v)
			delete(v.opts, "lock")
			w.sim.saveVM(v)
			return nil
		})
	})
	return err
}

// holdSnapshot finds a snapshot and locks the VM for what is done with it.
func (w *worker) holdSnapshot(vmid, name, lock string, a args) (*vm, *snapshot, error) {
	release, err := w.lockVM(w.ctx, vmid, lockWait)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	var v *vm
	var sn *snapshot
	err = w.do(func() error {
		if v, err = w.find(vmid); err != nil {
			return err
		}
		if v.template() && lock == "rollback" {
			return fail("you can't rollback if vm is a template")
		}
		if sn = v.snapshots[name]; sn == nil {
			return fail("snapshot '%s' does not exist", name)
		}
		if lock == "rollback" {
			if err := w.sim.canGoBack(v, sn, name); err != nil {
				return err
			}
		}
		if sn.state != "" && lock == "rollback" {
			return fail("unable to rollback to incomplete snapshot (snapstate = %s)", sn.state)
		}
		if err := unlocked(v, a); err != nil {
			return err
		}
		if lock == "rollback" {
			v.halt() // PVE: without asking the guest
		} else {
			sn.state = "delete"
		}
		v.opts["lock"] = lock
		w.sim.saveVM(v)
		return nil
	})
	return v, sn, err
}

// forgetSnapshot takes a snapshot out of the chain.
func (v *vm) forgetSnapshot(name string) {
	parent := v.snapshots[name].opts["parent"]
	delete(v.snapshots, name)
	relink := func(opts map[string]string) {
		switch {
		case opts["parent"] != name:
		case parent == "":
			delete(opts, "parent")
		default:
			opts["parent"] = parent
		}
	}
	relink(v.opts)
	for _, sn := range v.snapshots {
		relink(sn.opts)
	}
}

func (c *call) qmRollback(a args) error {
	vmid, name := a.values["vmid"], a.values["snapname"]
	_, err := c.work("qmrollback", vmid, func(w *worker) error {
		unlock, err := w.lockMigration(w.ctx, vmid)
		if err != nil {
			return err
		}
		defer unlock()
		v, sn, err := w.holdSnapshot(vmid, name, "rollback", a)
		if err != nil {
			return err
		}
		for _, k := range snapshotDrives(sn.opts) {
			if err := w.rollBackDrive(v, sn, volumeOf(sn.opts[k])); err != nil {
				return err
			}
		}
		err = w.do(func() error {
			w.sim.restore(v, sn, name)
			w.sim.rechain(v)
			w.sim.saveVM(v)
			return nil
		})
		if err != nil || !sn.memory && !a.is("start") {
			return err
		}
		_, err = w.start(vmid, a)
		return err
	})
	return err
}

func (w *worker) rollBackDrive(v *vm, sn *snapshot, id string) error {
	if err := w.sleep(w.sim.opts.Latency.Snapshot); err != nil {
		return err
	}
	line := ""
	err := w.do(func() error {
		st, vol := w.sim.volume(v.node, id)
		if vol == nil {
			return fail("volume '%s' does not exist", id)
		}
		vol.size = sn.sizes[id]
		if st.spec.Type == "lvmthin" {
			line = fmt.Sprintf("  Logical volume \"%s\" successfully removed.\n  Logical volume \"%s\" created.", vol.path, vol.path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.say(line)
}

// restore makes a snapshot's configuration the VM's. Disks that came later are
// unused from then on.
func (s *Sim) restore(v *vm, sn *snapshot, name string) {
	opts := maps.Clone(sn.opts)
	for _, k := range v.disks() {
		if id := volumeOf(v.opts[k]); id != "" && !isCDROM(v.opts[k]) && !names(opts, id) {
			opts[freeUnused(opts)] = id
		}
	}
	opts["parent"] = name
	if opts["vmgenid"] != "" {
		opts["vmgenid"] = s.uuid() // PVE: so that the guest can tell that it is another generation
	}
	v.opts, v.pending, v.cloudinit = opts, nil, nil
	if v.guest != nil && sn.disk != nil {
		v.guest.PutDisk(sn.disk)
	}
}

// names says whether a configuration names a volume.
func names(opts map[string]string, id string) bool {
	for _, value := range opts {
		if volumeOf(value) == id {
			return true
		}
	}
	return false
}

func freeUnused(opts map[string]string) string {
	for i := 0; ; i++ {
		if key := "unused" + strconv.Itoa(i); opts[key] == "" {
			return key
		}
	}
}

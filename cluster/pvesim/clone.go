package pvesim

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster/pvesim/simguest"
)

// cloneLockWait is how long a clone waits for the lock files of its source
// and of itself.
const cloneLockWait = time.Second

// qmClone is POST .../clone.
func (c *call) qmClone(a args) error {
	vmid, newid := a.values["vmid"], a.values["newid"]
	var to *node // nil: here
	if t := a.values["target"]; t != "" && t != c.node.name && t != "localhost" {
		if to = c.sim.node(t); to == nil {
			return fail("no such cluster node '%s'", t)
		}
	}
	c.sim.mu.Lock()
	_, err := c.checkClone(a, to)
	running := err == nil && c.sim.vms[atoi(vmid)].running
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = c.work("qmclone", vmid, func(w *worker) error {
		release, err := w.flock(w.ctx, vmLock(vmid), !running, cloneLockWait)
		if err != nil {
			return err
		}
		defer release()
		release2, err := w.lockVM(w.ctx, newid, cloneLockWait)
		if err != nil {
			return err
		}
		defer release2()
		return w.clone(a, to)
	})
	return err
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // the table's pattern says that it is a number
	return n
}

// checkClone are the checks of a clone, before its task and in it. Sim.mu must
// be held.
func (c *call) checkClone(a args, to *node) (*vm, error) {
	s, storage := c.sim, a.values["storage"]
	if err := c.checkCloneStorage(a, to); err != nil {
		return nil, err
	}
	if !s.quorate {
		return nil, fail("cluster not ready - no quorum?")
	}
	v, err := c.findHere(a.values["vmid"])
	if err != nil {
		return nil, err
	}
	if err := unlocked(v, a); err != nil {
		return nil, err
	}
	if name := a.values["snapname"]; name != "" && v.snapshots[name] == nil {
		return nil, fail("snapshot '%s' does not exist", name)
	}
	full := fullClone(v, a)
	switch {
	case storage != "" && !full:
		return nil, failStatus(2, "parameter 'storage' not allowed for linked clones")
	case a.values["format"] != "" && !full:
		return nil, failStatus(2, "parameter 'format' not allowed for linked clones")
	}
	for _, key := range snapshotDrives(v.opts) {
		st, vol := s.volume(v.node, volumeOf(v.opts[key]))
		switch {
		case vol == nil:
			return nil, fail("volume '%s' does not exist", volumeOf(v.opts[key]))
		case to != nil && st.node != "":
			return nil, fail("can't clone VM to node '%s' (VM uses local storage)", to.name)
		case !full && (!strings.HasPrefix(filepath.Base(vol.path), "base-") || !st.kind().clones):
			return nil, fail("Linked clone feature is not supported for '%s' (%s)", st.id(vol), key)
		}
	}
	if s.vms[atoi(a.values["newid"])] != nil {
		return nil, failStatus(2, "unable to create VM %s: config file already exists", a.values["newid"])
	}
	return v, nil
}

func (c *call) checkCloneStorage(a args, to *node) error {
	name := a.values["storage"]
	if name == "" {
		return nil
	}
	st := c.sim.store(c.node, name)
	switch {
	case !c.sim.known(name):
		return fail("storage '%s' does not exist", name)
	case st == nil:
		return fail("storage '%s' is not available on node '%s'", name, c.node.name)
	case st.spec.Disabled:
		return fail("storage '%s' is disabled", name)
	case !st.holds("images"):
		return badParam(a.cmd, "storage", fmt.Sprintf("storage '%s' does not support vm images", name))
	case to != nil && st.node != "":
		return fail("can't clone to non-shared storage '%s'", name)
	}
	return nil
}

// fullClone: all but clones of templates are full unless asked otherwise.
func fullClone(v *vm, a args) bool {
	if full, ok := a.values["full"]; ok {
		return full == "1"
	}
	return !v.template()
}

// clone makes the new VM. PVE: until its first disk is copied the conf file
// holds nothing but a lock and a note, the description neither.
func (w *worker) clone(a args, to *node) error {
	var source, v *vm
	var opts map[string]string
	var disk *simguest.Disk
	err := w.do(func() (err error) {
		if source, err = w.checkClone(a, to); err != nil {
			return err
		}
		opts = w.sim.cloneOptions(source, a)
		if sn := source.snapshots[a.values["snapname"]]; sn != nil {
			disk = sn.disk
		} else if source.guest != nil {
			disk = source.guest.Disk()
		}
		v = &vm{
			id: atoi(a.values["newid"]), typ: "qemu", node: w.node, born: w.sim.now(),
			description: "qmclone temporary file", opts: map[string]string{"lock": "clone"}, disk: disk,
		}
		w.sim.vms[v.id] = v
		w.sim.saveVM(v)
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.say(fmt.Sprintf("creating a clone of VM %d with ID %d", source.id, v.id)); err != nil {
		return w.dropClone(v, nil, err)
	}
	var made []string
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if !isDisk(key) || isCDROM(opts[key]) && !strings.Contains(opts[key], "-cloudinit") || volumeOf(opts[key]) == "" {
			continue
		}
		value, err := w.cloneDrive(source, v, key, opts[key], a, &made)
		if err != nil {
			return w.dropClone(v, made, err)
		}
		err = w.do(func() error {
			opts[key] = value
			v.opts = maps.Clone(opts)
			v.opts["lock"] = "clone"
			v.description = cloneDescription(source, a)
			w.sim.saveVM(v)
			return nil
		})
		if err != nil {
			return w.dropClone(v, made, err)
		}
	}
	err = w.do(func() error {
		v.opts, v.description = opts, cloneDescription(source, a)
		if to != nil {
			w.sim.moveVM(v, to)
		}
		w.sim.saveVM(v)
		return nil
	})
	if err != nil {
		return w.dropClone(v, made, err)
	}
	return nil
}

// cloneDescription: a clone of a snapshot has no description but its own.
func cloneDescription(source *vm, a args) string {
	if d := a.values["description"]; d != "" || a.values["snapname"] != "" {
		return d
	}
	return source.description
}

// dropClone takes back what was made of a clone.
func (w *worker) dropClone(v *vm, made []string, err error) error {
	if errors.Is(err, errKilled) {
		return err // nobody is left to clean up
	}
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	w.sim.free(w.node, made)
	w.sim.forgetVM(v)
	return prefixed(err, "clone failed: ")
}

// cloneOptions are the clone's: those of its source with a MAC, a uuid and a
// vmgenid of its own, without what belongs to snapshots. Sim.mu must be held.
func (s *Sim) cloneOptions(source *vm, a args) map[string]string {
	from := source.opts
	if sn := source.snapshots[a.values["snapname"]]; sn != nil {
		from = sn.opts
	}
	opts := map[string]string{}
	for k, value := range from {
		switch {
		case isUnused(k), k == "parent", k == "template", k == "lock":
		case indexed(k, "net", 31):
			opts[k] = s.renewMAC(value)
		default:
			opts[k] = value
		}
	}
	opts["smbios1"] = renewUUID(opts["smbios1"], s.uuid())
	if opts["vmgenid"] != "" {
		opts["vmgenid"] = s.uuid()
	}
	if opts["name"] = a.values["name"]; opts["name"] == "" {
		old := from["name"]
		if old == "" {
			old = strconv.Itoa(source.id)
		}
		opts["name"] = "Copy-of-VM-" + old
	}
	return opts
}

func (s *Sim) renewMAC(network string) string {
	model, rest, _ := strings.Cut(network, ",")
	model, _, _ = strings.Cut(model, "=")
	value := model + "=" + s.mac(nil)
	if rest != "" {
		value += "," + rest
	}
	return value
}

func renewUUID(smbios, id string) string {
	parts := slices.DeleteFunc(strings.Split(smbios, ","), func(p string) bool { return p == "" || strings.HasPrefix(p, "uuid=") })
	return strings.Join(append(parts, "uuid="+id), ",")
}

// cloneDrive copies one disk, or makes a new one that stands on it.
func (w *worker) cloneDrive(source, v *vm, key, value string, a args, made *[]string) (string, error) {
	id := volumeOf(value)
	cloudinit := isCDROM(value)
	w.sim.mu.Lock()
	st, vol := w.sim.volume(source.node, id)
	full, running := fullClone(source, a) || cloudinit, source.running && a.values["snapname"] == ""
	w.sim.mu.Unlock()
	if vol == nil {
		return "", fail("volume '%s' does not exist", id)
	}
	kind := "linked"
	if full {
		kind = "full"
	}
	if err := w.say(fmt.Sprintf("create %s clone of drive %s (%s)", kind, key, id)); err != nil {
		return "", err
	}
	storage := st.spec.Name
	if name := a.values["storage"]; name != "" {
		storage = name
	}
	if !full {
		copied, err := w.linkDrive(v, st, vol, made)
		return strings.Replace(value, id, copied, 1), err
	}
	what, format := "", vol.format
	if cloudinit {
		what = "cloudinit"
	}
	if f := a.values["format"]; f != "" && !cloudinit {
		format = f
	}
	to, copied, err := w.alloc(v, storage, what, format, vol.size, 0, made)
	if err != nil {
		return "", err
	}
	copied.system = vol.system
	if err := w.say(to.allocated(copied) + fmt.Sprintf("\nallocated target volume '%s'", to.id(copied))); err != nil {
		return "", err
	}
	if cloudinit {
		copied.taken = copied.size
		if prop(value, "size") == "" {
			value += ",size=" + formatSize(copied.size)
		}
	} else if running {
		err = w.mirrorInto(to, copied, key)
	} else {
		err = w.copyInto(to, copied, id, w.sim.opts.Latency.Clone)
	}
	return strings.Replace(value, id, to.id(copied), 1), err
}

// mirrorInto copies a disk of a running VM. It fills the storage as it goes.
func (w *worker) mirrorInto(st *store, vol *volume, key string) error {
	if err := w.say("drive mirror is starting for drive-" + key); err != nil {
		return err
	}
	for i := range migrateSteps + 1 {
		if err := w.sleep(w.sim.opts.Latency.Clone / (migrateSteps + 1)); err != nil {
			return err
		}
		done := vol.size * int64(i) / migrateSteps
		err := w.do(func() error {
			if done-vol.taken > st.free() {
				return fail("mirroring error: mirror-%s: 'mirror' has been cancelled", key)
			}
			vol.taken = done
			return nil
		})
		if err != nil {
			return err
		}
		if err := w.say(fmt.Sprintf("mirror-%s: %s in %ds", key, transferred(done, vol.size), i)); err != nil {
			return err
		}
	}
	return w.say(fmt.Sprintf("all 'mirror' jobs are ready\nmirror-%[1]s: Completing block job...\nmirror-%[1]s: Completed successfully.", key))
}

// linkDrive makes a volume that stands on another.
func (w *worker) linkDrive(v *vm, st *store, base *volume, made *[]string) (id string, err error) {
	if err := w.sleep(w.sim.opts.Latency.Alloc); err != nil {
		return "", err
	}
	line := ""
	err = w.do(func() error {
		path := st.freeName(v.id, base.format)
		own := st.spec.Type == "btrfs" // a snapshot of its own
		vol := &volume{
			content: "images", format: base.format, size: base.size, vmid: v.id, system: base.system, created: w.sim.now(),
		}
		switch {
		case own:
		case st.files():
			name := path[strings.LastIndexByte(path, '/')+1:]
			name = strings.TrimSuffix(name, filepath.Ext(name)) + ".qcow2" // whatever the base is
			vol.format = "qcow2"
			path = strconv.Itoa(v.id) + "/" + name
			path, vol.base = base.path+"/"+path, base.path
			line = fmt.Sprintf("clone %s: images, %s, %d to %s (base=../%s)\n", base.path, name, v.id, name, base.path)
			line += fmt.Sprintf("Formatting '%s/images/%d/%s', fmt=qcow2 cluster_size=131072 extended_l2=on preallocation=metadata"+
				" compression_type=zlib size=%d backing_file=../%s backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16",
				st.dir(), v.id, name, base.size, base.path)
		default:
			line = st.allocated(&volume{path: path})
			if path = st.linkedPath(base, path); st.kind().linked {
				vol.base = base.path
			}
		}
		vol.path = path
		st.add(vol)
		*made = append(*made, st.id(vol))
		id = st.id(vol)
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, w.say(line)
}

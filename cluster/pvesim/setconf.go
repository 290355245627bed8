package pvesim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// hotplug are options that a running VM takes up at once, beside its disks and
// networks. PVE: what cloud-init is told is among them, though the guest hears
// of it at its next start.
var hotplug = []string{
	"name", "description", "tags", "onboot", "protection", "startup", "hookscript", "lock", "shares", "balloon",
	"cpuunits", "cpulimit", "vmstatestorage",
	"ciuser", "cipassword", "citype", "ciupgrade", "cicustom", "sshkeys", "nameserver", "searchdomain",
}

// plugs says whether a running VM takes up an option at once.
func plugs(key string) bool {
	return slices.Contains(hotplug, key) || isDisk(key) || indexed(key, "net", 31) || indexed(key, "ipconfig", 31)
}

// toldToGuest says whether cloud-init tells the guest of an option.
func toldToGuest(key string) bool {
	return key == "name" || slices.Contains(hotplug[slices.Index(hotplug, "ciuser"):], key) ||
		indexed(key, "net", 31) || indexed(key, "ipconfig", 31)
}

// qmSet is PUT /nodes/N/qemu/ID/config: in the tool's own process, no task.
func (c *call) qmSet(a args) error {
	vmid := a.values["vmid"]
	if err := checkSet(a); err != nil {
		return err
	}
	if err := c.checkDrives(a); err != nil {
		return err
	}
	release, err := c.lockVM(c.ctx, vmid, lockWait)
	if err != nil {
		return err
	}
	defer release()
	c.sim.mu.Lock()
	v, err := c.find(vmid)
	if err == nil {
		err = checkChange(v, a)
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.out(updateLine(a)); err != nil {
		return err
	}
	c.sim.mu.Lock()
	err = checkBoot(v, a)
	unset := v.unset(a)
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	for _, k := range unset {
		c.err(fmt.Sprintf("cannot delete '%s' - not set in current configuration!", k))
	}
	// Disks are made like those of a new VM, with this process as the worker.
	w := &worker{call: c, ctx: c.ctx, cancel: func(error) {}, task: &task{}}
	var made []string
	fields, err := w.makeDrives(v, a.values, &made)
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if err != nil {
		if !errors.Is(err, errKilled) {
			c.sim.free(c.node, made)
		}
		return err
	}
	c.sim.apply(v, a, fields)
	c.sim.saveVM(v)
	return nil
}

// checkSet are the checks of `qm set` that need no VM.
func checkSet(a args) error {
	changes := false
	for k, value := range a.values {
		changes = changes || !slices.Contains([]string{"vmid", "digest", "skiplock", "force"}, k) && (k != "delete" || value != "")
	}
	if !changes {
		return fail("no options specified")
	}
	for _, k := range splitTags(a.values["delete"]) {
		if _, set := a.values[k]; set {
			return badParam(a.cmd, "delete", fmt.Sprintf("you can't use '-%s' and -delete %s' at the same time", k, k)) // sic
		}
		if a.cmd.option(k) == nil {
			return badParam(a.cmd, "delete", fmt.Sprintf("unknown option '%s'", k))
		}
	}
	return nil
}

// unset are the options that shall go and are not there. Sim.mu must be held.
func (v *vm) unset(a args) []string {
	return slices.DeleteFunc(splitTags(a.values["delete"]), func(k string) bool {
		return v.opts[k] != "" || v.pending[k] != "" || k == "description" && v.description != ""
	})
}

// checkChange is the check of lock and digest. Sim.mu must be held.
func checkChange(v *vm, a args) error {
	if err := unlocked(v, a); err != nil {
		return err
	}
	if d := a.values["digest"]; d != "" && d != v.digest() {
		return fail("checksum mismatch (file change by other user?)")
	}
	return checkBalloon(v, a)
}

// checkBalloon: PVE asks about the balloon that the VM has, whether or not it is
// deleted now.
func checkBalloon(v *vm, a args) error {
	if a.values["memory"] == "" && a.values["balloon"] == "" {
		return nil
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(cmp.Or(a.values[name], v.opts[name]), "current="))
		return n
	}
	if number("balloon") > cmp.Or(number("memory"), 512) {
		return fail("balloon value too large (must be smaller than assigned memory)")
	}
	return nil
}

// checkBoot: what the VM shall boot from has to be there. PVE: qm create does
// not ask. Sim.mu must be held.
func checkBoot(v *vm, a args) error {
	if order, ok := strings.CutPrefix(a.values["boot"], "order="); ok {
		for dev := range strings.SplitSeq(order, ";") {
			if v.opts[dev] == "" && a.values[dev] == "" {
				return fail("invalid bootorder: device '%s' does not exist'", dev)
			}
		}
	}
	return nil
}

// updateLine is what qm set prints first: its options, sorted, without the
// password.
func updateLine(a args) string {
	var b strings.Builder
	fmt.Fprintf(&b, "update VM %s:", a.values["vmid"])
	for _, k := range slices.Sorted(maps.Keys(a.values)) {
		if k == "vmid" || k == "digest" || k == "skiplock" || k == "force" {
			continue
		}
		value := a.values[k]
		if k == "cipassword" {
			value = "<hidden>"
		}
		fmt.Fprintf(&b, " -%s %s", k, value)
	}
	return b.String()
}

// apply changes the options; what a running VM cannot take up waits for its
// next start.
func (s *Sim) apply(v *vm, a args, disks map[string]string) {
	for _, k := range splitTags(a.values["delete"]) {
		s.remove(v, k, a.is("force"))
	}
	for _, k := range splitTags(a.values["revert"]) {
		v.unpend(k)
	}
	set := maps.Clone(disks)
	for k, value := range a.values {
		switch {
		case k == "description":
			v.description = value
		case k == "cipassword":
			set[k] = hashPassword(value)
		case !slices.Contains(notConfig, k) && !isDisk(k):
			set[k] = s.normal(k, value)
		}
	}
	for k, value := range set {
		v.unpend(k)
		if v.running && !plugs(k) {
			if v.opts[k] != value {
				v.pend(k, value)
			}
			continue
		}
		v.untold(k, value)
		v.opts[k] = value
	}
}

// untold remembers what cloud-init has told the running guest of an option that
// changes now; value is "" for one that goes.
func (v *vm) untold(key, value string) {
	if !v.running || !toldToGuest(key) {
		return
	}
	old, was := v.opts[key]
	told, changed := v.cloudinit[key]
	added := splitTags(v.cloudinit["added"])
	isNew := slices.Contains(added, key)
	set := maps.Clone(v.cloudinit)
	if set == nil {
		set = map[string]string{}
	}
	switch {
	case changed && value == told:
		delete(set, key)
	case changed, isNew && value != "", !was && value == "":
	case isNew:
		added = slices.DeleteFunc(added, func(k string) bool { return k == key })
	case was:
		set[key] = old
	default:
		added = append(added, key)
	}
	slices.Sort(added)
	if set["added"] = strings.Join(added, ","); len(added) == 0 {
		delete(set, "added")
	}
	v.cloudinit = set
}

// remove takes an option away, from a running VM perhaps at its next start. A
// disk that is taken away becomes an unused one, unless force says that its
// volume shall go too.
func (s *Sim) remove(v *vm, key string, force bool) {
	v.unpend(key)
	value, ok := v.opts[key]
	switch {
	case key == "description":
		v.description = ""
	case !ok:
	case isDisk(key) && !isCDROM(value) && volumeOf(value) != "":
		delete(v.opts, key)
		v.dontBoot(key)
		if force {
			s.free(v.node, []string{volumeOf(value)})
		} else {
			v.opts[freeUnused(v.opts)] = volumeOf(value)
		}
	case isUnused(key):
		delete(v.opts, key)
		s.free(v.node, []string{volumeOf(value)})
	case v.running && !plugs(key):
		v.pend("delete", strings.Join(append(splitTags(v.pending["delete"]), key), ","))
	default:
		v.untold(key, "")
		delete(v.opts, key)
		v.dontBoot(key)
	}
}

// dontBoot takes a device out of the boot order.
func (v *vm) dontBoot(dev string) {
	order, ok := strings.CutPrefix(v.opts["boot"], "order=")
	if !ok {
		return
	}
	left := slices.DeleteFunc(strings.Split(order, ";"), func(d string) bool { return d == dev })
	v.opts["boot"] = "order=" + strings.Join(left, ";")
	if len(left) == 0 {
		delete(v.opts, "boot")
	}
}

// pend lets a change wait for the VM's next start.
func (v *vm) pend(key, value string) {
	if v.pending == nil {
		v.pending = map[string]string{}
	}
	v.pending[key] = value
}

// unpend forgets what waits for the VM's next start.
func (v *vm) unpend(key string) {
	delete(v.pending, key)
	left := slices.DeleteFunc(splitTags(v.pending["delete"]), func(k string) bool { return k == key })
	if len(left) == 0 {
		delete(v.pending, "delete")
	} else {
		v.pending["delete"] = strings.Join(left, ",")
	}
}

// qmResize is `qm disk resize`. PVE: it ends with 0 whatever happens.
func (c *call) qmResize(a args) error {
	_, err := c.resize(a)
	var f *failure
	if errors.As(err, &f) {
		c.err(f.text)
		return nil
	}
	return err
}

func (c *call) resize(a args) (*task, error) {
	vmid, disk := a.values["vmid"], a.values["disk"]
	return c.work("resize", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		if err := w.sleep(w.sim.opts.Latency.Resize); err != nil {
			return err
		}
		line := ""
		err = w.do(func() error {
			v, err := w.find(vmid)
			if err != nil {
				return err
			}
			if err := checkChange(v, a); err != nil {
				return err
			}
			line, err = w.sim.grow(v, disk, a.values["size"])
			return err
		})
		if err != nil {
			return err
		}
		return w.say(line)
	})
}

// grow changes a disk's size and returns what is printed.
func (s *Sim) grow(v *vm, disk, size string) (string, error) {
	value, ok := v.opts[disk]
	if !ok {
		return "", fail("disk '%s' does not exist", disk)
	}
	if isCDROM(value) {
		return "", fail("you can't resize a cdrom")
	}
	st, vol := s.volume(v.node, volumeOf(value))
	if vol == nil {
		return "", fail("volume '%s' does not exist", volumeOf(value))
	}
	plus := strings.HasPrefix(size, "+")
	bytes, _ := parseSize(strings.TrimPrefix(size, "+")) // the table's pattern says that it is one
	if plus {
		bytes += vol.size
	}
	switch {
	case bytes < vol.size:
		return "", fail("shrinking disks is not supported")
	case bytes == vol.size:
		return "", nil
	}
	old := vol.size
	vol.size = bytes
	d := parseDrive(disk, value)
	d.options["size"] = formatSize(bytes)
	v.opts[disk] = d.value()
	s.saveVM(v)
	if st.files() {
		return "Image resized.", nil
	}
	return fmt.Sprintf("  Size of logical volume pve/%s changed from %.2f GiB (%d extents) to %.2f GiB (%d extents).\n"+
		"  Logical volume pve/%s successfully resized.", vol.path,
		float64(old)/float64(gib), old/(4*mib), float64(bytes)/float64(gib), bytes/(4*mib), vol.path), nil
}

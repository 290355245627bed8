package pvesim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PVE's waits for the lock file of a VM that is to be.
const (
	createLockWait = 5 * time.Second
	lockWait       = 10 * time.Second
)

// notConfig are options of create and set that do not go into the conf file.
var notConfig = []string{
	"vmid", "archive", "bwlimit", "force", "ha-managed", "import-working-storage", "live-restore", "pool",
	"start", "storage", "unique", "description", "delete", "digest", "revert", "skiplock", "cdrom", "node",
}

// importSteps is how many progress lines an import prints, beside the last.
const importSteps = 20

// drive is the value of a disk option, as typed.
type drive struct {
	key     string
	file    string            // STORE:SIZE, STORE:cloudinit, a volume id, a path, none
	options map[string]string // discard=on, ...
}

func parseDrive(key, value string) drive {
	d := drive{key: key, options: map[string]string{}}
	for part := range strings.SplitSeq(value, ",") {
		k, v, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			d.file = part
		case k == "file" || k == "volume":
			d.file = v
		default:
			d.options[k] = v
		}
	}
	return d
}

// value is the drive as the conf file has it.
func (d drive) value() string {
	var b strings.Builder
	b.WriteString(d.file)
	for _, k := range slices.Sorted(maps.Keys(d.options)) {
		fmt.Fprintf(&b, ",%s=%s", k, d.options[k])
	}
	return b.String()
}

// newDisk says whether the drive is to be allocated, and how large in GiB.
func (d drive) newDisk() (storage, size string, ok bool) {
	storage, size, ok = strings.Cut(d.file, ":")
	if !ok {
		return "", "", false
	}
	if size == "cloudinit" {
		return storage, size, true
	}
	_, err := strconv.ParseFloat(size, 64)
	return storage, size, err == nil
}

// drives are the disks among values, in the order in which PVE makes them.
func drives(values map[string]string) []drive {
	var out []drive
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if isDisk(k) {
			out = append(out, parseDrive(k, values[k]))
		}
	}
	return out
}

func (c *call) qmCreate(a args) error {
	_, err := c.create(a)
	return err
}

// create is POST /nodes/N/qemu.
func (c *call) create(a args) (*task, error) {
	vmid := a.values["vmid"]
	if err := c.checkDrives(a); err != nil {
		return nil, err
	}
	v, err := c.claim(vmid)
	if err != nil {
		return nil, prefixed(err, "unable to create VM %s - ", vmid)
	}
	return c.work("qmcreate", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, time.Second)
		if err != nil {
			return prefixed(err, "unable to create VM %s - ", vmid)
		}
		defer release()
		if err := w.build(v, a); err != nil {
			return err
		}
		if !a.is("start") {
			return nil
		}
		release()
		if err := w.say("Execute autostart"); err != nil {
			return err
		}
		// PVE: a start that fails is a line of this task, and no error.
		if _, err := w.start(vmid, a); err != nil {
			return w.say(err.Error())
		}
		return nil
	})
}

// prefixed puts a text before that of a failure, and leaves the ends of
// processes alone.
func prefixed(err error, format string, args ...any) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	return &failure{text: fmt.Sprintf(format, args...) + strings.TrimPrefix(f.text, "\n"), status: f.status}
}

// claim makes the conf file, with nothing but a lock.
func (c *call) claim(vmid string) (*vm, error) {
	if !c.sim.hasQuorum() {
		return nil, fail("cluster not ready - no quorum?")
	}
	release, err := c.lockVM(c.ctx, vmid, createLockWait)
	if err != nil {
		return nil, err
	}
	defer release()
	s := c.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := strconv.Atoi(vmid)
	if old := s.vms[id]; old != nil {
		kind := map[string]string{"qemu": "VM", "lxc": "CT"}[old.typ]
		return nil, fail("%s %d already exists on node '%s'", kind, id, old.node.name)
	}
	v := &vm{id: id, typ: "qemu", node: c.node, opts: map[string]string{"lock": "create"}, born: s.now()}
	s.vms[id] = v
	s.saveVM(v)
	return v, nil
}

// build makes disks and configuration, or takes back what it made.
func (w *worker) build(v *vm, a args) error {
	var made []string
	fields, err := w.makeDrives(v, a.values, &made)
	if err == nil {
		err = w.do(func() error {
			w.sim.configure(v, a, fields)
			w.sim.saveVM(v)
			return nil
		})
	}
	if err == nil || errors.Is(err, errKilled) {
		return err // killed: nobody is left to clean up
	}
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	w.sim.free(w.node, made)
	w.sim.forgetVM(v)
	return prefixed(err, "unable to create VM %d - ", v.id)
}

// configure fills in the options, the given ones and PVE's own.
func (s *Sim) configure(v *vm, a args, disks map[string]string) {
	opts := map[string]string{}
	for k, value := range a.values {
		if !slices.Contains(notConfig, k) && !isDisk(k) {
			opts[k] = s.normal(k, value)
			if k == "tags" && s.release() < 9 {
				opts[k] = value // PVE: sorted and in small letters on set only
			}
		}
	}
	maps.Copy(opts, disks)
	v.description = a.values["description"]
	if _, ok := opts["smbios1"]; !ok {
		opts["smbios1"] = "uuid=" + s.uuid()
	} else if prop(opts["smbios1"], "uuid") == "" {
		opts["smbios1"] += ",uuid=" + s.uuid()
	}
	if opts["vmgenid"] == "" || opts["vmgenid"] == "1" {
		opts["vmgenid"] = s.uuid()
	}
	opts["meta"] = fmt.Sprintf("creation-qemu=10.1.2,ctime=%d", s.now().Unix())
	if _, ok := opts["boot"]; !ok {
		if order := bootOrder(opts); order != "" {
			opts["boot"] = "order=" + order
		}
	}
	v.opts = opts
}

// bootOrder is the order that PVE makes up: the first disk, then the network.
func bootOrder(opts map[string]string) string {
	var order []string
	for _, bus := range []string{"scsi", "virtio", "sata", "ide"} {
		for _, k := range slices.Sorted(maps.Keys(opts)) {
			if strings.HasPrefix(k, bus) && isDisk(k) && !isCDROM(opts[k]) && len(order) == 0 {
				order = append(order, k)
			}
		}
	}
	if opts["net0"] != "" {
		order = append(order, "net0")
	}
	return strings.Join(order, ";")
}

// normal is how PVE stores a value: tags sorted, a network with its MAC.
func (s *Sim) normal(key, value string) string {
	switch {
	case key == "tags":
		tags := splitTags(strings.ToLower(value))
		slices.Sort(tags)
		return strings.Join(slices.Compact(tags), ";")
	case indexed(key, "net", 31):
		parts := strings.Split(value, ",")
		for i, p := range parts {
			k, v, ok := strings.Cut(p, "=")
			if k == "model" {
				k, ok = v, false
			}
			if !ok && i == 0 || strings.HasPrefix(p, "model=") {
				parts[i] = k + "=" + s.mac(parts)
			}
		}
		return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.HasPrefix(p, "macaddr=") }), ",")
	}
	return value
}

// mac is the one given, or one of Proxmox's own range.
func (s *Sim) mac(parts []string) string {
	for _, p := range parts {
		if m, ok := strings.CutPrefix(p, "macaddr="); ok {
			return strings.ToUpper(m)
		}
	}
	n := s.rand.Uint32()
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", byte(n>>16), byte(n>>8), byte(n))
}

// uuid draws a random one.
func (s *Sim) uuid() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], s.rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], s.rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Sim) hasQuorum() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quorate
}

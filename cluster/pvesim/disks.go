package pvesim

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cloudinitSize is the size of a cloud-init drive, in bytes.
const cloudinitSize = 4 * mib

// checkDrives are the checks before a task is made.
func (c *call) checkDrives(a args) error {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	for _, d := range drives(a.values) {
		storage, size, isNew := d.newDisk()
		if !isNew {
			if id := volumeOf(d.file); id != "" {
				storage, _, _ = strings.Cut(id, ":")
				if !c.sim.known(storage) {
					return fail("storage '%s' does not exist", storage)
				}
				if err := c.sim.checkName(c.node, id); err != nil {
					return err
				}
			}
			continue
		}
		if !c.sim.known(storage) {
			return fail("storage '%s' does not exist", storage)
		}
		st := c.sim.store(c.node, storage)
		if st == nil {
			return fail("storage '%s' is not available on node '%s'", storage, c.node.name)
		}
		if !st.holds("images") {
			return badParam(a.cmd, "storage", fmt.Sprintf("storage '%s' does not support vm images", storage))
		}
		source, imports := d.options["import-from"]
		if !imports {
			continue
		}
		if size != "0" {
			return badParam(a.cmd, d.key, "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>")
		}
		if err := c.checkSource(source); err != nil {
			return err
		}
	}
	return nil
}

// volumePaths are what volumes are called, by the plugin's name for its storage.
var volumePaths = map[string]*regexp.Regexp{
	"directory": regexp.MustCompile(`^(?:\d+/\S+|(?:import|iso|vztmpl|backup|snippets)/.+)$`),
	"lvm":       regexp.MustCompile(`^(?:vm|base|snap_vm)-\d+-\S+$`),
	"zfs":       regexp.MustCompile(`^(?:(?:vm|base|subvol)-\d+-\S+/?)+$`),
	"rbd":       regexp.MustCompile(`^(?:(?:vm|base)-\d+-\S+/?)+$`),
}

// checkName says whether the storage of a volume has volumes of that name. Sim.mu
// must be held.
func (s *Sim) checkName(n *node, id string) error {
	name, path, _ := strings.Cut(id, ":")
	st := s.store(n, name)
	if st == nil {
		return nil
	}
	plugin := map[string]string{"lvmthin": "lvm", "lvm": "lvm", "zfspool": "zfs", "rbd": "rbd"}[st.spec.Type]
	if plugin == "" {
		plugin = "directory"
	}
	if path == "cloudinit" || volumePaths[plugin].MatchString(path) {
		return nil
	}
	return fail("unable to parse %s volume name '%s'", plugin, path)
}

// checkSource looks at the storage of a volume to import.
func (c *call) checkSource(source string) error {
	if strings.HasPrefix(source, "/") {
		return nil
	}
	storage, path, _ := strings.Cut(source, ":")
	if !c.sim.known(storage) {
		return fail("storage '%s' does not exist", storage)
	}
	if kind := contentOf(path); kind != "images" && kind != "import" {
		return fail("%s has wrong type '%s' - needs to be 'images' or 'import'", source, kind)
	}
	return nil
}

// makeDrives allocates and imports the disks among values, adds the volumes'
// ids to made, and returns the options for the conf file.
func (w *worker) makeDrives(v *vm, values map[string]string, made *[]string) (map[string]string, error) {
	fields := map[string]string{}
	for _, d := range drives(values) {
		storage, size, isNew := d.newDisk()
		if !isNew {
			if err := w.checkVolume(d); err != nil {
				return nil, err
			}
			fields[d.key] = d.value()
			continue
		}
		source, imports := d.options["import-from"]
		var err error
		switch {
		case size == "cloudinit":
			d, err = w.cloudinitDrive(v, d, storage, made)
		case imports:
			d, err = w.importDrive(v, d, storage, source, made)
		default:
			gibs, _ := strconv.ParseFloat(size, 64)
			d, err = w.emptyDrive(v, d, storage, int64(gibs*float64(gib)), made)
		}
		if err != nil {
			return nil, err
		}
		fields[d.key] = d.value()
		if err := w.say(fmt.Sprintf("%s: successfully created disk '%s'", d.key, d.value())); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

func (w *worker) checkVolume(d drive) error {
	id := volumeOf(d.file)
	if id == "" {
		return nil
	}
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	if _, vol := w.sim.volume(w.node, id); vol == nil {
		return failStatus(2, "volume '%s' does not exist", id)
	}
	return nil
}

// alloc makes a volume for a VM and prints what the storage prints.
func (w *worker) alloc(v *vm, storage, what, format string, size, taken int64, made *[]string) (*store, *volume, error) {
	if err := w.sleep(w.sim.opts.Latency.Alloc); err != nil {
		return nil, nil, err
	}
	var st *store
	var vol *volume
	err := w.do(func() error {
		st = w.sim.store(w.node, storage)
		if st.spec.Disabled {
			return fail("storage '%s' is disabled", storage)
		}
		format = st.format(format)
		if st.kind().thick {
			taken = size
		}
		path := st.vmPath(v.id, what, format)
		if what == "" {
			path = st.freeName(v.id, format)
		}
		vol = &volume{path: path, content: "images", format: format, size: size, taken: taken, vmid: v.id, created: w.sim.now()}
		vol.silent = st.files() && w.sim.release() < 9
		if taken > st.free() {
			if st.files() {
				return fail("unable to create image: No space left on device")
			}
			return st.noSpace(path)
		}
		st.add(vol)
		*made = append(*made, st.id(vol))
		return nil
	})
	return st, vol, err
}

func (w *worker) cloudinitDrive(v *vm, d drive, storage string, made *[]string) (drive, error) {
	st, vol, err := w.alloc(v, storage, "cloudinit", "qcow2", cloudinitSize, cloudinitSize, made)
	if err != nil {
		return d, err
	}
	d.file = st.id(vol)
	d.options["media"] = "cdrom"
	return d, w.say(st.allocated(vol))
}

func (w *worker) emptyDrive(v *vm, d drive, storage string, size int64, made *[]string) (drive, error) {
	format := d.options["format"]
	if format == "" {
		format = "raw"
	}
	delete(d.options, "format")
	st, vol, err := w.alloc(v, storage, "", format, size, 0, made)
	if err != nil {
		return d, err
	}
	d.file = st.id(vol)
	d.options["size"] = formatSize(size)
	return d, w.say(st.allocated(vol))
}

// importDrive copies an image into a new volume.
func (w *worker) importDrive(v *vm, d drive, storage, source string, made *[]string) (drive, error) {
	img, err := w.source(source)
	if err != nil {
		return d, err
	}
	format, size := img.format, img.size
	if strings.HasPrefix(source, "/") {
		format = "raw" // PVE: the storage's default
	}
	if f := d.options["format"]; f != "" {
		format = f
	}
	delete(d.options, "format")
	delete(d.options, "import-from")
	byID := !strings.HasPrefix(source, "/")
	if byID {
		if err := w.say(fmt.Sprintf("create full clone of drive (%s)", source)); err != nil {
			return d, err
		}
	}
	st, vol, err := w.alloc(v, storage, "", format, size, 0, made)
	if err != nil {
		return d, err
	}
	if err := w.say(st.allocated(vol)); err != nil {
		return d, err
	}
	if byID && w.sim.release() >= 9 {
		if err := w.say(fmt.Sprintf("allocated target volume '%s'", st.id(vol))); err != nil {
			return d, err
		}
	}
	vol.system = img.system
	d.file = st.id(vol)
	d.options["size"] = formatSize(size)
	return d, w.copyInto(st, vol, source, w.sim.opts.Latency.Import)
}

// copyInto is `qemu-img convert`: it fills the storage as it goes.
func (w *worker) copyInto(st *store, vol *volume, source string, takes time.Duration) error {
	steps := importSteps
	if vol.size < gib {
		steps = 1
	}
	for i := range steps + 1 {
		if i > 0 {
			if err := w.sleep(takes / time.Duration(steps)); err != nil {
				return err
			}
		}
		done := vol.size * int64(i) / int64(steps)
		full := false
		err := w.do(func() error {
			full = done-vol.taken > st.free()
			if !full {
				vol.taken = max(vol.taken, done) // a thick one has it already
			}
			return nil
		})
		if err != nil {
			return err
		}
		if full {
			if err := w.say(fmt.Sprintf("qemu-img: error while writing at byte %d: No space left on device", vol.taken)); err != nil {
				return err
			}
			return fail("cannot import from '%s' - copy failed: command '/usr/bin/qemu-img convert -p -n -O %s %s %s' failed: exit code 1",
				source, vol.format, source, st.path(vol))
		}
		if err := w.say(transferred(done, vol.size)); err != nil {
			return err
		}
	}
	if steps == 1 {
		return nil
	}
	return w.say(transferred(vol.size, vol.size)) // qemu-img reports its end twice
}

func transferred(done, all int64) string {
	percent := 100.0
	if all > 0 {
		percent = float64(done) * 100 / float64(all)
	}
	return fmt.Sprintf("transferred %s of %s (%.2f%%)", renderBytes(done), renderBytes(all), percent)
}

// image is what qemu-img tells of an image, and what system is on it.
type image struct {
	format string
	size   int64  // virtual, in bytes
	system string // ubuntu 24.04; "" when unknown
}

// source looks at an image to import.
func (w *worker) source(source string) (image, error) {
	if !strings.HasPrefix(source, "/") {
		w.sim.mu.Lock()
		defer w.sim.mu.Unlock()
		st, vol := w.sim.volume(w.node, source)
		if vol != nil {
			return image{vol.format, vol.size, vol.system}, nil
		}
		_, path, _ := strings.Cut(source, ":")
		if st == nil {
			return image{}, fail("failed to stat '%s'", source)
		}
		return image{}, fail("failed to stat '%s'", st.path(&volume{path: path, content: contentOf(path)}))
	}
	head, size, reason := w.read(source, kib)
	if reason != "" {
		return image{}, fail("can't find file '%s'", source)
	}
	q, ok := parseQcow2(head)
	switch {
	case !ok:
		return image{format: "raw", size: size}, nil
	case q.backing:
		return image{}, fail("qcow2: backing file not allowed for untrusted image '%s'", source)
	}
	return image{"qcow2", q.size, q.system}, nil
}

// qcow2 is what matters in the header of a qcow2 image.
type qcow2 struct {
	size    int64 // virtual, in bytes
	backing bool
	system  string // what CloudImage wrote behind the header
}

const (
	qcow2Magic = "QFI\xfb"
	systemAt   = 512 // bytes
)

func parseQcow2(head []byte) (qcow2, bool) {
	if len(head) < 32 || string(head[:4]) != qcow2Magic {
		return qcow2{}, false
	}
	q := qcow2{
		size:    int64(binary.BigEndian.Uint64(head[24:])),
		backing: binary.BigEndian.Uint64(head[8:]) != 0,
	}
	if len(head) > systemAt {
		q.system, _, _ = strings.Cut(string(head[systemAt:]), "\x00")
	}
	return q, true
}

// CloudImage is the body of a small file that qemu-img takes for a qcow2 image
// of the given virtual size in bytes. System is what boots from it, an OS with
// its version: ubuntu 24.04.
func CloudImage(virtual int64, system string) []byte {
	body := make([]byte, 64*kib)
	copy(body, qcow2Magic)
	binary.BigEndian.PutUint32(body[4:], 3)
	binary.BigEndian.PutUint32(body[20:], 16) // cluster bits
	binary.BigEndian.PutUint64(body[24:], uint64(virtual))
	binary.BigEndian.PutUint32(body[100:], 104) // header length
	copy(body[systemAt:], system)
	return body
}

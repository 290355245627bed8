package pvesim

import (
	"fmt"
	"slices"
	"strings"
)

// qmImportDisk is `qm disk import`: in the tool's own process, no task. It
// frees the volume when it is interrupted.
func (c *call) qmImportDisk(a args) error {
	vmid, source, storage := a.values["vmid"], a.values["source"], a.values["storage"]
	img, v, err := c.checkImport(vmid, source, storage)
	if err != nil {
		return err
	}
	format := a.values["format"]
	if format == "" {
		format = img.format
	}
	// Its output is not a task's: PVE buffers it until the end where it is no
	// terminal.
	if err := c.out(fmt.Sprintf("importing disk '%s' to VM %s ...", source, vmid)); err != nil {
		return err
	}
	w := &worker{call: c, ctx: c.ctx, cancel: func(error) {}, task: &task{}}
	var made []string
	st, vol, err := w.alloc(v, storage, "", format, img.size, 0, &made)
	if err != nil {
		return err
	}
	vol.system = img.system
	if err = w.say(st.allocated(vol)); err == nil {
		err = w.copyInto(st, vol, source, c.sim.opts.Latency.Import)
	}
	c.sim.mu.Lock()
	if err != nil {
		c.sim.free(c.node, made)
		c.sim.mu.Unlock()
		return err
	}
	key, value := a.values["target-disk"], st.id(vol)
	if key == "" {
		key = freeUnused(v.opts)
	} else {
		value += ",size=" + formatSize(vol.size)
	}
	v.opts[key] = value
	c.sim.saveVM(v)
	c.sim.mu.Unlock()
	return c.out(fmt.Sprintf("%s: successfully imported disk '%s'", key, st.id(vol)))
}

func (c *call) checkImport(vmid, source, storage string) (image, *vm, error) {
	c.sim.mu.Lock()
	v, err := c.find(vmid)
	st := c.sim.store(c.node, storage)
	switch {
	case err != nil:
	case !c.sim.known(storage):
		err = fail("storage '%s' does not exist", storage)
	case st == nil:
		err = fail("storage '%s' is not available on node '%s'", storage, c.node.name)
	case !st.holds("images"):
		err = fail("storage %s does not support vm images", storage)
	default:
		err = unlocked(v, args{})
	}
	c.sim.mu.Unlock()
	if err != nil {
		return image{}, nil, err
	}
	w := &worker{call: c, ctx: c.ctx, cancel: func(error) {}, task: &task{}}
	img, err := w.source(source)
	if err != nil && strings.HasPrefix(source, "/") {
		err = failStatus(2, "%s: non-existent or non-regular file", source)
	}
	return img, v, err
}

// qmCloudinitUpdate makes the cloud-init drive anew.
func (c *call) qmCloudinitUpdate(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	has := err == nil && v.hasCloudinit()
	if has {
		v.cloudinit = nil
		c.sim.saveVM(v)
	}
	c.sim.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !has:
		return fail("no cloudinit drive found")
	}
	return c.out("generating cloud-init ISO")
}

// qmCloudinitPending shows what cloud-init is told of a VM.
func (c *call) qmCloudinitPending(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var lines []string
	if err == nil {
		for _, k := range []string{"cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"} {
			value := v.opts[k]
			if k == "cipassword" && value != "" {
				value = "**********"
			}
			if value != "" {
				lines = append(lines, fmt.Sprintf("cur %s: %s", k, value))
			}
		}
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	slices.Sort(lines)
	return c.out(strings.Join(lines, "\n"))
}

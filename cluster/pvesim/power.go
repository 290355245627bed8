package pvesim

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *call) qmStart(a args) error {
	_, err := c.start(a.values["vmid"], a)
	return err
}

// start is POST .../status/start.
func (c *call) start(vmid string, a args) (*task, error) {
	if !c.sim.hasQuorum() {
		return nil, fail("cluster not ready - no quorum?")
	}
	if c.sim.managed(vmid) {
		return c.haRequest("hastart", vmid, "Requesting HA start for VM "+vmid, func(v *vm) { c.sim.wish(v, "started") })
	}
	return c.startHere(vmid, a)
}

// startHere starts a VM whether or not the HA manager looks after it.
func (c *call) startHere(vmid string, a args) (*task, error) {
	return c.work("qmstart", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		var v *vm
		var cloudinit bool
		err = w.do(func() error {
			if v, err = w.find(vmid); err != nil {
				return err
			}
			cloudinit = v.hasCloudinit()
			if err := unlocked(v, a); err != nil {
				return err
			}
			switch {
			case v.template():
				return fail("you can't start a vm if it's a template")
			case v.running:
				return fail("VM %s already running", vmid)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if cloudinit {
			if err := w.say("generating cloud-init ISO"); err != nil {
				return err
			}
		}
		line := ""
		err = w.do(func() (err error) {
			line, err = w.node.canRun(v)
			return err
		})
		if line != "" {
			if err := w.say(line); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if err := w.sleep(w.sim.opts.Latency.Start); err != nil {
			return err
		}
		return w.do(func() error {
			w.sim.powerOn(v)
			return nil
		})
	})
}

// canRun is why a VM can't start on the node, with what QEMU says of it.
// PVE: none of this is looked at before. Sim.mu must be held.
func (n *node) canRun(v *vm) (line string, err error) {
	if v.cpus() > n.spec.CPUs {
		return "", fail("MAX %d vcpus allowed per VM on this node", n.spec.CPUs)
	}
	for i := range 32 {
		b := prop(v.opts["net"+strconv.Itoa(i)], "bridge")
		if b != "" && !n.hasBridge(b) {
			return "", fail("bridge '%s' does not exist", b)
		}
	}
	if missing := n.missingFlags(v); missing != "" {
		return "kvm: warning: Host doesn't support requested feature: " + missing, fail("start failed: QEMU exited with code 1")
	}
	return "", nil
}

// levelFlags are what each of PVE's own CPU types needs of the node.
var levelFlags = map[string]string{
	"x86-64-v2": flagsV2, "x86-64-v2-AES": flagsAES, "x86-64-v3": flagsV3, "x86-64-v4": flagsV4,
}

// missingFlags names a flag that the VM's CPU type has and the node has not, ""
// when there is none. Sim.mu must be held.
func (n *node) missingFlags(v *vm) string {
	model := cpuModel(v.opts["cpu"])
	needs, have := levelFlags[model], strings.Fields(n.spec.Flags)
	if name, custom := strings.CutPrefix(model, "custom-"); custom {
		needs = n.sim.opts.CPUModels[name]
	}
	for _, f := range strings.Fields(needs) {
		if !slices.Contains(have, f) {
			return f
		}
	}
	return ""
}

func (v *vm) hasCloudinit() bool {
	for _, d := range v.disks() {
		if strings.Contains(v.opts[d], "-cloudinit") {
			return true
		}
	}
	return false
}

// powerOn makes a VM run, with what was pending. Sim.mu must be held.
func (s *Sim) powerOn(v *vm) {
	for _, k := range splitTags(v.pending["delete"]) {
		delete(v.opts, k)
	}
	for k, value := range v.pending {
		if k != "delete" {
			v.opts[k] = value
		}
	}
	v.pending, v.cloudinit = nil, nil
	v.running, v.paused, v.pid, v.started = true, false, s.nextPid(), s.now()
	// The cloud-init drive is made anew: another instance id makes cloud-init
	// begin from the start, with new host keys.
	if seed := v.instanceID(); seed != v.seed {
		if old := v.guest; old != nil {
			old.Stop()
			v.disk = old.Disk()
			s.discardGuest(v)
		}
		v.seed = seed
	}
	s.bootGuest(v)
	s.saveVM(v)
}

func (c *call) qmStop(a args) error {
	_, err := c.stop(a.values["vmid"], a)
	return err
}

// stop is POST .../status/stop.
func (c *call) stop(vmid string, a args) (*task, error) {
	if c.sim.managed(vmid) {
		return c.haRequest("hastop", vmid, "Requesting HA stop for VM "+vmid, func(v *vm) { c.sim.wish(v, "stopped") })
	}
	return c.work("qmstop", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		return w.do(func() error {
			v, err := w.findHere(vmid)
			if err != nil {
				return err
			}
			if !v.running {
				return nil // PVE: stopping a stopped VM is fine
			}
			if err := unlocked(v, a); err != nil {
				return err
			}
			v.halt()
			return nil
		})
	})
}

func (c *call) qmShutdown(a args) error {
	_, err := c.shutdown(a.values["vmid"], a)
	return err
}

// shutdown is POST .../status/shutdown: it asks the guest to power off, and
// holds the VM's lock until it did.
func (c *call) shutdown(vmid string, a args) (*task, error) {
	if c.isPaused(vmid) {
		if !a.is("forceStop") {
			return nil, fail("VM is paused - cannot shutdown")
		}
		c.err("VM is paused - stop instead of shutdown")
		return c.stop(vmid, a)
	}
	if c.sim.managed(vmid) {
		return c.haRequest("hastop", vmid, "Requesting HA stop for VM "+vmid, func(v *vm) { c.sim.wish(v, "stopped") })
	}
	return c.work("qmshutdown", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		return w.powerDown(vmid, a)
	})
}

// isPaused asks QEMU. PVE: that there is nobody to ask is said, and no more.
func (c *call) isPaused(vmid string) bool {
	c.sim.mu.Lock()
	v, err := c.findHere(vmid)
	if err == nil && !v.running {
		err = notRunning(vmid)
	}
	paused := err == nil && v.paused
	c.sim.mu.Unlock()
	if err != nil {
		c.err(err.Error() + "\n\n")
	}
	return paused
}

func notRunning(vmid string) error { return failStatus(2, "VM %s not running", vmid) }

func (w *worker) powerDown(vmid string, a args) error {
	timeout := 60 * time.Second
	if n, err := strconv.Atoi(a.values["timeout"]); err == nil {
		timeout = time.Duration(n) * time.Second
	}
	var v *vm
	err := w.do(func() (err error) {
		if v, err = w.findHere(vmid); err != nil || !v.running {
			return err
		}
		return unlocked(v, a)
	})
	if err != nil || !w.sim.isRunning(v) {
		return err
	}
	need := w.sim.opts.Latency.Shutdown
	if m, ok := v.guest.(PowerButton); ok {
		need = w.press(m, v, timeout)
	}
	if w.sim.hooks.deaf(v.id) || need > timeout {
		if err := w.sleep(timeout); err != nil {
			return err
		}
		if !a.is("forceStop") {
			return fail("VM quit/powerdown failed - got timeout")
		}
		if err := w.say("VM still running - terminating now with SIGTERM"); err != nil {
			return err
		}
	} else if err := w.sleep(need); err != nil {
		return err
	}
	return w.do(func() error {
		v.halt()
		return nil
	})
}

// press presses the power button of a real machine and waits for it to go off.
// It returns what is left to wait: nothing, or more than timeout.
func (w *worker) press(m PowerButton, v *vm, timeout time.Duration) time.Duration {
	m.Press()
	for end := w.sim.now().Add(timeout); w.sim.isRunning(v); {
		if !w.sim.now().Before(end) || w.sleep(pressPause) != nil {
			return timeout + 1
		}
	}
	return 0
}

// pressPause is how often a machine is looked at that is to go off.
const pressPause = 200 * time.Millisecond

func (s *Sim) isRunning(v *vm) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.running
}

// mustRun is the check of reboot and reset.
func (c *call) mustRun(vmid string, a args) (*vm, error) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	v, err := c.findHere(vmid)
	if err != nil {
		return nil, err
	}
	if !v.running {
		return nil, notRunning(vmid)
	}
	return v, unlocked(v, a)
}

func (c *call) qmReboot(a args) error {
	_, err := c.reboot(a.values["vmid"], a)
	return err
}

// reboot is POST .../status/reboot. PVE: its task ends when the VM is off;
// another process of the node sees that and starts it again.
func (c *call) reboot(vmid string, a args) (*task, error) {
	if c.isPaused(vmid) {
		return nil, fail("VM is paused - cannot shutdown")
	}
	v, err := c.mustRun(vmid, a)
	if err != nil {
		return nil, err
	}
	t, err := c.work("qmreboot", vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		return w.powerDown(vmid, a)
	})
	if err != nil {
		return t, err
	}
	s, boot := c.sim, c.boot
	s.wg.Go(func() {
		if s.sleep(boot, s.opts.Latency.Start) != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.vms[v.id] == v && boot.Err() == nil && !v.running && v.opts["lock"] == "" {
			s.powerOn(v)
		}
	})
	return t, nil
}

func (c *call) qmReset(a args) error {
	vmid := a.values["vmid"]
	v, err := c.mustRun(vmid, a)
	if err != nil {
		return err
	}
	_, err = c.work("qmreset", vmid, func(w *worker) error {
		return w.do(func() error {
			w.sim.bootGuest(v)
			return nil
		})
	})
	return err
}

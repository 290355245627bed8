package pvesim

// qmSuspend makes a VM stand still, in memory.
func (c *call) qmSuspend(a args) error {
	if a.is("todisk") {
		return fail("suspending to disk is not simulated")
	}
	return c.standStill("qmsuspend", a, true)
}

func (c *call) qmResume(a args) error { return c.standStill("qmresume", a, false) }

func (c *call) standStill(typ string, a args, still bool) error {
	vmid := a.values["vmid"]
	v, err := c.mustRun(vmid, a)
	if err != nil {
		return err
	}
	_, err = c.work(typ, vmid, func(w *worker) error {
		release, err := w.lockVM(w.ctx, vmid, lockWait)
		if err != nil {
			return err
		}
		defer release()
		return w.do(func() error {
			v.paused = still
			return nil
		})
	})
	return err
}

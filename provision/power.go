package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/provision/guest"
)

// shutdownWait is how long a guest has to power off by itself.
const shutdownWait = 3 * time.Minute

// claims are the slots that a job for spec needs from its first moment on: one
// job per VM.
func (k *kit) claims(spec Spec) []Held {
	claim := func(vmid int) Held { return Held{Pool: fmt.Sprintf("vm/%s/%d", k.cluster.Name(), vmid), Slot: "1"} }
	switch s := spec.(type) {
	case Remind, Trust: // change nothing of the VM; a job that waits for trust has it
		return nil
	case VMSpec:
		return []Held{claim(s.Target().VMID)}
	case Drain:
		var held []Held
		for _, m := range s.Moves {
			held = append(held, claim(m.VM.VMID))
		}
		return held
	}
	return nil
}

// powerPlan is the recipe for start, stop, shutdown and reboot. Start and
// reboot end when SSH is ready, proven by the boot id.
func (k *kit) powerPlan(do string) plan {
	ready := plan{
		{Phase: "power", Name: "waiting for SSH", Run: k.waitSSH, Interrupt: true},
		{Phase: "power", Name: "finalizing", Run: k.tellPower},
	}
	switch do {
	case "start":
		return append(plan{{Phase: "power", Name: "starting VM", Run: k.start, Done: k.isRunning, Undo: k.powerOffAgain, Changes: true}}, ready...)
	case "reboot":
		return append(plan{
			{Phase: "power", Name: "noting boot id", Run: k.noteBoot, Interrupt: true},
			{Phase: "power", Name: "rebooting VM", Run: k.reboot, Done: k.hasRebooted, Changes: true},
		}, ready...)
	case "shutdown":
		return plan{{Phase: "power", Name: "shutting down VM", Run: k.shutdown, Done: k.isStopped, Changes: true}}
	}
	return plan{{Phase: "power", Name: "stopping VM", Run: k.stop, Done: k.isStopped, Changes: true}}
}

// preparePower refuses what PVE would refuse, or what changes nothing.
func (k *kit) preparePower(ctx context.Context, s Power) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	if err := k.free(ctx, ref, c); err != nil {
		return nil, err
	}
	status, err := k.cluster.Status(ctx, ref.Node, ref.VMID)
	if err != nil {
		return nil, unreachable(fmt.Sprintf("VM %d", ref.VMID), err)
	}
	running := status != "stopped"
	if s.Do != "start" {
		if err := k.notBot(ref); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Do == "start" && c.Options["template"] == "1":
		return nil, Errorf(Conflict, "%s is a template, which can't be started", ref)
	case s.Do == "start" && status == "paused":
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s is paused", ref), Try: fmt.Sprintf("qm resume %d on %s", ref.VMID, ref.Node)}
	case s.Do == "start" && running:
		return nil, Errorf(Conflict, "%s runs already", ref)
	case s.Do != "start" && !running:
		return nil, Errorf(Conflict, "%s does not run", ref)
	case s.Do == "shutdown" && status == "paused":
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s is paused and can't be shut down", ref), Try: "vm stop"}
	case s.Do == "reboot" && status == "paused":
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s is paused and can't be rebooted", ref), Try: fmt.Sprintf("qm resume %d on %s", ref.VMID, ref.Node)}
	case s.Do == "start" || s.Do == "reboot":
		return s, k.canRun(ctx, ref, c)
	}
	return s, nil
}

// canRun says why the VM's node can't run it with a configuration.
func (k *kit) canRun(ctx context.Context, ref VMRef, c cluster.VMConfig) error {
	r, err := k.view.resources(ctx)
	if err != nil {
		return err
	}
	err = tooManyCPUs(r, ref.Node, c.CPUs().Most())
	if e, ok := errors.AsType[*Error](err); ok {
		e.Try = fmt.Sprintf("vm set %d --cpu, or vm migrate %d", ref.VMID, ref.VMID)
		return err
	}
	if lacks, _ := k.unplugged(ctx, ref.Node, c); len(lacks) > 0 {
		return &Error{
			Kind: Conflict, Say: fmt.Sprintf("node %s has no bridge %s of %s that is up", ref.Node, strings.Join(lacks, ", "), ref),
			Try: fmt.Sprintf("make it on %s, or vm migrate %d to a node that has it", ref.Node, ref.VMID),
		}
	}
	return nil
}

// String is how people know the VM.
func (r VMRef) String() string {
	if r.Name == "" {
		return fmt.Sprintf("VM %d", r.VMID)
	}
	return fmt.Sprintf("%s (VM %d)", r.Name, r.VMID)
}

func (k *kit) status(ctx context.Context, w *Work) (string, error) {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return "", err
	}
	status, err := k.cluster.Status(ctx, ref.Node, ref.VMID)
	return status, unreachable(ref.String(), err)
}

func (k *kit) isRunning(ctx context.Context, w *Work) (bool, error) {
	status, err := k.status(ctx, w)
	return status == "running", err
}

func (k *kit) isStopped(ctx context.Context, w *Work) (bool, error) {
	status, err := k.status(ctx, w)
	return status == "stopped", err
}

// start is powerOn as an order of its own. What runs already, by somebody
// else's hand, is not the undo's to switch off.
func (k *kit) start(ctx context.Context, w *Work) error {
	stopped, err := k.isStopped(ctx, w)
	if err == nil && !stopped && !w.resumed {
		err = w.Learn(ctx, Facts{Ran: true})
	}
	if err != nil {
		return err
	}
	return k.powerOn(ctx, w)
}

func (k *kit) powerOn(ctx context.Context, w *Work) error {
	return k.change(ctx, w, "starting the VM", k.cluster.Start)
}

// stop is powerOff as an order of its own.
func (k *kit) stop(ctx context.Context, w *Work) error {
	if err := k.stillOver(ctx, w, 0); err != nil {
		return err
	}
	return k.powerOff(ctx, w)
}

// powerOff switches the VM off hard; one that does not run is left alone.
func (k *kit) powerOff(ctx context.Context, w *Work) error {
	stopped, err := k.isStopped(ctx, w)
	if err != nil {
		return err
	}
	if stopped {
		w.Result("it does not run")
		return nil
	}
	if err := k.change(ctx, w, "stopping the VM", k.cluster.Stop); err != nil {
		return err
	}
	return k.tellOff(ctx, w)
}

// powerOffAgain undoes a start. A guest with a new host key stays on: the key is
// only to be had of one that runs.
func (k *kit) powerOffAgain(ctx context.Context, w *Work) error {
	if w.Facts().Ran {
		w.Log(ctx, "the VM stays on: it ran before")
		return nil
	}
	if k.hasNewKey(ctx, w) {
		w.Log(ctx, "the VM stays on, so that its new host key can be looked at")
		return nil
	}
	err := k.powerOff(ctx, w)
	if kind := KindOf(err); kind == NotFound || kind == Conflict {
		return nil // it is gone, or not the order's any more
	}
	return err
}

// hasNewKey reports whether the guest is known to show another host key than
// before.
func (k *kit) hasNewKey(ctx context.Context, w *Work) bool {
	g, err := k.way(ctx, w)
	if err != nil || g == nil || g.HostKey() == "" {
		return false
	}
	defer g.Close()
	shown, err := g.ShownKey(ctx)
	return err == nil && shown != g.HostKey()
}

// powerOnAgain undoes a stop: what ran before runs again.
func (k *kit) powerOnAgain(ctx context.Context, w *Work) error {
	running, err := k.isRunning(ctx, w)
	if KindOf(err) == NotFound || err == nil && (running || !w.Facts().Ran) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.powerOn(ctx, w)
}

// tellOff says that the VM is off now.
func (k *kit) tellOff(ctx context.Context, w *Work) error {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	w.Result("%s is off, on %s", ref, ref.Node)
	return w.Learn(ctx, Facts{VMID: ref.VMID, Name: ref.Name, Node: ref.Node})
}

func (k *kit) shutdown(ctx context.Context, w *Work) error {
	err := k.act(ctx, w, "shutdown", "shutting down the VM", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartShutdown(ctx, node, key, vmid, shutdownWait)
	})
	if err != nil {
		return stubborn(err)
	}
	return k.tellOff(ctx, w)
}

// stubborn says what to do with a guest that does not power off.
func stubborn(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Failed {
		e.Try = "vm stop switches it off hard"
	}
	return err
}

// way is a known way into the guest of the VM; nil, nil when there is none.
func (k *kit) way(ctx context.Context, w *Work) (*guest.Guest, error) {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return nil, err
	}
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	if err != nil || !known || !r.reachable(c) {
		return nil, err
	}
	return k.intoAfter(ref, r, w.waited()), nil
}

// noteBoot remembers the boot that is about to end.
func (k *kit) noteBoot(ctx context.Context, w *Work) error {
	g, err := k.way(ctx, w)
	if err != nil || g == nil {
		w.Result("no SSH access known")
		return err
	}
	defer g.Close()
	id, err := g.BootID(ctx)
	if err != nil { // a guest that hangs may still be rebooted
		w.Log(ctx, fmt.Sprintf("the guest does not tell its boot id: %v", err))
		w.Result("the guest does not answer")
		return nil
	}
	w.Result("%s", id)
	return w.Learn(ctx, Facts{BootID: id})
}

func (k *kit) reboot(ctx context.Context, w *Work) error {
	err := k.act(ctx, w, "reboot", "rebooting the VM", func(ctx context.Context, node, key string, vmid int) (cluster.Task, error) {
		return k.cluster.StartReboot(ctx, node, key, vmid, shutdownWait)
	})
	return stubborn(err)
}

// hasRebooted is asked after a crash: another boot id proves it.
func (k *kit) hasRebooted(ctx context.Context, w *Work) (bool, error) {
	before := w.Facts().BootID
	g, err := k.way(ctx, w)
	if err != nil || g == nil || before == "" {
		return false, err // once more does no harm
	}
	defer g.Close()
	id, err := g.BootID(ctx)
	return err == nil && id != before, nil
}

// waitSSH waits until the guest is ready. Of a guest that the bot can't get
// into it is enough that the VM runs and that its agent answers, or half a
// minute has passed.
func (k *kit) waitSSH(ctx context.Context, w *Work) error {
	g, err := k.way(ctx, w)
	if err != nil {
		return err
	}
	if g == nil {
		return k.waitAgent(ctx, w)
	}
	defer g.Close()
	began := k.clock.Now()
	vmid := w.Job().Order.Spec.(VMSpec).Target().VMID
	// The boot that is ready is not learnt: who is resumed here would wait for
	// yet another one.
	state, err := g.Ready(ctx, w.Facts().BootID, func(p guest.Progress) { w.waits(ctx, p) })
	if stalled, ok := errors.AsType[*guest.StalledError](err); ok && stalled.Closed() && k.agentAnswers(ctx, vmid) {
		w.Log(ctx, stalled.Error())
		w.Result("its SSH is shut, but the guest agent answers")
		return nil
	}
	if changed, ok := errors.AsType[*guest.HostKeyError](err); ok {
		return &Error{Kind: Failed, Say: changed.Error(), Try: fmt.Sprintf("vm trust %d, which shows both keys and takes the new one", vmid), Err: err}
	}
	if err != nil {
		return k.notReady(ctx, w, vmid, err)
	}
	w.Result("ready after %s", k.clock.Now().Sub(began).Round(100*time.Millisecond))
	return k.updateRecord(ctx, w.Job().Order.Spec.(VMSpec).Target(), func(r *VMRecord) { r.HostKey = state.HostKey })
}

// agentWait is how long a guest without SSH access is waited for.
const agentWait = 30 * time.Second

func (k *kit) waitAgent(ctx context.Context, w *Work) error {
	w.Progress(ctx, -1, "no SSH access known, asking the guest agent")
	for end := k.clock.Now().Add(agentWait); k.clock.Now().Before(end); {
		ref, _, err := k.meant(ctx, w)
		if err != nil {
			return err
		}
		answers, err := k.cluster.AgentAnswers(ctx, ref.Node, ref.VMID)
		if err != nil {
			return unreachable("node "+ref.Node, err)
		}
		if answers {
			w.Result("the guest agent answers")
			return nil
		}
		if err := k.offMeanwhile(ctx, ref.Node, ref.VMID); err != nil {
			return k.guestTrouble(w, ref.VMID, err)
		}
		if err := k.clock.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	running, err := k.isRunning(ctx, w)
	if err == nil && !running {
		err = Errorf(Failed, "the VM does not run any more")
	}
	w.Result("it runs; nothing more is known of its guest")
	return err
}

// tellPower says what came of it.
func (k *kit) tellPower(ctx context.Context, w *Work) error {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	w.Result("%s runs on %s", ref, ref.Node)
	learnt := Facts{VMID: ref.VMID, Name: ref.Name, Node: ref.Node}
	if r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID); err == nil && known && r.UUID == ref.UUID {
		learnt.IP, learnt.User = r.IP, r.User
	}
	return w.Learn(ctx, learnt)
}

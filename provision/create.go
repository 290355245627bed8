package provision

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/alloc"
	"pvebot/cluster"
)

// createKey names the node task of one try to create the VM. The uuid is
// random, so that no other bot's task can have it.
func createKey(f Facts) string { return fmt.Sprintf("create-%s-%d", f.UUID, f.Attempt) }

// createVM runs `qm create` as a node task, up to where the disk's import
// begins. A VMID that somebody took behind our back means the next slot.
func (k *kit) createVM(ctx context.Context, w *Work) error {
	f := w.Facts()
	begun := f.Attempt > 0 && w.resumed
	template := 0
	if !begun {
		var err error
		if template, err = k.templateFor(ctx, w); err != nil {
			return err
		}
	}
	if err := w.Queue(ctx, k.importQueue(f), k.settings.ParallelImports, "waiting for other imports on "+f.Node); err != nil {
		return err
	}
	if f.Attempt > 0 && !begun { // people asked to try again: what the last try left goes first
		if err := k.removeVM(ctx, w); err != nil {
			return err
		}
	}
	if !begun { // who waits for a place has not begun
		if err := w.Learn(ctx, Facts{Attempt: f.Attempt + 1, Template: template}); err != nil {
			return err
		}
	}
	for {
		f = w.Facts()
		err := k.tryCreate(ctx, w, f)
		if !cluster.IsExists(err) {
			return failed("creating the VM", f.Node, err)
		}
		if w.install().VMID != 0 {
			return &Error{Kind: Conflict, Say: fmt.Sprintf("VMID %d was taken by somebody else meanwhile", f.VMID), Try: "leave --id out, then I choose a free one", Err: err}
		}
		w.Log(ctx, fmt.Sprintf("VMID %d was taken by somebody else meanwhile, trying the next", f.VMID))
		if err := k.nextSlot(ctx, w); err != nil {
			return err
		}
	}
}

func (k *kit) importQueue(f Facts) string { return "import/" + f.Cluster + "/" + f.Node }

// tryCreate starts the task, or finds it, and follows it to the import.
func (k *kit) tryCreate(ctx context.Context, w *Work, f Facts) error {
	tasks := k.cluster.Tasks()
	task, err := tasks.Find(ctx, f.Node, createKey(f))
	if errors.Is(err, cluster.ErrNoTask) {
		task, err = k.startCreate(ctx, w, f)
	}
	if err != nil {
		return err
	}
	for line, err := range tasks.Follow(ctx, task, 0) {
		if err != nil {
			return err
		}
		if _, importing := cluster.TransferProgress(line.Text); importing {
			break
		}
		w.Log(ctx, line.Text)
	}
	w.Result("VM %d on %s", f.VMID, f.Node)
	if f.Template > 0 {
		w.Result("VM %d on %s, a linked clone of template %d", f.VMID, f.Node, f.Template)
	}
	return nil
}

// nextSlot gives up the slot whose VMID turned out to be taken, and takes
// another one.
func (k *kit) nextSlot(ctx context.Context, w *Work) error {
	f := w.Facts()
	if err := w.Release(ctx, k.slotPool(), strconv.Itoa(f.VMID), 10*slotCooling); err != nil {
		return err
	}
	taken, err := k.taken(ctx, f.Node, f.Storage)
	if err != nil {
		return err
	}
	taken.VMIDs[f.VMID] = "somebody else's VM"
	net, err := k.networkFor(w)
	if err != nil {
		return err
	}
	a := alloc.Allocator{Pool: net.Pool, Prober: prober{k.cluster, f.Node}}
	slot, err := a.Take(ctx, taken, 0, ledger{w, k.slotPool()})
	if err != nil {
		return noSlot(err)
	}
	next := Facts{VMID: slot.VMID, IP: slot.IP, Attempt: f.Attempt + 1}
	if w.install().Name == "" {
		next.Name = fmt.Sprintf("%s-%d", w.install().OS, slot.VMID)
	}
	return w.Learn(ctx, next)
}

// newVM is the VM as `qm create` shall make it.
func (k *kit) newVM(w *Work, f Facts) cluster.NewVM {
	s, job := w.install(), w.Job()
	ballooned := k.settings.balloon(s.MemoryMB)
	net := k.settings.networkOf(f.VMID)
	return cluster.NewVM{
		VMID: f.VMID, Name: f.Name,
		Cores: s.Cores, MemoryMB: s.MemoryMB, BalloonMB: ballooned, NUMA: ballooned > 0, CPU: f.CPU,
		Storage: f.Storage, ImportFrom: f.Image,
		Bridge: net.Bridge, VLAN: net.VLAN, IPConfig: net.ipConfig(f.VMID, f.IP), Nameserver: net.Nameserver,
		User: f.User, PasswordHash: string(s.PasswordHash), SSHKeys: k.keys(w),
		UUID: f.UUID, Tags: []string{s.OS, "pvebot"}, OnBoot: k.settings.OnBoot,
		Description: fmt.Sprintf("%s\ninstalled for %s", stamp(job.ID, f), url.QueryEscape(job.Order.By.Key())),
	}
}

// stamp is the line in a VM's description that says which job made it. It
// holds only together with the uuid: descriptions are copied by clones.
func stamp(id JobID, f Facts) string {
	return fmt.Sprintf("pvebot: job=%d vm=%d uuid=%s", id, f.VMID, f.UUID)
}

// ours reports whether the VM behind c is the one that the job made.
func ours(c cluster.VMConfig, job Job) bool {
	return job.Facts.UUID != "" && strings.EqualFold(c.UUID(), job.Facts.UUID) && stamped(c, job)
}

// stamped reports whether the VM has the job's stamp. A clone of a template has
// it from the start, and its uuid only when it was configured.
func stamped(c cluster.VMConfig, job Job) bool {
	return c.VMID == job.Facts.VMID && slices.Contains(strings.Split(c.Description, "\n"), stamp(job.ID, job.Facts))
}

// vmCreated decides, after a crash, between a create that never began (it is
// begun), one whose task is still there (it is followed), and one that ended.
func (k *kit) vmCreated(ctx context.Context, w *Work) (bool, error) {
	f := w.Facts()
	if f.Attempt == 0 {
		return false, nil
	}
	_, err := k.cluster.Tasks().Find(ctx, f.Node, createKey(f))
	if err == nil || !errors.Is(err, cluster.ErrNoTask) {
		return false, unreachable("node "+f.Node, err)
	}
	c, err := k.cluster.VMConfig(ctx, f.Node, f.VMID)
	switch {
	case errors.Is(err, cluster.ErrNoVM):
		return false, nil
	case err != nil:
		return false, unreachable("node "+f.Node, err)
	case (ours(c, w.Job()) || f.Template > 0 && stamped(c, w.Job())) && c.Lock() == "":
		return true, nil
	case c.Lock() == "create" || c.Lock() == "clone":
		return false, Errorf(Failed, "node %s restarted while it created VM %d", f.Node, f.VMID)
	}
	return false, nil // somebody else's: qm will say "already exists"
}

// watchImport follows the create task to its end, and reads back what it made.
// What the task said before the import began, createVM has told.
func (k *kit) watchImport(ctx context.Context, w *Work) error {
	err := k.followImport(ctx, w)
	if err == nil || ctx.Err() != nil || passing(err) || w.resumed || w.Job().Decided == "" {
		return err
	}
	// People asked to try again, and an import that failed stays so: the VM is
	// made anew.
	if err := k.createVM(ctx, w); err != nil {
		return err
	}
	return k.followImport(ctx, w)
}

func (k *kit) followImport(ctx context.Context, w *Work) error {
	f := w.Facts()
	tasks := k.cluster.Tasks()
	task, err := tasks.Find(ctx, f.Node, createKey(f))
	if err != nil && !errors.Is(err, cluster.ErrNoTask) {
		return failed("importing the disk", f.Node, err)
	}
	if err == nil {
		importing := false
		for line, err := range tasks.Follow(ctx, task, 0) {
			if err != nil {
				return failed("importing the disk", f.Node, err)
			}
			if fraction, ok := cluster.TransferProgress(line.Text); ok {
				importing = true
				w.Progress(ctx, fraction, strings.TrimSuffix(strings.TrimPrefix(line.Text, "transferred "), fmt.Sprintf(" (%.2f%%)", fraction*100)))
			} else if importing {
				w.Log(ctx, line.Text)
			}
		}
	}
	if f.Template > 0 {
		if err := k.configure(ctx, w, f); err != nil {
			return err
		}
	}
	c, err := k.config(ctx, f.Node, f.VMID)
	if err != nil {
		return err
	}
	if !ours(c, w.Job()) || c.Lock() != "" || c.Options[newDisk] == "" {
		return Errorf(Failed, "VM %d was not created as ordered: its configuration on %s is incomplete", f.VMID, f.Node)
	}
	volume, _, _ := strings.Cut(c.Options[newDisk], ",")
	w.Result("%s", volume)
	if task.Key == "" {
		return nil
	}
	return k.forget(ctx, w, task)
}

// newDisk is the disk that NewVM makes.
const newDisk = "scsi0"

// removeVM undoes the create: it waits for a task that still runs, makes sure
// that the VM is the job's own, and removes it with its disks.
func (k *kit) removeVM(ctx context.Context, w *Work) error {
	f := w.Facts()
	if f.Attempt == 0 {
		return nil // never began
	}
	began, sure, err := k.awaitCreate(ctx, w, f)
	if err != nil {
		return err
	}
	guest, err := k.cluster.Locate(ctx, f.VMID)
	if err == nil {
		err = k.destroyOwn(ctx, w, guest, began, sure)
	}
	if err != nil && !errors.Is(err, cluster.ErrNoVM) {
		return failed(fmt.Sprintf("removing VM %d", f.VMID), f.Node, err)
	}
	return k.freeVolumes(ctx, w, f)
}

// awaitCreate waits for the end of the create task and reports whether it got
// as far as owning the VMID. It is not sure of that when the task is gone: then
// it goes by the node's clock, which may be wrong.
func (k *kit) awaitCreate(ctx context.Context, w *Work, f Facts) (began, sure bool, err error) {
	tasks := k.cluster.Tasks()
	task, err := tasks.Find(ctx, f.Node, createKey(f))
	if errors.Is(err, cluster.ErrNoTask) {
		began, err = k.createdSince(ctx, w, f)
		return began, false, err
	}
	if err != nil {
		return false, false, unreachable("node "+f.Node, err)
	}
	for _, err := range tasks.Follow(ctx, task, 0) {
		switch exit, refused := errors.AsType[*cluster.ExitError](err); {
		case cluster.IsExists(err):
			return false, true, k.forget(ctx, w, task)
		case refused && !slices.Contains([]int{129, 137, 143}, exit.Status):
			return false, false, nil // PVE took back what it had made: what is locked there is hardly ours
		case refused || errors.Is(err, cluster.ErrTaskLost):
			return true, true, nil // the task stays: it tells this again, should we be interrupted
		case err != nil:
			return false, false, unreachable("node "+f.Node, err)
		}
	}
	return true, true, nil
}

// createdSince tells from PVE's own task log whether the VMID was created
// since the job's create began. Node clocks may be off by a minute.
func (k *kit) createdSince(ctx context.Context, w *Work, f Facts) (bool, error) {
	if f.Template > 0 {
		return k.begunSince(ctx, w, f.Node, f.Template, "qmclone") // PVE: about the source
	}
	return k.begunSince(ctx, w, f.Node, f.VMID, "qmcreate")
}

func (k *kit) begunSince(ctx context.Context, w *Work, node string, vmid int, kind string) (bool, error) {
	at, err := k.cluster.LastTask(ctx, node, vmid, kind)
	if err != nil {
		return false, unreachable("node "+node, err)
	}
	job := w.Job()
	return at.After(job.Step(w.step).Started.Add(-time.Minute)), nil
}

// destroyOwn destroys the VM if it is the job's. One that a create left
// behind has only a lock and no stamp: it is ours only if our create began.
func (k *kit) destroyOwn(ctx context.Context, w *Work, g cluster.Guest, began, sure bool) error {
	c, err := k.cluster.VMConfig(ctx, g.Node, g.VMID)
	if err != nil {
		return err
	}
	clone := w.Facts().Template > 0
	torso := (c.Lock() == "create" || c.Lock() == "clone" && clone) && c.UUID() == ""
	if !ours(c, w.Job()) && !(clone && stamped(c, w.Job())) && !(torso && began) {
		switch {
		case torso && !sure:
			return begunBySomebody(g.VMID, g.Node)
		case !began:
			return nil // somebody else's, which is why our create failed
		}
		return &Error{Kind: Conflict, Say: fmt.Sprintf("VM %d on %s is not the one that this job made", g.VMID, g.Node), Try: "look at it, then choose Keep"}
	}
	w.Result("VM %d removed", g.VMID)
	return k.cluster.Destroy(ctx, g.Node, g.VMID, cluster.DestroyOptions{SkipLock: c.Lock() == "create" || c.Lock() == "clone"})
}

func begunBySomebody(vmid int, node string) error {
	return &Error{
		Kind: Conflict, Say: fmt.Sprintf("VM %d on %s was begun by somebody, and this job can't tell whether by it", vmid, node),
		Try: fmt.Sprintf("look at it; qm destroy %d --skiplock on %s removes it", vmid, node),
	}
}

// freeVolumes removes what a create that died left on the storage. The VMID
// had no volumes when the job took it.
func (k *kit) freeVolumes(ctx context.Context, w *Work, f Facts) error {
	if _, err := k.cluster.Locate(ctx, f.VMID); !errors.Is(err, cluster.ErrNoVM) {
		return unreachable("the cluster", err) // somebody's VM has the id now: its volumes are not ours
	}
	volumes, err := k.cluster.Volumes(ctx, f.Node, f.Storage)
	if err != nil {
		return unreachable("storage "+f.Storage, err)
	}
	for _, v := range volumes {
		if v.VMID != f.VMID || v.Content != "images" { // backups carry the VMID too
			continue
		}
		if err := k.cluster.FreeVolume(ctx, f.Node, v.ID); err != nil {
			return failed("removing "+v.ID, f.Node, err)
		}
		w.Log(ctx, "removed "+v.ID)
	}
	task, err := k.cluster.Tasks().Find(ctx, f.Node, createKey(f))
	if err != nil {
		return nil //nolint:nilerr // nothing to forget
	}
	return k.forget(ctx, w, task)
}

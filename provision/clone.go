package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"pvebot/cluster"
)

// clonePlan makes a full copy with a VMID and an address of its own. It is not
// started: two guests with one identity should meet only when people want it.
func (k *kit) clonePlan() plan {
	return plan{
		{Phase: "preparation", Name: "checking source", Run: k.checkSource, Interrupt: true},
		{Phase: "preparation", Name: "assigning IP", Run: k.takeSlot, Undo: k.freeSlot, Interrupt: true},
		{Phase: "clone", Name: "cloning VM", Run: k.cloneVM, Done: never, Undo: k.removeClone, Changes: true},
		{Phase: "clone", Name: "initializing configuration", Run: k.setUpClone, Done: never, Changes: true},
		{Phase: "clone", Name: "finalizing", Run: k.tellClone},
	}
}

func (k *kit) prepareClone(ctx context.Context, s Clone) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	if err := k.free(ctx, ref, c); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, k.roomForCopy(ctx, s, c)
}

// roomForCopy says why a VM can't be copied: its name, its disks or its address.
func (k *kit) roomForCopy(ctx context.Context, s Clone, c cluster.VMConfig) error {
	around := &site{}
	var err error
	if around.Resources, err = k.view.resources(ctx); err != nil {
		return err
	}
	if around.vms, err = k.vms(ctx); err != nil {
		return err
	}
	if around.flight, err = k.inFlight(ctx, 0); err != nil {
		return err
	}
	if err := nameTaken(around.names(), s.Name); err != nil {
		return err
	}
	need := disksOf(c)
	for _, storage := range slices.Sorted(maps.Keys(need)) {
		if err := usableStorage(around.Resources, s.VM.Node, storage, need[storage], around.soonOn(s.VM.Node, storage)); err != nil {
			return err
		}
	}
	net := k.settings.networkOf(s.VM.VMID)
	return k.addressesLeft(ctx, around.flight, Install{Network: net.Name}, net)
}

// disksOf is how many MiB the attached disks of a VM have on each storage.
func disksOf(c cluster.VMConfig) map[string]int64 {
	need := map[string]int64{}
	for name, value := range c.Options {
		if !diskOption.MatchString(name) || detached.MatchString(name) || strings.Contains(value, "media=cdrom") || strings.Contains(value, "cloudinit") {
			continue
		}
		if storage, _, ok := strings.Cut(value, ":"); ok && storage != "" {
			need[storage] += c.DiskSize(name) >> 20
		}
	}
	return need
}

func (k *kit) checkSource(ctx context.Context, w *Work) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	storage, _, ok := strings.Cut(c.Options[mainDisk(c)], ":")
	if !ok {
		return Errorf(Conflict, "%s has no disk to be copied", ref)
	}
	w.Result("%s on %s, storage %s", ref, ref.Node, storage)
	return w.Learn(ctx, Facts{
		Cluster: k.cluster.Name(), Node: ref.Node, Storage: storage, User: c.Options["ciuser"], UUID: uuid.NewString(), Fixed: !hasCloudInit(c),
		Was: sizeIn(c),
	})
}

// hasCloudInit reports whether the VM has a drive that tells its guest an
// address, users and keys.
func hasCloudInit(c cluster.VMConfig) bool {
	for _, value := range c.Options {
		if volume, _, _ := strings.Cut(value, ","); strings.Contains(volume, "cloudinit") {
			return true
		}
	}
	return false
}

func cloneKey(f Facts) string { return fmt.Sprintf("clone-%s-%d", f.UUID, f.Attempt) }

// cloneStamp is the line in the clone's description that tells it is ours: its
// uuid is PVE's choice, so a random word of the job stands in for it.
func cloneStamp(id JobID, f Facts) string {
	return fmt.Sprintf("pvebot: job=%d vm=%d clone=%s", id, f.VMID, f.UUID)
}

func (k *kit) cloneVM(ctx context.Context, w *Work) error {
	s, f, job := w.Job().Order.Spec.(Clone), w.Facts(), w.Job()
	if f.Attempt > 0 && !w.resumed {
		if err := k.removeClone(ctx, w); err != nil {
			return err
		}
	}
	if f.Attempt == 0 || !w.resumed {
		if err := w.Learn(ctx, Facts{Attempt: f.Attempt + 1, Name: cmp.Or(s.Name, fmt.Sprintf("%s-%d", cmp.Or(s.VM.Name, "clone"), f.VMID))}); err != nil {
			return err
		}
		f = w.Facts()
	}
	if err := w.Queue(ctx, k.importQueue(f), k.settings.ParallelImports, "waiting for other imports on "+f.Node); err != nil {
		return err
	}
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	tasks := k.cluster.Tasks()
	task, err := tasks.Find(ctx, ref.Node, cloneKey(f))
	if errors.Is(err, cluster.ErrNoTask) {
		if there, _ := k.cloned(ctx, w); there {
			return nil
		}
		if err := k.free(ctx, ref, c); err != nil {
			return err
		}
		task, err = k.cluster.StartClone(ctx, ref.Node, cloneKey(f), cluster.NewClone{
			VMID: ref.VMID, NewID: f.VMID, Name: f.Name,
			Description: fmt.Sprintf("%s\ncloned for %s", cloneStamp(job.ID, f), url.QueryEscape(job.Order.By.Key())),
		})
	}
	if err != nil {
		return failed("cloning the VM", ref.Node, err)
	}
	for line, err := range tasks.Follow(ctx, task, 0) {
		if err != nil {
			return failed("cloning the VM", ref.Node, err)
		}
		if fraction, ok := cluster.TransferProgress(line.Text); ok {
			w.Progress(ctx, fraction, line.Text)
		} else {
			w.Log(ctx, line.Text)
		}
	}
	w.Result("VM %d on %s", f.VMID, f.Node)
	return k.forget(ctx, w, task)
}

// cloned reports whether the clone is there, whole and ours.
func (k *kit) cloned(ctx context.Context, w *Work) (bool, error) {
	f := w.Facts()
	c, err := k.cluster.VMConfig(ctx, f.Node, f.VMID)
	if errors.Is(err, cluster.ErrNoVM) {
		return false, nil
	}
	return err == nil && c.Lock() == "" && isClone(c, w.Job()), err
}

func isClone(c cluster.VMConfig, job Job) bool {
	return job.Facts.UUID != "" && slices.Contains(strings.Split(c.Description, "\n"), cloneStamp(job.ID, job.Facts))
}

// removeClone undoes a clone. PVE: until its first disk is copied the conf file
// holds nothing but a lock, so that such a torso is ours only if our clone began.
func (k *kit) removeClone(ctx context.Context, w *Work) error {
	f := w.Facts()
	if f.Attempt == 0 {
		return nil
	}
	tasks := k.cluster.Tasks()
	task, err := tasks.Find(ctx, f.Node, cloneKey(f))
	if err != nil && !errors.Is(err, cluster.ErrNoTask) {
		return unreachable("node "+f.Node, err)
	}
	began, sure := false, err == nil
	if sure {
		began = true
		for _, err := range tasks.Follow(ctx, task, 0) {
			if ctx.Err() != nil {
				return err
			}
			began = !cluster.IsExists(err)
		}
	} else if began, err = k.begunSince(ctx, w, f.Node, w.Job().Order.Spec.(Clone).VM.VMID, "qmclone"); err != nil { // PVE: about the source
		return err
	}
	c, err := k.cluster.VMConfig(ctx, f.Node, f.VMID)
	torso := err == nil && c.Lock() == "clone" && c.UUID() == ""
	switch {
	case errors.Is(err, cluster.ErrNoVM):
	case err != nil:
		return unreachable("node "+f.Node, err)
	case torso && !began && !sure:
		return begunBySomebody(f.VMID, f.Node)
	case !isClone(c, w.Job()) && !(torso && began):
		w.Log(ctx, fmt.Sprintf("VM %d is not the clone of this job; it stays", f.VMID))
		return nil
	default:
		if err := k.cluster.Destroy(ctx, f.Node, f.VMID, cluster.DestroyOptions{SkipLock: c.Lock() == "clone"}); err != nil {
			return failed(fmt.Sprintf("removing VM %d", f.VMID), f.Node, err)
		}
	}
	if err := k.freeVolumes(ctx, w, f); err != nil {
		return err
	}
	if task.Key == "" {
		return nil
	}
	return k.forget(ctx, w, task)
}

// setUpClone gives the clone its own address.
func (k *kit) setUpClone(ctx context.Context, w *Work) error {
	f := w.Facts()
	c, err := k.config(ctx, f.Node, f.VMID)
	if err != nil {
		return err
	}
	if c.Lock() != "" || !isClone(c, w.Job()) {
		return Errorf(Failed, "VM %d on %s is not the clone that this job made", f.VMID, f.Node)
	}
	if f.Fixed {
		w.Result("its guest keeps the address that it has: there is no cloud-init drive to tell it another")
		return nil
	}
	w.Result("%s", f.IP)
	others := otherAddresses(c)
	if len(others) > 0 {
		w.Result("%s; its other interfaces have no address yet: %s", f.IP, strings.Join(others, ", "))
	}
	return failed("setting up the clone", f.Node, k.cluster.SetOptions(ctx, f.Node, f.VMID, cluster.Options{
		IPConfig: k.settings.networkOf(f.VMID).ipConfig(f.VMID, f.IP),
		Delete:   strings.Join(others, ","),
	}))
}

// otherAddresses are the options that give an interface beside the first one a
// static address. PVE: a clone has those of its source.
func otherAddresses(c cluster.VMConfig) (names []string) {
	for name, value := range c.Options {
		if strings.HasPrefix(name, "ipconfig") && name != "ipconfig0" && strings.Contains(value, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tellClone records who owns the clone.
func (k *kit) tellClone(ctx context.Context, w *Work) error {
	f, job := w.Facts(), w.Job()
	c, err := k.config(ctx, f.Node, f.VMID)
	if err != nil {
		return err
	}
	user := ""
	source := job.Order.Spec.(Clone).VM
	if r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), source.VMID); err != nil {
		return err
	} else if known && r.UUID == source.UUID && r.HostKey != "" {
		user = r.User // whose keys travel with the disk
	}
	w.Result("VM %d (%s) on %s; it is not started", f.VMID, f.Name, f.Node)
	return k.store.SaveVM(ctx, VMRecord{
		Cluster: k.cluster.Name(), VMID: f.VMID, UUID: c.UUID(), Name: f.Name, Owner: job.Order.By, Where: job.Order.Where, Job: job.ID,
		IP: f.IP, User: user, Cores: f.Was.Cores, MemoryMB: f.Was.MemoryMB, DiskMB: f.Was.DiskMB, Created: k.clock.Now().UTC(),
	})
}

package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/provision/image"
)

// installPlan is the recipe for a new VM. The names are the stages that
// clients of the older system know; one `qm create` with import-from does what
// took it eleven calls, and the step after it only watches the import.
func (k *kit) installPlan() plan {
	return plan{
		{Phase: "preparation", Name: "checking VMID", Run: k.choosePlace, Interrupt: true},
		{Phase: "preparation", Name: "assigning IP", Run: k.takeSlot, Undo: k.freeSlot, Interrupt: true},
		{Phase: "preparation", Name: "validating CPU and RAM", Run: k.chooseCPU, Interrupt: true},
		{Phase: "preparation", Name: "validating disk size", Run: k.checkDisk, Interrupt: true},
		{Phase: "preparation", Name: "setting default config values", Run: k.nameVM, Interrupt: true},
		{Phase: "preparation", Name: "checking storage pool", Run: k.checkStorage, Interrupt: true},
		{Phase: "OS preparation", Name: "getting OS image", Run: k.findImage, Interrupt: true},
		{Phase: "OS preparation", Name: "validating OS image URL", Run: k.withImage(k.checkImage), Interrupt: true},
		{Phase: "OS preparation", Name: "downloading OS image", Run: k.withImage(k.downloadImage), Done: k.imageDone, Undo: k.withImage(k.stopDownload), Changes: true, Interrupt: true},
		{Phase: "SSH preparation", Name: "checking SSH key", Run: k.collectKeys, Interrupt: true},
		{Phase: "VM creation", Name: "creating VM", Run: k.createVM, Done: k.vmCreated, Undo: k.removeVM, Changes: true, Keeps: true},
		{Phase: "VM creation", Name: "importing disk image", Run: k.watchImport, Done: never, Changes: true},
		{Phase: "VM initialization", Name: "initializing configuration", Run: k.growDisk, Done: k.diskGrown, Changes: true},
		{Phase: "VM initialization", Name: "starting VM", Run: k.startVM, Done: k.vmRuns, Undo: k.stopVM, Changes: true},
		{Phase: "VM initialization", Name: "waiting for ready", Run: k.waitReady, Interrupt: true},
		{Phase: "VM initialization", Name: "SSH initialization", Run: k.initGuest, Done: never, Changes: true, Interrupt: true},
		{Phase: "VM initialization", Name: "rebooting VM", Run: k.rebootGuest, Done: k.guestRebooted, Changes: true, Interrupt: true},
		{Phase: "VM initialization", Name: "finalizing", Run: k.finish},
	}
}

// never is the Done of steps that are safe to run again as a whole.
func never(context.Context, *Work) (bool, error) { return false, nil }

// install is the spec of an install job.
func (w *Work) install() Install { return w.Job().Order.Spec.(Install) }

// takeSlot takes a VMID and its address.
func (k *kit) takeSlot(ctx context.Context, w *Work) error {
	net, err := k.networkFor(w)
	if err != nil {
		return err
	}
	for _, held := range w.Job().Slots { // by an earlier try of this step
		if held.Pool == k.slotPool() {
			if id, err := strconv.Atoi(held.Slot); err == nil {
				if slot, err := net.Pool.Slot(id); err == nil {
					return k.learnSlot(ctx, w, slot)
				}
			}
		}
	}
	f := w.Facts()
	taken, err := k.taken(ctx, f.Node, f.Storage)
	if err != nil {
		return err
	}
	a := alloc.Allocator{Pool: net.Pool, Prober: prober{k.cluster, f.Node}}
	want := 0 // clones take what they get
	if s, ok := w.Job().Order.Spec.(Install); ok {
		want = s.VMID
	}
	slot, err := a.Take(ctx, taken, want, ledger{w, k.slotPool()})
	if err != nil {
		return noSlot(err)
	}
	return k.learnSlot(ctx, w, slot)
}

// networkFor is the network that the job's VM goes to: that of the order, or
// that of the VM that is copied.
func (k *kit) networkFor(w *Work) (Network, error) {
	switch s := w.Job().Order.Spec.(type) {
	case Install:
		return k.settings.network(s.Network)
	case Clone:
		return k.settings.networkOf(s.VM.VMID), nil
	}
	return k.settings.network("")
}

func (k *kit) learnSlot(ctx context.Context, w *Work, s alloc.Slot) error {
	if w.Facts().Fixed {
		w.Result("VM %d", s.VMID)
		return w.Learn(ctx, Facts{VMID: s.VMID})
	}
	w.Result("VM %d, %s", s.VMID, s.IP)
	if !s.IP.IsValid() {
		w.Result("VM %d, address by DHCP", s.VMID)
	}
	return w.Learn(ctx, Facts{VMID: s.VMID, IP: s.IP})
}

// slotCooling is how long a slot that was given back is not handed out again:
// caches of its address should be cold by then.
const slotCooling = time.Minute

func (k *kit) freeSlot(ctx context.Context, w *Work) error {
	if id := w.Facts().VMID; id != 0 {
		return w.Release(ctx, k.slotPool(), strconv.Itoa(id), slotCooling)
	}
	return nil
}

// chooseCPU tells the CPU type that was chosen with the node: the best that
// every node of its group can run, so that the VM can be migrated to any of
// them, unless the OS needs more.
func (k *kit) chooseCPU(_ context.Context, w *Work) error {
	s := w.install()
	if err := k.settings.allow(s); err != nil {
		return err
	}
	w.Result("%d CPUs of type %s, %s of memory", s.Cores, w.Facts().CPU, size(int64(s.MemoryMB)))
	return nil
}

func (k *kit) checkDisk(_ context.Context, w *Work) error {
	s := w.install()
	img, err := k.images.Find(s.OS, s.Version)
	if err != nil {
		return err
	}
	if s.DiskMB < img.DiskMB {
		return Errorf(Invalid, "a disk of %s is too small for %s, which needs %s", size(s.DiskMB), img.Title, size(img.DiskMB))
	}
	w.Result("%s", size(s.DiskMB))
	return nil
}

// nameVM sets what the VM is known by.
func (k *kit) nameVM(ctx context.Context, w *Work) error {
	s, f := w.install(), w.Facts()
	name := cmp.Or(s.Name, fmt.Sprintf("%s-%d", s.OS, f.VMID))
	if s.NumberName {
		name = strings.TrimPrefix(fmt.Sprintf("%s-%d", s.Name, f.VMID), "-")
	}
	w.Result("%s, user %s", name, s.User)
	return w.Learn(ctx, Facts{Name: name, User: s.User, UUID: cmp.Or(f.UUID, uuid.NewString())})
}

// checkStorage looks at the storage as it is now.
func (k *kit) checkStorage(ctx context.Context, w *Work) error {
	f := w.Facts()
	r, err := k.view.resources(ctx)
	if err != nil {
		return err
	}
	if err := usableStorage(r, f.Node, f.Storage, w.install().DiskMB, 0); err != nil {
		return err
	}
	i := slices.IndexFunc(r.Storages, func(s cluster.Storage) bool { return s.Node == f.Node && s.Name == f.Storage })
	w.Result("%s, %s free", f.Storage, size(r.Storages[i].Avail>>20))
	return nil
}

func (k *kit) findImage(_ context.Context, w *Work) error {
	img, err := k.imageOf(w)
	if err != nil {
		return err
	}
	w.Result("%s", img.Title)
	for _, about := range k.aboutImage(img) {
		w.Result("%s; %s", w.result, about)
	}
	return nil
}

func (k *kit) imageOf(w *Work) (image.Image, error) {
	s := w.install()
	img, err := k.images.Find(s.OS, s.Version)
	if err != nil {
		return img, &Error{Kind: NotFound, Say: err.Error(), Try: "vm images", Err: err}
	}
	return img, nil
}

// forget drops a task that has ended; a leftover only costs a few KiB in /run.
func (k *kit) forget(ctx context.Context, w interface {
	Log(context.Context, ...string)
}, t cluster.Task,
) error {
	if err := k.cluster.Tasks().Forget(ctx, t); err != nil {
		w.Log(ctx, fmt.Sprintf("task %s stays on %s: %v", t.Key, t.Node, err))
	}
	return nil
}

func (k *kit) collectKeys(_ context.Context, w *Work) error {
	n := strings.Count(k.keys(w), "\n")
	w.Result("%d keys", n)
	if n == 1 {
		w.Result("the bot's key")
	}
	return nil
}

// keys are the authorized_keys lines of a new VM: the bot's, the
// administrators', the asker's.
func (k *kit) keys(w *Work) string {
	lines := slices.Concat([]string{k.guests.PublicKey}, k.settings.AdminKeys, []string{w.install().Key})
	var b strings.Builder
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// aboutImage is what people should know before they install an image.
func (k *kit) aboutImage(img image.Image) []string {
	var about []string
	if img.Ended(k.clock.Now()) {
		about = append(about, fmt.Sprintf("%s has had no free security updates since %s", img.Title, img.End.Format(time.DateOnly)))
	}
	if _, ok := img.InitScript(); !ok {
		about = append(about, fmt.Sprintf("there is no init script for %s yet: it is set up by cloud-init alone", img.Title))
	}
	return about
}

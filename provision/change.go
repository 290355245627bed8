package provision

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"pvebot/cluster"
)

// setPlan changes what can be changed back first; a disk only grows.
func (k *kit) setPlan() plan {
	return plan{
		{Phase: "change", Name: "reading configuration", Run: k.readSize},
		{Phase: "change", Name: "changing CPU and memory", Run: k.setSize, Done: never, Undo: k.resetSize, Changes: true},
		{Phase: "change", Name: "growing disk", Run: k.growBy, Done: k.hasGrown, Changes: true},
		{Phase: "change", Name: "finalizing", Run: k.tellSize},
	}
}

func (k *kit) prepareSet(ctx context.Context, s Set) (Spec, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	if err := k.free(ctx, ref, c); err != nil {
		return nil, err
	}
	if c.Options["template"] == "1" {
		return nil, Errorf(Conflict, "%s is a template; change what is made from it", ref)
	}
	if s.Disk, err = growing(s, c); err != nil {
		return nil, err
	}
	if err := k.settings.allow(Install{Cores: s.Cores, MemoryMB: s.MemoryMB, DiskMB: c.DiskSize(s.disk(c))>>20 + s.GrowMB}); err != nil {
		return nil, err
	}
	return s, k.holds(ctx, s, c)
}

// holds says why the VM's node can't run it with what s gives it.
func (k *kit) holds(ctx context.Context, s Set, c cluster.VMConfig) error {
	if s.Cores > 0 {
		if _, err := coresFor(s, c); err != nil {
			return err
		}
	}
	r, err := k.view.resources(ctx)
	if err != nil {
		return err
	}
	if err := tooManyCPUs(r, s.VM.Node, s.Cores); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if want := int64(s.MemoryMB) << 20; n.Name == s.VM.Node && n.MaxMem > 0 && want > n.MaxMem {
			return tooMuchMemory(n, want)
		}
	}
	if s.GrowMB == 0 {
		return nil
	}
	disk := s.disk(c)
	storage, _, _ := strings.Cut(c.Options[disk], ":")
	return canGrow(r, s.VM.Node, storage, c.DiskSize(disk)>>20, s.GrowMB)
}

// canGrow says why a disk of a storage can't grow by so many MiB. Of a storage
// that nobody tells of it is PVE that says it.
func canGrow(r cluster.Resources, node, storage string, was, by int64) error {
	for _, s := range r.Storages {
		if s.Node != node || s.Name != storage || s.Total == 0 {
			continue
		}
		switch total, free := s.Total>>20, s.Avail>>20; {
		case was+by > total:
			return &Error{Kind: Full, Say: fmt.Sprintf("storage %s on %s has %s in all, which is too little for a disk of %s", storage, node, size(total), size(was+by)), Try: "less --disk"}
		case need(s, math.MaxInt64) == math.MaxInt64 && by > free:
			return &Error{Kind: Full, Say: fmt.Sprintf("storage %s on %s has %s free, which is too little for %s more", storage, node, size(free), size(by)), Try: "less --disk, or make room"}
		}
	}
	return nil
}

// coresFor is the option cores with which the VM has the CPUs that were ordered.
func coresFor(s Set, c cluster.VMConfig) (int, error) {
	n := c.CPUs()
	if n.Plugged > 0 {
		return 0, &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s has %s: how many is for its option vcpus to say, which I leave alone", s.VM, n),
			Try: fmt.Sprintf("qm set %d --delete vcpus on %s, then ask again", s.VM.VMID, s.VM.Node),
		}
	}
	cores, ok := n.CoresFor(s.Cores)
	if !ok {
		less := s.Cores - s.Cores%n.Sockets
		try := fmt.Sprintf("--cpu %d", less+n.Sockets)
		if less > 0 {
			try = fmt.Sprintf("--cpu %d or %s", less, try)
		}
		return 0, &Error{Kind: Conflict, Say: fmt.Sprintf("%s has %d sockets, and %d CPUs can't be shared out among them", s.VM, n.Sockets, s.Cores), Try: try}
	}
	return cores, nil
}

// readSize remembers what is there: to change it back, and so that a disk does
// not grow twice.
func (k *kit) readSize(ctx context.Context, w *Work) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	was := sizeIn(c)
	was.BalloonMB = option(c, "balloon", 0)
	was.DiskMB = c.DiskSize(w.Job().Order.Spec.(Set).disk(c)) >> 20
	w.Result("%s", was)
	return w.Learn(ctx, Facts{VMID: ref.VMID, Name: ref.Name, Node: ref.Node, Was: was})
}

// sizeIn is how large a VM is by its configuration.
func sizeIn(c cluster.VMConfig) Size {
	n := c.CPUs()
	size := Size{Cores: n.Count(), MemoryMB: option(c, "memory", 512), DiskMB: c.DisksSize() >> 20}
	if n.Sockets > 1 {
		size.Sockets = n.Sockets
	}
	return size
}

// option is a number of a VM's configuration, or what PVE takes for it when it
// is not set.
func option(c cluster.VMConfig, name string, fallback int) int {
	n, err := strconv.Atoi(strings.TrimPrefix(c.Options[name], "current=")) // PVE: memory may be a property string
	if err != nil {
		return fallback
	}
	return n
}

// Size is how large a VM is.
type Size struct {
	Cores    int `json:"cores,omitempty"`   // CPUs, of all sockets together
	Sockets  int `json:"sockets,omitempty"` // 0: one
	MemoryMB int `json:"memory_mb,omitempty"`
	// BalloonMB is the least memory; 0: all of it.
	BalloonMB int   `json:"balloon_mb,omitempty"`
	DiskMB    int64 `json:"disk_mb,omitempty"`
}

func (s Size) String() string {
	return fmt.Sprintf("%d CPUs, %s of memory, disk of %s", s.Cores, size(int64(s.MemoryMB)), size(s.DiskMB))
}

func (k *kit) setSize(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Set)
	if s.Cores == 0 && s.MemoryMB == 0 {
		w.Result("not asked for")
		return nil
	}
	cores := 0
	if s.Cores > 0 {
		ref, c, err := k.meant(ctx, w)
		if err != nil {
			return err
		}
		s.VM = ref
		if cores, err = coresFor(s, c); err != nil {
			return err
		}
	}
	return k.change(ctx, w, "changing the VM", func(ctx context.Context, node string, vmid int) error {
		return k.cluster.SetOptions(ctx, node, vmid, cluster.Options{
			Cores: cores, MemoryMB: s.MemoryMB, BalloonMB: k.settings.balloonThen(w.Facts().Was, s.MemoryMB),
		})
	})
}

func (k *kit) resetSize(ctx context.Context, w *Work) error {
	s, was := w.Job().Order.Spec.(Set), w.Facts().Was
	var back cluster.Options
	if s.Cores > 0 {
		back.Cores = was.Cores / max(1, was.Sockets)
	}
	if s.MemoryMB > 0 {
		back.MemoryMB, back.BalloonMB = was.MemoryMB, was.BalloonMB
	}
	if back == (cluster.Options{}) {
		return nil
	}
	return k.change(ctx, w, "changing the VM back", func(ctx context.Context, node string, vmid int) error {
		return k.cluster.SetOptions(ctx, node, vmid, back)
	})
}

// growTo is the size in MiB that the disk shall have.
func growTo(w *Work) int64 { return w.Facts().Was.DiskMB + w.Job().Order.Spec.(Set).GrowMB }

func (k *kit) growBy(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Set)
	if s.GrowMB == 0 {
		w.Result("not asked for")
		return nil
	}
	return k.change(ctx, w, "growing the disk", func(ctx context.Context, node string, vmid int) error {
		return k.cluster.Resize(ctx, node, vmid, cmp.Or(s.Disk, newDisk), growTo(w)<<20)
	})
}

func (k *kit) hasGrown(ctx context.Context, w *Work) (bool, error) {
	_, c, err := k.meant(ctx, w)
	return err == nil && c.DiskSize(w.Job().Order.Spec.(Set).disk(c))>>20 >= growTo(w), err
}

func (k *kit) tellSize(ctx context.Context, w *Work) error {
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	s, was := w.Job().Order.Spec.(Set), w.Facts().Was
	now := Size{Cores: s.Cores, MemoryMB: s.MemoryMB, DiskMB: c.DiskSize(s.disk(c)) >> 20}
	overwrite(&was.Cores, now.Cores)
	overwrite(&was.MemoryMB, now.MemoryMB)
	overwrite(&was.DiskMB, now.DiskMB)
	status, err := k.cluster.Status(ctx, ref.Node, ref.VMID)
	if err != nil {
		return unreachable(ref.String(), err)
	}
	w.Result("%s", was)
	if pending := s.Cores > 0 && c.CPUs().Count() != s.Cores || s.MemoryMB > 0 && option(c, "memory", 512) != s.MemoryMB; pending && status != "stopped" {
		w.Result("%s, CPU and memory from its next start on", was)
	}
	return k.updateRecord(ctx, ref, func(r *VMRecord) {
		r.Cores, r.MemoryMB, r.DiskMB = was.Cores, was.MemoryMB, c.DisksSize()>>20
	})
}

// updateRecord changes what the store knows of the VM, if it knows it.
func (k *kit) updateRecord(ctx context.Context, ref VMRef, change func(*VMRecord)) error {
	_, err := k.store.UpdateVM(ctx, k.cluster.Name(), ref.VMID, ref.UUID, change)
	return err
}

package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster"
)

// VM is a VM as people see it: PVE's view with the bot's own record.
type VM struct {
	VMRef
	Type      string // qemu or lxc
	Status    string // running, stopped, paused, unknown, ...
	Lock      string
	Template  bool
	Tags      []string
	Cores     int
	MemoryMB  int
	DiskMB    int64
	CPU       float64 // fraction of the cores in use
	MemUsedMB int
	Uptime    time.Duration
	IP        netip.Addr // zero when not known
	Owner     *Actor     // nil: nobody's
	Job       JobID      // that made it; 0: not ours
	Until     time.Time  // end of life; zero: none
}

// VMs lists all VMs and containers of the cluster, by VMID.
func (e *Engine) VMs(ctx context.Context) ([]VM, error) { return e.kit.vms(ctx) }

func (k *kit) vms(ctx context.Context) ([]VM, error) {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	records, err := k.records(ctx)
	if err != nil {
		return nil, err
	}
	vms := make([]VM, 0, len(r.VMs))
	for _, v := range r.VMs {
		vms = append(vms, withRecord(fromResource(v), records[v.VMID]))
	}
	return vms, nil
}

func (k *kit) records(ctx context.Context) (map[int]VMRecord, error) {
	all, err := k.store.VMRecords(ctx, k.cluster.Name())
	if err != nil {
		return nil, err
	}
	records := make(map[int]VMRecord, len(all))
	for _, r := range all {
		records[r.VMID] = r
	}
	return records, nil
}

func fromResource(v cluster.VM) VM {
	return VM{
		VMRef: VMRef{VMID: v.VMID, Name: v.Name, Node: v.Node},
		Type:  v.Type, Status: v.Status, Lock: v.Lock, Template: v.Template, Tags: v.Tags,
		Cores: v.CPUs, MemoryMB: int(v.MaxMem >> 20), DiskMB: v.MaxDisk >> 20,
		CPU: v.CPU, MemUsedMB: int(v.Mem >> 20), Uptime: v.Uptime,
	}
}

// withRecord adds what the store knows. A fresh VM has no statistics yet, not
// even a name.
func withRecord(v VM, r VMRecord) VM {
	if r.VMID == 0 {
		return v
	}
	owner := r.Owner
	v.Owner, v.Job, v.Until, v.IP = &owner, r.Job, r.Until, r.IP
	v.UUID = cmp.Or(v.UUID, r.UUID)
	v.Name = cmp.Or(v.Name, r.Name)
	v.Cores = cmp.Or(v.Cores, r.Cores)
	v.MemoryMB = cmp.Or(v.MemoryMB, r.MemoryMB)
	v.DiskMB = max(v.DiskMB, r.DiskMB) // PVE: its statistics know the boot disk only
	return v
}

// FindVM finds a VM by its VMID or its name as it is now: its node, its uuid,
// its owner. Names need not be unique in PVE; a word that several VMs are
// called by is refused with the list of them.
func (e *Engine) FindVM(ctx context.Context, word string) (VM, error) { return e.kit.findVM(ctx, word) }

func (k *kit) findVM(ctx context.Context, word string) (VM, error) {
	vms, err := k.vms(ctx)
	if err != nil {
		return VM{}, err
	}
	var found []VM
	if id, err := strconv.Atoi(word); err == nil {
		found = slices.DeleteFunc(slices.Clone(vms), func(v VM) bool { return v.VMID != id })
		if len(found) == 0 { // newer than the statistics
			if g, err := k.cluster.Locate(ctx, id); err == nil {
				found = []VM{{VMRef: VMRef{VMID: id, Node: g.Node}, Type: g.Type, Status: "unknown"}}
			} else if !errors.Is(err, cluster.ErrNoVM) {
				return VM{}, unreachable("the cluster", err)
			}
		}
	} else {
		found = slices.DeleteFunc(slices.Clone(vms), func(v VM) bool { return !strings.EqualFold(v.Name, word) })
	}
	switch len(found) {
	case 0:
		return VM{}, &Error{Kind: NotFound, Say: fmt.Sprintf("there is no VM %s", word), Try: "vm list"}
	case 1:
		return k.look(ctx, found[0])
	}
	var names []string
	for _, v := range found {
		names = append(names, fmt.Sprintf("%d on %s", v.VMID, v.Node))
	}
	return VM{}, &Error{
		Kind: Conflict, Say: fmt.Sprintf("%d VMs are called %s: %s", len(found), word, strings.Join(names, ", ")),
		Try: fmt.Sprintf("say which by its number, e.g. %d", found[0].VMID),
	}
}

// look reads the VM's configuration: who it is, and whether its record is
// about it or about an earlier VM of that number.
func (k *kit) look(ctx context.Context, v VM) (VM, error) {
	if v.Type == "lxc" {
		return VM{}, Errorf(Invalid, "%d is a container; I only look after VMs", v.VMID)
	}
	g, c, err := k.cluster.Find(ctx, v.VMID) // the statistics may be older than a migration
	if errors.Is(err, cluster.ErrNoVM) {
		return VM{}, &Error{Kind: NotFound, Say: fmt.Sprintf("there is no VM %d any more", v.VMID), Try: "vm list"}
	}
	if err != nil {
		return VM{}, unreachable(fmt.Sprintf("VM %d", v.VMID), err)
	}
	v.Node, v.UUID, v.Lock = g.Node, c.UUID(), c.Lock()
	v.Name = cmp.Or(c.Options["name"], v.Name, fmt.Sprintf("VM %d", v.VMID))
	v.Template = c.Options["template"] == "1"
	size := sizeIn(c) // PVE: its statistics name no more CPUs than the node has, and no disk but the one that boots
	v.Cores, v.MemoryMB, v.DiskMB = size.Cores, cmp.Or(v.MemoryMB, size.MemoryMB), max(v.DiskMB, size.DiskMB)
	if tags := c.Options["tags"]; tags != "" {
		v.Tags = cluster.Tags(tags)
	}
	record, known, err := k.store.VMRecord(ctx, k.cluster.Name(), v.VMID)
	if err != nil {
		return VM{}, err
	}
	if known && strings.EqualFold(record.UUID, v.UUID) {
		return withRecord(v, record), nil
	}
	v.Owner, v.Job, v.Until, v.IP = nil, 0, time.Time{}, netip.Addr{}
	return v, nil
}

// config reads the configuration of a VM that should be on node. Its error is
// explained.
func (k *kit) config(ctx context.Context, node string, vmid int) (cluster.VMConfig, error) {
	c, err := k.cluster.VMConfig(ctx, node, vmid)
	return c, unreachable(fmt.Sprintf("VM %d", vmid), err)
}

// meant makes sure that the VM of a running job still is the one that the
// order was about, and returns where it is now with its configuration.
func (k *kit) meant(ctx context.Context, w *Work) (VMRef, cluster.VMConfig, error) {
	job := w.Job()
	ref := job.Order.Spec.(VMSpec).Target()
	if step := job.Step(rollingBack); step != nil && step.Status != StepPending && ref.UUID != "" {
		ref.Name = "" // the snapshot has brought back the name that the VM had then
	}
	return k.same(ctx, ref)
}

func (k *kit) same(ctx context.Context, ref VMRef) (VMRef, cluster.VMConfig, error) {
	g, c, err := k.cluster.Find(ctx, ref.VMID)
	if errors.Is(err, cluster.ErrNoVM) || err == nil && g.Type != "qemu" {
		return ref, cluster.VMConfig{}, &Error{Kind: NotFound, Say: fmt.Sprintf("there is no VM %d any more", ref.VMID), Try: "vm list", Err: err}
	}
	if err != nil {
		return ref, c, unreachable(fmt.Sprintf("VM %d", ref.VMID), err)
	}
	if ref.UUID != "" && !strings.EqualFold(c.UUID(), ref.UUID) || ref.Name != "" && c.Options["name"] != "" && c.Options["name"] != ref.Name {
		return ref, c, &Error{
			Kind: Conflict, Say: fmt.Sprintf("VM %d is another one by now (%s), not %s", ref.VMID, c.Options["name"], ref.Name),
			Try: "look at it with vm show, and ask again",
		}
	}
	ref.Node = g.Node
	return ref, c, nil
}

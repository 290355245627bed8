package bot

import (
	"context"

	"pvebot/commands"
	"pvebot/provision"
)

// count says what spec takes beyond what is taken, for the quotas: of the
// VM's owner where it grows, of the asker where it is a VM more.
func (c *Clerk) count(ctx context.Context, q *commands.Question, spec provision.Spec, vm provision.VM) error {
	owner := q.Actor
	switch s := spec.(type) {
	case provision.Clone, provision.Adopt:
		q.Wants = sizeOf(vm.Cores, vm.MemoryMB, vm.DiskMB)
	case provision.Set:
		if vm.Owner == nil {
			return nil // nobody's quota
		}
		owner = *vm.Owner
		if s.Cores != 0 {
			q.Wants.Cores = int64(s.Cores - vm.Cores)
		}
		if s.MemoryMB != 0 {
			q.Wants.MemoryMB = int64(s.MemoryMB - vm.MemoryMB)
		}
		q.Wants.DiskMB = s.GrowMB
	default:
		return nil
	}
	var err error
	q.Usage, err = c.usage(ctx, owner)
	return err
}

// usage is what VMs with an owner take, and those that are being made: in one
// cluster, for each has quotas of its own.
func (c *Clerk) usage(ctx context.Context, person provision.Actor) (commands.Usage, error) {
	var u commands.Usage
	add := func(owner provision.Actor, r commands.Resources) {
		u.Total = sum(u.Total, r)
		if owner.Same(person) {
			u.Person = sum(u.Person, r)
		}
	}
	vms, err := c.Engine.VMs(ctx)
	if err != nil {
		return u, err
	}
	made := map[provision.JobID]bool{}
	byID := map[int]provision.VM{}
	for _, vm := range vms {
		byID[vm.VMID] = vm
		if vm.Owner != nil {
			made[vm.Job] = true
			add(*vm.Owner, sizeOf(vm.Cores, vm.MemoryMB, vm.DiskMB))
		}
	}
	jobs, err := c.Store.Jobs(ctx, provision.Filter{
		Cluster: c.cluster, States: []provision.State{provision.StateQueued, provision.StateRunning, provision.StateParked}, Limit: 1000,
	})
	if err != nil {
		return u, err
	}
	for _, job := range jobs {
		if made[job.ID] {
			continue // counted with its VM
		}
		switch s := job.Order.Spec.(type) {
		case provision.Install:
			add(job.Order.By, sizeOf(s.Cores, s.MemoryMB, s.DiskMB))
		case provision.Clone:
			vm := byID[s.VM.VMID]
			add(job.Order.By, sizeOf(vm.Cores, vm.MemoryMB, vm.DiskMB))
		}
	}
	return u, nil
}

func sizeOf(cores, memoryMB int, diskMB int64) commands.Resources {
	return commands.Resources{VMs: 1, Cores: int64(cores), MemoryMB: int64(memoryMB), DiskMB: diskMB}
}

func sum(a, b commands.Resources) commands.Resources {
	return commands.Resources{VMs: a.VMs + b.VMs, Cores: a.Cores + b.Cores, MemoryMB: a.MemoryMB + b.MemoryMB, DiskMB: a.DiskMB + b.DiskMB}
}

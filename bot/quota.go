package bot

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

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
		q.Wants = growth(s, vm)
	case provision.Rollback:
		if vm.Owner == nil {
			return nil
		}
		owner = *vm.Owner
		q.Wants = regrowth(s, vm)
	default:
		return nil
	}
	var err error
	q.Whose = owner
	q.Usage, err = c.usage(ctx, owner)
	return err
}

// counts reports whether what spec takes counts for quotas.
func counts(spec provision.Spec) bool {
	switch spec.(type) {
	case provision.Install, provision.Clone, provision.Adopt, provision.Set, provision.Rollback:
		return true
	}
	return false
}

const (
	countingTTL   = 5 * time.Second  // so long others wait for one that died meanwhile
	countingWait  = 15 * time.Second // more than that
	countingPause = 20 * time.Millisecond
)

// counting is for one at a time, of all bots on the store: until done, nobody
// else hands in anything in this cluster that counts for quotas.
func (c *Clerk) counting(ctx context.Context) (done func(), err error) {
	role, owner := "quota/"+c.cluster, rand.Text()
	wait, cancel := context.WithTimeout(ctx, countingWait)
	defer cancel()
	for {
		mine, err := c.Store.Lead(ctx, role, owner, countingTTL)
		if err != nil {
			return nil, err
		}
		if mine {
			break
		}
		if c.clock().Sleep(wait, countingPause) != nil {
			return nil, provision.Errorf(provision.Busy, "too many order at the same time; try again in a moment")
		}
	}
	return func() {
		if err := c.Store.Resign(context.WithoutCancel(ctx), role, owner); err != nil {
			c.log().WarnContext(ctx, "others who order have to wait", "for", countingTTL, "err", err)
		}
	}, nil
}

// recount is d with the gate that it needs by now.
func (c *Clerk) recount(ctx context.Context, d Draft) (Draft, error) {
	m, err := c.ofSpec(ctx, d.asker, d.Order.Spec)
	if err != nil {
		return d, err
	}
	v := c.Policy.Decide(m.q)
	if !v.Allow || v.Gate == nil {
		return d, nil // it was allowed when it was made
	}
	return c.draft(ctx, d.asker, m, d.Order.Text, v)
}

// stillFits reports why a job that failed can't be tried again: it holds nothing
// any more, and what it takes would need an approval that it did not have. Who
// tries what somebody else ordered answers for it.
func (c *Clerk) stillFits(ctx context.Context, a Asker, job provision.Job) error {
	if !c.Policy.Same(a.By, job.Order.By) {
		return nil
	}
	m, err := c.ofSpec(ctx, a, job.Order.Spec)
	if err != nil {
		return err
	}
	over := c.Policy.Over(m.q)
	switch {
	case job.Order.Gate != nil && granted(job) == c.Policy.Brings(m.q):
		return nil
	case job.Order.Gate == nil:
		if v := c.Policy.Decide(m.q); v.Allow && v.Gate != nil {
			over = v.Gate.Reason
		}
	}
	if over == "" {
		return nil
	}
	return &provision.Error{Kind: provision.Denied, Say: "it needs an approval by now: " + over, Try: "order it anew"}
}

// granted is what the last of those who agreed to a job gave away.
func granted(job provision.Job) string {
	for _, v := range slices.Backward(job.Votes) {
		if v.Yes {
			return v.Grants
		}
	}
	return ""
}

// grants counts anew what a yes to job gives away. Who asked to be asked was
// within the quotas; when they are passed by now the job asks again, for that.
func (c *Clerk) grants(ctx context.Context, a Asker, job provision.Job) (string, error) {
	m, err := c.ofSpec(ctx, Asker{By: job.Order.By}, job.Order.Spec)
	if err != nil {
		return "", err
	}
	if over := c.Policy.Over(m.q); over != "" && !job.Order.Gate.OverQuota {
		return "", c.startOver(ctx, a, job, "it is more than the quota by now: "+over)
	}
	return c.Policy.Brings(m.q), nil
}

// usage is what VMs with an owner take, and those that are being made: in one
// cluster, for each has quotas of its own.
func (c *Clerk) usage(ctx context.Context, person provision.Actor) (commands.Usage, error) {
	var u commands.Usage
	add := func(owner provision.Actor, r commands.Resources) {
		u.Total = u.Total.Plus(r)
		if c.Policy.Same(owner, person) {
			u.Person = u.Person.Plus(r)
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
		case provision.Adopt:
			if vm := byID[s.VM.VMID]; vm.Owner == nil {
				add(job.Order.By, sizeOf(vm.Cores, vm.MemoryMB, vm.DiskMB))
			}
		case provision.Set:
			if vm := byID[s.VM.VMID]; vm.Owner != nil {
				add(*vm.Owner, gained(growth(s, vm)))
			}
		case provision.Rollback:
			if vm := byID[s.VM.VMID]; vm.Owner != nil {
				add(*vm.Owner, gained(regrowth(s, vm)))
			}
		}
	}
	return u, nil
}

// growth is what a VM takes more when s is done.
func growth(s provision.Set, vm provision.VM) commands.Resources {
	r := commands.Resources{DiskMB: s.GrowMB}
	if s.Cores != 0 {
		r.Cores = int64(s.Cores - vm.Cores)
	}
	if s.MemoryMB != 0 {
		r.MemoryMB = int64(s.MemoryMB - vm.MemoryMB)
	}
	return r
}

// regrowth is what a VM has more when it is as it was at a snapshot.
func regrowth(s provision.Rollback, vm provision.VM) commands.Resources {
	if s.Size == (provision.Size{}) {
		return commands.Resources{} // ordered before it was looked at
	}
	return commands.Resources{
		Cores: int64(s.Size.Cores) - int64(vm.Cores), MemoryMB: int64(s.Size.MemoryMB) - int64(vm.MemoryMB), DiskMB: max(0, s.Size.DiskMB-vm.DiskMB),
	}
}

// gained is r without what shrinks: that is there until it is done.
func gained(r commands.Resources) commands.Resources {
	return commands.Resources{Cores: max(0, r.Cores), MemoryMB: max(0, r.MemoryMB), DiskMB: max(0, r.DiskMB)}
}

func sizeOf(cores, memoryMB int, diskMB int64) commands.Resources {
	return commands.Resources{VMs: 1, Cores: int64(cores), MemoryMB: int64(memoryMB), DiskMB: diskMB}
}

package bot_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// memEngine keeps jobs in a memStore and refuses what the real engine does.
type memEngine struct {
	s  *memStore
	mu sync.Mutex
	// prepare refuses a spec; nil lets all through.
	prepare func(provision.Install) error
	orders  int
	vms     []provision.VM
	plan    func(*provision.Plan) // changes what Preview says
	then    provision.Size        // of all snapshots
	down    error                 // of every look at the cluster
}

// die is the end of life of web-1.
var die = time.Date(2000, 1, 4, 0, 0, 0, 0, time.UTC)

func newEngine(s *memStore) *memEngine { return &memEngine{s: s, vms: fleet()} }

// fleet are the VMs of the inventory, as the engine has them.
func fleet() []provision.VM {
	vm := func(id int, name, node, status string) provision.VM {
		return provision.VM{VMRef: provision.VMRef{VMID: id, UUID: "uuid-" + strconv.Itoa(id), Name: name, Node: node}, Type: "qemu", Status: status}
	}
	web1, web2, box := vm(101, "web-1", "pve2", "running"), vm(102, "web-2", "pve1", "stopped"), vm(105, "box", "pve1", "running")
	web1.Owner, web1.Job, web1.Until, web1.Tags, web1.IP = &alice, 1, die, []string{"ubuntu"}, netip.MustParseAddr("192.168.0.101")
	web1.Cores, web1.MemoryMB, web1.DiskMB, web1.MemUsedMB, web1.Uptime = 2, 2048, 16384, 1024, 90*time.Minute
	web2.Owner, web2.Cores, web2.MemoryMB, web2.DiskMB = &bob, 4, 8192, 1536<<10
	box.Type = "lxc"
	return []provision.VM{web1, web2, vm(103, "twin", "pve1", "running"), vm(104, "twin", "pve3", "unknown"), box}
}

// set changes a VM.
func (e *memEngine) set(id int, change func(*provision.VM)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.vms {
		if e.vms[i].VMID == id {
			change(&e.vms[i])
		}
	}
}

func (e *memEngine) VMs(context.Context) ([]provision.VM, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.vms), e.down
}

func (e *memEngine) FindVM(ctx context.Context, word string) (provision.VM, error) {
	vms, err := e.VMs(ctx)
	if err != nil {
		return provision.VM{}, err
	}
	var found []provision.VM
	var names []string
	for _, vm := range vms {
		if strconv.Itoa(vm.VMID) == word || strings.EqualFold(vm.Name, word) {
			found = append(found, vm)
			names = append(names, fmt.Sprintf("%d on %s", vm.VMID, vm.Node))
		}
	}
	switch {
	case len(found) == 0:
		return provision.VM{}, &provision.Error{Kind: provision.NotFound, Say: "there is no VM " + word, Try: "vm list"}
	case len(found) > 1:
		return provision.VM{}, provision.Errorf(provision.Conflict, "%d VMs are called %s: %s", len(found), word, strings.Join(names, ", "))
	case found[0].Type != "qemu":
		return provision.VM{}, provision.Errorf(provision.Invalid, "%d is a container; I only look after VMs", found[0].VMID)
	}
	return found[0], nil
}

func (e *memEngine) Snapshots(_ context.Context, vm provision.VMRef) ([]cluster.VMSnapshot, error) {
	if vm.VMID != 101 {
		return nil, e.down
	}
	return []cluster.VMSnapshot{
		{Name: "clean", At: born.Add(-48 * time.Hour), Description: "as installed\n"},
		{Name: "before-upgrade", Parent: "clean", At: born, WithMemory: true},
	}, e.down
}

// same compares a VM with what an order meant.
func (e *memEngine) same(ctx context.Context, ref provision.VMRef) (provision.VMRef, error) {
	vm, err := e.FindVM(ctx, strconv.Itoa(ref.VMID))
	if err == nil && vm.UUID != ref.UUID {
		err = provision.Errorf(provision.Conflict, "VM %d is another one by now (%s), not %s", ref.VMID, vm.Name, ref.Name)
	}
	return vm.VMRef, err
}

func (e *memEngine) Prepare(ctx context.Context, spec provision.Spec) (provision.Spec, error) {
	switch s := spec.(type) {
	case provision.VMSpec:
		if _, err := e.same(ctx, s.Target()); err != nil {
			return nil, err
		}
		switch s := spec.(type) {
		case provision.Destroy:
			s.Volumes = []string{fmt.Sprintf("local-lvm:vm-%d-disk-0", s.VM.VMID)}
			return s, nil
		case provision.Migrate:
			plan, err := e.Preview(ctx, s)
			s.Digest = plan.Digest
			return s, err
		case provision.Rollback:
			s.Size = e.then
			return s, nil
		}
		return spec, nil
	case provision.Drain:
		s.Moves = nil
		vms, err := e.VMs(ctx)
		for _, vm := range vms {
			if vm.Node == s.Node && vm.Type == "qemu" {
				s.Moves = append(s.Moves, provision.Migrate{VM: vm.VMRef, To: "pve2"})
			}
		}
		if err == nil && len(s.Moves) == 0 {
			err = provision.Errorf(provision.Conflict, "there is nothing to move away from %s", s.Node)
		}
		return s, err
	case provision.Install:
		return e.prepareInstall(s)
	}
	panic(fmt.Sprintf("nobody prepares a %T", spec))
}

func (e *memEngine) prepareInstall(s provision.Install) (provision.Spec, error) {
	if s.OS != "ubuntu" && s.OS != "debian" {
		return nil, &provision.Error{Kind: provision.NotFound, Say: "there is no image of " + s.OS, Try: "/vm images"}
	}
	if e.prepare != nil {
		if err := e.prepare(s); err != nil {
			return nil, err
		}
	}
	if s.Version == "" {
		s.Version = "24.04"
	}
	s.Cores, s.MemoryMB, s.DiskMB = max(s.Cores, 2), max(s.MemoryMB, 2048), max(s.DiskMB, 16384)
	return s, nil
}

// Preview is a plan whose digest has the node in it, as a migration's has.
func (e *memEngine) Preview(ctx context.Context, spec provision.Spec) (provision.Plan, error) {
	p := provision.Plan{Title: spec.Kind(), Digest: spec.Kind(), Estimate: 90 * time.Second}
	if s, ok := spec.(provision.VMSpec); ok {
		ref, err := e.same(ctx, s.Target())
		if err != nil {
			return p, err
		}
		p.Title += " " + ref.String()
		p.Lines = []string{"it is on " + ref.Node}
		p.Digest += ref.Node
	}
	switch s := spec.(type) {
	case provision.Destroy:
		p.Volumes = s.Volumes
		p.Lines = append(p.Lines, "1 volume goes: "+strings.Join(s.Volumes, ", "))
		p.Warnings = []string{"it runs now, and is switched off hard"}
	case provision.Drain:
		for _, m := range s.Moves {
			p.Lines = append(p.Lines, m.VM.String()+" to "+m.To)
		}
	}
	if e.plan != nil {
		e.plan(&p)
	}
	return p, e.down
}

func (e *memEngine) Submit(_ context.Context, o provision.Order) (provision.Job, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.orders++
	return e.s.submit(o, recipe...), nil
}

func (e *memEngine) Cancel(ctx context.Context, id provision.JobID, by provision.Actor) (provision.Job, error) {
	job, err := e.s.Job(ctx, id)
	switch {
	case err != nil:
		return job, err
	case job.State.Final():
		return job, provision.Errorf(provision.Conflict, "job %d is over: it %s", id, job.State)
	case job.State == provision.StateQueued || job.State == provision.StateWaiting:
		return e.s.add(id, provision.Event{
			Kind: provision.JobState, State: provision.StateCancelled,
			Err: &provision.Problem{Kind: provision.Cancelled, Say: by.String() + " cancelled it"},
		}), nil
	}
	e.s.set(func(s *memStore) { s.jobs[id].CancelAsked = &by })
	return e.s.Job(ctx, id)
}

func (e *memEngine) Vote(ctx context.Context, v provision.Vote) (provision.Job, error) {
	job, err := e.s.Job(ctx, v.Job)
	switch {
	case err != nil:
		return job, err
	case job.Order.Gate == nil || job.State != provision.StateWaiting:
		return job, provision.Errorf(provision.Conflict, "job %d does not wait for votes", v.Job)
	case job.Order.Gate.Digest != v.Digest:
		return job, provision.Errorf(provision.Conflict, "the plan of job %d has changed", v.Job)
	case slices.ContainsFunc(job.Votes, v.Same):
		return job, provision.Errorf(provision.Conflict, "you voted on job %d already", v.Job)
	}
	job = e.s.add(v.Job, provision.Event{Kind: provision.GateVoted, By: &v.By, Yes: v.Yes, As: v.As, Text: v.Grants})
	if !v.Yes {
		return e.s.add(v.Job, state(provision.StateCancelled)), nil
	}
	if len(job.Missing()) == 0 {
		return e.s.add(v.Job, state(provision.StateQueued)), nil
	}
	return job, nil
}

func (e *memEngine) Resolve(ctx context.Context, r provision.Resolution) (provision.Job, error) {
	job, err := e.s.Job(ctx, r.Job)
	if err != nil {
		return job, err
	}
	next := map[provision.Decision]provision.State{
		provision.Retry: provision.StateQueued, provision.RollBack: provision.StateUndoing, provision.Keep: provision.StateFailed,
	}[r.Do]
	if job.State != provision.StateParked && (job.State != provision.StateFailed || r.Do != provision.Retry) {
		return job, provision.Errorf(provision.Conflict, "job %d is %s by now", r.Job, job.State)
	}
	return e.s.add(r.Job, state(next)), nil
}

var _ bot.Engine = (*memEngine)(nil)

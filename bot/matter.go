package bot

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/commands"
	"pvebot/provision"
)

// matter is a request as the engine and the policy see it.
type matter struct {
	spec provision.Spec
	q    commands.Question
}

func (c *Clerk) question(a Asker, verb string) commands.Question {
	return commands.Question{Actor: a.By, Groups: a.Groups, Verb: verb, Cluster: c.cluster, Now: c.now()}
}

// matter looks up what req is about.
func (c *Clerk) matter(ctx context.Context, a Asker, req commands.Request) (matter, error) {
	switch req := req.(type) {
	case commands.Drain:
		m, err := c.ofSpec(ctx, a, provision.Drain{Node: req.Node})
		if err != nil {
			return m, err
		}
		if _, err := c.decide(ctx, a, m, commands.Format(req)); err != nil {
			return m, err // before the plan tells what is there
		}
		spec, err := c.Engine.Prepare(ctx, m.spec)
		if err != nil {
			return m, err
		}
		return c.ofSpec(ctx, a, spec)
	case commands.VMRequest:
		vm, err := c.Engine.FindVM(ctx, req.NamesVM())
		if err != nil {
			return matter{}, err
		}
		spec, err := specOf(req, vm, c.now())
		if err != nil {
			return matter{}, err
		}
		m, err := c.ofVM(ctx, a, spec, vm)
		if err != nil {
			return m, err
		}
		return c.looked(ctx, a, m, commands.Format(req))
	}
	return matter{}, provision.Errorf(provision.Invalid, "%s orders nothing", req.Verb())
}

// looked is m with what has to be looked up before it can be counted, for those
// who may order it: what a snapshot brings back.
func (c *Clerk) looked(ctx context.Context, a Asker, m matter, text string) (matter, error) {
	if _, ok := m.spec.(provision.Rollback); !ok || !c.Policy.Limited() {
		return m, nil
	}
	if _, err := c.decide(ctx, a, m, text); err != nil {
		return m, err
	}
	spec, err := c.Engine.Prepare(ctx, m.spec)
	if err != nil {
		return m, err
	}
	return c.ofSpec(ctx, a, spec)
}

// ofSpec is the matter of a spec, as things are now.
func (c *Clerk) ofSpec(ctx context.Context, a Asker, spec provision.Spec) (matter, error) {
	m := matter{spec: spec, q: c.question(a, spec.Kind())}
	switch s := spec.(type) {
	case provision.VMSpec:
		vm, err := c.Engine.FindVM(ctx, strconv.Itoa(s.Target().VMID))
		if err != nil {
			return m, err
		}
		return c.ofVM(ctx, a, spec, vm)
	case provision.Install:
		if s.Node != "" {
			m.q.Nodes = []string{s.Node}
		}
		for range s.Many() {
			m.q.Wants = m.q.Wants.Plus(sizeOf(s.Cores, s.MemoryMB, s.DiskMB))
		}
		var err error
		m.q.Usage, err = c.usage(ctx, a.By)
		return m, err
	case provision.Drain:
		m.q.Nodes = []string{s.Node}
		for _, move := range s.Moves {
			if !slices.Contains(m.q.Nodes, move.To) {
				m.q.Nodes = append(m.q.Nodes, move.To)
			}
		}
		var err error
		m.q.Target, err = c.together(ctx, a.By, s.Node)
		return m, err
	}
	return m, provision.Errorf(provision.Internal, "nobody knows who may do %q", spec.Kind())
}

func (c *Clerk) ofVM(ctx context.Context, a Asker, spec provision.Spec, vm provision.VM) (matter, error) {
	m := matter{spec: spec, q: c.question(a, spec.Kind())}
	m.q.Target, m.q.Nodes = targetOf(vm), []string{vm.Node}
	if migrate, ok := spec.(provision.Migrate); ok {
		m.q.Nodes = append(m.q.Nodes, migrate.To)
	}
	return m, c.count(ctx, &m.q, spec, vm)
}

func targetOf(vm provision.VM) *commands.Target {
	return &commands.Target{Owner: vm.Owner, Tags: vm.Tags}
}

// specOf is what req orders of vm.
func specOf(req commands.VMRequest, vm provision.VM, now time.Time) (provision.Spec, error) {
	ref := vm.VMRef
	switch r := req.(type) {
	case commands.Power:
		return provision.Power{Do: r.Do, VM: ref}, nil
	case commands.Set:
		return provision.Set{VM: ref, Cores: r.Cores, MemoryMB: r.MemoryMB, GrowMB: r.GrowMB, Disk: r.Disk}, nil
	case commands.Destroy:
		return provision.Destroy{VM: ref, Detached: r.Detached}, nil
	case commands.Migrate:
		return provision.Migrate{VM: ref, To: r.Node, Mode: r.Mode, Storage: r.Storage}, nil
	case commands.Snapshot:
		return provision.Snapshot{VM: ref, Name: r.Name}, nil
	case commands.Rollback:
		return provision.Rollback{VM: ref, Name: r.Name}, nil
	case commands.Clone:
		return provision.Clone{VM: ref, Name: r.Name}, nil
	case commands.Adopt:
		return provision.Adopt{VM: ref}, nil
	case commands.Trust:
		return provision.Trust{VM: ref}, nil
	case commands.Extend:
		switch until := vm.Until; {
		case until.IsZero():
			return provision.Extend{VM: ref}, nil // take refuses it, after the policy
		case until.Before(now): // stopped already, in its time of grace
			return provision.Extend{VM: ref, Until: now.Add(r.By).UTC()}, nil
		default:
			return provision.Extend{VM: ref, Until: until.Add(r.By).UTC()}, nil
		}
	}
	return nil, provision.Errorf(provision.Invalid, "%s orders nothing", req.Verb())
}

// together is all VMs of a node as one target, nil when it has none: somebody
// else's unless all are by's, and tagged as all of them are.
func (c *Clerk) together(ctx context.Context, by provision.Actor, node string) (*commands.Target, error) {
	vms, err := c.Engine.VMs(ctx)
	if err != nil {
		return nil, err
	}
	var t *commands.Target
	for _, vm := range vms {
		if vm.Node != node || vm.Type != "qemu" || vm.Template {
			continue
		}
		if t == nil {
			t = &commands.Target{Owner: &by, Tags: slices.Clone(vm.Tags)}
		}
		if vm.Owner == nil || !c.Policy.Same(*vm.Owner, by) {
			t.Owner = nil
		}
		t.Tags = slices.DeleteFunc(t.Tags, func(tag string) bool {
			return !slices.ContainsFunc(vm.Tags, func(t string) bool { return strings.EqualFold(t, tag) })
		})
	}
	return t, nil
}

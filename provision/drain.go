package provision

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"pvebot/cluster"
)

// drainPlan moves the VMs of a node one after the other. Each step's name
// carries the VMID, so that a resumed job knows where it was.
func (k *kit) drainPlan(s Drain) plan {
	p := plan{{Phase: "drain", Name: "checking node", Run: k.checkDrain, Interrupt: true}}
	for i, m := range s.Moves {
		p = append(p, Step{
			Phase: "drain", Name: fmt.Sprintf("migrating %d", m.VM.VMID), Changes: true,
			Run: func(ctx context.Context, w *Work) error {
				return k.move(ctx, w, w.Job().Order.Spec.(Drain).Moves[i])
			},
			Done: func(ctx context.Context, w *Work) (bool, error) {
				return k.hasMoved(ctx, w.Job().Order.Spec.(Drain).Moves[i])
			},
		})
	}
	return p
}

// prepareDrain makes the ordered plan: running VMs first, then by VMID, each to
// the node with most memory left of those that can run it.
func (k *kit) prepareDrain(ctx context.Context, s Drain) (Spec, error) {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	if err := usableNode(r, s.Node); err != nil {
		return nil, err
	}
	flight, err := k.inFlight(ctx, 0)
	if err != nil {
		return nil, err
	}
	left, ours, draining := map[string]int64{}, k.cluster.Nodes().Names(), drains(flight)
	for _, n := range r.Nodes {
		if n.Name != s.Node && n.Status == "online" && closed(n, ours, draining) == nil {
			left[n.Name] = n.MaxMem - n.Mem
		}
	}
	if len(left) == 0 {
		return nil, Errorf(Conflict, "there is no other node that %s could be drained to", s.Node)
	}
	groups, err := k.cluster.Baselines(ctx)
	if err != nil {
		return nil, unreachable("the cluster", err)
	}
	vms := slices.DeleteFunc(slices.Clone(r.VMs), func(v cluster.VM) bool {
		return v.Node != s.Node || v.Type != "qemu" || v.Template
	})
	slices.SortFunc(vms, func(a, b cluster.VM) int {
		return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)), cmp.Compare(a.VMID, b.VMID))
	})
	s.Moves = nil
	for _, v := range vms {
		if v.VMID == k.settings.BotVMID {
			return nil, Errorf(Conflict, "the bot itself runs on %s, in VM %d: move it by hand first", s.Node, v.VMID)
		}
		ref, c, err := k.same(ctx, VMRef{VMID: v.VMID, Name: v.Name})
		if err != nil {
			return nil, err
		}
		lacks := map[string]bool{}
		for node := range left {
			missing, _ := k.unplugged(ctx, node, c)
			lacks[node] = len(missing) > 0
		}
		target := roomiest(left, func(node string) bool {
			return runs(groups, node, c.Options["cpu"]) && tooManyCPUs(r, node, c.CPUs().Most()) == nil && !lacks[node]
		})
		left[target] -= v.MaxMem
		s.Moves = append(s.Moves, Migrate{VM: ref, To: target})
	}
	if len(s.Moves) == 0 {
		return nil, Errorf(Conflict, "there is nothing to move away from %s", s.Node)
	}
	p, err := k.previewDrain(ctx, s)
	if err != nil {
		return nil, err
	}
	s.Digest = p.Digest
	return s, p.refusal()
}

func rank(status string) int {
	if status == "running" {
		return 0
	}
	return 1
}

// roomiest is the node with most memory left of those that are fit, or of all
// when none is: the first by name of equals.
func roomiest(left map[string]int64, fit func(node string) bool) string {
	better := func(a, b string) int {
		if fit(a) != fit(b) {
			if fit(a) {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(left[b], left[a]), cmp.Compare(a, b))
	}
	return slices.MinFunc(slices.Collect(maps.Keys(left)), better)
}

// runs reports whether a node can run a VM of a CPU type.
func runs(groups []cluster.Baseline, node, cpu string) bool {
	return slices.ContainsFunc(groups, func(g cluster.Baseline) bool {
		n, ok := g.Node(node)
		return ok && cluster.CPUFits(cpu, n.Type)
	})
}

func (k *kit) checkDrain(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Drain)
	p, err := k.previewDrain(ctx, s)
	if err != nil {
		return err
	}
	if err := w.agreed(p, s.Digest); err != nil {
		return err
	}
	w.Result("%s to move", count(len(s.Moves), "VM"))
	return nil
}

func (k *kit) previewDrain(ctx context.Context, s Drain) (Plan, error) {
	p := Plan{Title: "drain " + s.Node, Verdict: fmt.Sprintf("%s, one after the other", count(len(s.Moves), "migration"))}
	stay, err := k.stayers(ctx, s.Node)
	if err != nil {
		return Plan{}, err
	}
	if len(stay) > 0 {
		p.Warnings = append(p.Warnings, "I only move VMs; these stay: "+strings.Join(stay, ", "))
	}
	var digests []string
	looks, err := k.previewMoves(ctx, s.Moves)
	if err != nil {
		return Plan{}, err
	}
	p.Warnings = append(p.Warnings, together(looks)...)
	for i, m := range s.Moves {
		one := looks[i].plan(ctx)
		p.Lines = append(p.Lines, fmt.Sprintf("%s: %s", m.VM, one.Verdict))
		for _, w := range one.Warnings {
			p.Warnings = append(p.Warnings, m.VM.String()+": "+w)
		}
		for _, b := range one.Blockers {
			p.Blockers = append(p.Blockers, m.VM.String()+": "+b)
		}
		p.Estimate += one.Estimate
		digests = append(digests, one.Digest)
	}
	p.Digest = digest(k.cluster.Name(), "drain", s.Node, digests)
	return p, nil
}

// previewMoves looks at some migrations, a few at once: each look takes PVE
// seconds.
func (k *kit) previewMoves(ctx context.Context, moves []Migrate) ([]*flightCheck, error) {
	looks := make([]*flightCheck, len(moves))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, m := range moves {
		g.Go(func() (err error) {
			looks[i], err = k.preflight(ctx, m)
			return err
		})
	}
	return looks, g.Wait()
}

// together says which nodes have room for each of the VMs that run, and not for
// all of them.
func together(looks []*flightCheck) (warnings []string) {
	need, free := map[string]int64{}, map[string]int64{}
	for _, f := range looks {
		if f.online {
			need[f.s.To], free[f.s.To] = need[f.s.To]+f.memory(), f.freeMemory()
		}
	}
	for _, node := range slices.Sorted(maps.Keys(need)) {
		if need[node] > free[node] {
			warnings = append(warnings, fmt.Sprintf("%s has %s of memory free, what goes there needs %s", node, size(free[node]>>20), size(need[node]>>20)))
		}
	}
	return warnings
}

// stayers are the guests of a node that a drain leaves: containers, and
// templates, which other VMs' disks may stand on.
func (k *kit) stayers(ctx context.Context, node string) ([]string, error) {
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	var stay []string
	for _, v := range r.VMs {
		switch {
		case v.Node != node:
		case v.Type != "qemu":
			stay = append(stay, fmt.Sprintf("container %d (%s)", v.VMID, v.Name))
		case v.Template:
			stay = append(stay, fmt.Sprintf("template %d (%s)", v.VMID, v.Name))
		}
	}
	return stay, nil
}

package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// site is the cluster as a new VM finds it: what there is, and what jobs that
// are not done yet will take of it.
type site struct {
	cluster.Resources
	vms      []VM // the guests, with what the store knows of fresh ones
	ours     []string
	groups   []cluster.Baseline // what the nodes' CPUs can run
	flight   []Job
	draining map[string]JobID
	bridge   string            // that the VM is plugged into
	lacks    map[string]bool   // nodes that do not have it
	untold   map[string]string // and those of which it is not known, with the reason
}

// lookAround collects a site for a VM that is plugged into a bridge. The job but
// is not counted.
func (k *kit) lookAround(ctx context.Context, but JobID, bridge string) (*site, error) {
	s := &site{ours: k.cluster.Nodes().Names()}
	m, err := k.cluster.Membership(ctx)
	if err != nil {
		return nil, unreachable("the cluster", err)
	}
	if !m.Quorate {
		return nil, Errorf(Unavailable, "the cluster has no quorum, so nothing can be created now")
	}
	looking, rest := errgroup.WithContext(ctx)
	looking.Go(func() (err error) {
		s.Resources, err = k.view.resources(rest)
		return err
	})
	looking.Go(func() error {
		s.lookAtBridges(rest, k.bridges, bridge, m)
		return nil
	})
	if err := looking.Wait(); err != nil {
		return nil, err
	}
	s.Nodes = slices.Clone(s.Nodes)
	for _, member := range m.Members { // fresher than the statistics
		if i := slices.IndexFunc(s.Nodes, func(n cluster.Node) bool { return n.Name == member.Name }); i >= 0 && !member.Online {
			s.Nodes[i].Status = "offline"
		}
	}
	if s.vms, err = k.vms(ctx); err != nil {
		return nil, err
	}
	if s.groups, err = k.cluster.Baselines(ctx); err != nil {
		return nil, unreachable("the cluster", err)
	}
	if s.flight, err = k.inFlight(ctx, but); err != nil {
		return nil, err
	}
	s.draining = drains(s.flight)
	return s, nil
}

// lookAtBridges asks the nodes that could take the VM for its bridge, all at once.
func (s *site) lookAtBridges(ctx context.Context, b *bridges, bridge string, m cluster.Membership) {
	s.bridge, s.lacks, s.untold = bridge, map[string]bool{}, map[string]string{}
	var mu sync.Mutex
	var asking errgroup.Group
	for _, member := range m.Members {
		if !member.Online || !slices.Contains(s.ours, member.Name) {
			continue
		}
		asking.Go(func() error {
			has, err := b.has(ctx, member.Name, bridge)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.untold[member.Name] = untold(member.Name, err)
			} else {
				s.lacks[member.Name] = !has
			}
			return nil
		})
	}
	_ = asking.Wait() // errors are in untold
}

// drains are the nodes that jobs drain.
func drains(flight []Job) map[string]JobID {
	draining := map[string]JobID{}
	for _, j := range flight {
		if d, ok := j.Order.Spec.(Drain); ok {
			draining[d.Node] = j.ID
		}
	}
	return draining
}

// inFlight are the other jobs that will still take something.
func (k *kit) inFlight(ctx context.Context, but JobID) ([]Job, error) {
	jobs, err := k.store.Jobs(ctx, Filter{Cluster: k.cluster.Name(), States: []State{StateQueued, StateRunning, StateParked}, Limit: 1000})
	return slices.DeleteFunc(jobs, func(j Job) bool { return j.ID == but }), err
}

// place is where a new VM goes, and why there.
type place struct {
	node string
	cpu  string // its CPU type
	why  string
	warn string // what people should know about that place, "" for nothing
}

// candidate is a node that can take the VM.
type candidate struct {
	place
	sure       bool    // the bridge is known to be there
	everywhere bool    // the VM can be migrated to all nodes of the group
	free       int64   // bytes of memory that nobody uses or was promised
	busy       float64 // fraction of the CPUs, with what jobs in flight will use
}

// score is the memory that is free, by what the CPUs have left for it.
func (c candidate) score() float64 { return float64(c.free) * (1 - c.busy) }

// choose finds the place for a new VM of an image. With a node ordered it is
// that node or an error; otherwise the node with most memory and CPU left.
func (s *site) choose(spec Install, img image.Image) (place, error) {
	var fit []candidate
	var not []string
	var first error
	for _, n := range s.Nodes {
		if spec.Node != "" && n.Name != spec.Node || spec.Node == "" && !slices.Contains(s.ours, n.Name) {
			continue
		}
		c, err := s.candidate(n, spec, img)
		if err != nil {
			say, _ := Explain(err)
			not, first = append(not, say), cmp.Or(first, err)
			continue
		}
		fit = append(fit, c)
	}
	switch {
	case len(fit) > 0:
		best := slices.MaxFunc(fit, func(a, b candidate) int {
			return cmp.Or(better(a.sure, b.sure), better(a.everywhere, b.everywhere), cmp.Compare(a.score(), b.score()))
		})
		if spec.Node == "" && len(not) > 0 {
			best.why += "; " + strings.Join(not, "; ")
		}
		return best.place, nil
	case spec.Node != "":
		return place{}, cmp.Or(first, usableNode(s.Resources, spec.Node))
	case len(not) == 1:
		return place{}, first
	case len(not) > 1:
		return place{}, &Error{Kind: KindOf(first), Say: "no node can take it: " + strings.Join(not, "; "), Try: "vm nodes"}
	}
	return place{}, Errorf(Unavailable, "the cluster has no node for a VM")
}

// better compares what is good to have.
func better(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// closed says why no VM, new or from another node, goes to a node now; nil when
// one may.
func closed(n cluster.Node, ours []string, draining map[string]JobID) error {
	job, drains := draining[n.Name]
	switch {
	case n.Status == "offline":
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s is offline", n.Name), Try: "vm nodes"}
	case !slices.Contains(ours, n.Name):
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s is not among the bot's nodes", n.Name), Try: "set NODE_" + n.Name}
	case drains:
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s is being drained by job %d", n.Name, job), Try: "vm nodes"}
	case n.HAState == "maintenance":
		return &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s is in maintenance", n.Name), Try: "vm nodes"}
	}
	return nil
}

// candidate says what speaks for a node, or the reason why it can't take the
// VM.
func (s *site) candidate(n cluster.Node, spec Install, img image.Image) (candidate, error) {
	c := candidate{place: place{node: n.Name}}
	if err := closed(n, s.ours, s.draining); err != nil {
		return c, err
	}
	if s.lacks[n.Name] {
		return c, noBridge(n.Name, s.bridge)
	}
	if err := tooManyCPUs(s.Resources, n.Name, spec.Cores); err != nil {
		return c, err
	}
	if err := usableStorage(s.Resources, n.Name, spec.Storage, spec.DiskMB, s.soonOn(n.Name, spec.Storage)); err != nil {
		return c, err
	}
	var err error
	if c.cpu, c.warn, c.everywhere, err = s.cpu(n.Name, img); err != nil {
		return c, err
	}
	if why := s.untold[n.Name]; why != "" {
		c.warn = strings.TrimPrefix(c.warn+"; "+why, "; ")
	}
	c.sure = s.untold[n.Name] == ""
	soon, cores := s.soon(n.Name)
	c.free = n.MaxMem - max(n.Mem, s.promised(n.Name)) - soon
	if n.CPUs > 0 {
		c.busy = min(1, n.CPU+float64(cores)/float64(n.CPUs))
	}
	c.why = fmt.Sprintf("%s of memory free, CPUs %.0f%% busy", size(max(0, c.free)>>20), c.busy*100)
	left, want := n.MaxMem-n.Mem-soon, int64(spec.MemoryMB)<<20
	if spec.Node != "" && n.MaxMem > 0 && want > n.MaxMem {
		return c, tooMuchMemory(n, want)
	}
	if left < want {
		say := fmt.Sprintf("node %s has %s of memory left, too little for %s", n.Name, size(max(0, left)>>20), size(want>>20))
		if spec.Node == "" {
			return c, &Error{Kind: Full, Say: say, Try: "less --ram"}
		}
		c.warn = strings.TrimPrefix(c.warn+"; "+say, "; ") // it was ordered, and memory may be swapped or shared
	} else if c.free < want {
		c.warn = strings.TrimPrefix(fmt.Sprintf("%s; the guests of %s may take more memory than it has: %s of %s with this one",
			c.warn, n.Name, size((n.MaxMem-c.free+want)>>20), size(n.MaxMem>>20)), "; ")
	}
	return c, nil
}

// promised is the memory in bytes that the guests of a node may take at most.
// Templates and stopped guests take none.
func (s *site) promised(node string) (sum int64) {
	for _, v := range s.vms {
		if v.Node == node && !v.Template && v.Status != "stopped" {
			sum += int64(v.MemoryMB) << 20
		}
	}
	return sum
}

// soon is what jobs in flight will take on a node: memory in bytes, cores.
func (s *site) soon(node string) (memory int64, cores int) {
	for _, j := range s.flight {
		i, ok := j.Order.Spec.(Install)
		if !ok || j.Facts.Node != node {
			continue
		}
		runs := slices.ContainsFunc(s.vms, func(v VM) bool { return v.VMID == j.Facts.VMID && v.Status == "running" })
		if !runs {
			memory, cores = memory+int64(i.MemoryMB)<<20, cores+i.Cores
		}
	}
	return memory, cores
}

// cpu chooses the CPU type for an image on a node: the best that all nodes of
// the node's group can run. An image that needs more can be had on a node that
// can, at a price.
func (s *site) cpu(node string, img image.Image) (cpu, warn string, everywhere bool, err error) {
	for _, g := range s.groups {
		n, ok := g.Node(node)
		switch {
		case !ok:
			continue
		case cluster.CPUFits(img.CPU, g.Type):
			return g.Type, "", true, nil
		case !cluster.CPUFits(img.CPU, n.Type):
			return "", "", false, &Error{
				Kind: Conflict, Try: "choose another OS, or a node whose CPU can: vm nodes",
				Say: fmt.Sprintf("%s needs a CPU of type %s, and %s has no more than %s: it lacks %s", img.Title, img.CPU, node, n.Type, strings.Join(n.Lacks, ", ")),
			}
		}
		var weak []string
		for _, other := range g.Nodes {
			if !cluster.CPUFits(img.CPU, other.Type) {
				weak = append(weak, other.Node)
			}
		}
		return img.CPU, fmt.Sprintf("%s needs CPU type %s, so it can't be migrated to %s", img.Title, img.CPU, strings.Join(weak, ", ")), false, nil
	}
	return "", "", false, &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s does not say what its CPU can do", node), Try: "vm nodes"}
}

// tooManyCPUs says why a VM with so many CPUs can't run on a node. PVE starts
// none that has more than its node. Of a node that does not say how many it has
// nothing is said.
func tooManyCPUs(r cluster.Resources, node string, cpus int) error {
	for _, n := range r.Nodes {
		if n.Name == node && n.CPUs > 0 && cpus > n.CPUs {
			return &Error{
				Kind: Conflict, Say: fmt.Sprintf("node %s has %d CPUs, and no VM on it can have more: %d are too many", node, n.CPUs, cpus),
				Try: fmt.Sprintf("--cpu %d", n.CPUs),
			}
		}
	}
	return nil
}

// tooMuchMemory says that a node does not have so much memory at all.
func tooMuchMemory(n cluster.Node, want int64) error {
	return &Error{
		Kind: Full, Say: fmt.Sprintf("node %s has %s of memory in all, too little for %s", n.Name, size(n.MaxMem>>20), size(want>>20)),
		Try: "less --ram",
	}
}

// choosePlace makes sure that the cluster can take a VM, and chooses its node
// and CPU type. Jobs choose one after the other: each counts what those before
// it will take.
func (k *kit) choosePlace(ctx context.Context, w *Work) error {
	img, err := k.imageOf(w)
	if err != nil {
		return err
	}
	if err := k.placing.take(ctx); err != nil {
		return err
	}
	defer k.placing.pass()
	net, err := k.networkFor(w)
	if err != nil {
		return err
	}
	s, err := k.lookAround(ctx, w.Job().ID, net.Bridge)
	if err != nil {
		return err
	}
	p, err := s.choose(w.install(), img)
	if err != nil {
		return err
	}
	w.Result("on %s: %s", p.node, p.why)
	if p.warn != "" {
		w.Result("on %s: %s; %s", p.node, p.why, p.warn)
	}
	return w.Learn(ctx, Facts{Cluster: k.cluster.Name(), Node: p.node, Storage: w.install().Storage, CPU: p.cpu})
}

// usableNode says why a new VM can't go to the node called name.
func usableNode(r cluster.Resources, name string) error {
	var names []string
	for _, n := range r.Nodes {
		names = append(names, n.Name)
		if n.Name != name {
			continue
		}
		if n.Status == "offline" {
			return &Error{Kind: Unavailable, Say: fmt.Sprintf("node %s is offline", name), Try: "vm nodes"}
		}
		return nil
	}
	return &Error{Kind: NotFound, Say: fmt.Sprintf("there is no node %s; I know %s", name, strings.Join(names, ", ")), Try: "vm nodes"}
}

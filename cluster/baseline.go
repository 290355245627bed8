package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// cpuType is a CPU type of PVE with the flags that it needs.
type cpuType struct {
	name  string
	flags []string // beyond those of the type before, as /proc/cpuinfo spells them
}

// cpuTypes are PVE's own CPU types, each better than the one before. PVE: there
// is no x86-64-v1; kvm64 runs everywhere.
var cpuTypes = []cpuType{
	{"kvm64", nil},
	{"x86-64-v2", []string{"popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}},
	{"x86-64-v2-AES", []string{"aes"}},
	{"x86-64-v3", []string{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}},
	{"x86-64-v4", []string{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
}

// cpuRank is a CPU type's place among cpuTypes, -1 for one that is none of them.
func cpuRank(name string) int {
	return slices.IndexFunc(cpuTypes, func(c cpuType) bool { return c.name == name })
}

// NodeCPU is what the CPU of a node can run.
type NodeCPU struct {
	Node  string
	Type  string   // the best of PVE's CPU types that it can run
	Next  string   // the type above that, "" at the top
	Lacks []string // what it lacks for Next: flags as /proc/cpuinfo spells them
}

// CPUOf says what a CPU with these flags can run.
func CPUOf(node string, flags []string) NodeCPU {
	c := NodeCPU{Node: node}
	for _, t := range cpuTypes {
		for _, f := range t.flags {
			if !slices.Contains(flags, f) {
				c.Lacks = append(c.Lacks, f)
			}
		}
		if len(c.Lacks) > 0 {
			c.Next = t.name
			break
		}
		c.Type = t.name
	}
	return c
}

// BaselineOf is the best CPU type that a machine with these flags can run.
func BaselineOf(flags []string) string { return CPUOf("", flags).Type }

// IsBaseline reports whether name is one of the CPU types that Baseline can
// give: kvm64, x86-64-v2, x86-64-v2-AES, x86-64-v3, x86-64-v4.
func IsBaseline(name string) bool { return cpuRank(name) >= 0 }

// Baseline is what the nodes of a migration group can run, each and all.
type Baseline struct {
	Type  string    // the best CPU type that all of them can run
	Nodes []NodeCPU // those that are online and say what they can run, by name
}

// baselineOf is the baseline of nodes: the CPU type of the weakest.
func baselineOf(nodes []NodeCPU) Baseline {
	weakest := slices.MinFunc(nodes, func(a, b NodeCPU) int { return cpuRank(a.Type) - cpuRank(b.Type) })
	return Baseline{Type: weakest.Type, Nodes: nodes}
}

// Limits are the nodes because of which the group can't run the next CPU type,
// with what they lack. Empty at the top.
func (b Baseline) Limits() []NodeCPU {
	return slices.DeleteFunc(slices.Clone(b.Nodes), func(n NodeCPU) bool { return n.Type != b.Type || n.Next == "" })
}

// Node returns what a node of the group can run.
func (b Baseline) Node(name string) (NodeCPU, bool) {
	i := slices.IndexFunc(b.Nodes, func(n NodeCPU) bool { return n.Node == name })
	if i < 0 {
		return NodeCPU{}, false
	}
	return b.Nodes[i], true
}

// cpus remembers what nodes can run, until they boot again: only then can
// microcode, kernel and firmware settings have changed it.
type cpus struct {
	mu    sync.Mutex
	known map[string]knownCPU // by node, zero of one that did not say; never changed, only replaced
}

func (c *cpus) get() map[string]knownCPU {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

func (c *cpus) set(known map[string]knownCPU) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}

type knownCPU struct {
	boot    string // of the node when it was asked
	cpu     NodeCPU
	version string // of its pve-manager
}

// Baselines are the baselines of all migration groups, in the order of
// Config.Groups; the nodes that no group names are one more. A node that is
// offline, or does not say what it can run, is left out, and a group without
// nodes, too.
//
// PVE does not check that a node has what a CPU type needs: a VM there would
// fail to start. Who is online is looked up each time, which costs
// milliseconds; a node that joined or was booted again is asked anew.
func (c *Cluster) Baselines(ctx context.Context) ([]Baseline, error) {
	m, err := c.Membership(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := c.nodeCPUs(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node of the cluster is online")
	}
	var all []Baseline
	for _, names := range c.cfg.Groups {
		var group, rest []NodeCPU
		for _, n := range nodes {
			if slices.Contains(names, n.Node) {
				group = append(group, n)
			} else {
				rest = append(rest, n)
			}
		}
		if nodes = rest; len(group) > 0 {
			all = append(all, baselineOf(group))
		}
	}
	if len(nodes) > 0 {
		all = append(all, baselineOf(nodes))
	}
	return all, nil
}

// Baseline is the baseline of the migration group that a node is in; see
// Baselines.
func (c *Cluster) Baseline(ctx context.Context, node string) (Baseline, error) {
	all, err := c.Baselines(ctx)
	if err != nil {
		return Baseline{}, err
	}
	for _, b := range all {
		if _, ok := b.Node(node); ok {
			return b, nil
		}
	}
	return Baseline{}, fmt.Errorf("node %s is not online, or does not say what its CPU can do", node)
}

// nodeCPUs is what each member that is online can run, by name, without those
// that do not say it; an error when none does.
func (c *Cluster) nodeCPUs(ctx context.Context, m Membership) ([]NodeCPU, error) {
	var online []string
	for _, n := range m.Members {
		if n.Online {
			online = append(online, n.Name)
		}
	}
	before := c.cpus.get()
	found, errs := make([]knownCPU, len(online)), make([]error, len(online))
	var asking sync.WaitGroup
	for i, node := range online {
		asking.Go(func() {
			last, again := before[node]
			found[i], errs[i] = c.nodeCPU(ctx, node, m.Version, last, again)
		})
	}
	asking.Wait()
	known, meanwhile := map[string]knownCPU{}, c.cpus.get()
	var nodes []NodeCPU
	for i, node := range online {
		if errs[i] != nil {
			known[node] = meanwhile[node] // others may have asked with more luck
			continue
		}
		known[node], nodes = found[i], append(nodes, found[i].cpu)
	}
	c.cpus.set(known) // who left is forgotten
	if err := errors.Join(errs...); err != nil && (len(nodes) == 0 || ctx.Err() != nil) {
		return nil, err
	}
	return nodes, nil
}

// statusTime is how long a node is waited for that answers, but did not say what
// its CPU can do before. PVE takes most of a second, on a busy node more.
const statusTime = 5 * time.Second

// nodeCPU asks a node what it can run, unless that is known since its boot. A
// member that is not configured here can't tell its boot id; it counts as
// booted whenever the membership changes. One that is online and does not
// answer us is taken as it was, or asked through the others. Who is asked again
// gets little time: each placement asks.
func (c *Cluster) nodeCPU(ctx context.Context, node string, version int, known knownCPU, again bool) (knownCPU, error) {
	within := func(limit time.Duration) (context.Context, context.CancelFunc) {
		if !again {
			limit = c.cfg.Timeout
		}
		return context.WithTimeout(ctx, limit)
	}
	boot, ask, limit := fmt.Sprintf("membership %d", version), c.NodeStatus, statusTime
	if slices.Contains(c.nodes.Names(), node) {
		soon, cancel := within(betterTime)
		defer cancel()
		res, err := c.on(soon, node, cmdBootID(c.cfg.BootIDFile))
		boot = strings.TrimSpace(string(res.Stdout))
		switch {
		case err == nil:
		case known.cpu.Type != "":
			return known, nil
		case errors.Is(err, ErrNotStarted) || errors.Is(err, ErrLost):
			boot, ask, limit = "", c.statusByOthers, betterTime
		default:
			return knownCPU{}, fmt.Errorf("boot id of node %s: %w", node, err)
		}
	}
	if known.boot == boot && boot != "" {
		return known, nil
	}
	soon, cancel := within(limit)
	defer cancel()
	status, err := ask(soon, node)
	if err == nil && len(status.CPUFlags) == 0 {
		err = fmt.Errorf("node %s does not say what its CPU can do", node)
	}
	switch {
	case err == nil:
		return knownCPU{boot: boot, cpu: CPUOf(node, status.CPUFlags), version: status.Version}, nil
	case known.cpu.Type != "":
		return known, nil
	}
	return knownCPU{}, err
}

// CheckGroups says what is wrong with migration groups: a node that is none of
// nodes, or is in two groups.
func CheckGroups(groups [][]string, nodes []string) error {
	seen := map[string]bool{}
	for _, g := range groups {
		for _, name := range g {
			switch {
			case !slices.Contains(nodes, name):
				return fmt.Errorf("there is no node %q; there are %s", name, strings.Join(nodes, ", "))
			case seen[name]:
				return fmt.Errorf("node %s is in two groups", name)
			}
			seen[name] = true
		}
	}
	return nil
}

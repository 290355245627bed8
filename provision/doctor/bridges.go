package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pvebot/cluster"
)

// Network is a further network of the operator's, and what it is on.
type Network struct{ Name, Bridge string }

// makeBridge is how a bridge is made by hand.
const makeBridge = "make a bridge: Node > System > Network > Create > Linux Bridge"

// bridge looks for the bridges of all networks. A VM goes only where its bridge
// is, so that one which some nodes lack keeps VMs from being moved to them.
func (e *exam) bridge(ctx context.Context) {
	nodes := map[string][]cluster.Network{}
	for _, name := range e.answering() {
		networks, err := e.Cluster.Networks(ctx, name)
		switch {
		case cluster.IsRefusedByGate(err):
			e.oldGate(name)
		case err != nil:
			e.problem(name, e.on(name, "ip -br link"), "it does not list its bridges: %v", err)
		default:
			nodes[name] = networks
		}
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		e.oneBridge(name, nodes)
	}
	for _, n := range e.Networks {
		e.bridgeOf(n, nodes)
	}
}

// find is a bridge of a node by its name, nil when there is none.
func find(networks []cluster.Network, name string) *cluster.Network {
	i := slices.IndexFunc(networks, func(n cluster.Network) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &networks[i]
}

// holders are the nodes that have a bridge, up or not, by name.
func holders(nodes map[string][]cluster.Network, bridge string) (with, without []string) {
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if find(nodes[name], bridge) == nil {
			without = append(without, name)
		} else {
			with = append(with, name)
		}
	}
	return with, without
}

// oneBridge looks at the bridge of the default network on a node.
func (e *exam) oneBridge(name string, nodes map[string][]cluster.Network) {
	found := find(nodes[name], e.Bridge)
	with, _ := holders(nodes, e.Bridge)
	switch {
	case found == nil && len(with) > 0:
		e.warn(name, makeBridge+" "+e.Bridge, "there is no bridge %s: new VMs go to %s, and can't be moved here", e.Bridge, strings.Join(with, ", "))
	case found == nil:
		var fix []string
		for _, n := range nodes[name] {
			fix = append(fix, "BRIDGE="+n.Name)
		}
		if len(fix) == 0 {
			fix = []string{makeBridge}
		}
		e.problem(name, strings.Join(fix, " or "), "there is no bridge %s", e.Bridge)
	case !found.Active:
		e.problem(name, e.on(name, "ifup "+e.Bridge), "the bridge %s is down", e.Bridge)
	case found.Prefix.IsValid() && !found.Prefix.Contains(e.Pool.Gateway):
		e.warn(name, "see whether GATEWAY and BRIDGE belong together", "the node's own address on %s is %s, and the gateway %s is not in that network",
			e.Bridge, found.Prefix, e.Pool.Gateway)
	default:
		e.fine(name, "the bridge %s is up", e.Bridge)
	}
}

// bridgeOf looks for the bridge of a further network on all nodes.
func (e *exam) bridgeOf(n Network, nodes map[string][]cluster.Network) {
	with, without := holders(nodes, n.Bridge)
	about := "network " + n.Name
	var down []string
	for _, name := range with {
		if !find(nodes[name], n.Bridge).Active {
			down = append(down, name)
		}
	}
	switch {
	case len(nodes) == 0: // said already
	case len(with) == 0:
		e.problem(about, makeBridge+" "+n.Bridge+", or name another one in NETWORKS_FILE", "no node has its bridge %s", n.Bridge)
	case len(without) > 0:
		e.warn(about, fmt.Sprintf("%s %s on %s", makeBridge, n.Bridge, strings.Join(without, ", ")),
			"its bridge %s is missing on %s: its VMs go to %s, and can't be moved elsewhere", n.Bridge, strings.Join(without, ", "), strings.Join(with, ", "))
	case len(down) == 0:
		e.fine(about, "its bridge %s is on all nodes", n.Bridge)
	}
	for _, name := range down {
		e.problem(about, e.on(name, "ifup "+n.Bridge), "its bridge %s is down on %s", n.Bridge, name)
	}
}

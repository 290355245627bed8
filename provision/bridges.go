package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pvebot/cluster"
)

// bridgeReader tells what the VMs of a node can be plugged into: its bridges,
// and the vnets of the software-defined network that reach it.
type bridgeReader interface {
	Networks(ctx context.Context, node string) ([]cluster.Network, error)
}

// bridges knows which node has which bridge. PVE looks for a bridge when a VM
// starts, not before. It may be used by many goroutines at once.
type bridges struct {
	reader bridgeReader
	clock  cluster.Clock

	mu    sync.Mutex
	nodes map[string]*nodeBridges
}

// nodeBridges is what one node said last.
type nodeBridges struct {
	mu  sync.Mutex // one asks, the others wait for the answer
	up  map[string]bool
	at  time.Time // of up; zero: it never said
	err error     // why it did not say it again
	try time.Time // of err
}

const (
	bridgesAge   = 5 * time.Minute  // so long a bridge that was there is taken to be there
	bridgesAgain = 10 * time.Second // and one that was not there not to be: somebody may be making it
	bridgesRetry = time.Minute      // a node that did not say is asked again
	bridgesTime  = 5 * time.Second  // it has to say it
)

func newBridges(reader bridgeReader, clock cluster.Clock) *bridges {
	return &bridges{reader: reader, clock: clock, nodes: map[string]*nodeBridges{}}
}

func (b *bridges) node(name string) *nodeBridges {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.nodes[name]
	if !ok {
		n = &nodeBridges{}
		b.nodes[name] = n
	}
	return n
}

// has reports whether a bridge is there, and up, on a node. The error says that
// nobody knows.
func (b *bridges) has(ctx context.Context, node, bridge string) (bool, error) {
	n := b.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	now := b.clock.Now()
	age := bridgesAgain
	if n.up[bridge] {
		age = bridgesAge
	}
	old := n.at.IsZero() || now.Sub(n.at) > age
	if old && (n.err == nil || now.Sub(n.try) > bridgesRetry) {
		b.ask(ctx, node, n, now)
		old = n.err != nil
	}
	if n.up[bridge] || !old {
		return n.up[bridge], nil
	}
	return false, n.err
}

func (b *bridges) ask(ctx context.Context, node string, n *nodeBridges, now time.Time) {
	soon, cancel := context.WithTimeout(ctx, bridgesTime)
	defer cancel()
	list, err := b.reader.Networks(soon, node)
	if n.err, n.try = err, now; err != nil {
		if ctx.Err() != nil {
			n.try = time.Time{} // who asked gave up; the node may be well
		}
		return
	}
	n.up, n.at = map[string]bool{}, now
	for _, l := range list {
		n.up[l.Name] = n.up[l.Name] || l.Active
	}
}

// unplugged says what keeps a VM's cards from being plugged in on a node: the
// bridges that it lacks, and, apart from that, that it does not say which it has.
func (k *kit) unplugged(ctx context.Context, node string, c cluster.VMConfig) (lacks []string, unknown string) {
	cards := c.Bridges()
	for _, bridge := range slices.Sorted(maps.Keys(cards)) {
		has, err := k.bridges.has(ctx, node, bridge)
		switch {
		case err != nil:
			unknown = untold(node, err)
		case !has:
			lacks = append(lacks, fmt.Sprintf("%s for %s", bridge, cards[bridge]))
		}
	}
	return lacks, unknown
}

// untold says that nobody knows which bridges a node has.
func untold(node string, err error) string {
	say, _ := Explain(unreachable("node "+node, err))
	return fmt.Sprintf("which bridges node %s has is not known: %s", node, say)
}

// noBridge says that a node lacks a bridge.
func noBridge(node, bridge string) *Error {
	return &Error{
		Kind: Conflict, Say: fmt.Sprintf("node %s has no bridge %s that is up", node, bridge),
		Try: fmt.Sprintf("make it on %s, or choose another --node or --network", node),
	}
}

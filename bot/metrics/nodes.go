package metrics

import (
	"context"
	"errors"
	"regexp"
	"time"

	"pvebot/cluster"
)

// Nodes returns the nodes of the cluster called name, whose commands are
// measured: once for each cluster, and before Run.
func (m *Metrics) Nodes(name string, nodes cluster.Nodes) cluster.Nodes {
	n := &measured{Nodes: nodes, m: m, cluster: name}
	m.nodes = append(m.nodes, n)
	return n
}

// measured is cluster.Nodes with measured Runners.
type measured struct {
	cluster.Nodes
	m       *Metrics
	cluster string
}

// Node implements cluster.Nodes.
func (n *measured) Node(name string) (cluster.Runner, error) {
	r, err := n.Nodes.Node(name)
	if err != nil {
		return nil, err
	}
	return &runner{Runner: r, m: n.m, cluster: n.cluster, node: name}, nil
}

// connected is since when each node's connection stands, zero for one without.
// A node that is this machine needs none and is not in it.
func (n *measured) connected() map[string]time.Time {
	all := map[string]time.Time{}
	for _, name := range n.Names() {
		r, err := n.Nodes.Node(name)
		if far, ok := r.(interface{ Connected() time.Time }); err == nil && ok {
			all[name] = far.Connected()
		}
	}
	return all
}

// runner is a measured cluster.Runner.
type runner struct {
	cluster.Runner
	m             *Metrics
	cluster, node string
}

// Run implements cluster.Runner.
func (r *runner) Run(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
	began := r.m.clock.Now()
	res, err := r.Runner.Run(ctx, c)
	command := commandOf(c.Argv)
	r.m.callTime.WithLabelValues(r.cluster, r.node, command).Observe(r.m.clock.Now().Sub(began).Seconds())
	if err != nil {
		r.m.callFails.WithLabelValues(r.cluster, r.node, command, reasonOf(err)).Inc()
	}
	return res, err
}

func reasonOf(err error) string {
	switch {
	case errors.As(err, new(*cluster.ExitError)):
		return "refused"
	case errors.Is(err, cluster.ErrNotStarted):
		return "not_started"
	}
	return "lost"
}

// subcommand is a word that says what a command does, not what it is about:
// labels must be few.
var subcommand = regexp.MustCompile(`^[a-z][a-z-]*$`)

// commandOf is a command's name as a label: qm start, pvesh get, or the name
// that one of our scripts carries as $0.
func commandOf(argv []string) string {
	switch {
	case len(argv) == 0:
		return ""
	case len(argv) > 3 && argv[0] == "sh" && argv[1] == "-c":
		return argv[3]
	case len(argv) > 1 && subcommand.MatchString(argv[1]):
		return argv[0] + " " + argv[1]
	}
	return argv[0]
}

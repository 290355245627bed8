package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// Target is how one node is reached.
type Target struct {
	Name  string // PVE's node name
	Addr  string // host[:port] of its SSH server; unused when Local
	Local bool   // the node is this machine
}

// NodesConfig says how the nodes of a cluster are reached. Fields beyond
// Targets are those of SSHConfig, for every node alike.
type NodesConfig struct {
	Targets   []Target
	User      string
	Signers   []ssh.Signer
	HostKeys  ssh.HostKeyCallback
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock     Clock
	Log       *slog.Logger
	KeepAlive time.Duration
	Timeout   time.Duration
}

// Connect returns the nodes behind cfg. It checks the configuration and
// reaches out to nobody: a connection is opened by the first command.
func Connect(cfg NodesConfig) (Nodes, error) {
	if len(cfg.Targets) == 0 {
		return nil, errors.New("no node is configured")
	}
	n := &nodes{runners: map[string]Runner{}}
	for _, t := range cfg.Targets {
		switch {
		case !nodeName.MatchString(t.Name):
			return nil, fmt.Errorf("%q is no name for a node", t.Name)
		case n.runners[t.Name] != nil:
			return nil, fmt.Errorf("node %s is configured twice", t.Name)
		case t.Local:
			n.runners[t.Name] = NewLocal()
		case t.Addr == "":
			return nil, fmt.Errorf("node %s has no address", t.Name)
		case cfg.HostKeys == nil:
			return nil, fmt.Errorf("node %s: without known host keys nobody is talked to over SSH", t.Name)
		case len(cfg.Signers) == 0:
			return nil, fmt.Errorf("node %s: there is no SSH key to log in with", t.Name)
		default:
			n.runners[t.Name] = NewSSH(SSHConfig{
				Name: t.Name, Addr: t.Addr, User: cfg.User, Signers: cfg.Signers, HostKeys: cfg.HostKeys,
				Fence: true,
				Dial:  cfg.Dial, Clock: cfg.Clock, Log: cfg.Log, KeepAlive: cfg.KeepAlive, Timeout: cfg.Timeout,
			})
		}
	}
	n.names = slices.Sorted(maps.Keys(n.runners))
	return n, nil
}

// nodes implements Nodes.
type nodes struct {
	names   []string
	runners map[string]Runner
}

func (n *nodes) Names() []string { return slices.Clone(n.names) }

func (n *nodes) Node(name string) (Runner, error) {
	if r, ok := n.runners[name]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNoNode)
}

func (n *nodes) Dial(ctx context.Context, node, addr string) (net.Conn, error) {
	r, err := n.Node(node)
	if err != nil {
		return nil, err
	}
	if far, ok := r.(*SSH); ok {
		return far.DialTCP(ctx, addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func (n *nodes) Close() error {
	var errs []error
	for _, r := range n.runners {
		if far, ok := r.(*SSH); ok {
			errs = append(errs, far.Close())
		}
	}
	return errors.Join(errs...)
}

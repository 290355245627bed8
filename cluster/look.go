package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Look is what a node has, for whoever looks for trouble.
type Look struct {
	User  string          // who the bot is there
	Time  time.Time       // by the node's clock, to the second
	Space int64           // bytes free where the directory is or will be
	Has   map[string]bool // by tool: is it there?
}

// Look looks at a node: at the room for a directory, and for tools. It needs
// nothing of PVE.
func (c *Cluster) Look(ctx context.Context, node, dir string, tools ...string) (Look, error) {
	if err := checkName("absolute path", absolute, dir); err != nil {
		return Look{}, err
	}
	res, err := c.on(ctx, node, cmdLook(dir, tools...))
	if err != nil {
		return Look{}, err
	}
	return decodeLook(res.Stdout)
}

func decodeLook(out []byte) (Look, error) {
	l := Look{Has: map[string]bool{}}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	for line := range strings.Lines(string(out)) {
		switch word, value, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "user":
			l.User = value
		case "time":
			l.Time = time.Unix(number(value), 0)
		case "space":
			l.Space = number(value)
		case "has", "lacks":
			l.Has[value] = word == "has"
		}
	}
	if l.User == "" || l.Time.IsZero() {
		return Look{}, fmt.Errorf("a look at the node tells only %.80q", out)
	}
	return l, nil
}

// Network is what VMs of a node can be plugged into.
type Network struct {
	Name   string // vmbr0
	Type   string // bridge, OVSBridge, vnet
	Active bool
	Prefix netip.Prefix // the node's own address there; zero when it has none
}

// Networks lists the bridges of a node, and the vnets of the software-defined
// network that reach it, by name. One that is a member of the cluster but not
// configured here, or does not answer, is asked through the others. Dear.
func (c *Cluster) Networks(ctx context.Context, node string) ([]Network, error) {
	if err := checkName("node", nodeName, node); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdNetworks(node))
	if errors.Is(err, ErrNotStarted) && ctx.Err() == nil {
		res, err = c.byOthers(ctx, cmdNetworks(node))
	}
	if err != nil {
		return nil, fmt.Errorf("networks: %w", err)
	}
	return decodeNetworks(res.Stdout)
}

func decodeNetworks(data []byte) ([]Network, error) {
	list, err := decode[[]fields](data)
	if err != nil {
		return nil, err
	}
	networks := make([]Network, 0, len(list))
	for _, f := range list {
		n := Network{Name: f.text("iface"), Type: f.text("type"), Active: f.bool("active")}
		if prefix, err := netip.ParsePrefix(f.text("cidr")); err == nil {
			n.Prefix = prefix
		}
		networks = append(networks, n)
	}
	slices.SortFunc(networks, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return networks, nil
}

// IsRefusedByGate reports whether the node's SSH server holds the bot's key to
// a gate that does not know the command: it is of another version of the bot.
func IsRefusedByGate(err error) bool {
	refused, ok := errors.AsType[*ExitError](err)
	return ok && strings.HasPrefix(refused.Stderr, "pvebot-gate: ")
}

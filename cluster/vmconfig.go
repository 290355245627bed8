package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

var cardName = regexp.MustCompile(`^net\d+$`)

// Bridges are what the VM's network cards are plugged into, each with one card.
func (c VMConfig) Bridges() map[string]string {
	cards := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		if !cardName.MatchString(name) {
			continue
		}
		if bridge := property(c.Options[name], "bridge"); bridge != "" && cards[bridge] == "" {
			cards[bridge] = name
		}
	}
	return cards
}

// VMConfig reads a VM's conf file on its node: milliseconds. ErrNoVM when the node
// has none.
func (c *Cluster) VMConfig(ctx context.Context, node string, vmid int) (VMConfig, error) {
	data, err := c.readConfig(ctx, node, vmid)
	if err != nil {
		return VMConfig{}, err
	}
	return decodeConfig(data, node, vmid), nil
}

// Find says where a guest lives and how it is configured; a container's
// configuration is not read. ErrNoVM when there is none. One that goes or moves
// between the two reads is looked for once more.
func (c *Cluster) Find(ctx context.Context, vmid int) (Guest, VMConfig, error) {
	for again := true; ; again = false {
		g, err := c.Locate(ctx, vmid)
		if err != nil || g.Type != "qemu" {
			return g, VMConfig{}, err
		}
		conf, err := c.VMConfig(ctx, g.Node, vmid)
		if !again || !errors.Is(err, ErrNoVM) {
			return g, conf, err
		}
	}
}

// SnapshotConfig is the configuration that a rollback to a snapshot brings back.
// It costs what VMConfig does. ErrNoVM when the node has no such VM, or that has
// no such snapshot.
func (c *Cluster) SnapshotConfig(ctx context.Context, node string, vmid int, name string) (VMConfig, error) {
	data, err := c.readConfig(ctx, node, vmid)
	if err != nil {
		return VMConfig{}, err
	}
	conf, ok := decodeSnapshot(data, node, vmid, name)
	if !ok {
		return VMConfig{}, fmt.Errorf("snapshot %s of %d on %s: %w", name, vmid, node, ErrNoVM)
	}
	return conf, nil
}

func (c *Cluster) readConfig(ctx context.Context, node string, vmid int) ([]byte, error) {
	if err := errors.Join(checkVMID(vmid), checkName("node", nodeName, node)); err != nil {
		return nil, err
	}
	res, err := c.on(ctx, node, cmdReadConfig(c.cfg.PVEEtc, node, vmid))
	var refused *ExitError
	if errors.As(err, &refused) && refused.Status == noConfigStatus {
		return nil, fmt.Errorf("%d on %s: %w", vmid, node, ErrNoVM)
	}
	if err != nil {
		return nil, fmt.Errorf("config of VM %d: %w", vmid, err)
	}
	return res.Stdout, nil
}

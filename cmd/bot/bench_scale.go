package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// clusters measures what grows with the cluster.
func (b *bench) clusters(ctx context.Context) error {
	t := b.out.add("How cost grows with the cluster",
		"Simulated clusters that take no time by themselves: the bot's share, SSH, and a simulated PVE that writes out its state.",
		"nodes", "VMs", "`/vm list`", "plan of an install")
	sizes := [][2]int{{3, 10}, {16, 100}}
	if b.full {
		sizes = append(sizes, [2]int{32, 1000})
	}
	for _, size := range sizes {
		if err := b.clusterOf(ctx, t, size[0], size[1]); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) clusterOf(ctx context.Context, t *table, nodes, vms int) (err error) {
	o := pvesim.Options{Empty: true}
	base := pvesim.DefaultNodes()[0]
	for i := range nodes {
		n := base
		n.Name = fmt.Sprintf("pve%d", i+1)
		n.Memory <<= 4
		o.Nodes = append(o.Nodes, n)
	}
	for i := range vms {
		o.Guests = append(o.Guests, pvesim.GuestSpec{
			VMID: 1000 + i, Node: o.Nodes[i%nodes].Name, Name: fmt.Sprintf("vm-%d", i), Cores: 2, MemoryMB: 1024, Disk: 1 << 30,
		})
	}
	s, err := b.stage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	const times = 9
	var list, plan spread
	for range times {
		began := b.clock.Now()
		if _, err := s.worksFor(s.sites[0].Name).cluster.Resources(ctx); err != nil {
			return err
		}
		all, err := s.engine.VMs(ctx)
		if err != nil {
			return err
		}
		if len(all) != vms {
			return fmt.Errorf("%d VMs are listed, there are %d", len(all), vms)
		}
		list = append(list, b.clock.Now().Sub(began))
		began = b.clock.Now()
		spec, err := s.engine.Prepare(ctx, provision.Install{OS: "ubuntu"})
		if err != nil {
			return err
		}
		if _, err := s.engine.Preview(ctx, spec); err != nil {
			return err
		}
		plan = append(plan, b.clock.Now().Sub(began))
		_ = b.clock.Sleep(ctx, 10*time.Millisecond)
	}
	t.row(nodes, vms, list.at(.5), plan.at(.5))
	return nil
}

package cluster

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// What is asked after something broke off: whose is what lies about?

func cmdLastTask(node string, vmid int, kind string) Cmd {
	c := pvesh("/nodes/" + node + "/tasks")
	c.Argv = append(c.Argv, "--source", "all", "--vmid", strconv.Itoa(vmid), "--typefilter", kind, "--limit", "500")
	return c
}

// LastTask is when PVE's newest task of a type (qmcreate, qmstart, ...) about a
// VMID began on node, by the node's clock; the zero time when there is none.
func (c *Cluster) LastTask(ctx context.Context, node string, vmid int, kind string) (time.Time, error) {
	if err := checkVMID(vmid); err != nil {
		return time.Time{}, err
	}
	res, err := c.on(ctx, node, cmdLastTask(node, vmid, kind))
	if err != nil {
		return time.Time{}, fmt.Errorf("tasks of VM %d: %w", vmid, err)
	}
	newest, err := decodeNewest(res.Stdout)
	if err != nil {
		return time.Time{}, fmt.Errorf("tasks of VM %d: %w", vmid, err)
	}
	return newest, nil
}

// decodeNewest reads when the newest of a list of PVE's tasks began.
func decodeNewest(data []byte) (newest time.Time, err error) {
	tasks, err := decode[[]fields](data)
	for _, t := range tasks {
		if at := t.time("starttime"); at.After(newest) {
			newest = at
		}
	}
	return newest, err
}

// DiskSize is the size of one of the VM's disks in bytes, 0 when the VM has no
// such disk or its size is not known.
func (c VMConfig) DiskSize(disk string) int64 {
	size, _ := parseSize(property(c.Options[disk], "size"))
	return size
}

func cmdRemovePartial(d Download) Cmd {
	return changes(Cmd{Argv: []string{"rm", "-f", "--", d.Dir + "/" + d.File + ".part"}})
}

// RemovePartial removes what an interrupted download left. The download must
// not run any more; a complete file stays.
func (c *Cluster) RemovePartial(ctx context.Context, node string, d Download) error {
	if err := d.check(); err != nil {
		return err
	}
	if _, err := c.on(ctx, node, cmdRemovePartial(d)); err != nil {
		return fmt.Errorf("remove what is left of %s: %w", d.File, err)
	}
	return nil
}

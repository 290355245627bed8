package web

import (
	"context"
	"net/netip"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// jobWire is a job as the page shows it.
type jobWire struct {
	ID      provision.JobID       `json:"id"`
	State   provision.State       `json:"state"`
	Text    string                `json:"text"`
	By      provision.Actor       `json:"by"`
	VMID    int                   `json:"vmid,omitempty"`
	Name    string                `json:"name,omitempty"`
	Node    string                `json:"node,omitempty"`
	IP      netip.Addr            `json:"ip,omitzero"`
	Steps   []provision.StepState `json:"steps"`
	Problem *provision.Problem    `json:"problem,omitempty"`
	Seq     uint64                `json:"seq"`
	Created time.Time             `json:"created"`
	Started time.Time             `json:"started,omitzero"`
	Ended   time.Time             `json:"ended,omitzero"`
}

func wireJob(j provision.Job) jobWire {
	return jobWire{
		ID: j.ID, State: j.State, Text: j.Order.Text, By: j.Order.By,
		VMID: j.Facts.VMID, Name: j.Facts.Name, Node: j.Facts.Node, IP: j.Facts.IP,
		Steps: j.Steps, Problem: j.Problem, Seq: j.Seq,
		Created: j.Created, Started: j.Started, Ended: j.Ended,
	}
}

// vmWire is a VM as the page shows it.
type vmWire struct {
	VMID   int      `json:"vmid"`
	Name   string   `json:"name"`
	Node   string   `json:"node"`
	Type   string   `json:"type"`
	Status string   `json:"status"`
	Owner  string   `json:"owner,omitempty"`
	CPUs   int      `json:"cpus"`
	CPU    float64  `json:"cpu"`    // fraction in use
	Mem    int64    `json:"mem"`    // bytes in use
	MaxMem int64    `json:"maxmem"` // bytes
	Tags   []string `json:"tags,omitempty"`
	// Until is the VM's end of life.
	Until time.Time `json:"until,omitzero"`
}

// nodeWire is a node as the page shows it.
type nodeWire struct {
	Name   string  `json:"name"`
	Status string  `json:"status"`
	CPUs   int     `json:"cpus"`
	CPU    float64 `json:"cpu"`
	Mem    int64   `json:"mem"`
	MaxMem int64   `json:"maxmem"`
	VMs    int     `json:"vms"` // running
	// Baseline is the best CPU type that the node can run.
	Baseline string `json:"baseline,omitempty"`
}

func wireVMs(res cluster.Resources, owners map[int]owner) []vmWire {
	vms := make([]vmWire, 0, len(res.VMs))
	for _, v := range res.VMs {
		if v.Template {
			continue
		}
		vms = append(vms, vmWire{
			v.VMID, v.Name, v.Node, v.Type, v.Status, owners[v.VMID].name, v.CPUs, v.CPU, v.Mem, v.MaxMem, v.Tags, owners[v.VMID].until,
		})
	}
	return vms
}

// wireNodes are the nodes; groups may be missing: then nothing is said of CPUs.
func wireNodes(res cluster.Resources, groups []cluster.Baseline) []nodeWire {
	running := map[string]int{}
	for _, v := range res.VMs {
		if v.Status == "running" {
			running[v.Node]++
		}
	}
	nodes := make([]nodeWire, 0, len(res.Nodes))
	for _, n := range res.Nodes {
		baseline := ""
		for _, g := range groups {
			if cpu, ok := g.Node(n.Name); ok {
				baseline = cpu.Type
			}
		}
		nodes = append(nodes, nodeWire{n.Name, n.Status, n.CPUs, n.CPU, n.Mem, n.MaxMem, running[n.Name], baseline})
	}
	return nodes
}

// owner is whose a VM is, and how long it lives.
type owner struct {
	name  string
	until time.Time // zero: for ever
}

// owners finds whose the VMs are, by VMID.
func (s *site) owners(ctx context.Context) (map[int]owner, error) {
	if s.fleet == nil {
		return nil, nil
	}
	vms, err := s.fleet.VMs(ctx)
	if err != nil {
		return nil, err
	}
	all := map[int]owner{}
	for _, v := range vms {
		if v.Owner != nil {
			all[v.VMID] = owner{v.Owner.String(), v.Until}
		}
	}
	return all, nil
}

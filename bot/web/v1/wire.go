package v1

import (
	"encoding/json"
	"net/netip"
	"time"

	"pvebot/provision"
)

// jobWire is a job as clients see it.
type jobWire struct {
	ID      provision.JobID       `json:"id"`
	Cluster string                `json:"cluster"`
	Kind    string                `json:"kind"`
	Spec    provision.Spec        `json:"spec"`
	State   provision.State       `json:"state"`
	Text    string                `json:"text,omitempty"`
	By      provision.Actor       `json:"by"`
	Gate    *provision.Gate       `json:"gate,omitempty"`
	Votes   []provision.Vote      `json:"votes,omitempty"`
	Steps   []provision.StepState `json:"steps"`
	Facts   provision.Facts       `json:"facts"`
	Problem *problem              `json:"problem,omitempty"`
	Cancel  *provision.Actor      `json:"cancel_asked,omitempty"`
	Seq     uint64                `json:"seq"`
	Created time.Time             `json:"created"`
	Started time.Time             `json:"started,omitzero"`
	Ended   time.Time             `json:"ended,omitzero"`
}

func wireJob(j provision.Job) jobWire {
	order := j.Order.Public()
	w := jobWire{
		ID: j.ID, Cluster: order.Cluster, Kind: order.Spec.Kind(), Spec: order.Spec, State: j.State, Text: order.Text, By: order.By,
		Gate: order.Gate, Votes: j.Votes, Steps: j.Steps, Facts: j.Facts, Cancel: j.CancelAsked,
		Seq: j.Seq, Created: j.Created, Started: j.Started, Ended: j.Ended,
	}
	if w.Steps == nil {
		w.Steps = []provision.StepState{}
	}
	if p := j.Problem; p != nil {
		w.Problem = &problem{p.Kind, p.Say, p.Try}
	}
	return w
}

// wireEvent is an event as clients see it: without secrets, and without what
// is for the operator alone.
func wireEvent(e provision.Event) ([]byte, error) {
	e = e.Public()
	if e.Err != nil {
		p := *e.Err
		p.Cause = ""
		e.Err = &p
	}
	return json.Marshal(e)
}

// clusterWire is a cluster, and where the API is about it alone.
type clusterWire struct {
	Name    string `json:"name"`
	Default bool   `json:"default"`
	API     string `json:"api"`
}

// vmWire is a VM or container as clients see it.
type vmWire struct {
	VMID     int              `json:"vmid"`
	Name     string           `json:"name"`
	Node     string           `json:"node"`
	UUID     string           `json:"uuid,omitempty"` // of one that was asked for by itself
	Type     string           `json:"type"`
	Status   string           `json:"status"`
	Lock     string           `json:"lock,omitempty"`
	Template bool             `json:"template,omitempty"`
	Tags     []string         `json:"tags,omitempty"`
	Cores    int              `json:"cores"`
	MemoryMB int              `json:"memory_mb"`
	DiskMB   int64            `json:"disk_mb"`
	CPU      float64          `json:"cpu"`
	MemUsed  int              `json:"memory_used_mb"`
	Uptime   int64            `json:"uptime_s"`
	IP       netip.Addr       `json:"ip,omitzero"`
	Owner    *provision.Actor `json:"owner,omitempty"`
	Job      provision.JobID  `json:"job,omitempty"`
	Until    time.Time        `json:"until,omitzero"`
}

func wireVM(v provision.VM) vmWire {
	return vmWire{
		VMID: v.VMID, Name: v.Name, Node: v.Node, UUID: v.UUID, Type: v.Type, Status: v.Status, Lock: v.Lock, Template: v.Template,
		Tags: v.Tags, Cores: v.Cores, MemoryMB: v.MemoryMB, DiskMB: v.DiskMB, CPU: v.CPU, MemUsed: v.MemUsedMB,
		Uptime: int64(v.Uptime / time.Second), IP: v.IP, Owner: v.Owner, Job: v.Job, Until: v.Until,
	}
}

// nodeWire is a node as clients see it.
type nodeWire struct {
	Name     string  `json:"name"`
	Status   string  `json:"status"`
	CPUs     int     `json:"cpus"`
	CPU      float64 `json:"cpu"`
	MemoryMB int64   `json:"memory_mb"`
	MemUsed  int64   `json:"memory_used_mb"`
	Uptime   int64   `json:"uptime_s"`
	Running  int     `json:"running"`
}

type imageWire struct {
	OS      string `json:"os"`
	Version string `json:"version"`
	Title   string `json:"title"`
	User    string `json:"user"`
	Default bool   `json:"default,omitempty"`
}

type snapshotWire struct {
	Name        string    `json:"name"`
	Parent      string    `json:"parent,omitempty"`
	Description string    `json:"description,omitempty"`
	At          time.Time `json:"at,omitzero"`
	WithMemory  bool      `json:"with_memory,omitempty"`
}

type planWire struct {
	Title    string          `json:"title"`
	Verdict  string          `json:"verdict,omitempty"`
	Lines    []string        `json:"lines"`
	Warnings []string        `json:"warnings,omitempty"`
	Blockers []string        `json:"blockers,omitempty"`
	Volumes  []string        `json:"volumes,omitempty"`
	Estimate int64           `json:"estimate_s,omitempty"`
	Digest   string          `json:"digest"`
	Gate     *provision.Gate `json:"gate,omitempty"`
	Rule     string          `json:"rule"`
}

package legacy

import (
	"math"
	"net/http"
	"slices"

	"pvebot/bot/web/access"
	"pvebot/cluster"
	"pvebot/provision"
)

// vmEntry is a VM of the list. Sizes are in GB, which are powers of two.
type vmEntry struct {
	VMID       int     `json:"vmid"`
	Name       string  `json:"name"`
	OS         string  `json:"os"`
	Running    bool    `json:"running"`
	Node       string  `json:"node"`
	CPU        int     `json:"cpu"`
	Disk       float64 `json:"disk"`
	Memory     float64 `json:"memory"`
	MemoryUsed float64 `json:"memory_used"`
}

// nodeEntry is a node of the list. CPU and Memory are what its VMs were given,
// in percent of what it has; MemoryUsed is the share in use; Disk is what its
// VMs were given, in GB; Running counts VMs.
type nodeEntry struct {
	Node       string  `json:"node"`
	MaxCPU     int     `json:"max_cpu"`
	MaxMemory  float64 `json:"max_memory"`
	CPU        float64 `json:"cpu"`
	Memory     float64 `json:"memory"`
	MemoryUsed float64 `json:"memory_used"`
	Disk       float64 `json:"disk"`
	Running    int     `json:"running"`
}

// listAnswer has the keys that the old system sent and those that its papers
// promised.
type listAnswer struct {
	Success bool        `json:"success"`
	Count   int         `json:"count"`
	List    []vmEntry   `json:"list"`
	Data    []vmEntry   `json:"data"`
	VMs     []vmEntry   `json:"vms"`
	Cluster []nodeEntry `json:"cluster"`
	Nodes   []nodeEntry `json:"nodes"`
}

// list answers with every VM; disable=1 leaves the stopped ones, disable=0 the
// running ones.
func (a *API) list(w http.ResponseWriter, r *http.Request) {
	answer, err := a.listing(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (a *API) listing(r *http.Request) (answer listAnswer, err error) {
	if by := access.CallerOf(r.Context()).Actor; by != nil {
		if err := a.Clerk.MaySee(*by, "list", nil); err != nil {
			return answer, err
		}
	}
	disable := r.URL.Query().Get("disable")
	if disable != "" && disable != "0" && disable != "1" {
		return answer, provision.Errorf(provision.Invalid, "disable is %s: 1 for stopped VMs, 0 for running ones", quote(disable))
	}
	resources, err := a.Engine.Resources(r.Context())
	if err != nil {
		return answer, err
	}
	vms, err := a.Engine.VMs(r.Context())
	if err != nil {
		return answer, err
	}
	images, err := a.Engine.Images(r.Context())
	if err != nil {
		return answer, err
	}
	vms = slices.DeleteFunc(vms, func(v provision.VM) bool { return v.Type == "lxc" || v.Template })
	list := []vmEntry{}
	for _, v := range vms {
		if on := v.Status == running; disable == "" || on == (disable == "0") {
			list = append(list, entryOf(v, images))
		}
	}
	nodes := []nodeEntry{}
	for _, n := range resources.Nodes {
		nodes = append(nodes, loadOf(n, vms))
	}
	return listAnswer{Success: true, Count: len(list), List: list, Data: list, VMs: list, Cluster: nodes, Nodes: nodes}, nil
}

func entryOf(v provision.VM, images []provision.Image) vmEntry {
	e := vmEntry{
		VMID: v.VMID, Name: v.Name, Running: v.Status == running, Node: v.Node, CPU: v.Cores,
		Disk: gb(v.DiskMB), Memory: gb(int64(v.MemoryMB)), MemoryUsed: gb(int64(v.MemUsedMB)),
	}
	for _, i := range images { // the system is a tag
		if slices.Contains(v.Tags, i.OS) {
			e.OS = i.OS
		}
	}
	return e
}

// loadOf is a node with what its VMs take. A node that is silent has no
// numbers.
func loadOf(n cluster.Node, vms []provision.VM) nodeEntry {
	e := nodeEntry{Node: n.Name, MaxCPU: n.CPUs, MaxMemory: gb(n.MaxMem >> 20), MemoryUsed: percent(n.Mem, n.MaxMem)}
	var cores, memory, disk int64
	for _, v := range vms {
		if v.Node != n.Name {
			continue
		}
		cores, memory, disk = cores+int64(v.Cores), memory+int64(v.MemoryMB), disk+v.DiskMB
		if v.Status == running {
			e.Running++
		}
	}
	e.CPU, e.Memory, e.Disk = percent(cores, int64(n.CPUs)), percent(memory, n.MaxMem>>20), gb(disk)
	return e
}

// gb is MiB as GB, to two digits.
func gb(mb int64) float64 { return math.Round(float64(mb)/1024*100) / 100 }

func percent(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return math.Round(float64(part)/float64(whole)*10000) / 100
}

package v1

import (
	"cmp"
	"net/http"
	"regexp"
	"time"

	"pvebot/commands"
	"pvebot/provision"
)

func (a *API) clusters(w http.ResponseWriter, _ *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "nodes", nil); err != nil {
		return err
	}
	wire := make([]clusterWire, 0, len(a.Clusters))
	for i, name := range a.Clusters {
		c := clusterWire{Name: name, Default: i == 0, API: Prefix}
		if len(a.Clusters) > 1 {
			c.API = ClustersPath + name + Prefix
		}
		wire = append(wire, c)
	}
	return answer(w, http.StatusOK, map[string]any{"clusters": wire})
}

func (a *API) vms(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "list", nil); err != nil {
		return err
	}
	vms, err := a.Engine.VMs(r.Context())
	if err != nil {
		return err
	}
	wire := make([]vmWire, 0, len(vms))
	for _, v := range vms {
		wire = append(wire, wireVM(v))
	}
	return answer(w, http.StatusOK, map[string]any{"vms": wire})
}

// vmFor is the VM that the path names by number or name, if by may do verb. Who
// may do it to none does not learn either which are there.
func (a *API) vmFor(r *http.Request, by provision.Actor, verb string) (provision.VM, error) {
	vm, err := a.find(r, r.PathValue("vm"))
	if err != nil {
		return vm, cmp.Or(a.Clerk.MaySee(by, verb, nil), err)
	}
	return vm, a.Clerk.MaySee(by, verb, &vm)
}

// vmRE has the VMIDs and the names that PVE takes.
var vmRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

const maxVMName = 253

// find is the VM that a client calls by word.
func (a *API) find(r *http.Request, word string) (provision.VM, error) {
	if len(word) > maxVMName || !vmRE.MatchString(word) {
		return provision.VM{}, provision.Errorf(provision.Invalid, "%.40q is neither a VMID nor a name", word)
	}
	return a.Engine.FindVM(r.Context(), word)
}

func (a *API) vm(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	vm, err := a.vmFor(r, by, "show")
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wireVM(vm))
}

func (a *API) snapshots(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	vm, err := a.vmFor(r, by, "snapshots")
	if err != nil {
		return err
	}
	all, err := a.Engine.Snapshots(r.Context(), vm.VMRef)
	if err != nil {
		return err
	}
	wire := make([]snapshotWire, 0, len(all))
	for _, s := range all {
		wire = append(wire, snapshotWire{s.Name, s.Parent, s.Description, s.At, s.WithMemory})
	}
	return answer(w, http.StatusOK, map[string]any{"snapshots": wire})
}

func (a *API) nodes(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "nodes", nil); err != nil {
		return err
	}
	res, err := a.Engine.Resources(r.Context())
	if err != nil {
		return err
	}
	running := map[string]int{}
	for _, v := range res.VMs {
		if v.Status == "running" {
			running[v.Node]++
		}
	}
	wire := make([]nodeWire, 0, len(res.Nodes))
	for _, n := range res.Nodes {
		wire = append(wire, nodeWire{n.Name, n.Status, n.CPUs, n.CPU, n.MaxMem >> 20, n.Mem >> 20, int64(n.Uptime / time.Second), running[n.Name]})
	}
	return answer(w, http.StatusOK, map[string]any{"nodes": wire})
}

func (a *API) images(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "images", nil); err != nil {
		return err
	}
	images, err := a.Engine.Images(r.Context())
	if err != nil {
		return err
	}
	wire := make([]imageWire, 0, len(images))
	for _, i := range images {
		wire = append(wire, imageWire{OS: i.OS, Version: i.Version, Title: i.Title, User: i.User, Default: i.Default})
	}
	return answer(w, http.StatusOK, map[string]any{"images": wire})
}

// audit answers with rows of the audit log, the newest of them, in order.
func (a *API) audit(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	n, err := numbers(r, map[string]int64{"vmid": maxVMID, "job": maxID, "after": maxID, "limit": maxPage})
	if err != nil {
		return err
	}
	f := provision.AuditFilter{VMID: int(n["vmid"]), Job: provision.JobID(n["job"]), After: n["after"], Limit: int(n["limit"]), Cluster: a.Cluster}
	if f.Limit == 0 {
		f.Limit = 100
	}
	if who := r.URL.Query().Get("by"); who != "" {
		someone, err := commands.Identity(who)
		if err != nil {
			return provision.Errorf(provision.Invalid, "by: %v", err)
		}
		f.By = &someone
	}
	// Who may look at their own only, is shown that.
	if no := a.Clerk.MaySee(by, "audit", &provision.VM{}); no != nil {
		if a.Clerk.MaySee(by, "audit", &provision.VM{Owner: &by}) != nil || f.By != nil && !f.By.Same(by) {
			return no
		}
		f.By = &by
	}
	rows := []provision.AuditRow{}
	for row, err := range a.Store.AuditRows(r.Context(), f) {
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return answer(w, http.StatusOK, map[string]any{"rows": rows})
}

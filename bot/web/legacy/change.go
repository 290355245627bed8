package legacy

import (
	"net/http"
	"regexp"
	"strconv"

	"pvebot/commands"
	"pvebot/provision"
)

// power is the handler of a power verb; the VM must be in the given state.
// Start and reboot stream, the others answer when it is done.
func (a *API) power(do, state string) change {
	return func(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
		vm, err := a.vmIn(r, state)
		if err != nil {
			return err
		}
		job, err := a.place(r.Context(), by, provision.Power{Do: do, VM: vm.VMRef}, commands.Power{Do: do, VM: strconv.Itoa(vm.VMID)})
		if do == "start" || do == "reboot" {
			return a.stream(w, r, job, err, narrator{})
		}
		return a.finish(w, r, job, err)
	}
}

// vmIn is the VM that the path names, if it is in the given power state: the
// old system calls everything else a bad request.
func (a *API) vmIn(r *http.Request, state string) (provision.VM, error) {
	vm, err := a.vm(r)
	if err != nil {
		return vm, err
	}
	is, err := a.powerOf(r.Context(), vm)
	if err == nil && is != state {
		err = provision.Errorf(provision.Invalid, "%s is %s, not %s", vm.VMRef, is, state)
	}
	return vm, err
}

func (a *API) destroy(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	vm, err := a.vmIn(r, stopped)
	if err != nil {
		return err
	}
	job, err := a.place(r.Context(), by, provision.Destroy{VM: vm.VMRef}, commands.Destroy{VM: strconv.Itoa(vm.VMID)})
	return a.finish(w, r, job, err)
}

// set changes the VM that the path names.
func (a *API) set(w http.ResponseWriter, r *http.Request, by provision.Actor, spec provision.Set) error {
	vm, err := a.vm(r)
	if err != nil {
		return err
	}
	spec.VM = vm.VMRef
	job, err := a.place(r.Context(), by, spec, commands.Set{
		VM: strconv.Itoa(vm.VMID), Cores: spec.Cores, MemoryMB: spec.MemoryMB, GrowMB: spec.GrowMB,
	})
	return a.finish(w, r, job, err)
}

// The limits of set: those of the old system, and what PVE takes.
const (
	maxSetCores  = 32
	minMemoryMB  = 512
	maxMemoryMB  = 4 << 20
	minInstallGB = 16
)

func (a *API) setCPU(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		CPU int `json:"cpu"`
	}
	if err := body(r, &b); err != nil {
		return err
	}
	if b.CPU < 1 || b.CPU > maxSetCores {
		return provision.Errorf(provision.Invalid, "cpu is %d: 1 to %d", b.CPU, maxSetCores)
	}
	return a.set(w, r, by, provision.Set{Cores: b.CPU})
}

func (a *API) setMemory(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		Memory int `json:"memory"`
	}
	if err := body(r, &b); err != nil {
		return err
	}
	if b.Memory < minMemoryMB || b.Memory > maxMemoryMB {
		return provision.Errorf(provision.Invalid, "memory is %d: %d to %d MB", b.Memory, minMemoryMB, maxMemoryMB)
	}
	return a.set(w, r, by, provision.Set{MemoryMB: b.Memory})
}

func (a *API) setDisk(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		Disk string `json:"disk"`
	}
	if err := body(r, &b); err != nil {
		return err
	}
	mb, ok := parseDisk(b.Disk)
	if !ok {
		return provision.Errorf(provision.Invalid, "disk is %s: by how much it shall grow, like \"10G\"", quote(b.Disk))
	}
	return a.set(w, r, by, provision.Set{GrowMB: mb, Disk: provision.TheBootDisk})
}

func (a *API) setNode(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	var b struct {
		Node string `json:"node"`
	}
	if err := body(r, &b); err != nil {
		return err
	}
	if !nodeRE.MatchString(b.Node) {
		return provision.Errorf(provision.Invalid, "node is %s: the name of a node, like \"pve2\"", quote(b.Node))
	}
	vm, err := a.vm(r)
	if err != nil {
		return err
	}
	job, err := a.place(r.Context(), by, provision.Migrate{VM: vm.VMRef, To: b.Node}, commands.Migrate{VM: strconv.Itoa(vm.VMID), Node: b.Node})
	return a.stream(w, r, job, err, narrator{})
}

var (
	nodeRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	diskRE = regexp.MustCompile(`^\+?([1-9][0-9]{0,6})([MGTmgt])[Bb]?$`)
)

// parseDisk reads a size like 10G, in MiB.
func parseDisk(s string) (mb int64, ok bool) {
	m := diskRE.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, false
	}
	unit := map[string]int64{"m": 1, "g": 1 << 10, "t": 1 << 20}
	mb = n * unit[string(m[2][0]|0x20)]
	return mb, mb <= 128<<20 // 128 TiB, more than any storage has
}

package pvesim

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// fresh says whether pvestatd has not yet told of v.
func (s *Sim) fresh(v *vm) bool {
	return s.opts.Statd > 0 && s.now().Sub(v.born) < s.opts.Statd
}

func (r *request) clusterResources() (any, error) {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []object
	want := r.opts["type"]
	if types := []string{"vm", "storage", "node", "sdn", "network"}; want != "" && !slices.Contains(types, want) {
		return nil, r.bad(255, "type", notIn(want, types))
	}
	if want == "" || want == "vm" {
		for _, v := range s.sortedVMs() {
			list = append(list, s.vmResource(v))
		}
	}
	for _, n := range s.nodes {
		if want == "" || want == "node" {
			list = append(list, s.nodeResource(n))
		}
		if want == "" || want == "storage" {
			for _, st := range s.stores {
				if st.on(n) && !st.spec.Disabled {
					list = append(list, s.storageResource(n, st))
				}
			}
		}
	}
	return s.shuffle(list), nil
}

// vmResource is an entry of /cluster/resources: sparse for a fresh VM and on
// a node that is down, save for what pmxcfs itself knows.
func (s *Sim) vmResource(v *vm) object {
	o := object{"id": v.typ + "/" + strconv.Itoa(v.id), "vmid": v.id, "node": v.node.name, "type": v.typ, "status": "unknown"}
	if l := v.opts["lock"]; l != "" {
		o["lock"] = l
	}
	if t := v.opts["tags"]; t != "" {
		o["tags"] = t
	}
	if state, ok := s.ha[v.id]; ok {
		o["hastate"] = state
	}
	if s.fresh(v) || !v.node.online() {
		return o
	}
	for k, value := range s.stats(v) {
		o[k] = value
	}
	return o
}

// stats are a VM's numbers as pvestatd sends them.
func (s *Sim) stats(v *vm) object {
	o := object{
		"name": v.name(), "status": v.qmpStatus(), "template": number(v.template()), "uptime": v.uptime(s.now()),
		"maxcpu": v.cpus(), "cpu": 0, "maxmem": v.memory(), "mem": int64(0), "maxdisk": v.bootDisk(), "disk": 0,
		"netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0, "memhost": int64(0),
	}
	if v.running {
		o["cpu"] = 0.03
		o["mem"], o["memhost"] = v.memory()*4/10, v.memory()/2
		o["netin"], o["netout"] = v.uptime(s.now())*1500, v.uptime(s.now())*900
	}
	return o
}

// allocated memory of the running VMs of a node, in bytes.
func (s *Sim) memoryInUse(n *node) int64 {
	used := 2 * gib
	for _, v := range s.vms {
		if v.node == n && v.running {
			used += v.memory() / 2
		}
	}
	return min(used, n.spec.Memory)
}

func (s *Sim) nodeResource(n *node) object {
	o := object{"id": "node/" + n.name, "node": n.name, "type": "node", "status": "offline"}
	if !n.online() {
		return o
	}
	o["status"], o["level"] = "online", ""
	o["maxcpu"], o["cpu"] = n.spec.CPUs, 0.05
	o["maxmem"], o["mem"] = n.spec.Memory, s.memoryInUse(n)
	o["maxdisk"], o["disk"] = 100*gib, 12*gib
	o["uptime"] = s.uptime(n)
	return o
}

func (s *Sim) uptime(n *node) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return int64(s.now().Sub(n.born)/time.Second) + 86400
}

// content is the list of types in the random order of a Perl hash.
func (s *Sim) content(st *store) string {
	kinds := slices.Clone(st.spec.Content)
	s.rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	return strings.Join(kinds, ",")
}

func (s *Sim) storageResource(n *node, st *store) object {
	o := object{
		"id": "storage/" + n.name + "/" + st.spec.Name, "storage": st.spec.Name, "node": n.name, "type": "storage",
		"plugintype": st.spec.Type, "content": s.content(st), "shared": number(st.spec.Shared), "status": "unknown",
	}
	if n.online() {
		o["status"], o["maxdisk"], o["disk"] = "available", st.spec.Capacity, st.taken()
	}
	return o
}

func (r *request) clusterStatus() (any, error) {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []object
	alone := len(s.nodes) == 1
	if !alone {
		list = append(list, object{
			"type": "cluster", "id": "cluster", "name": s.opts.Name, "nodes": len(s.nodes),
			"quorate": number(s.quorate), "version": len(s.nodes),
		})
	}
	for _, n := range s.nodes {
		id := n.id
		if alone {
			id = 0
		}
		list = append(list, object{
			"type": "node", "id": "node/" + n.name, "name": n.name, "nodeid": id, "ip": n.spec.IP.String(),
			"local": number(n == r.call.node), "online": number(n.online()), "level": "",
		})
	}
	return s.shuffle(list), nil
}

func (r *request) listNodes() (any, error) {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []object
	for _, n := range s.nodes {
		o := s.nodeResource(n)
		o["ssl_fingerprint"] = nil
		list = append(list, o)
	}
	return s.shuffle(list), nil
}

func (r *request) nodeStatus() (any, error) {
	s, n := r.sim, r.node
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.memoryInUse(n)
	return object{
		"uptime": s.uptime(n), "idle": 0, "cpu": 0.05, "wait": 0, "loadavg": []string{"0.42", "0.37", "0.31"},
		"kversion":       "Linux 6.14.11-2-pve #1 SMP PREEMPT_DYNAMIC PMX 6.14.11-2",
		"current-kernel": object{"sysname": "Linux", "release": "6.14.11-2-pve", "version": "#1 SMP PREEMPT_DYNAMIC PMX 6.14.11-2", "machine": "x86_64"},
		"boot-info":      object{"mode": "efi", "secureboot": 0},
		"cpuinfo": object{
			"cpus": n.spec.CPUs, "cores": n.spec.CPUs, "sockets": 1, "model": n.spec.Model, "flags": n.spec.Flags,
			"mhz": "2400.000", "family": "6", "user_hz": 100, "hvm": "1", "vendor": "GenuineIntel",
		},
		"memory":     object{"total": n.spec.Memory, "used": used, "free": n.spec.Memory - used, "available": n.spec.Memory - used},
		"swap":       object{"total": 8 * gib, "used": 0, "free": 8 * gib},
		"ksm":        object{"shared": 0},
		"rootfs":     object{"total": 100 * gib, "used": 12 * gib, "avail": 88 * gib, "free": 88 * gib},
		"pveversion": "pve-manager/" + s.opts.Version + "/14a22df3",
	}, nil
}

func (r *request) nodeStorage() (any, error) {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []object
	for _, st := range s.stores {
		if !st.on(r.node) {
			continue
		}
		if k := r.opts["content"]; k != "" && !st.holds(k) {
			continue
		}
		if r.opts["enabled"] == "1" && st.spec.Disabled {
			continue
		}
		o := s.storageObject(st)
		o["storage"] = st.spec.Name
		if r.opts["format"] == "1" {
			supported := slices.Sorted(slices.Values(st.kind().formats))
			if st.files() {
				supported = slices.Sorted(slices.Values(append(supported, "subvol")))
			}
			o["formats"] = object{"default": "raw", "supported": supported}
			valid := object{}
			for _, f := range supported {
				valid[f] = 1
			}
			o["format"] = []any{valid, "raw"} // PVE: the old way to say it
		}
		list = append(list, o)
	}
	return s.shuffle(list), nil
}

func (s *Sim) storageObject(st *store) object {
	o := object{
		"type": st.spec.Type, "content": s.content(st), "shared": number(st.spec.Shared),
		"enabled": number(!st.spec.Disabled), "active": number(!st.spec.Disabled), "total": int64(0), "used": int64(0), "avail": int64(0),
	}
	if !st.spec.Disabled {
		o["total"], o["used"], o["avail"] = st.spec.Capacity, st.taken(), st.free()
		o["used_fraction"] = float64(st.taken()) / float64(st.spec.Capacity)
	}
	return o
}

func (r *request) theStore() (*store, error) {
	st := r.sim.store(r.node, r.parts[1])
	if st == nil {
		if r.sim.known(r.parts[1]) {
			return nil, fail("storage '%s' is not available on node '%s'", r.parts[1], r.node.name)
		}
		return nil, fail("storage '%s' does not exist", r.parts[1])
	}
	return st, nil
}

func (r *request) storageStatus() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	st, err := r.theStore()
	if err != nil {
		return nil, err
	}
	return r.sim.storageObject(st), nil
}

func (r *request) storageContent() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	st, err := r.theStore()
	if err != nil {
		return nil, err
	}
	if st.spec.Disabled {
		return nil, fail("storage '%s' is disabled", st.spec.Name)
	}
	var list []object
	for _, v := range st.sorted() {
		if k := r.opts["content"]; k != "" && k != v.content {
			continue
		}
		if id := r.opts["vmid"]; id != "" && id != strconv.Itoa(v.vmid) {
			continue
		}
		o := object{"volid": st.id(v), "format": v.format, "size": v.shown(), "content": v.content, "ctime": v.created.Unix()}
		if v.vmid != 0 {
			o["vmid"] = v.vmid
		}
		if parent := st.parent(v); parent != "" {
			o["parent"] = parent
		}
		list = append(list, o)
	}
	return r.sim.shuffle(list), nil
}

// parent is what a volume stands on, as PVE's lists say it.
func (st *store) parent(v *volume) string {
	switch {
	case v.backing != "":
		return v.backing
	case v.base != "" && st.files():
		return "../" + v.base
	case v.base != "":
		return v.base + "@__base__"
	}
	return ""
}

// current is what .../status/current says, less what only it says.
func (s *Sim) current(v *vm) object {
	o := object{
		"vmid": v.id, "name": v.name(), "status": v.status(), "qmpstatus": v.qmpStatus(), "cpus": v.cpus(), "cpu": 0,
		"maxmem": v.memory(), "mem": int64(0), "memhost": int64(0), "maxdisk": v.bootDisk(), "disk": 0,
		"uptime": v.uptime(s.now()), "netin": 0, "netout": 0, "ha": s.haObject(v),
	}
	if v.running {
		o["mem"], o["memhost"], o["pid"] = v.memory()*4/10, v.memory()/2, v.pid
	}
	if s.release() < 9 {
		delete(o, "memhost")
	}
	if v.template() {
		o["template"] = 1
	}
	if v.opts["serial0"] != "" {
		o["serial"] = 1
	}
	for _, k := range []string{"lock", "tags"} {
		if v.opts[k] != "" {
			o[k] = v.opts[k]
		}
	}
	return o
}

func (r *request) qemuCurrent() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	v, err := r.find(r.parts[1])
	if err != nil {
		return nil, err
	}
	o := r.sim.current(v)
	if strings.HasPrefix(strings.TrimPrefix(v.opts["agent"], "enabled="), "1") {
		o["agent"] = 1
	}
	return o, nil
}

func (r *request) listQemu() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	var list []object
	for _, v := range r.sim.sortedVMs() {
		if v.node != r.node || v.typ != "qemu" {
			continue
		}
		o := r.sim.current(v)
		delete(o, "ha")
		if r.opts["full"] != "1" {
			delete(o, "qmpstatus")
		}
		list = append(list, o)
	}
	return r.sim.shuffle(list), nil
}

func (r *request) cpuModels() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	var list []object
	for _, m := range cpuModels {
		list = append(list, object{"name": m, "custom": 0, "vendor": cpuVendor(m)})
	}
	return r.sim.shuffle(list), nil
}

// cpuVendor is whose CPU a type is like.
func cpuVendor(model string) string {
	switch {
	case strings.HasPrefix(model, "EPYC"):
		return "AuthenticAMD"
	case model[0] >= 'A' && model[0] <= 'Z':
		return "GenuineIntel"
	}
	return "default"
}

package pvesim

import "strings"

// migrationCheck is GET .../migrate: what PVE knows before it tries.
func (r *request) migrationCheck() (any, error) {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := r.find(r.parts[1])
	if err != nil {
		return nil, err
	}
	if err := unlocked(v, args{}); err != nil {
		return nil, err
	}
	if !s.quorate {
		return nil, fail("cluster not ready - no quorum?")
	}
	allowed, not := []string{}, object{}
	for _, n := range s.nodes {
		if n == r.node {
			continue
		}
		why := object{} // PVE: it stands there also when there is nothing against the node
		if missing := s.missingStorages(v, n); len(missing) > 0 {
			why["unavailable_storages"] = missing
		}
		if missing := s.unmapped(v, n); len(missing) > 0 {
			why["unavailable-resources"] = missing
		}
		if not[n.name] = why; len(why) == 0 {
			allowed = append(allowed, n.name)
		}
	}
	disks := []object{}
	for _, l := range s.localVolumes(v, args{}) {
		disks = append(disks, object{
			"volid": l.id, "drivename": l.key, "size": l.size, "cdrom": number(isCDROM(v.opts[l.key])), "shared": 0, "replicate": 1,
			"is_attached": number(!isUnused(l.key)), "is_unused": number(isUnused(l.key)), "is_cloudinit": number(l.ref == "generated"),
			"is_tpmstate": number(l.key == "tpmstate0"), "is_vmstate": 0,
		})
	}
	mapped, info := s.mappedInfo(v)
	o := object{
		"running": number(v.running), "allowed_nodes": allowed, "not_allowed_nodes": not, "local_disks": s.shuffle(disks),
		"local_resources": s.localDevices(v), "mapped-resources": mapped, "mapped-resource-info": info, "has-dbus-vmstate": 1,
	}
	if _, managed := s.ha[v.id]; managed {
		o["dependent-ha-resources"] = []string{}
	}
	return o, nil
}

// missingStorages are those of a VM that a node has not. Sim.mu must be held.
func (s *Sim) missingStorages(v *vm, n *node) []string {
	var out []string
	seen := map[string]bool{}
	for _, key := range v.disks() {
		id := volumeOf(v.opts[key])
		storage, _, _ := strings.Cut(id, ":")
		if id == "" || seen[storage] {
			continue
		}
		seen[storage] = true
		if st := s.store(n, storage); st == nil || st.spec.Disabled {
			out = append(out, storage)
		}
	}
	return out
}

// checkMigrate are the checks before there is a task. Sim.mu must be held.
func (c *call) checkMigrate(vmid string, to *node, a args) (v *vm, online bool, err error) {
	if v, err = c.find(vmid); err != nil {
		return nil, false, err
	}
	if err := unlocked(v, a); err != nil {
		return nil, false, err
	}
	if v.running && !a.is("online") {
		return nil, false, failStatus(25, "can't migrate running VM without --online")
	}
	return v, v.running, c.sim.checkTarget(v, to, a)
}

// checkTarget: the target has to have the storages. Sim.mu must be held.
func (s *Sim) checkTarget(v *vm, to *node, a args) error {
	for _, name := range mapped(a.values["targetstorage"]) {
		if !s.known(name) {
			return fail("storage '%s' does not exist", name)
		}
	}
	for _, key := range v.disks() {
		id := volumeOf(v.opts[key])
		if id == "" {
			continue
		}
		storage, path, _ := strings.Cut(id, ":")
		st := s.store(v.node, storage)
		if st == nil || st.node != "" {
			storage = mapStorage(a.values["targetstorage"], storage)
		}
		there := s.store(to, storage)
		switch {
		case !s.known(storage):
			return fail("storage '%s' does not exist", storage)
		case there == nil:
			return fail("storage '%s' is not available on node '%s'", storage, to.name)
		case there.spec.Disabled:
			return fail("storage '%s' is disabled", storage)
		case !there.holds(contentOf(path)):
			return fail("%s: content type '%s' is not available on storage '%s'", id, contentOf(path), storage)
		}
	}
	return nil
}

// mapped are the storages that --targetstorage names as targets.
func mapped(mapping string) (names []string) {
	for part := range strings.SplitSeq(mapping, ",") {
		_, to, pair := strings.Cut(part, ":")
		if !pair {
			to = part
		}
		if to != "" && to != "1" {
			names = append(names, to)
		}
	}
	return names
}

// mapStorage is --targetstorage: STORE, A:B,C:D, or 1 for the same names.
func mapStorage(mapping, storage string) string {
	fallback := storage
	for part := range strings.SplitSeq(mapping, ",") {
		from, to, pair := strings.Cut(part, ":")
		switch {
		case pair && from == storage:
			return to
		case !pair && part != "" && part != "1":
			fallback = part
		}
	}
	return fallback
}

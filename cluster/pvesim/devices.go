package pvesim

import (
	"maps"
	"slices"
	"strings"
)

// localDevices are what ties a VM to its node. PVE: of the mapped ones, USB is
// always among them, and PCI while the VM runs.
func (s *Sim) localDevices(v *vm) []string {
	out := []string{}
	for key, value := range v.opts {
		usb := indexed(key, "usb", 14) && !strings.Contains(value, "spice")
		serial := indexed(key, "serial", 3) && value != "socket"
		pci := indexed(key, "hostpci", 15)
		if pci && prop(value, "mapping") != "" {
			pci = v.running && !s.mapping(prop(value, "mapping")).Live
		}
		if usb || serial || pci || indexed(key, "parallel", 2) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// mapping finds a mapped device; the zero value is on no node.
func (s *Sim) mapping(name string) MappingSpec {
	for _, m := range s.opts.Mappings {
		if m.Name == name {
			return m
		}
	}
	return MappingSpec{Nodes: []string{""}}
}

// mappedDevices are the devices that a VM names by their mapping.
func (s *Sim) mappedDevices(v *vm) map[string]MappingSpec {
	out := map[string]MappingSpec{}
	for key, value := range v.opts {
		name := prop(value, "mapping")
		if name != "" && (indexed(key, "usb", 14) || indexed(key, "hostpci", 15)) {
			out[key] = s.mapping(name)
			m := out[key]
			m.Name = name
			out[key] = m
		}
	}
	return out
}

// unmapped are the mapped devices of a VM that a node has not.
func (s *Sim) unmapped(v *vm, n *node) []string {
	var out []string
	for key, m := range s.mappedDevices(v) {
		if len(m.Nodes) > 0 && !slices.Contains(m.Nodes, n.name) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// checkDevices says why a VM's devices keep it from a node. Sim.mu must be held.
func (s *Sim) checkDevices(v *vm, to *node, a args) error {
	mapped := s.mappedDevices(v)
	block := slices.DeleteFunc(s.localDevices(v), func(key string) bool { _, is := mapped[key]; return is })
	if len(block) > 0 && (v.running || !a.is("force")) {
		return fail("can't migrate VM which uses local devices: %s", strings.Join(block, ", "))
	}
	if missing := s.unmapped(v, to); len(missing) > 0 {
		return fail("can't migrate to '%s': missing mapped devices %s", to.name, strings.Join(missing, ", "))
	}
	var still []string
	for _, key := range slices.Sorted(maps.Keys(mapped)) {
		if !mapped[key].Live {
			still = append(still, key+":"+mapped[key].Name)
		}
	}
	if v.running && len(still) > 0 {
		return fail("can't live migrate running VM which uses following mapped devices: %s", strings.Join(still, ", "))
	}
	return nil
}

// mappedInfo is what the pre-check of a migration says of mapped devices.
func (s *Sim) mappedInfo(v *vm) (keys []string, info object) {
	info = object{}
	for key, m := range s.mappedDevices(v) {
		o := object{"name": m.Name}
		if m.Live {
			o["live-migration"] = 1
		}
		info[key] = o
	}
	keys = slices.AppendSeq([]string{}, maps.Keys(info))
	slices.Sort(keys)
	return keys, info
}

package cluster

import "strings"

// CPUType is the type in a VM's option cpu; PVE's default when it is not set.
func CPUType(cpu string) string {
	name, _, _ := strings.Cut(cpu, ",")
	if name = strings.TrimPrefix(name, "cputype="); name == "" {
		return "kvm64"
	}
	return name
}

// models are QEMU's named CPUs by the beginnings of their names, with the best of
// PVE's own types that each includes: less than that is too little for it.
var models = []struct{ prefix, least string }{
	{"EPYC-Genoa", "x86-64-v4"},
	{"EPYC-Turin", "x86-64-v4"},
	{"EPYC", "x86-64-v3"},
	{"Opteron_G4", "x86-64-v2-AES"},
	{"Opteron_G5", "x86-64-v2-AES"},
	{"Nehalem", "x86-64-v2"},
	{"Westmere", "x86-64-v2-AES"},
	{"SandyBridge", "x86-64-v2-AES"},
	{"IvyBridge", "x86-64-v2-AES"},
	{"Haswell", "x86-64-v3"},
	{"Broadwell", "x86-64-v3"},
	{"Skylake-Server", "x86-64-v4"},
	{"Skylake", "x86-64-v3"},
	{"Cascadelake", "x86-64-v4"},
	{"Cooperlake", "x86-64-v4"},
	{"Icelake-Server", "x86-64-v4"},
	{"Icelake", "x86-64-v3"},
	{"SapphireRapids", "x86-64-v4"},
	{"GraniteRapids", "x86-64-v4"},
	{"SierraForest", "x86-64-v3"},
	{"ClearwaterForest", "x86-64-v3"},
	{"KnightsMill", "x86-64-v3"},
}

// leastOf is the best of PVE's own CPU types that a type includes, "" when nobody
// can tell: host and max are whatever their node has, custom types whatever the
// cluster's administrators say.
func leastOf(cpu string) string {
	name := CPUType(cpu)
	if cpuRank(name) >= 0 {
		return name
	}
	for _, m := range models {
		if strings.HasPrefix(name, m.prefix) {
			return m.least
		}
	}
	return ""
}

// CPUFits reports whether a machine whose best type is baseline may run a VM of a
// CPU type: it has what is known that the type needs. Of types beyond PVE's own
// profiles that is not all, see CPUKnown.
func CPUFits(cpu, baseline string) bool { return cpuRank(leastOf(cpu)) <= cpuRank(baseline) }

// CPUKnown reports whether it is known what a CPU type needs of a machine: whether
// CPUFits is the whole truth about it.
func CPUKnown(cpu string) bool {
	switch name := CPUType(cpu); name {
	case "qemu64", "qemu32", "kvm32":
		return true
	default:
		return IsBaseline(name)
	}
}

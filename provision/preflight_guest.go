package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pvebot/cluster"
)

// What the VM itself asks of the node that it goes to: its CPU type, its devices,
// its snapshots.

func (f *flightCheck) lookAtCPUs(ctx context.Context) error {
	there, err := f.k.cluster.NodeStatus(ctx, f.s.To)
	if err != nil {
		return unreachable("node "+f.s.To, err)
	}
	f.baseline = cluster.BaselineOf(there.CPUFlags)
	f.lacks, f.unknown = f.k.unplugged(ctx, f.s.To, f.config)
	f.cpus = tooManyCPUs(cluster.Resources{Nodes: []cluster.Node{{Name: f.s.To, CPUs: there.CPUs}}}, f.s.To, f.config.CPUs().Most())
	if cluster.CPUKnown(f.cpu) {
		return nil
	}
	here, err := f.k.cluster.NodeStatus(ctx, f.ref.Node)
	if err != nil {
		return unreachable("node "+f.ref.Node, err)
	}
	for _, flag := range here.CPUFlags {
		if !slices.Contains(there.CPUFlags, flag) {
			f.missing = append(f.missing, flag)
		}
	}
	return nil
}

// judgeCPU says whether the target's CPU can be what the guest sees. Of types that
// are none of PVE's own profiles nobody can tell for sure: the target fits where it
// lacks nothing that the VM's present node has.
func (f *flightCheck) judgeCPU(block, warn func(bool, string, ...any)) {
	name := cluster.CPUType(f.cpu)
	fits := cluster.CPUFits(f.cpu, f.baseline)
	block(f.online && !fits, "its CPU type %s is more than %s can do (%s)", f.cpu, f.s.To, f.baseline)
	warn(!f.online && !fits, "its CPU type %s is more than %s can do (%s): it will not start there", f.cpu, f.s.To, f.baseline)
	if !fits || len(f.missing) == 0 {
		return
	}
	lacks := lackOf(f.missing)
	switch {
	case name == "host" || name == "max":
		block(f.online, "its CPU type is %s, and the CPU of %s lacks %s", f.cpu, f.s.To, lacks)
	default:
		warn(true, "its CPU type %s may be more than %s can do, whose CPU lacks %s", f.cpu, f.s.To, lacks)
	}
}

// lackOf names CPU flags, not more of them than people read.
func lackOf(flags []string) string {
	const most = 8
	if len(flags) <= most {
		return strings.Join(flags, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(flags[:most], ", "), len(flags)-most)
}

// judgeDevices looks at what the VM has of its node.
func (f *flightCheck) judgeDevices(block func(bool, string, ...any)) {
	for _, d := range f.check.LocalDevices {
		block(true, "it uses a device of its node: %s", d)
	}
	for _, m := range f.check.Mapped {
		block(m.Missing, "it uses the mapped device %s, and %s has none", m, f.s.To)
		block(!m.Missing && f.online && !m.Live, "it uses the mapped device %s, which can't move while it runs: shut it down first", m)
	}
}

// withSnapshots are the volumes that travel and have snapshots.
func (f *flightCheck) withSnapshots() (volumes []string) {
	if len(f.snapshots) == 0 {
		return nil
	}
	for _, d := range f.disks() {
		volumes = append(volumes, d.Volume)
	}
	return volumes
}

// keepsSnapshots reports whether a volume can be copied together with its
// snapshots. PVE: ZFS, btrfs, and qcow2 files that hold their snapshots inside.
func (f *flightCheck) keepsSnapshots(volume string) bool {
	switch storageType(f.resources, f.ref.Node, volume) {
	case "zfspool", "btrfs":
		return true
	}
	return strings.HasSuffix(volume, ".qcow2") && !f.chained[volume]
}

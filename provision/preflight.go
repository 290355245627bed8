package provision

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"pvebot/cluster"
)

// previewMigrate is the pre-flight: everything that PVE, the CPUs and the
// storages say about moving the VM.
func (k *kit) previewMigrate(ctx context.Context, s Migrate) (Plan, error) {
	f, err := k.preflight(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	return f.plan(ctx), nil
}

func (k *kit) preflight(ctx context.Context, s Migrate) (*flightCheck, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	f := &flightCheck{k: k, s: s, ref: ref, config: c, cpu: cmp.Or(c.Options["cpu"], "kvm64")} // PVE's default
	if err := f.look(ctx); err != nil {
		return nil, err
	}
	f.judge()
	return f, nil
}

// flightCheck is one look at a migration.
type flightCheck struct {
	k      *kit
	s      Migrate
	ref    VMRef
	config cluster.VMConfig
	cpu    string

	cpus    error    // why the target has too few for it
	lacks   []string // bridges that the target has not
	unknown string   // why nobody knows them

	member    cluster.Membership
	resources cluster.Resources
	asked     bool                   // PVE says nothing about a locked VM, or without a quorum
	check     cluster.MigrationCheck // what it says
	snapshots []cluster.VMSnapshot
	ha        bool
	baseline  string          // of the target
	missing   []string        // flags of the source's CPU that the target's has not
	chained   map[string]bool // volumes whose snapshots are chains of volumes
	online    bool

	warnings, blockers []string
}

func (f *flightCheck) look(ctx context.Context) error {
	var err error
	if f.member, err = f.k.cluster.Membership(ctx); err != nil {
		return unreachable("the cluster", err)
	}
	if f.resources, err = f.k.view.resources(ctx); err != nil {
		return err
	}
	if err := usableNode(f.resources, f.s.To); err != nil {
		return err
	}
	if f.ref.Node == f.s.To {
		return Errorf(Conflict, "%s is on %s already", f.ref, f.s.To)
	}
	managed, err := f.k.cluster.HAManaged(ctx)
	if err != nil {
		return unreachable("the cluster", err)
	}
	f.ha = managed[f.ref.VMID]
	if f.asked = f.config.Lock() == "" && f.member.Quorate; f.asked {
		if f.check, err = f.k.cluster.MigrationCheck(ctx, f.ref.Node, f.ref.VMID, f.s.To); err != nil {
			return unreachable(f.ref.String(), err)
		}
	}
	f.online = f.check.Running
	if f.snapshots, err = f.k.cluster.Snapshots(ctx, f.ref.Node, f.ref.VMID); err != nil {
		return unreachable(f.ref.String(), err)
	}
	if f.chained, err = f.k.chains(ctx, f.resources, f.ref.Node, f.withSnapshots()); err != nil {
		return err
	}
	return f.lookAtCPUs(ctx)
}

func (f *flightCheck) judge() {
	block := func(when bool, format string, a ...any) {
		if when {
			f.blockers = append(f.blockers, fmt.Sprintf(format, a...))
		}
	}
	warn := func(when bool, format string, a ...any) {
		if when {
			f.warnings = append(f.warnings, fmt.Sprintf(format, a...))
		}
	}
	block(!f.member.Quorate, "the cluster has no quorum")
	block(f.config.Lock() != "", "it is locked (%s)", f.config.Lock())
	block(f.ha, "it is managed by PVE's high availability (%s)", outOfHA(f.ref.VMID))
	block(f.k.settings.BotVMID == f.ref.VMID && f.ref.VMID != 0, "the bot itself runs in it")
	block(f.s.Mode == "offline" && f.online, "it runs: shut it down first, or migrate it online")
	block(f.s.Mode == "online" && !f.online, "it does not run: migrate it offline")
	f.judgeDevices(block)
	for _, sid := range f.check.Blocking {
		block(true, "%s must not be on the same node", sid)
	}
	for _, image := range f.images() {
		block(true, "a CD-ROM image is on local storage: %s", image)
	}
	for _, d := range f.disks() {
		base := linkedTo(d.Volume)
		block(base != "", "%s is a linked clone of %s, which stays", d.Volume, base)
		block(len(f.snapshots) > 0 && base == "" && !f.online && !f.keepsSnapshots(d.Volume), "snapshots can't travel with %s: its storage has no format that keeps them", d.Volume)
	}
	block(len(f.snapshots) > 0 && len(f.disks()) > 0 && f.online, "it has snapshots, and disks on local storage can't be moved with them while it runs")
	f.judgeStorages(block, warn)
	if f.cpus != nil {
		say, _ := Explain(f.cpus)
		block(f.online, "%s", say)
		warn(!f.online, "%s; it will not start there", say)
	}
	block(f.online && len(f.lacks) > 0, "%s has no bridge %s", f.s.To, strings.Join(f.lacks, ", "))
	warn(!f.online && len(f.lacks) > 0, "%s has no bridge %s: it will not start there", f.s.To, strings.Join(f.lacks, ", "))
	warn(f.unknown != "", "%s", f.unknown)
	f.judgeCPU(block, warn)
	warn(f.online && f.freeMemory() < f.memory(), "%s has %s of memory free, it needs %s", f.s.To, size(f.freeMemory()>>20), size(f.memory()>>20))
}

// judgeStorages looks at where the disks go.
func (f *flightCheck) judgeStorages(block, warn func(bool, string, ...any)) {
	need := f.targets()
	for _, name := range slices.Sorted(maps.Keys(need)) {
		err := usableStorage(f.resources, f.s.To, name, need[name]>>20, 0)
		if err == nil {
			continue
		}
		say, _ := Explain(err)
		warn(KindOf(err) == Full, "%s", say) // thin storages may hold it all the same
		block(KindOf(err) != Full, "%s", say)
	}
	for _, name := range f.check.Unavailable {
		_, judged := need[name]
		block(f.s.Storage == "" && !judged, "%s has no storage %s: choose one with --storage", f.s.To, name)
	}
}

// images are CD-ROM images on storages that are not shared. The cloud-init
// drive is none: PVE makes it anew.
func (f *flightCheck) images() []string {
	var out []string
	for _, d := range f.check.LocalDisks {
		if d.CDROM && !strings.Contains(d.Volume, "cloudinit") {
			out = append(out, d.Volume)
		}
	}
	return out
}

// disks are the disks that travel.
func (f *flightCheck) disks() []cluster.LocalDisk {
	return slices.DeleteFunc(slices.Clone(f.check.LocalDisks), func(d cluster.LocalDisk) bool { return d.CDROM })
}

// moved is how many bytes of them travel.
func (f *flightCheck) moved() int64 {
	var sum int64
	for _, d := range f.disks() {
		sum += d.Size
	}
	return sum
}

// targets are the storages that the disks go to, with the bytes for each.
func (f *flightCheck) targets() map[string]int64 {
	need := map[string]int64{}
	for _, d := range f.disks() {
		here, _, _ := strings.Cut(d.Volume, ":")
		need[cmp.Or(f.s.Storage, here)] += d.Size
	}
	return need
}

// linked matches the volume of a linked clone: its base stands in its path.
var linked = regexp.MustCompile(`[:/](base-\d+-[^/]+)/`)

// linkedTo is the base that a volume is a linked clone of, "" for none.
func linkedTo(volume string) string {
	if m := linked.FindStringSubmatch(volume); m != nil {
		return m[1]
	}
	return ""
}

func (f *flightCheck) freeMemory() int64 {
	for _, n := range f.resources.Nodes {
		if n.Name == f.s.To {
			return n.MaxMem - n.Mem
		}
	}
	return 0
}

// memory is what the VM may use, in bytes.
func (f *flightCheck) memory() int64 { return int64(option(f.config, "memory", 512)) << 20 }

func (f *flightCheck) mode() string {
	if f.online {
		return "online"
	}
	return "offline"
}

// travels is how many bytes a migration copies: disks, and the memory of a VM
// that runs.
func (f *flightCheck) travels() int64 {
	if f.online {
		return f.moved() + f.memory()
	}
	return f.moved()
}

func (f *flightCheck) plan(ctx context.Context) Plan {
	p := Plan{
		Title:    fmt.Sprintf("migrate %s to %s", f.ref, f.s.To),
		Verdict:  fmt.Sprintf("%s, from %s to %s, with %s", f.mode(), f.ref.Node, f.s.To, f.luggage()),
		Lines:    f.lines(),
		Warnings: f.warnings, Blockers: f.blockers,
		Estimate: f.k.usualMove(ctx, f.travels()),
	}
	if len(p.Blockers) > 0 {
		p.Verdict = "it can't be done as things are"
	}
	var disks []string
	for _, d := range f.check.LocalDisks {
		disks = append(disks, d.Volume)
	}
	p.Digest = digest(f.k.cluster.Name(), f.ref.VMID, f.ref.UUID, "migrate", f.ref.Node, f.s.To, f.mode(), disks, f.s.Storage, len(f.warnings) > 0, len(f.blockers))
	return p
}

func (f *flightCheck) luggage() string {
	if len(f.disks()) == 0 {
		return "no local disks"
	}
	return fmt.Sprintf("%s of %s", count(len(f.disks()), "local disk"), size(f.moved()>>20))
}

// lines are the findings, one for each question.
func (f *flightCheck) lines() []string {
	var out []string
	line := func(name, format string, a ...any) {
		out = append(out, fmt.Sprintf("%-13s %s", name, fmt.Sprintf(format, a...)))
	}
	line("quorum", "%s", yesNo(f.member.Quorate))
	line("lock", "%s", cmp.Or(f.config.Lock(), "none"))
	line("HA", "%s", yesNo(f.ha))
	if !f.asked {
		return out
	}
	line("mode", "%s, from %s to %s", f.mode(), f.ref.Node, f.s.To)
	line("disks", "%s", f.luggage())
	for _, d := range f.disks() {
		line("", "%s, %s", d.Volume, size(d.Size>>20))
	}
	need := f.targets()
	for _, name := range slices.Sorted(maps.Keys(need)) {
		line("storage", "%s on %s has %s free", name, f.s.To, f.freeStorage(name))
	}
	line("CD-ROM", "%s", cmp.Or(strings.Join(f.images(), ", "), "no local image"))
	line("devices", "%s", cmp.Or(strings.Join(f.check.LocalDevices, ", "), "none of its node"))
	line("snapshots", "%d", len(f.snapshots))
	clones := slices.ContainsFunc(f.disks(), func(d cluster.LocalDisk) bool { return linkedTo(d.Volume) != "" })
	line("linked clone", "%s", yesNo(clones))
	line("CPU type", "%s; %s can do %s", f.cpu, f.s.To, f.baseline)
	line("memory", "%s; %s has %s free", size(f.memory()>>20), f.s.To, size(f.freeMemory()>>20))
	return out
}

func (f *flightCheck) freeStorage(name string) string {
	for _, s := range f.resources.Storages {
		if s.Node == f.s.To && s.Name == name {
			return size(s.Avail >> 20)
		}
	}
	return "nothing"
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// usualMove is how long it takes to move so many bytes, by the speed of past
// migrations: the median, 0 when there are none.
func (k *kit) usualMove(ctx context.Context, bytes int64) time.Duration {
	var took []time.Duration
	for _, j := range k.succeeded(ctx) {
		s, migration := j.Order.Spec.(Migrate)
		if !migration || j.Facts.Bytes == 0 {
			continue
		}
		if step := j.Step("migrating"); step != nil && s.To != "" {
			took = append(took, time.Duration(float64(step.Ended.Sub(step.Started))*float64(bytes)/float64(j.Facts.Bytes)))
		}
	}
	return median(took)
}

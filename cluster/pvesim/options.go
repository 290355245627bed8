package pvesim

import (
	"cmp"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"pvebot/cluster"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

// Options say what cluster to simulate. The zero value is the default cluster
// `sim` of three nodes, without any latency.
type Options struct {
	Name     string        // of the cluster; default sim
	Nodes    []NodeSpec    // default DefaultNodes
	Storages []StorageSpec // default DefaultStorages
	Guests   []GuestSpec   // what is there already; default DefaultGuests
	Empty    bool          // no guests at the start
	Gateway  netip.Prefix  // the gateway with its network; default 192.168.0.1/24
	Bridges  []string      // on each node that names none of its own; default vmbr0
	VNets    []VNetSpec    // of the software-defined network
	Mappings []MappingSpec // devices that VMs can name instead of their node's own
	// CPUModels are custom CPU models: name -> flags that a node needs for it,
	// blank separated.
	CPUModels map[string]string
	// Answering are further addresses where something answers a ping, beside
	// the gateway, the nodes and the running guests.
	Answering []netip.Addr
	// Version is the nodes' pve-manager; default 9.2.11. Before 9, less is
	// printed; before 8.4, only OVA files can be downloaded to be imported.
	Version string
	Web     map[string][]byte // URL -> body, what wget finds; default DefaultWeb
	Latency Latency           // default none
	// Machine makes what is behind a VM at its first start; default is a simulated
	// guest.
	Machine func(MachineConfig) Machine
	// Statd is how long a new VM's entry of /cluster/resources has no
	// statistics; PVE: pvestatd sends them every 10 s. Default 10 s; negative
	// means that they are there at once.
	Statd time.Duration
	Clock cluster.Clock // default cluster.SystemClock
	// Dir is where nodes have their files; removed by Close when New made it.
	// Keep it short: Unix socket paths hold no more than 107 bytes.
	Dir  string
	Log  *slog.Logger // default: discards
	Seed uint64       // of MAC addresses, uuids and array orders; default 1
}

// NodeSpec is a node of the cluster.
type NodeSpec struct {
	Name   string
	CPUs   int
	Memory int64  // bytes
	Flags  string // of its CPU, blank separated as in /proc/cpuinfo
	Model  string // of its CPU
	IP     netip.Addr
	// Bridges are the node's own; nil for those of Options.
	Bridges []string
}

// MappingSpec is a device that the cluster knows by a name, whatever its place
// is on each node: hostpci0: mapping=NAME.
type MappingSpec struct {
	Name  string
	Nodes []string // that have it; empty: all
	Live  bool     // running VMs can take it along
}

// VNetSpec is a vnet of the software-defined network: to VMs it is a bridge,
// on the nodes of its zone.
type VNetSpec struct {
	Name  string
	Zone  string   // default localzone
	Nodes []string // of the zone; empty: all
}

// StorageSpec is a storage of the cluster. One that is not shared exists once
// per node.
type StorageSpec struct {
	Name     string
	Type     string   // dir, nfs, cifs, cephfs, btrfs, lvm, lvmthin, zfspool, rbd
	Content  []string // images, rootdir, import, iso, vztmpl, backup, snippets
	Shared   bool
	Disabled bool
	// VolumeChain is snapshot-as-volume-chain (PVE 9): dir, nfs, cifs, lvm.
	VolumeChain bool
	Nodes       []string // where it is; empty: on all
	Capacity    int64    // bytes, per node unless shared
	Used        int64    // bytes taken by things the simulation does not know
	Volumes     []VolumeSpec
}

// VolumeSpec is a volume that is there from the start and belongs to no VM.
type VolumeSpec struct {
	Path   string // below the storage, e.g. import/debian-12.qcow2
	Size   int64  // bytes it takes
	Format string // raw, qcow2, iso, ...
	Grown  int64  // virtual size in bytes; default Size
}

// GuestSpec is a VM or container that is there from the start.
type GuestSpec struct {
	VMID     int
	Node     string
	Name     string
	Type     string // qemu (default) or lxc
	IP       string // as an ipconfig value has it, e.g. 192.168.0.101/24; "" for none
	Cores    int
	MemoryMB int
	Disk     int64  // bytes
	Storage  string // default local-lvm
	Running  bool
	Template bool
	Tags     string
	Options  map[string]string // further lines of its conf file
}

// Latency is how long things take. Zero values take no time at all.
type Latency struct {
	QM        time.Duration // start-up of each qm and pvesm call
	PVESH     time.Duration // start-up of each pvesh call
	Alloc     time.Duration // allocating a volume
	Import    time.Duration // copying an image into a volume
	Download  time.Duration // a download by wget
	Resize    time.Duration
	Start     time.Duration // from qm start to a running VM
	Boot      time.Duration // from a running VM to an sshd that answers
	CloudInit time.Duration // from there to `cloud-init status: done`
	Init      time.Duration // what an init script takes in the guest
	Shutdown  time.Duration // from the ACPI event to power off
	Migrate   time.Duration // copying a VM's disks, and half of it again for its memory
	Clone     time.Duration // copying a disk
	Snapshot  time.Duration // taking, removing or going back to a snapshot of a disk
	HA        time.Duration // until the HA manager does what it was asked for
	Destroy   time.Duration
	PingLost  time.Duration // what ping waits for an answer that never comes
	AgentLost time.Duration // what qm waits for a guest agent that does not answer
}

// RealisticLatency makes an install take about half a minute: for people to
// watch.
func RealisticLatency() Latency {
	return Latency{
		QM:        350 * time.Millisecond,
		PVESH:     450 * time.Millisecond,
		Alloc:     300 * time.Millisecond,
		Import:    6 * time.Second,
		Download:  5 * time.Second,
		Resize:    400 * time.Millisecond,
		Start:     900 * time.Millisecond,
		Boot:      4 * time.Second,
		CloudInit: 3 * time.Second,
		Init:      5 * time.Second,
		Shutdown:  2 * time.Second,
		Migrate:   12 * time.Second,
		Clone:     8 * time.Second,
		Snapshot:  700 * time.Millisecond,
		HA:        5 * time.Second,
		Destroy:   700 * time.Millisecond,
		PingLost:  time.Second,
		AgentLost: 3 * time.Second,
	}
}

// CPU flags by x86-64 level, in /proc/cpuinfo's spelling.
const (
	flagsBase = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx rdtscp lm constant_tsc rep_good nopl cpuid cx16 lahf_lm hypervisor"
	flagsV2   = flagsBase + " pni ssse3 sse4_1 sse4_2 popcnt"
	flagsAES  = flagsV2 + " aes"
	flagsV3   = flagsAES + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
	flagsV4   = flagsV3 + " avx512f avx512bw avx512cd avx512dq avx512vl"
)

// DefaultNodes are pve1 and pve2 with an x86-64-v4 CPU and pve3, where it is
// an older x86-64-v3.
func DefaultNodes() []NodeSpec {
	return []NodeSpec{
		{Name: "pve1", CPUs: 16, Memory: 64 * gib, Flags: flagsV4, Model: "AMD EPYC 9124 16-Core Processor"},
		{Name: "pve2", CPUs: 16, Memory: 64 * gib, Flags: flagsV4, Model: "AMD EPYC 9124 16-Core Processor"},
		{Name: "pve3", CPUs: 8, Memory: 32 * gib, Flags: flagsV3, Model: "Intel(R) Xeon(R) CPU E5-2620 v3 @ 2.40GHz"},
	}
}

// DefaultStorages are local (files) and local-lvm (thin volumes) on each node,
// and the shared NFS storage nfs.
func DefaultStorages() []StorageSpec {
	return []StorageSpec{
		{Name: "local", Type: "dir", Content: []string{"iso", "vztmpl", "backup", "snippets"}, Capacity: 94 * gib, Used: 12 * gib},
		{Name: "local-lvm", Type: "lvmthin", Content: []string{"images", "rootdir"}, Capacity: 800 * gib, Used: 60 * gib},
		{Name: "nfs", Type: "nfs", Content: []string{"images", "import", "iso", "backup"}, Shared: true, Capacity: 4 * tib, Used: 900 * gib},
	}
}

// DefaultGuests are two running VMs, a stopped one, a template and a
// container.
func DefaultGuests() []GuestSpec {
	return []GuestSpec{
		{VMID: 101, Node: "pve1", Name: "gitlab", IP: "192.168.0.101/24", Cores: 4, MemoryMB: 8192, Disk: 64 * gib, Running: true, Tags: "prod"},
		{VMID: 102, Node: "pve2", Name: "monitoring", IP: "192.168.0.102/24", Cores: 2, MemoryMB: 4096, Disk: 32 * gib, Running: true, Tags: "prod"},
		{VMID: 103, Node: "pve3", Name: "old-wiki", IP: "192.168.0.103/24", Cores: 1, MemoryMB: 1024, Disk: 16 * gib},
		{VMID: 120, Node: "pve2", Name: "dns", Type: "lxc", IP: "192.168.0.120/24", Cores: 1, MemoryMB: 512, Disk: 4 * gib, Running: true},
		{VMID: 900, Node: "pve1", Name: "golden", Cores: 2, MemoryMB: 2048, Disk: 8 * gib, Template: true},
	}
}

func (o *Options) defaults() {
	if o.Name == "" {
		o.Name = "sim"
	}
	if o.Nodes == nil {
		o.Nodes = DefaultNodes()
	}
	if o.Storages == nil {
		o.Storages = DefaultStorages()
	}
	if o.Guests == nil && !o.Empty {
		o.Guests = DefaultGuests()
	}
	if !o.Gateway.IsValid() {
		o.Gateway = netip.MustParsePrefix("192.168.0.1/24")
	}
	if o.Bridges == nil {
		o.Bridges = []string{"vmbr0"}
	}
	if o.Version == "" {
		o.Version = "9.2.11"
	}
	if o.Web == nil {
		o.Web = DefaultWeb()
	}
	if o.Statd == 0 {
		o.Statd = 10 * time.Second
	}
	if o.Clock == nil {
		o.Clock = cluster.SystemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	o.Nodes = slices.Clone(o.Nodes) // the caller's stays as it is
	o.Web = maps.Clone(o.Web)
	for i := range o.Nodes {
		if !o.Nodes[i].IP.IsValid() {
			o.Nodes[i].IP = hostAddr(o.Gateway, 11+i)
		}
		if o.Nodes[i].Bridges == nil {
			o.Nodes[i].Bridges = o.Bridges
		}
	}
	o.VNets = slices.Clone(o.VNets)
	for i := range o.VNets {
		o.VNets[i].Zone = cmp.Or(o.VNets[i].Zone, "localzone")
	}
}

// hostAddr is the nth address of a network.
func hostAddr(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

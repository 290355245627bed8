package cluster

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Nodes gives the Runner of each node of the cluster.
// It may be used by many goroutines at once.
type Nodes interface {
	// Names are all configured nodes, sorted. Cluster-wide questions are asked
	// the first one first, as long as it answers.
	Names() []string
	// Node returns the Runner of a node, ErrNoNode (wrapped) for an unknown
	// name. It does not connect.
	Node(name string) (Runner, error)
	// Dial opens a TCP connection to addr as seen from the node
	// (direct-tcpip through its SSH connection; a plain dial when the node is
	// this machine).
	Dial(ctx context.Context, node, addr string) (net.Conn, error)
	// Close ends all connections and waits for their goroutines.
	Close() error
}

// Config says how a Cluster finds its things on the nodes.
type Config struct {
	Name        string        // of the cluster, as jobs and slots call it; default "pve"
	PVEEtc      string        // default /etc/pve
	RunDir      string        // where tasks live on a node; default /run/pvebot
	BootIDFile  string        // changes with every boot of a node; default /proc/sys/kernel/random/boot_id
	Clock       Clock         // default SystemClock
	Timeout     time.Duration // of a command that only looks; default 60 s
	WorkTimeout time.Duration // of a command that waits for PVE to do something: start, stop, resize, destroy; default 10 min
	// Groups are nodes among which VMs are migrated: each group has a CPU
	// baseline of its own. The nodes that none names are one group.
	Groups [][]string
}

func (cfg Config) withDefaults() Config {
	cfg.Name = cmp.Or(cfg.Name, "pve")
	cfg.PVEEtc = cmp.Or(cfg.PVEEtc, "/etc/pve")
	cfg.RunDir = cmp.Or(cfg.RunDir, "/run/pvebot")
	cfg.BootIDFile = cmp.Or(cfg.BootIDFile, "/proc/sys/kernel/random/boot_id")
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute)
	cfg.WorkTimeout = cmp.Or(cfg.WorkTimeout, 10*time.Minute)
	if cfg.Clock == nil {
		cfg.Clock = SystemClock{}
	}
	return cfg
}

// Cluster is a Proxmox VE cluster: the typed calls, over Nodes and Tasks.
// Calls about one VM take the node where it lives, looked up by Locate right
// before; qm never proxies (PVE: run on another node it
// says that the VM does not exist).
// A Cluster may be used by many goroutines at once.
type Cluster struct {
	nodes Nodes
	tasks Tasks
	cfg   Config

	cpus  cpus
	reads reads
	first atomic.Int64 // of nodes.Names(): who is asked first, see ask
}

// Guest is an entry of /etc/pve/.vmlist: a VM or a container.
type Guest struct {
	VMID int
	Node string
	Type string // qemu or lxc
}

// Member is a node as /etc/pve/.members has it.
type Member struct {
	Name   string
	Online bool
	IP     netip.Addr // zero when unknown
}

// Membership is the cluster as one node sees it.
type Membership struct {
	Cluster string   // "" on a stand-alone node
	Quorate bool     // true on a stand-alone node
	Version int      // rises with every change
	Members []Member // sorted by name
}

// VM is a VM or container of /cluster/resources. Statistics are absent (zero)
// for a fresh VM and on a silent node; Known says whether
// they are there.
type VM struct {
	VMID     int
	Name     string
	Node     string
	Type     string // qemu or lxc
	Status   string // running, stopped, paused, unknown, ...
	Known    bool
	Template bool
	CPUs     int
	CPU      float64 // fraction of CPUs in use
	Mem      int64   // bytes in use
	MaxMem   int64   // bytes
	MaxDisk  int64   // bytes
	Uptime   time.Duration
	Lock     string
	Tags     []string
}

// Node is a node of /cluster/resources.
type Node struct {
	Name   string
	Status string // online, offline, unknown
	CPUs   int
	CPU    float64 // fraction in use
	Mem    int64   // bytes in use
	MaxMem int64
	Uptime time.Duration
	// HAState is what high availability says of it: online, maintenance, ...;
	// "" when it says nothing.
	HAState string
	// Failing says why this program's newest try to connect to it failed, as
	// Reason does; "" when it did not, or there was none.
	Failing string
}

// Storage is a storage as one node sees it.
type Storage struct {
	Name               string
	Node               string
	Type               string   // dir, nfs, lvmthin, zfspool, rbd, ...
	Content            []string // sorted: images, import, iso, snippets, ...
	Shared             bool
	Enabled            bool
	Active             bool
	Total, Used, Avail int64 // bytes
}

// Resources is the one dear call (`pvesh get /cluster/resources`), everything
// sorted by id or name.
type Resources struct {
	VMs      []VM
	Nodes    []Node
	Storages []Storage
}

// VMConfig is a VM's conf file: the part above the first section header.
type VMConfig struct {
	Node        string
	VMID        int
	Options     map[string]string // raw values by option name, without description and cipassword
	Description string            // decoded
	Digest      string            // SHA-1 of the file, as `qm set --digest` wants it
}

// UUID is the VM's smbios uuid, "" when it has none.
func (c VMConfig) UUID() string { return property(c.Options["smbios1"], "uuid") }

// Lock is the value of the VM's lock option, "" when it is not locked.
func (c VMConfig) Lock() string { return c.Options["lock"] }

// Volume is a volume on a storage.
type Volume struct {
	ID      string // STORE:PATH, never built by hand
	Content string // images, import, iso, ...
	Format  string
	Size    int64  // bytes
	VMID    int    // 0 when nobody owns it
	Parent  string // what it stands on, as PVE says it; "" when it stands alone
}

// NodeStatus is what `pvesh get /nodes/N/status` tells.
type NodeStatus struct {
	CPUFlags []string // in /proc/cpuinfo's spelling
	CPUs     int
	Load1    float64
	MemTotal int64  // bytes
	MemFree  int64  // bytes: available where PVE says it (9+), else free
	Version  string // e.g. pve-manager/9.2.11/<hash>
}

// NewVM is what `qm create` shall make, in one call with import-from.
type NewVM struct {
	VMID         int
	Name         string // DNS name
	Cores        int
	MemoryMB     int
	BalloonMB    int // 0: option left out
	NUMA         bool
	CPU          string // x86-64-v2-AES, kvm64, ...
	Storage      string // where disk and cloud-init drive go
	Format       string // of the disk: raw, qcow2; "" leaves it to the storage
	ImportFrom   string // volume id or absolute path on the node
	Bridge       string // vmbr0
	VLAN         int    // 0: untagged
	MAC          string // of its network card; "" for a new one
	IPConfig     string // ip=192.168.0.101/24,gw=192.168.0.1
	Nameserver   string // "" leaves it to the node
	User         string
	PasswordHash string // $5$ or $6$; "" means none; clear text is refused
	SSHKeys      string // authorized_keys lines; travels by stdin
	UUID         string // smbios uuid, chosen by us
	Tags         []string
	Description  string
	OnBoot       bool // it starts with its node
}

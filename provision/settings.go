package provision

import (
	"cmp"
	"context"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/alloc"
)

// Settings are the operator's choices for new VMs.
type Settings struct {
	MainNode   string     // asked first
	Pool       alloc.Pool // of VMIDs and addresses
	Networks   []Network  // beside the default one, which is Pool on Bridge
	Storage    string     // default for disks and cloud-init drives
	Bridge     string     // default vmbr0
	Nameserver string     // "": the node's own
	ImageDir   string     // on the nodes; default /var/lib/pvebot/images
	// TemplateStart and TemplateEnd are the VMIDs of templates; default 9000 to
	// 9099.
	TemplateStart, TemplateEnd int
	// ImageStorage is the storage that images are downloaded to; "" is any with
	// the content `import`, none is the folder ImageDir.
	ImageStorage string
	// ImageRefresh is how old a look at an image's server may be; default 24 h,
	// below 0 none is new enough.
	ImageRefresh time.Duration
	AdminKeys    []string // authorized_keys lines for every VM
	MaxCores     int      // 0: no limit, as below
	MaxMemoryMB  int
	MaxDiskMB    int64
	BalloonMinMB int // see balloon
	// ParallelImports is how many disks are imported on one node at once, by
	// all bots; default 2. More than that only fight for its disks.
	ParallelImports int
	// BotVMID is the VM that the bot or its database runs in: it is never
	// stopped, destroyed or moved by us. 0: none.
	BotVMID int
	// Stall is how long nothing may move in a guest until it is given up; default
	// 5 minutes.
	Stall  time.Duration
	OnBoot bool // new VMs start with their node
	// InitEnv are options of the init scripts: PVEBOT_TIMEZONE and so on.
	InitEnv map[string]string
}

// What a VM has when nobody says.
const (
	defaultCores    = 2
	defaultMemoryMB = 2048
)

// GuestAccess is how the bot gets into the VMs that it makes.
type GuestAccess struct {
	Signers []ssh.Signer
	// PublicKey is the authorized_keys line of the first signer.
	PublicKey string
	// Dial opens a connection to a guest's address; node is where it lives.
	Dial func(ctx context.Context, node, addr string) (net.Conn, error)
}

// balloon is the balloon option of a VM with memory MiB, 0 for none: with a
// VM_BALLOON_MIN set, a VM that has at least 1 GiB more may shrink by it, and
// one of 64 GiB or more down to 48 GiB.
func (s Settings) balloon(memory int) int {
	switch {
	case s.BalloonMinMB == 0 || memory < s.BalloonMinMB+1024:
		return 0
	case memory >= 65536:
		return 49152
	}
	return memory - s.BalloonMinMB
}

// balloonThen is the balloon option of a VM that was so large and gets memory
// MiB, 0 for as it is. One that the bot chose is chosen anew; another only has to
// fit. PVE refuses a balloon that is larger than the memory, also one that is
// deleted in the same command.
func (s Settings) balloonThen(was Size, memory int) int {
	switch {
	case memory == 0 || was.BalloonMB == 0:
		return 0
	case was.BalloonMB == s.balloon(was.MemoryMB):
		return cmp.Or(s.balloon(memory), memory)
	}
	return min(was.BalloonMB, memory)
}

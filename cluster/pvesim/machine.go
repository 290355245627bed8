package pvesim

import (
	"net"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim/simguest"
)

// Machine is what is behind a VM: a simulated guest, or a machine of somebody
// else's making, such as a real one. All but Serve and Close are called with the
// cluster held, and must not wait for what the cluster does.
type Machine interface {
	// Boot switches it on; one that is on stays as it is.
	Boot()
	// Stop pulls the plug.
	Stop()
	// Close switches it off for ever, with its disk, and waits for every Serve.
	Close()
	// Serve connects conn with its SSH server until either end closes.
	Serve(conn net.Conn)
	// Agent tells whether its guest agent answers.
	Agent() bool
	// HostKey is that of its SSH server, nil where nobody can know it.
	HostKey() ssh.PublicKey
	// Disk copies what is on its disk, for clones and snapshots, and PutDisk puts
	// that back; nil where there are no such copies.
	Disk() *simguest.Disk
	PutDisk(*simguest.Disk)
}

// A PowerButton is on machines that power off by themselves when it is pressed,
// after a while or never. The others do as they are told.
type PowerButton interface{ Press() }

// MachineConfig is what a VM is as it is started for the first time.
type MachineConfig struct {
	VMID   int
	IP     netip.Addr // zero where it has no static one
	MAC    string     // of net0
	Cores  int
	Memory int64 // bytes
	Disk   int64 // bytes, of scsi0
	// What its cloud-init drive holds.
	UserData, NetworkConfig, MetaData string
	// OnPowerOff has to be called when it went off by itself. It waits for the
	// cluster.
	OnPowerOff func()
}

func (v *vm) mac() string { return macOf(v.opts["net0"]) }

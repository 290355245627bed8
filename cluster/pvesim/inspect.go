package pvesim

import (
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/crypto/ssh"
)

// VMState is a VM or container as the simulation knows it.
type VMState struct {
	VMID        int
	Type        string // qemu or lxc
	Node        string
	Name        string
	Running     bool
	Lock        string
	IP          netip.Addr
	Description string
	Options     map[string]string // its conf file
	HostKey     ssh.PublicKey     // of its sshd; nil before the first start
}

// VMs are all VMs and containers, by VMID.
func (s *Sim) VMs() []VMState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []VMState
	for _, v := range s.sortedVMs() {
		st := VMState{
			VMID: v.id, Type: v.typ, Node: v.node.name, Name: v.name(), Running: v.running, Lock: v.opts["lock"],
			IP: v.ip, Description: v.description, Options: maps.Clone(v.opts),
		}
		if v.guest != nil {
			st.HostKey = v.guest.HostKey()
		}
		out = append(out, st)
	}
	return out
}

// VM finds one VM or container.
func (s *Sim) VM(vmid int) (VMState, bool) {
	all := s.VMs()
	i := slices.IndexFunc(all, func(v VMState) bool { return v.VMID == vmid })
	if i < 0 {
		return VMState{}, false
	}
	return all[i], true
}

// Volume is a volume as the simulation knows it.
type Volume struct {
	ID   string
	Node string // "" on a shared storage
	VMID int    // 0: nobody's
	Size int64  // bytes
}

// Volumes are all volumes, by storage, node and path.
func (s *Sim) Volumes() []Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Volume
	for _, st := range s.stores {
		for _, v := range st.sorted() {
			out = append(out, Volume{ID: st.id(v), Node: st.node, VMID: v.vmid, Size: v.size})
		}
	}
	return out
}

// Orphans are the volumes that carry the number of a VM whose conf file does
// not name them, or of none that is there.
func (s *Sim) Orphans() []Volume {
	all := s.Volumes()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(all, func(vol Volume) bool {
		v := s.vms[vol.VMID]
		if vol.VMID == 0 {
			return true
		}
		if v == nil || vol.Node != "" && vol.Node != v.node.name {
			return false
		}
		for _, d := range v.opts {
			if volumeOf(d) == vol.ID {
				return true
			}
		}
		return false
	})
}

// Running are the tasks that run on the nodes, by UPID.
func (s *Sim) Running() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var upids []string
	for _, t := range s.tasks {
		if t.status == "" && !t.dead {
			upids = append(upids, t.upid)
		}
	}
	return upids
}

// NodeDir is the directory on this machine that a node takes for its root.
func (s *Sim) NodeDir(name string) string { return s.mustNode(name).dir }

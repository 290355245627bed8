package provision

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/provision/guest"
)

// VMRef names a VM as an order meant it. VMIDs are handed out again, so before
// each change the uuid (where it is known) and the name are compared with what
// lives there then.
type VMRef struct {
	VMID int    `json:"vmid"`
	UUID string `json:"uuid,omitempty"` // smbios uuid
	Name string `json:"name,omitempty"`
	Node string `json:"node,omitempty"` // where it lived then; looked up again before each call
}

// A VMSpec is about one VM that exists. The job claims it: one job per VM.
type VMSpec interface {
	Spec
	Target() VMRef
}

// Power changes a VM's power state. Start and reboot end when SSH is ready.
type Power struct {
	Do string `json:"do"` // start, stop, shutdown, reboot
	VM VMRef  `json:"vm"`
}

// Set changes a VM's size. Zero fields stay as they are.
type Set struct {
	VM       VMRef `json:"vm"`
	Cores    int   `json:"cores,omitempty"`
	MemoryMB int   `json:"memory_mb,omitempty"` // MiB
	GrowMB   int64 `json:"grow_mb,omitempty"`   // MiB that a disk grows BY
	// Disk is the one that grows, like virtio1; TheBootDisk: the one that the VM
	// boots from, whatever others it has. "": in an order the only one there is,
	// in a job scsi0.
	Disk string `json:"disk,omitempty"`
}

// Destroy removes a VM with the volumes that its configuration names; others
// stay. Disks that were detached (unused0, ...) are named there too, so a VM
// that has some is only destroyed when that was asked for.
type Destroy struct {
	VM       VMRef    `json:"vm"`
	Volumes  []string `json:"volumes,omitempty"`  // as they were shown
	Detached bool     `json:"detached,omitempty"` // take detached disks too
}

// Migrate moves a VM to another node.
type Migrate struct {
	VM      VMRef  `json:"vm"`
	To      string `json:"to"`
	Mode    string `json:"mode,omitempty"`    // online, offline; "" chooses by the VM's state
	Storage string `json:"storage,omitempty"` // on the target; "" keeps the names
	Digest  string `json:"digest,omitempty"`  // of the plan that was shown
}

// Snapshot takes a snapshot.
type Snapshot struct {
	VM   VMRef  `json:"vm"`
	Name string `json:"name,omitempty"` // default: by time
}

// Rollback takes a VM back to a snapshot.
type Rollback struct {
	VM   VMRef  `json:"vm"`
	Name string `json:"name"`
	// Size is what the VM has after it, as the snapshot was when it was shown.
	// Engine.Prepare fills it in.
	Size Size `json:"size,omitzero"`
}

// Clone copies a VM into a new one with an address of its own.
type Clone struct {
	VM   VMRef  `json:"vm"`
	Name string `json:"name,omitempty"`
}

// Extend moves a VM's end of life.
type Extend struct {
	VM    VMRef     `json:"vm"`
	Until time.Time `json:"until"`
}

// Adopt makes the asker the owner of a VM that belongs to nobody.
type Adopt struct {
	VM VMRef `json:"vm"`
}

// Trust makes the bot take another host key of a VM's guest for its own.
type Trust struct {
	VM VMRef `json:"vm"`
	// HostKey is the new one, a line of authorized_keys; "": the one that the
	// guest shows now.
	HostKey string `json:"host_key,omitempty"`
}

// Remind tells a VM's owner that its end of life is near. The bot orders it by
// itself; its card has a button to extend the VM's life.
type Remind struct {
	VM    VMRef     `json:"vm"`
	Until time.Time `json:"until"`
	Over  bool      `json:"over,omitempty"` // it is over, and the VM is destroyed in a day
}

// Drain moves every VM off a node, one after the other.
type Drain struct {
	Node   string    `json:"node"`
	Moves  []Migrate `json:"moves"`
	Digest string    `json:"digest,omitempty"`
}

// powers are the values of Power.Do, which are its kinds too.
var powers = []string{"start", "stop", "shutdown", "reboot"}

// Kind implements Spec.
func (s Power) Kind() string { return s.Do }

// Kind implements Spec.
func (Set) Kind() string { return "set" }

// Kind implements Spec.
func (Destroy) Kind() string { return "destroy" }

// Kind implements Spec.
func (Migrate) Kind() string { return "migrate" }

// Kind implements Spec.
func (Snapshot) Kind() string { return "snapshot" }

// Kind implements Spec.
func (Rollback) Kind() string { return "rollback" }

// Kind implements Spec.
func (Clone) Kind() string { return "clone" }

// Kind implements Spec.
func (Extend) Kind() string { return "extend" }

// Kind implements Spec.
func (Adopt) Kind() string { return "adopt" }

// Kind implements Spec.
func (Trust) Kind() string { return "trust" }

// Kind implements Spec.
func (Drain) Kind() string { return "drain" }

// Kind implements Spec.
func (Remind) Kind() string { return "remind" }

func (Power) isSpec()    {}
func (Set) isSpec()      {}
func (Destroy) isSpec()  {}
func (Migrate) isSpec()  {}
func (Snapshot) isSpec() {}
func (Rollback) isSpec() {}
func (Clone) isSpec()    {}
func (Extend) isSpec()   {}
func (Adopt) isSpec()    {}
func (Trust) isSpec()    {}
func (Drain) isSpec()    {}
func (Remind) isSpec()   {}

// Target implements VMSpec.
func (s Power) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Set) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Destroy) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Migrate) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Snapshot) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Rollback) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Clone) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Extend) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Adopt) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Trust) Target() VMRef { return s.VM }

// Target implements VMSpec.
func (s Remind) Target() VMRef { return s.VM }

// Validate implements Spec.
func (s Power) Validate() error {
	if !slices.Contains(powers, s.Do) {
		return Errorf(Invalid, "%q is nothing that a VM's power can do: %s", s.Do, strings.Join(powers, ", "))
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Set) Validate() error {
	switch {
	case s.Cores == 0 && s.MemoryMB == 0 && s.GrowMB == 0:
		return &Error{Kind: Invalid, Say: "nothing to change", Try: "--cpu, --ram or --disk"}
	case s.Cores != 0 && !CPUBound.Holds(int64(s.Cores)):
		return Errorf(Invalid, "%d CPUs: a VM has %s", s.Cores, CPUBound)
	case s.MemoryMB != 0 && !MemoryBound.Holds(int64(s.MemoryMB)):
		return wrongMemory(s.MemoryMB)
	case s.GrowMB > GrowthBound.Max:
		return Errorf(Invalid, "a disk can't grow by %s: at most by %s", size(s.GrowMB), size(GrowthBound.Max))
	case s.GrowMB < 0:
		return Errorf(Invalid, "a disk can only grow")
	case s.Disk != "" && s.Disk != TheBootDisk && !diskName.MatchString(s.Disk):
		return &Error{Kind: Invalid, Say: fmt.Sprintf("%q is no disk of a VM", s.Disk), Try: "a bus with a number, like scsi0 or virtio1"}
	case s.Disk != "" && s.GrowMB == 0:
		return &Error{Kind: Invalid, Say: "by how much shall " + s.Disk + " grow?", Try: "grow_mb, or --disk " + s.Disk + ":+5G"}
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Destroy) Validate() error { return s.VM.validate() }

// Validate implements Spec.
func (s Migrate) Validate() error {
	switch {
	case s.To == "":
		return &Error{Kind: Invalid, Say: "to which node?", Try: "vm nodes"}
	case s.Mode != "" && s.Mode != "online" && s.Mode != "offline":
		return Errorf(Invalid, "%q is no way to migrate: online or offline", s.Mode)
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Snapshot) Validate() error {
	if s.Name != "" && !isConfigID(s.Name) {
		return Errorf(Invalid, "%q is no name for a snapshot: a letter, then letters, digits, - and _", s.Name)
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Rollback) Validate() error {
	if !isConfigID(s.Name) {
		return Errorf(Invalid, "%q is no name of a snapshot", s.Name)
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Clone) Validate() error {
	if s.Name != "" && !isDNSName(s.Name) {
		return Errorf(Invalid, "%q is no name for a VM: letters, digits and hyphens, parts joined by dots", s.Name)
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Extend) Validate() error {
	if s.Until.IsZero() {
		return &Error{Kind: Invalid, Say: "by how long?", Try: "vm extend web-1 7d"}
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Adopt) Validate() error { return s.VM.validate() }

// Validate implements Spec.
func (s Trust) Validate() error {
	if s.HostKey != "" {
		key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
		if err != nil || len(rest) > 0 || s.HostKey != guest.Line(key) {
			return &Error{Kind: Invalid, Say: "host_key is no SSH host key", Try: "a type and a key, like ssh-ed25519 AAAA...", Err: err}
		}
	}
	return s.VM.validate()
}

// Validate implements Spec.
func (s Remind) Validate() error { return s.VM.validate() }

// Validate implements Spec.
func (s Drain) Validate() error {
	if s.Node == "" {
		return &Error{Kind: Invalid, Say: "which node?", Try: "vm nodes"}
	}
	for _, m := range s.Moves {
		if err := m.Validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r VMRef) validate() error {
	if !VMIDBound.Holds(int64(r.VMID)) {
		return Errorf(Invalid, "%d is no VMID: %s", r.VMID, VMIDBound)
	}
	return nil
}

// isConfigID follows PVE's pve-configid, which snapshots have; PVE keeps
// current and pending for itself.
func isConfigID(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	low := strings.ToLower(s)
	return len(s) >= 2 && len(s) <= 40 && strings.Contains(letters, low[:1]) &&
		strings.Trim(low, letters+"0123456789_-") == "" && low != "current" && low != "pending"
}

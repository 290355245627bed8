package provision

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pvebot/cluster"
)

// TheBootDisk is Set.Disk for the disk that the VM boots from, whatever others it
// has: for callers that can't be asked which one they mean.
const TheBootDisk = "boot"

var diskName = regexp.MustCompile(`^(ide|scsi|virtio|sata)[0-9]{1,2}$`)

// newer: older bots would grow scsi0, whatever disk is named.
func (s Set) newer() bool { return s.Disk != "" }

// mainDisk is the disk that stands for a VM: the one that it boots from, else its
// first, "" for none.
func mainDisk(c cluster.VMConfig) string {
	if disks := c.Disks(); c.BootDisk() == "" && len(disks) > 0 {
		return disks[0]
	}
	return c.BootDisk()
}

// growing is Set.Disk as a job has it: the disk that was meant, which is asked for
// where there are several, since no disk ever shrinks again.
func growing(s Set, c cluster.VMConfig) (string, error) {
	disks := c.Disks()
	switch {
	case s.GrowMB == 0:
		return "", nil
	case len(disks) == 0:
		return "", Errorf(Conflict, "%s has no disk that could grow", s.VM)
	case s.Disk == TheBootDisk:
		s.Disk = mainDisk(c)
	case s.Disk == "" && len(disks) > 1:
		return "", &Error{
			Kind: Conflict, Say: fmt.Sprintf("%s has several disks: %s", s.VM, described(c)),
			Try: fmt.Sprintf("say which one grows, like --disk %s:+%s", mainDisk(c), size(s.GrowMB)),
		}
	case s.Disk == "":
		s.Disk = disks[0]
	case !slices.Contains(disks, s.Disk):
		return "", &Error{
			Kind: NotFound, Say: fmt.Sprintf("%s has no disk %s; it has %s", s.VM, s.Disk, described(c)),
			Try: fmt.Sprintf("--disk %s:+%s", mainDisk(c), size(s.GrowMB)),
		}
	}
	if s.Disk == newDisk && len(disks) == 1 {
		return "", nil // as every bot knows it
	}
	return s.Disk, nil
}

// described names a VM's disks: virtio0 (8G, it boots from this one), scsi0 (16G).
func described(c cluster.VMConfig) string {
	var all []string
	for _, disk := range c.Disks() {
		what := size(c.DiskSize(disk) >> 20)
		if c.DiskSize(disk) == 0 {
			what = "of unknown size"
		}
		if disk == c.BootDisk() {
			what += ", it boots from this one"
		}
		all = append(all, fmt.Sprintf("%s (%s)", disk, what))
	}
	return strings.Join(all, ", ")
}

// disk is the disk that a job for s is about: the one that grows, else the one
// that tells how large the VM is.
func (s Set) disk(c cluster.VMConfig) string {
	if s.GrowMB > 0 {
		return cmp.Or(s.Disk, newDisk)
	}
	return cmp.Or(mainDisk(c), newDisk)
}

package cluster

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// diskSlot is a place for a disk in a VM, with its bus and its number.
var diskSlot = regexp.MustCompile(`^(ide|scsi|virtio|sata)(\d+)$`)

// buses are in the order in which PVE looks for a disk to boot from.
var buses = []string{"ide", "scsi", "virtio", "sata"}

// Disks are the disks of the VM, in the order in which PVE looks for one to boot
// from: what its guest has data on. Drives for CDs and for cloud-init are none,
// nor is what firmware keeps its settings on.
func (c VMConfig) Disks() []string {
	var disks []string
	for key, value := range c.Options {
		if diskSlot.MatchString(key) && isDisk(value) {
			disks = append(disks, key)
		}
	}
	place := func(key string) int {
		m := diskSlot.FindStringSubmatch(key)
		n, _ := strconv.Atoi(m[2])
		return slices.Index(buses, m[1])*1000 + n
	}
	slices.SortFunc(disks, func(a, b string) int { return place(a) - place(b) })
	return disks
}

func isDisk(value string) bool {
	volume, _, _ := strings.Cut(value, ",")
	return property(value, "media") != "cdrom" && volume != "none" && !strings.Contains(volume, "cloudinit")
}

// BootDisk is the disk that the VM boots from, "" when it has none that it would
// boot from. Nothing else reads it out of a configuration.
func (c VMConfig) BootDisk() string {
	disks := c.Disks()
	if order, ok := strings.CutPrefix(c.Options["boot"], "order="); ok {
		for dev := range strings.SplitSeq(order, ";") {
			if slices.Contains(disks, dev) {
				return dev
			}
		}
		return ""
	}
	// PVE: before there was an order, boot had letters (c: disks), and bootdisk
	// named one of them.
	legacy := strings.TrimPrefix(c.Options["boot"], "legacy=")
	switch named := c.Options["bootdisk"]; {
	case legacy != "" && !strings.Contains(legacy, "c"), len(disks) == 0:
		return ""
	case slices.Contains(disks, named):
		return named
	}
	return disks[0]
}

// DisksSize is the size of all disks of the VM together, in bytes.
func (c VMConfig) DisksSize() (sum int64) {
	for _, disk := range c.Disks() {
		sum += c.DiskSize(disk)
	}
	return sum
}

// Volumes are the volumes of which PVE takes snapshots, sorted: those of the
// disks, and what firmware keeps its settings on.
func (c VMConfig) Volumes() []string {
	var volumes []string
	for key, value := range c.Options {
		volume, _, _ := strings.Cut(strings.TrimPrefix(value, "file="), ",")
		slot := diskSlot.MatchString(key) || key == "efidisk0" || key == "tpmstate0"
		if slot && isDisk(value) && volumeName.MatchString(volume) {
			volumes = append(volumes, volume)
		}
	}
	slices.Sort(volumes)
	return volumes
}

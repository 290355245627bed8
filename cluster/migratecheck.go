package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MigrationCheck is what PVE says about moving a VM to a node, before it is
// tried.
type MigrationCheck struct {
	Running      bool
	LocalDisks   []LocalDisk
	LocalDevices []string // PCI, USB and the like: they block
	Mapped       []Mapped // devices that the VM names as the cluster knows them, by key
	Unavailable  []string // storages that the target does not have
	Blocking     []string // HA resources that must not be on the target too, with the kind of rule that says so
}

// Mapped is a device that is on each node what the cluster's mapping says.
type Mapped struct {
	Key     string // hostpci0, usb1
	Name    string // of the mapping
	Live    bool   // a VM that runs can take it along
	Missing bool   // the target has none
}

// String names a device with its mapping: gpu (hostpci0).
func (m Mapped) String() string {
	if m.Name == "" {
		return m.Key
	}
	return fmt.Sprintf("%s (%s)", m.Name, m.Key)
}

// LocalDisk is a volume on a storage that is not shared.
type LocalDisk struct {
	Volume string
	Size   int64 // bytes
	CDROM  bool
	Unused bool
}

// MigrationCheck asks PVE. Dear.
func (c *Cluster) MigrationCheck(ctx context.Context, node string, vmid int, target string) (MigrationCheck, error) {
	if err := errors.Join(checkVMID(vmid), checkName("node", nodeName, target)); err != nil {
		return MigrationCheck{}, err
	}
	res, err := c.on(ctx, node, cmdMigrationCheck(node, vmid, target))
	if err != nil {
		return MigrationCheck{}, onVM(err, "migration of VM", vmid)
	}
	check, err := decodeMigrationCheck(res.Stdout, target)
	if err != nil {
		return MigrationCheck{}, fmt.Errorf("migration of VM %d: %w", vmid, err)
	}
	return check, nil
}

// decodeMigrationCheck reads what /nodes/NODE/qemu/VMID/migrate says about
// target.
func decodeMigrationCheck(data []byte, target string) (MigrationCheck, error) {
	f, err := decode[fields](data)
	if err != nil {
		return MigrationCheck{}, err
	}
	check := MigrationCheck{Running: f.bool("running"), Mapped: mappedDevices(f, target)}
	// PVE: mapped ones may stand there too, though they keep a VM only from where
	// they are missing, or from moving while it runs.
	for _, key := range f.texts("local_resources") {
		if !slices.ContainsFunc(check.Mapped, func(m Mapped) bool { return m.Key == key }) {
			check.LocalDevices = append(check.LocalDevices, key)
		}
	}
	for _, d := range f.objects("local_disks") {
		check.LocalDisks = append(check.LocalDisks, LocalDisk{
			Volume: d.text("volid"), Size: d.int("size"), CDROM: d.bool("cdrom"), Unused: d.bool("is_unused"),
		})
	}
	slices.SortFunc(check.LocalDisks, func(a, b LocalDisk) int { return strings.Compare(a.Volume, b.Volume) })
	// PVE: a node that is allowed may stand here too, with nothing against it.
	not := f.object("not_allowed_nodes").object(target)
	check.Unavailable = not.texts("unavailable_storages")
	for _, r := range not.objects("blocking-ha-resources") {
		said := r.text("sid")
		if cause := r.text("cause"); cause != "" {
			said += " (" + cause + ")"
		}
		check.Blocking = append(check.Blocking, said)
	}
	return check, nil
}

// mappedDevices reads them. PVE 8 lists their keys alone.
func mappedDevices(f fields, target string) []Mapped {
	info := f.object("mapped-resource-info")
	missing := f.object("not_allowed_nodes").object(target).texts("unavailable-resources")
	keys := f.texts("mapped-resources")
	for key := range info {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var all []Mapped
	for _, key := range slices.Compact(keys) {
		all = append(all, Mapped{
			Key: key, Name: info.object(key).text("name"), Live: info.object(key).bool("live-migration"), Missing: slices.Contains(missing, key),
		})
	}
	return all
}

package pvesim_test

import (
	"fmt"
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
)

// Each kind of storage names its volumes, has templates with linked clones,
// and refuses, as PVE's plugin of it does.
func TestStorageKinds(t *testing.T) {
	const gib = 1 << 30
	for kind, want := range map[string]struct {
		disk, base, clone string // "": it has no templates
		snapshot          bool
		full              string // what a disk of 900G is refused with
	}{
		"dir":     {"101/vm-101-disk-0.qcow2", "101/base-101-disk-0.qcow2", "101/base-101-disk-0.qcow2/102/vm-102-disk-0.qcow2", true, ""},
		"nfs":     {"101/vm-101-disk-0.qcow2", "101/base-101-disk-0.qcow2", "101/base-101-disk-0.qcow2/102/vm-102-disk-0.qcow2", true, ""},
		"btrfs":   {"101/vm-101-disk-0.raw", "101/base-101-disk-0.raw", "102/vm-102-disk-0.raw", true, ""},
		"lvm":     {"vm-101-disk-0", "", "", false, "insufficient free space"},
		"lvmthin": {"vm-101-disk-0", "base-101-disk-0", "vm-102-disk-0", true, ""},
		"zfspool": {"vm-101-disk-0", "base-101-disk-0", "base-101-disk-0/vm-102-disk-0", true, ""},
		"rbd":     {"vm-101-disk-0", "base-101-disk-0", "base-101-disk-0/vm-102-disk-0", true, ""},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			shared := kind == "nfs" || kind == "rbd"
			s := pvesim.Start(t, pvesim.Options{
				Empty: true, Nodes: pvesim.DefaultNodes()[:1],
				Storages: []pvesim.StorageSpec{
					{Name: "st", Type: kind, Content: []string{"images"}, Capacity: 100 * gib, Shared: shared},
					{Name: "local", Type: "dir", Content: []string{"import"}, Capacity: 10 * gib, Volumes: []pvesim.VolumeSpec{
						{Path: "import/d.qcow2", Format: "qcow2", Size: 1 << 20, Grown: 1 << 26},
					}},
				},
			})
			sh := dial(t, s, "pve1")
			do := func(command string) (string, string) {
				out, errs, _ := sh.run(command, "")
				return out, errs
			}
			disk := func(vmid int) string {
				vm, _ := s.VM(vmid)
				id, _, _ := strings.Cut(strings.TrimPrefix(vm.Options["scsi0"], "st:"), ",")
				return id
			}
			if _, errs := do("qm create 101 --scsi0 st:0,import-from=local:import/d.qcow2"); errs != "" || disk(101) != want.disk {
				t.Fatalf("the disk is %s, want %s: %s", disk(101), want.disk, errs)
			}
			if _, errs := do("qm snapshot 101 s1"); (errs == "") != want.snapshot {
				t.Errorf("snapshots: %s", errs)
			}
			do("qm delsnapshot 101 s1")
			if _, errs := do("qm set 101 --scsi1 st:900"); want.full == "" && errs != "" || !strings.Contains(errs, want.full) {
				t.Errorf("900G on 100G: %q", errs)
			}
			do("qm set 101 --delete scsi1")
			_, errs := do("qm template 101")
			if want.base == "" {
				if errs != "can't create base images in "+kind+" storage\n" || disk(101) != want.disk {
					t.Errorf("a template of %s: %s", disk(101), errs)
				}
				return
			}
			if errs != "" || disk(101) != want.base {
				t.Errorf("the template's disk is %s, want %s: %s", disk(101), want.base, errs)
			}
			if _, errs := do("qm clone 101 102"); errs != "" || disk(102) != want.clone {
				t.Errorf("the clone's disk is %s, want %s: %s", disk(102), want.clone, errs)
			}
			_, errs = do("qm destroy 101")
			if stands := strings.Contains(want.clone, "base-"); stands != strings.Contains(errs, "is still in use by linked cloned") {
				t.Errorf("destroying the template: %q", errs)
			}
			if out, _ := do("pvesh get /cluster/resources --type storage --output-format json"); !strings.Contains(out, fmt.Sprintf(`"shared":%d,"status":"available","storage":"st"`, map[bool]int{true: 1}[shared])) {
				t.Errorf("shared is told wrongly: %s", out)
			}
		})
	}
}

func TestStorageThatCantBe(t *testing.T) {
	for name, s := range map[string]pvesim.StorageSpec{
		"unknown": {Name: "st", Type: "floppy"},
		"cephfs":  {Name: "st", Type: "cephfs", Content: []string{"images"}},
		"lvm":     {Name: "st", Type: "lvm", Content: []string{"iso"}},
	} {
		sim, err := pvesim.New(pvesim.Options{Storages: []pvesim.StorageSpec{s}})
		if err == nil {
			t.Errorf("%s is taken", name)
			sim.Close()
		}
	}
}

package provision_test

import (
	"strings"
	"testing"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// The disk that grows is the one that boots or was named: none ever shrinks again.
func TestSetGrowsTheDiskThatBoots(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	defer s.start()()
	const gib = 1 << 30
	s.sim.AttachDisk(103, "virtio0", "local-lvm", "raw", 8*gib) // scsi0 has 16G
	s.sim.SetOption(103, "boot", "order=virtio0")
	disks := func() string {
		v, _ := s.sim.VM(103)
		return v.Options["virtio0"][strings.Index(v.Options["virtio0"], "size="):] + " " + v.Options["scsi0"][strings.Index(v.Options["scsi0"], "size="):]
	}
	if got := s.refusal(provision.Set{VM: s.vm(103), GrowMB: 5 << 10}); got != "old-wiki (VM 103) has several disks: scsi0 (16G), virtio0 (8G, it boots from this one)" {
		t.Errorf("several disks, and none is named: %q", got)
	}
	if got := s.refusal(provision.Set{VM: s.vm(103), GrowMB: 1 << 10, Disk: "scsi4"}); !strings.HasPrefix(got, "old-wiki (VM 103) has no disk scsi4; it has scsi0 (16G)") {
		t.Errorf("a disk that is not there: %q", got)
	}
	s.succeeds(s.do(provision.Set{VM: s.vm(103), GrowMB: 5 << 10, Disk: provision.TheBootDisk}, nil))
	if got := disks(); got != "size=13G size=16G" {
		t.Errorf("the disk that boots grew: %s", got)
	}
	s.succeeds(s.do(provision.Set{VM: s.vm(103), GrowMB: 1 << 10, Disk: "scsi0"}, nil))
	if got := disks(); got != "size=13G size=17G" {
		t.Errorf("the disk that was named grew: %s", got)
	}
	s.sim.SetOption(103, "scsi0", "")
	s.succeeds(s.do(provision.Set{VM: s.vm(103), GrowMB: 1 << 10}, nil))
	if v, _ := s.sim.VM(103); !strings.HasSuffix(v.Options["virtio0"], "size=14G") {
		t.Errorf("the only disk grew: %s", v.Options["virtio0"])
	}
}

// What PVE would refuse is refused before anything is stopped.
func TestRollbackPastNewerSnapshots(t *testing.T) {
	t.Parallel()
	storages := append(pvesim.DefaultStorages(),
		pvesim.StorageSpec{Name: "zfs", Type: "zfspool", Content: []string{"images"}, Capacity: 1 << 40},
		pvesim.StorageSpec{Name: "chain", Type: "dir", Content: []string{"images"}, Capacity: 1 << 40, VolumeChain: true})
	for name, tt := range map[string]struct{ storage, format, says string }{
		"ZFS":           {"zfs", "raw", "old-wiki (VM 103) can't go back to s1: zfs:vm-103-disk-0 is on ZFS, where PVE goes back to the newest snapshot alone, and s2 came later"},
		"volume chains": {"chain", "qcow2", "old-wiki (VM 103) can't go back to s1: chain:103/vm-103-disk-0.qcow2 is a chain of volumes, where PVE goes back to the newest snapshot alone, and s2 came later"},
		"inside a file": {"nfs", "qcow2", ""},
		"thin volumes":  {"local-lvm", "raw", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{Storages: storages})
			s.sim.SetOption(103, "scsi0", "")
			s.sim.AttachDisk(103, "scsi0", tt.storage, tt.format, 8<<30)
			s.byHand("pve3", "qm", "snapshot", "103", "s1")
			s.byHand("pve3", "qm", "snapshot", "103", "s2")
			s.byHand("pve3", "qm", "start", "103")
			if got := s.refusal(provision.Rollback{VM: s.vm(103), Name: "s1"}); got != tt.says {
				t.Errorf("got %q, want %q", got, tt.says)
			}
			if got := s.refusal(provision.Rollback{VM: s.vm(103), Name: "s2"}); got != "" {
				t.Errorf("the newest one: %q", got)
			}
			if v, _ := s.sim.VM(103); !v.Running {
				t.Error("the VM was stopped")
			}
		})
	}
}

// An image becomes a disk that snapshots can be taken of.
func TestInstallOnAStorageOfFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	defer s.start()()
	job := s.mustInstall(provision.Install{OS: "ubuntu", Storage: "nfs"})
	v, _ := s.sim.VM(job.Facts.VMID)
	if !strings.Contains(v.Options["scsi0"], ".qcow2,") {
		t.Errorf("the disk is %s", v.Options["scsi0"])
	}
	s.succeeds(s.do(provision.Snapshot{VM: s.vm(job.Facts.VMID), Name: "fresh"}, nil))
}

// TestSnapshotsThatAreNoneToTake: PVE takes the snapshots of all disks or none, and
// says so when the order is being carried out.
func TestSnapshotsThatAreNoneToTake(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Storages: append(pvesim.DefaultStorages(),
		pvesim.StorageSpec{Name: "thick", Type: "lvm", Content: []string{"images"}, Capacity: 1 << 40},
		pvesim.StorageSpec{Name: "chain", Type: "lvm", Content: []string{"images"}, Capacity: 1 << 40, VolumeChain: true},
		pvesim.StorageSpec{Name: "zfs", Type: "zfspool", Content: []string{"images"}, Capacity: 1 << 40},
		pvesim.StorageSpec{Name: "btrfs", Type: "btrfs", Content: []string{"images"}, Capacity: 1 << 40})})
	node, err := s.pve.Nodes().Node("pve3")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ storage, format, why string }{
		"thick LVM":       {"thick", "raw", " is on LVM that is not thin"},
		"LVM with chains": {"chain", "qcow2", ""},
		"thin LVM":        {"local-lvm", "raw", ""},
		"ZFS":             {"zfs", "raw", ""},
		"btrfs":           {"btrfs", "raw", ""},
		"a raw file":      {"nfs", "raw", " is a file that is not qcow2"},
		"a qcow2 file":    {"nfs", "qcow2", ""},
	} {
		s.sim.SetOption(103, "scsi1", "")
		s.sim.AttachDisk(103, "scsi1", tt.storage, tt.format, 1<<30)
		v, _ := s.sim.VM(103)
		volume, _, _ := strings.Cut(v.Options["scsi1"], ",")
		want := ""
		if tt.why != "" {
			want = "there are no snapshots of old-wiki (VM 103): " + volume + tt.why
		}
		if got := s.refusal(provision.Snapshot{VM: s.vm(103), Name: "s1"}); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		_, err := node.Run(t.Context(), cluster.Cmd{Argv: []string{"qm", "snapshot", "103", "s1"}})
		if (err == nil) != (want == "") {
			t.Errorf("%s: the node says %v", name, err)
		}
		if err == nil {
			s.byHand("pve3", "qm", "delsnapshot", "103", "s1")
		}
	}
	s.sim.SetOption(103, "scsi1", "/dev/disk/by-id/ata-1,size=1G")
	if got, want := s.refusal(provision.Snapshot{VM: s.vm(103), Name: "s1"}), "there are no snapshots of old-wiki (VM 103): scsi1 is /dev/disk/by-id/ata-1 of pve3 itself"; got != want {
		t.Errorf("a disk of the node: got %q, want %q", got, want)
	}
	if _, err := node.Run(t.Context(), cluster.Cmd{Argv: []string{"qm", "snapshot", "103", "s1"}}); err == nil {
		t.Error("a disk of the node: the node takes it")
	}
}

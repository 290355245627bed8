package cluster

import (
	"strings"
	"testing"
)

func TestDiskThatBoots(t *testing.T) {
	for name, tt := range map[string]struct {
		options string // key=value, with blanks between them
		boots   string
		disks   string
	}{
		"as the bot makes it":              {"scsi0:l:d0,size=8G ide2:l:vm-1-cloudinit,media=cdrom boot:order=scsi0", "scsi0", "scsi0"},
		"another bus":                      {"scsi0:l:d0,size=16G virtio0:l:d1,size=8G boot:order=virtio0", "virtio0", "scsi0 virtio0"},
		"first of the order":               {"scsi0:l:d0 scsi1:l:d1 boot:order=scsi1;scsi0", "scsi1", "scsi0 scsi1"},
		"a CD first":                       {"ide2:l:iso/x.iso,media=cdrom scsi0:l:d0 net0:virtio boot:order=ide2;net0;scsi0", "scsi0", "scsi0"},
		"a disk that is gone":              {"scsi0:l:d0 boot:order=scsi3;scsi0", "scsi0", "scsi0"},
		"network only":                     {"scsi0:l:d0 boot:order=net0", "", "scsi0"},
		"the old way":                      {"ide0:l:d0 virtio0:l:d1 boot:cdn bootdisk:virtio0", "virtio0", "ide0 virtio0"},
		"the old way, by its name":         {"ide0:l:d0 virtio0:l:d1 boot:legacy=cdn bootdisk:virtio0", "virtio0", "ide0 virtio0"},
		"the old way, the network alone":   {"ide0:l:d0 boot:n bootdisk:ide0", "", "ide0"},
		"nothing said":                     {"virtio0:l:d1 scsi2:l:d0", "scsi2", "scsi2 virtio0"},
		"by number, not by letter":         {"scsi10:l:d0 scsi2:l:d1", "scsi2", "scsi2 scsi10"},
		"neither firmware nor unused ones": {"efidisk0:l:d0 tpmstate0:l:d1 unused0:l:d2 sata0:l:d3", "sata0", "sata0"},
		"an empty drive":                   {"ide2:none,media=cdrom", "", ""},
		"none":                             {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := VMConfig{Options: map[string]string{}}
			for o := range strings.FieldsSeq(tt.options) {
				key, value, _ := strings.Cut(o, ":")
				c.Options[key] = value
			}
			if got := c.BootDisk(); got != tt.boots {
				t.Errorf("boots from %q, want %q", got, tt.boots)
			}
			if got := strings.Join(c.Disks(), " "); got != tt.disks {
				t.Errorf("disks %q, want %q", got, tt.disks)
			}
		})
	}
}

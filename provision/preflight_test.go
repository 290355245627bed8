package provision

import "testing"

func TestLinkedTo(t *testing.T) {
	for volume, want := range map[string]string{
		"local:900/base-900-disk-0.qcow2/103/vm-103-disk-0.qcow2": "base-900-disk-0.qcow2",
		"zfs:base-900-disk-0/vm-103-disk-1":                       "base-900-disk-0",
		"local-lvm:vm-103-disk-0":                                 "",
		"local:103/vm-103-disk-0.qcow2":                           "",
		"local-lvm:base-900-disk-0":                               "", // the template's own
	} {
		if got := linkedTo(volume); got != want {
			t.Errorf("%s is a clone of %q, want %q", volume, got, want)
		}
	}
}

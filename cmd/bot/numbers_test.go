package main

import (
	"os"
	"strings"
	"testing"
)

// A setting that no number of CPUs, bytes or days can be is refused: it must not
// turn into no limit at all.
func TestSettingsHaveBounds(t *testing.T) {
	base := []string{"MAIN_NODE=pve1", "NODE_pve1=192.0.2.1", "GATEWAY=192.0.2.254", "ASSIGN_STORAGE=local-lvm", "ADMINS=slack:U1"}
	if _, err := readConfig(base, os.DevNull); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{
		"VM_MAX_CPU=-1", "VM_MAX_CPU=100000", "VM_MAX_RAM=2000000000", "VM_MAX_DISK=9007199254740992", "VM_MAX_DISK=-1", "VM_BALLOON_MIN=-1",
		"VM_SWAP_MB=-1", "PORT=65536", "PORT=-1", "WORKERS=-1", "WORKERS=1000000", "BOT_VMID=7", "IMAGE_REFRESH=-1s", "GUEST_STALL=-1s",
		"GUEST_STALL=2000000h", "KEEP_EVENTS_DAYS=106752",
	} {
		name, _, _ := strings.Cut(setting, "=")
		if _, err := readConfig(append(base, setting), os.DevNull); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

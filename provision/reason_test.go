package provision

import (
	"testing"

	"pvebot/cluster"
)

// A refusal says why; a command that was killed has refused nothing.
func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		status int
		stderr string
		kind   Kind
		say    string
	}{
		{255, "VM is locked (backup)\n", Failed, "VM 101 refuses: VM is locked (backup)"},
		{2, "400 not enough arguments\nqm config <vmid> [OPTIONS]\n", Failed, "VM 101 refuses: 400 not enough arguments"},
		{1, "", Failed, "VM 101 refuses: exit status 1, and no reason given"},
		{137, "", Unavailable, "VM 101 does not answer"},
		{255, "start failed: QEMU exited with code 1\n", Failed, "VM 101 refuses: QEMU exited with code 1"},
		{2, "TASK ERROR: unable to create VM 101 - no space left on device\n", Failed, "VM 101 refuses: no space left on device"},
		{2, "start failed: \n", Failed, "VM 101 refuses: start failed:"},
		{141, "broken pipe", Failed, "VM 101 refuses: broken pipe"},
	} {
		err := unreachable("VM 101", &cluster.ExitError{Status: tt.status, Stderr: tt.stderr})
		if say, _ := Explain(err); say != tt.say || KindOf(err) != tt.kind {
			t.Errorf("%d %q: %q (%v), want %q (%v)", tt.status, tt.stderr, say, KindOf(err), tt.say, tt.kind)
		}
	}
}

// TestUsageIsNoReason: PVE's tools print what they can be called with after what is
// wrong.
func TestUsageIsNoReason(t *testing.T) {
	t.Parallel()
	for _, usage := range []string{
		"qm guest cmd <vmid> <command>", "USAGE: qm guest cmd <vmid> <command>", "pvesm path <volume>", "qm destroy <vmid> [OPTIONS]",
		"qm set <vmid> [OPTIONS]", "pvesh create <api_path> --content <string> [OPTIONS] [FORMAT_OPTIONS]", "qm [OPTIONS]",
	} {
		err := unreachable("VM 101", &cluster.ExitError{Status: 255, Stderr: "400 Parameter verification failed.\nvmid: no such thing\n" + usage + "\n"})
		if say, _ := Explain(err); say != "VM 101 refuses: vmid: no such thing" {
			t.Errorf("%s: %q", usage, say)
		}
	}
}

package commands

import (
	"testing"
	"time"

	"pvebot/provision"
)

func TestParseVMVerbs(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		line string
		want Request
	}{
		{"/vm install ubuntu --ttl 2w", install(1, provision.Install{OS: "ubuntu", TTL: 14 * day})},
		{"/vm install --os ubuntu 24.04", install(1, provision.Install{OS: "ubuntu", Version: "24.04"})},
		{"/vm install ubuntu --dry-run", Install{Spec: provision.Install{OS: "ubuntu"}, Count: 1, DryRun: true}},
		{"/vm start web-1", Power{"start", "web-1"}},
		{"/vm stop 101", Power{"stop", "101"}},
		{"/vm shutdown web-1", Power{"shutdown", "web-1"}},
		{"/vm restart web-1", Power{"reboot", "web-1"}},
		{"/vm destroy web-1", Destroy{VM: "web-1"}},
		{"/vm rm web-1 \u2014detached --plan", Destroy{VM: "web-1", Detached: true, DryRun: true}},
		{"/vm set web-1 --cpu 4", Set{VM: "web-1", Cores: 4}},
		{"/vm set web-1 --disk VirtIO1:+20G", Set{VM: "web-1", GrowMB: 20480, Disk: "virtio1"}},
		{"/vm set web-1 --memory 8 GB --disk +20G", Set{VM: "web-1", MemoryMB: 8192, GrowMB: 20480}},
		{"/vm set web-1 --disk=+20", Set{VM: "web-1", GrowMB: 20480}},
		{"/vm set web-1 --disk +1 TB --cpu 2", Set{VM: "web-1", GrowMB: 1 << 20, Cores: 2}},
		{"/vm migrate web-1 pve2", Migrate{VM: "web-1", Node: "pve2"}},
		{"/vm migrate web-1 --node pve2 --live", Migrate{VM: "web-1", Node: "pve2", Mode: "online"}},
		{"/vm mv web-1 pve2 --offline --storage ceph --dry-run", Migrate{VM: "web-1", Node: "pve2", Mode: "offline", Storage: "ceph", DryRun: true}},
		{"/vm migrate web-1 pve2 --online=no", Migrate{VM: "web-1", Node: "pve2"}},
		{"/vm snapshot web-1", Snapshot{VM: "web-1"}},
		{"/vm snap web-1 Before_1", Snapshot{"web-1", "Before_1"}},
		{"/vm rollback web-1 before-upgrade", Rollback{"web-1", "before-upgrade"}},
		{"/vm snapshots web-1", Snapshots{"web-1"}},
		{"/vm clone web-1", Clone{VM: "web-1"}},
		{"/vm clone web-1 web-2", Clone{"web-1", "web-2"}},
		{"/vm clone web-1 --name web-2", Clone{"web-1", "web-2"}},
		{"/vm clone --name web-2 web-1", Clone{"web-1", "web-2"}},
		{"/vm extend web-1 7d", Extend{"web-1", 7 * day}},
		{"/vm adopt web-1", Adopt{"web-1"}},
		{"/vm trust web-1", Trust{"web-1"}},
		{"/vm drain pve2", Drain{Node: "pve2"}},
		{"/vm drain pve2 --dry-run", Drain{Node: "pve2", DryRun: true}},
		{"/vm can <@U123|bob> destroy web-1", Can{Who: "@U123", Do: "destroy", VM: "web-1"}},
		{"@pvebot can <@!123> rm 101", Can{Who: "@123", Do: "destroy", VM: "101"}},
		{"/vm can Slack/U123 migrate web-1 --node pve2", Can{Who: "slack/U123", Do: "migrate", VM: "web-1", Node: "pve2"}},
		{"/vm can 175928847299117063 install", Can{Who: "@175928847299117063", Do: "install"}},
		{"/vm can @bob install", Can{Who: "@bob", Do: "install"}},
		{"/vm can @bob cancel 12", Can{Who: "@bob", Do: "cancel", VM: "12"}},
		{"/vm audit", Audit{}},
		{"/vm audit web-1", Audit{VM: "web-1"}},
		{"/vm audit <@U123>", Audit{Who: "@U123"}},
		{"/vm audit discord/3", Audit{Who: "discord/3"}},
	} {
		got, m := parsed(t, tt.line)
		if m != nil || got != tt.want {
			t.Errorf("%s: %+v, %+v", tt.line, got, m)
			continue
		}
		if again, m := parsed(t, Format(got)); m != nil || again != got {
			t.Errorf("%s: %s reads as %+v, %v", tt.line, Format(got), again, m)
		}
	}
}

// What the requests about VMs call them by.
func TestNamesVM(t *testing.T) {
	for _, v := range Verbs() {
		if v.aboutOne() == 0 || v.Args[0].Type != TypeVM {
			continue
		}
		r, err := Parse(v.Examples[0])
		if err != nil {
			t.Fatal(err)
		}
		if about, ok := r.(VMRequest); !ok || about.NamesVM() != "web-1" || about.Verb() != v.Name {
			t.Errorf("%s: %+v, want a request about web-1", v.Examples[0], r)
		}
	}
}

func TestPerson(t *testing.T) {
	for who, want := range map[string]provision.Actor{
		"@U1":       {Platform: "slack", ID: "U1"},
		"discord/3": {Platform: "discord", ID: "3"},
	} {
		if got := Person("slack", who); got != want {
			t.Errorf("%s: %+v, want %+v", who, got, want)
		}
	}
}

package main

import (
	"reflect"
	"strings"
	"testing"

	"pvebot/bot"
)

// strange is what people, and who means harm, may write, with the answer. None
// of it changes anything.
func strange() []struct{ line, answer string } {
	return []struct{ line, answer string }{
		{"/vm stop 101;reboot", "wants a VM's name or id"},
		{"/vm stop $(reboot)", "wants a VM's name or id"},
		{"/vm stop `reboot`", "There is no VM reboot"},
		{"/vm stop 'gitlab && reboot'", "wants a VM's name or id"},
		{"/vm stop ../../etc/pve", "wants a VM's name or id"},
		{"/vm stop --skiplock", "Stop takes no flags, got --skiplock"},
		{"/vm migrate gitlab pve2|sh", "NODE wants a node's name"},
		{"/vm migrate gitlab pve2 --storage 'a b'", "--storage wants"},
		{"/vm snapshot gitlab $(id)", "NAME wants a snapshot's name"},
		{"/vm snapshot gitlab current", "current"},
		{"/vm rollback gitlab ../x", "NAME wants a snapshot's name"},
		{"/vm clone gitlab under_score", "NAME wants"},
		{"/vm install ubuntu --name a&b", "--name wants"},
		{"/vm install ubuntu --name wéb", "--name wants"},
		{"/vm install ubuntu --user root;id", "--user wants"},
		{"/vm install ubuntu --node pve1$(x)", "--node wants"},
		{"/vm install ubuntu --key hello", "--key wants"},
		{"/vm stop gïtlab", "wants a VM's name or id"},

		{"/vm stop gitlab\n/vm stop monitoring", "one word too many"},
		{"/vm stop gitlab\r\nreboot", "one word too many"},
		{"/vm stop git\x00lab", "character"},
		{"/vm stop gitlab\x1b[2J", "character"},
		{"/vm " + strings.Repeat("stop ", 200_000), "and I read at most 4000"},
		{"/vm stop " + strings.Repeat("a", 100_000), "and I read at most 4000"},
		{"", "What I can do"},

		{"/vm stop -1", "-1"},
		{"/vm stop 0", "VM 0"},
		{"/vm stop 99", "There is no VM 99"},
		{"/vm stop 99999999999999999999", "99999999999999999999"},
		{"/vm set old-wiki --cpu 0", "--cpu"},
		{"/vm set old-wiki --cpu -4", "--cpu"},
		{"/vm set old-wiki --cpu 99999999999999999999", "--cpu"},
		{"/vm set old-wiki --cpu 1e3", "--cpu"},
		{"/vm set old-wiki --ram -1G", "--ram"},
		{"/vm set old-wiki --ram 99999999T", "--ram"},
		{"/vm set old-wiki --disk +99999999T", "--disk"},
		{"/vm set old-wiki --disk -10G", "--disk"},
		{"/vm install ubuntu --count -1", "--count"},
		{"/vm install ubuntu --count 1000000", "--count"},
		{"/vm install ubuntu --id 1", "--id"},
		{"/vm install ubuntu --ttl -7d", "--ttl"},
		{"/vm extend old-wiki 99999d", "TIME"},
		{"/vm cancel -1", "job"},
		{"/vm cancel 99999999999999999999", "job"},
		{"/vm cancel 4711", "There is no job 4711"},

		{"/vm stop dns", "120 is a container; I only look after VMs"},
		{"/vm destroy 120", "120 is a container; I only look after VMs"},
		{"/vm migrate 120 pve1", "120 is a container; I only look after VMs"},
		{"/vm adopt 120", "120 is a container; I only look after VMs"},
		{"/vm start golden", "golden (VM 900) is a template, which can't be started"},
		{"/vm set 900 --cpu 4", "golden (VM 900) is a template"},
		{"/vm start gitlab", "gitlab (VM 101) runs already"},
		{"/vm stop old-wiki", "old-wiki (VM 103) does not run"},
		{"/vm reboot old-wiki", "old-wiki (VM 103) does not run"},
		{"/vm rollback gitlab never", "gitlab (VM 101) has no snapshot never"},

		{"/vm stop locked", "locked (VM 201) is locked (backup)"},
		{"/vm set 201 --cpu 4", "is locked (backup)"},
		{"/vm snapshot 201", "is locked (backup)"},
		{"/vm clone 201", "is locked (backup)"},
		{"/vm destroy 201", "is locked (backup)"},
		{"/vm migrate 201 pve2", "it is locked (backup)"},
		{"/vm shutdown paused", "paused (VM 202) is paused and can't be shut down"},
		{"/vm start 202", "paused (VM 202) is paused"},
		{"/vm destroy protected", "protected (VM 203) is protected"},
		{"/vm start ha", "ha (VM 204) is managed by PVE's high availability"},
		{"/vm stop 204", "is managed by PVE's high availability"},
		{"/vm destroy 204", "is managed by PVE's high availability"},
		{"/vm migrate 204 pve2", "it is managed by PVE's high availability"},
		{"/vm stop twin", "2 VMs are called twin: 205 on pve1, 206 on pve2"},
		{"/vm stop bot", "bot (VM 207) is where the bot itself runs"},
		{"/vm reboot 207", "is where the bot itself runs"},
		{"/vm destroy 207", "is where the bot itself runs"},
		{"/vm migrate 207 pve2", "the bot itself runs in it"},
		{"/vm drain pve1", "he bot itself runs on pve1, in VM 207"},
	}
}

// TestStrangeLines looks at what ran on the nodes after each of them.
func TestStrangeLines(t *testing.T) {
	town := newTestTown(t, strangers, map[string]string{"BOT_VMID": "207"})
	town.sim.HoldLock(201, "backup")
	town.sim.Pause(202)
	town.sim.Protect(203)
	town.sim.HAManaged(204)
	before := town.sim.VMs()
	for _, s := range strange() {
		got := town.send(bot.Inbound{Kind: bot.Command, By: town.person("bob"), Text: s.line})
		if !strings.Contains(got, s.answer) {
			t.Errorf("%.60q: the answer lacks %q:\n%.600s", s.line, s.answer, got)
		}
		for _, r := range town.ran() {
			if r.Changes() {
				t.Errorf("%.60q: %s ran %s", s.line, r.Node, r)
			}
		}
	}
	if !reflect.DeepEqual(town.sim.VMs(), before) {
		t.Error("a VM is not what it was")
	}
}

package commands

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pvebot/provision"
)

var lab = Known{
	Images: []provision.Image{
		{OS: "ubuntu", Version: "24.04", Title: "Ubuntu 24.04 LTS", Default: true},
		{OS: "ubuntu", Version: "22.04", Title: "Ubuntu 22.04 LTS"},
		{OS: "debian", Version: "12", Title: "Debian 12", Default: true},
	},
	Nodes:    []string{"pve1", "pve2", "store"},
	Storages: []string{"local-lvm", "ceph"},
	VMs:      []KnownVM{{101, "web-1", "pve1"}, {102, "web-2", "pve2"}, {103, "db", "pve1"}, {104, "db", "pve2"}, {105, "", "pve2"}},
	Jobs:     []provision.JobID{11, 12},
}

func TestComplete(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"/vm in", []string{"/vm install"}},
		{"in", []string{"install"}},
		{"/vm INS", []string{"/vm install"}},
		{"/vm n", []string{"/vm nodes"}},
		{"/vm zz", nil},
		{"/vm install ", []string{"/vm install ubuntu", "/vm install debian"}},
		{"/vm install d", []string{"/vm install debian"}},
		{"/vm install ubuntu 2", []string{"/vm install ubuntu 24.04", "/vm install ubuntu 22.04"}},
		{"/vm install ubuntu 24.04 --no", []string{"/vm install ubuntu 24.04 --node"}},
		{"/vm install ubuntu --name a --na", nil},
		{"/vm install ubuntu \u2014node ", []string{"/vm install ubuntu --node pve1", "/vm install ubuntu --node pve2", "/vm install ubuntu --node store"}},
		{"/vm install ubuntu --node pve2", []string{"/vm install ubuntu --node pve2"}},
		{"/vm install ubuntu --node=p", []string{"/vm install ubuntu --node=pve1", "/vm install ubuntu --node=pve2"}},
		{"/vm install ubuntu --storage c", []string{"/vm install ubuntu --storage ceph", "/vm install ubuntu --storage local-lvm"}},
		{"/vm install ubuntu --ram 1", []string{"/vm install ubuntu --ram 1G", "/vm install ubuntu --ram 16G"}},
		{"/vm install ubuntu --nonsense=", nil},
		{"/vm show ", []string{"/vm show web-1", "/vm show web-2", "/vm show 103", "/vm show 104", "/vm show 105"}},
		{"/vm show db", []string{"/vm show 103", "/vm show 104"}},
		{"/vm show 102", []string{"/vm show web-2"}},
		{"/vm cancel #", nil},
		{"/vm cancel 1", []string{"/vm cancel 11", "/vm cancel 12"}},
		{"/vm help canc", []string{"/vm help cancel"}},
		{"/vm migrate web-1 p", []string{"/vm migrate web-1 pve1", "/vm migrate web-1 pve2"}},
		{"/vm migrate --node pve2 we", []string{"/vm migrate --node pve2 web-1", "/vm migrate --node pve2 web-2"}},
		{"/vm destroy web-1 ", []string{"/vm destroy web-1 --detached", "/vm destroy web-1 --dry-run"}},
		{"/vm set web-1 --disk ", []string{"/vm set web-1 --disk +10G", "/vm set web-1 --disk +20G", "/vm set web-1 --disk +50G", "/vm set web-1 --disk +100G"}},
		{"/vm extend web-1 7", []string{"/vm extend web-1 7d"}},
		{"/vm can @bob dr", []string{"/vm can @bob drain"}},
		{"/vm audit we", []string{"/vm audit web-1", "/vm audit web-2"}},
		{"/vm list ", nil},
		{`/vm show "we`, nil},
	} {
		var got []string
		for _, c := range Complete(tt.line, lab) {
			got = append(got, c.Value)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q: %s", tt.line, d)
		}
	}
	for _, line := range []string{"", "/vm", "/vm ", "@bot "} {
		if got := Complete(line, lab); len(got) != len(table) {
			t.Errorf("%q: %v, want every verb", line, got)
		}
	}
}

func TestCompletionsAreFew(t *testing.T) {
	var many Known
	for i := range 100 {
		many.Nodes = append(many.Nodes, fmt.Sprintf("pve%d", i))
	}
	many.Nodes = append([]string{strings.Repeat("n", 101)}, many.Nodes...)
	p := *table.verb("install").flag("node")
	got := Completions(p, nil, "", many)
	if len(got) != MaxChoices || got[0].Value != "pve0" {
		t.Errorf("%d choices from %v on, want %d from pve0 on", len(got), got[0], MaxChoices)
	}
	for _, v := range Verbs() {
		for _, c := range Complete("/vm "+v.Name+" ", lab) {
			if n := len([]rune(c.Label)); n == 0 || n > 100 {
				t.Errorf("%s: label %q", v.Name, c.Label)
			}
		}
	}
}

func FuzzComplete(f *testing.F) {
	for _, line := range lines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, c := range Complete(line, lab) {
			if c.Label == "" || c.Value == "" || c.Value != Normalise(c.Value) {
				t.Errorf("%q: %+v", line, c)
			}
		}
	})
}

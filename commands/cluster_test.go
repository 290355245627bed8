package commands

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pvebot/provision"
)

func TestCluster(t *testing.T) {
	for _, tt := range []struct {
		line, cluster, format string
		want                  Request
	}{
		{"/vm show web-1 --cluster taipei", "taipei", "/vm show web-1 --cluster taipei", Show{VM: "web-1"}},
		{"list --cluster=Berlin", "berlin", "/vm list --cluster berlin", List{}},
		{"/vm --cluster taipei", "", "", nil},
		{"install ubuntu --cluster eu-west-1 --cpu 4", "eu-west-1", "/vm install ubuntu --cpu 4 --cluster eu-west-1", Install{Spec: provision.Install{OS: "ubuntu", Cores: 4}, Count: 1}},
		{"/vm show web-1", "", "/vm show web-1", Show{VM: "web-1"}},
	} {
		r, err := Parse(tt.line)
		if err != nil {
			if tt.want != nil {
				t.Errorf("%s: %v", tt.line, err)
			}
			continue
		}
		what, cluster := Site(r)
		if what != tt.want || cluster != tt.cluster || Format(r) != tt.format {
			t.Errorf("%s is %+v in %q, written %s", tt.line, what, cluster, Format(r))
		}
		if again, err := Parse(Format(r)); err != nil || again != r {
			t.Errorf("%s reads as %+v, %v", Format(r), again, err)
		}
	}
	for line, want := range map[string]string{
		"show web-1 --cluster":            "--cluster wants a value, like taipei",
		"show web-1 --cluster pve_1":      "--cluster wants a cluster's name like taipei, got pve_1",
		"jobs --cluster taipei":           "jobs takes no flags, got --cluster",
		"list --cluster a --cluster b":    "--cluster is given twice",
		"cancel 1 --cluster taipei":       "cancel takes no flags, got --cluster",
		"set web-1 --cluster taipei":      "set wants something to change: --cpu, --ram or --disk",
		"show web-1 --clustr taipei":      "show takes no flags, got --clustr",
		"drain pve1 cluster=taipei --foo": "a flag begins with two dashes: --cluster",
	} {
		_, err := Parse(line)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	r, err := Build("start", Fields{"vm": "web-1", "cluster": "taipei"})
	if err != nil || r != (At{Power{Do: "start", VM: "web-1"}, "taipei"}) {
		t.Errorf("a form: %+v, %v", r, err)
	}
}

// TestClusterIsQuiet: with one cluster, nobody hears of clusters.
func TestClusterIsQuiet(t *testing.T) {
	one := Known{Clusters: []string{"pve"}}
	two := Known{Clusters: []string{"taipei", "berlin"}}
	for _, v := range Verbs() {
		if strings.Contains(v.Usage(), "cluster") || slices.ContainsFunc(v.Params(), func(p Param) bool { return p.Name == "cluster" }) {
			t.Errorf("%s speaks of clusters: %s", v.Name, v.Usage())
		}
		line := v.Examples[0] + " --cl"
		if got := Complete(line, one); len(got) > 0 {
			t.Errorf("%s: %v", line, got)
		}
		if got := Complete(line, two); v.Sited != (len(got) == 1) {
			t.Errorf("%s: %v, but sited is %v", line, got, v.Sited)
		}
	}
	var values []string
	for _, c := range Complete("/vm list --cluster ", two) {
		values = append(values, c.Value)
	}
	if d := cmp.Diff([]string{"/vm list --cluster taipei", "/vm list --cluster berlin"}, values); d != "" {
		t.Error(d)
	}
}

func TestPolicyOfClusters(t *testing.T) {
	p, err := ParsePolicy([]byte(`
roles:
  taipei-ops: {members: slack/U1, allow: [{verbs: all, scope: all, clusters: taipei}]}
channels:
  taipei: [slack/C1, discord:2]
  berlin: slack/C2
`))
	if err != nil {
		t.Fatal(err)
	}
	channels := map[provision.Conversation]string{
		{Platform: "slack", Channel: "C1"}: "taipei", {Platform: "discord", Channel: "2"}: "taipei", {Platform: "slack", Channel: "C2"}: "berlin",
	}
	if d := cmp.Diff(channels, p.Channels); d != "" {
		t.Error(d)
	}
	ops := provision.Actor{Platform: "slack", ID: "U1"}
	for _, tt := range []struct {
		q     Question
		allow bool
	}{
		{Question{Verb: "destroy", Cluster: "taipei", Target: &Target{}}, true},
		{Question{Verb: "destroy", Cluster: "berlin", Target: &Target{}}, false},
		{Question{Verb: "destroy", Target: &Target{}}, false},
		{Question{Verb: "install", Cluster: "berlin"}, false},
		{Question{Verb: "list"}, false},
		{Question{Verb: "jobs"}, true}, // of all clusters
		{Question{Verb: "cancel", Cluster: "berlin", Target: &Target{Owner: &ops}}, false},
	} {
		tt.q.Actor = ops
		if v := p.Decide(tt.q); v.Allow != tt.allow || !tt.allow && v.Say != "you may "+tt.q.Verb+" in cluster taipei only" {
			t.Errorf("%+v: %+v", tt.q, v)
		}
	}
	for file, want := range map[string]string{
		"channels: {Taipei: slack/C1}":                     `a cluster can't be called Taipei; use lower-case letters, digits and -`,
		"channels: {a: everyone}":                          `everyone is no channel; write PLATFORM/ID like slack/C012ABC`,
		"channels: {a: slack/C1, b: [slack/C2, slack/C1]}": `slack/C1 is about a already`,
	} {
		_, err := ParsePolicy([]byte("roles: {a: {members: everyone, allow: [{verbs: all}]}}\n" + file))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

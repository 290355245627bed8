package commands

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/cluster/textfile"
	"pvebot/provision"
)

func TestParsePolicy(t *testing.T) {
	data, err := os.ReadFile("testdata/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePolicy(data)
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{
		SoloAdmin: true,
		Roles: []Role{
			{
				Name: "admin", People: []Member{{"slack", "U012ABC"}, {"discord", "175928847299117063"}},
				Allow: []Rule{{Verbs: []string{"all"}, Scope: ScopeAll}},
			},
			{
				Name: "dev", People: []Member{{"slack", ""}}, Groups: []string{"discord:900"},
				Allow: []Rule{
					{Verbs: []string{"read"}, Scope: ScopeAll},
					{Verbs: []string{"install", "destroy", "cancel"}, Scope: ScopeOwn, Nodes: []string{"pve1", "pve2"}},
					{Verbs: []string{"destroy"}, Scope: ScopeAll, Tags: []string{"scratch"}},
				},
			},
			{Name: "guest", People: []Member{{}}, Allow: []Rule{{Verbs: []string{"help", "images"}, Scope: ScopeOwn}}},
		},
		Approvals: []Approval{
			{Verbs: []string{"destroy", "migrate"}, Scope: ScopeOthers, Need: 2, Of: []string{"admin"}, Expires: 12 * time.Hour},
			{Verbs: []string{"install"}, Scope: ScopeAll, Need: 1, Expires: DefaultExpiry},
		},
		Quotas: Quotas{
			Person: Limits{VMs: limit(5), Cores: limit(16), MemoryMB: limit(32 << 10), DiskMB: limit(500 << 10)},
			Total:  Limits{VMs: limit(0), DiskMB: limit(10 << 20)},
			Over:   Approval{Scope: ScopeAll, Need: 1, Of: []string{"admin"}, Expires: 48 * time.Hour},
		},
	}
	if d := cmp.Diff(want, got, cmp.Transformer("plain", func(l list) []string { return l })); d != "" {
		t.Error(d)
	}
}

func TestParsePolicyDefaults(t *testing.T) {
	p, err := ParsePolicy([]byte("roles: {admin: {members: slack/U1, allow: [{verbs: all, scope: all}]}}"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(DefaultApprovals(), p.Approvals); d != "" || p.SoloAdmin {
		t.Errorf("solo admin %v, approvals: %s", p.SoloAdmin, d)
	}
	v := p.Decide(Question{Actor: alice, Verb: "install", Wants: Resources{VMs: 1 << 40}})
	if !v.Allow || v.Gate != nil {
		t.Errorf("no quota: %+v", v)
	}
	p, err = ParsePolicy([]byte("approvals: []\nroles: {admin: {members: slack/U1, allow: [{verbs: all, scope: all}]}}"))
	if err != nil || len(p.Approvals) != 0 {
		t.Errorf("no approvals: %v, %v", p.Approvals, err)
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	const role = "roles:\n  admin:\n    members: [slack/U1]\n    allow:\n    - verbs: all\n"
	for _, tt := range []struct{ name, file, want string }{
		{"nothing", "", "there are no roles, so nobody could do anything; begin with roles: {admin: {members: [slack/U012ABC], allow: [{verbs: all, scope: all}]}}"},
		{"unknown key", role + "    member: x\n", "line 6: there is no key member here; did you mean members? known here: members, groups, allow"},
		{"unknown key at the top", "rolls: {}\n", "line 1: there is no key rolls here; did you mean roles? known here: solo_admin, roles, people, approvals, quotas, channels"},
		{"key like nothing", role + "frobnicate: 1\n", "line 6: there is no key frobnicate here; known here: solo_admin, roles, people, approvals, quotas, channels"},
		{"key of another word", role + "quotas:\n  person: {memory: 8G}\n", "line 7: there is no key memory here; did you mean ram? known here: vms, cores, ram, disk"},
		{"key of a rule in a role", "roles:\n  admin:\n    members: everyone\n    verbs: all\n", "line 4: there is no key verbs here; it goes into a rule under allow: allow: [{verbs: read, scope: all}], or into an approval: approvals: [{verbs: destroy, of: [admin]}]; known here: members, groups, allow"},
		{"two unknown keys", role + "approval: []\nquotas: {persons: {}}\n", "line 6: there is no key approval here; did you mean approvals? known here: solo_admin, roles, people, approvals, quotas, channels\nline 7: there is no key persons here; did you mean person? known here: person, total, approval"},
		{"person", role + "people:\n  bob: [slack/@bob]\n", "line 7: slack/@bob is no id of a person on Slack; write the id, like slack/U012ABC: in Slack open their profile, then \u22ee, then Copy member ID"},
		{"person without", role + "people: {bob: []}\n", "line 6: bob has no identity; list them, like [slack/U012ABC, web/alice]"},
		{"one identity of two", role + "people: {al: web/al, bob: [web/bob, web/al]}\n", "line 6: web/al is al already"},
		{"unknown verb", role + "    - verbs: [list, instal]\n", "line 6: there is no verb instal; did you mean install?"},
		{"verb like nothing", role + "    - verbs: frobnicate\n", "line 6: there is no verb frobnicate; these are: install, list, show, start, stop, shutdown, reboot, destroy, set, migrate, snapshot, rollback, snapshots, clone, extend, adopt, trust, drain, jobs, nodes, images, cancel, can, audit, help, all, read"},
		{"no verbs", role + "    - scope: all\n", "line 6: the verbs are missing; add verbs: [install, list], verbs: read or verbs: all"},
		{"scope", role + "      scope: others\n", "line 6: there is no scope others here; write one of own, all"},
		{"nobody", "roles:\n  admin:\n    allow: [{verbs: all}]\n", "line 3: nobody has the role admin; list members or groups, or members: everyone"},
		{"nothing allowed", "roles:\n  admin:\n    members: everyone\n", "line 3: the role admin allows nothing; add allow: [{verbs: read, scope: all}]"},
		{"member", "roles:\n  admin:\n    members:\n    - slack/U1\n    - alice\n    allow: [{verbs: all}]\n", "line 5: alice is nobody; write PLATFORM/ID like slack/U012ABC, slack/* or everyone"},
		{"group", "roles:\n  admin:\n    groups: [ops]\n    allow: [{verbs: all}]\n", "line 3: ops is no group; write PLATFORM:ID like discord:175928847299117063"},
		{"role name", "roles:\n  The Admins:\n    members: everyone\n    allow: [{verbs: all}]\n", `line 2: a role can't be called "The Admins"; use lower-case letters, digits, - and _`},
		{"tag", role + "      tags: ['a;b']\n", "line 6: a;b can't be among the tags"},
		{"node", role + "      nodes: [pve.1]\n", "line 6: pve.1 can't be among the nodes"},
		{"approver", role + "approvals:\n- verbs: destroy\n  of: [admins]\n", "line 8: there is no role admins; did you mean admin?"},
		{"need", role + "approvals:\n- verbs: destroy\n  need: 0\n", "line 8: need is from 1 to 20, not 0"},
		{"expiry", role + "approvals:\n- verbs: destroy\n  expires: soon\n", "line 8: expires wants a time like 12h, 7d or 2w, got soon"},
		{"quota", role + "quotas:\n  person:\n    vms: -1\n", "line 8: vms can't be below 0; leave it out for no limit"},
		{"quota size", role + "quotas:\n  person:\n    ram: much\n", "line 8: ram wants a size like 64G, got much; leave it out for no limit"},
		{"quota approval", role + "quotas:\n  approval: {verbs: all}\n", "line 7: the approval of what is over quota has no verbs and no scope"},
		{"type", role + "quotas:\n  person:\n    vms: many\n", "line 8: this wants a whole number"},
		{"no list", role + "approvals: yes\n", "line 6: this wants a list"},
		{"no keys", role + "quotas: [1]\n", "line 6: this wants keys with values"},
		{"no switch", role + "solo_admin: maybe\n", "line 6: this wants true or false"},
		{"twice", role + "roles: {}\n", `line 6: mapping key "roles" already defined at [1:1]`},
		{"syntax", "roles: [\n", "line 1: sequence end token ']' not found"},
		{"two things", role + "    - verbs: [instal]\n      scope: some\n", "line 6: there is no verb instal; did you mean install?\nline 7: there is no scope some here; write one of own, all"},
		{"size", strings.Repeat("#", maxPolicy+1), "the policy has 262145 bytes, and at most 262144 are read"},
	} {
		p, err := ParsePolicy([]byte(tt.file))
		if err == nil {
			t.Errorf("%s: got %+v", tt.name, p)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, err, tt.want)
		}
		if _, ok := errors.AsType[*textfile.Error](err); !ok {
			t.Errorf("%s: %T is no *textfile.Error", tt.name, err)
		}
	}
}

// The errors of a file name it, each with its line.
func TestPolicyErrorsNameTheFile(t *testing.T) {
	_, err := ReadPolicy("policy.yaml", []byte("roles:\n  admin:\n    members: nobody\n    allow: [{verbs: everything}]\n"))
	want := "policy.yaml:3: nobody is nobody; write PLATFORM/ID like slack/U012ABC, slack/* or everyone\npolicy.yaml:4: there is no verb everything"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if _, err := ReadPolicy("policy.yaml", nil); err == nil || !strings.HasPrefix(err.Error(), "policy.yaml: there are no roles") {
		t.Errorf("an empty one: %v", err)
	}
}

// People of a file: identities, and names for all of them.
func TestPolicyPeople(t *testing.T) {
	p, err := ParsePolicy([]byte("people: {alice: [slack/U1, 'web:alice']}\nroles: {admin: {members: [alice, discord/3], allow: [{verbs: all, tags: Prod}]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Human{{Name: "alice", As: []provision.Actor{{Platform: "slack", ID: "U1"}, {Platform: "web", ID: "alice"}}}}, p.People); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Member{{"slack", "U1"}, {"web", "alice"}, {"discord", "3"}}, p.Roles[0].People); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"prod"}, p.Roles[0].Allow[0].Tags); d != "" {
		t.Errorf("PVE has its tags in small letters: %s", d)
	}
}

// What a file says about nobody, nobody may: whatever it is made of.
func FuzzParsePolicy(f *testing.F) {
	data, err := os.ReadFile("testdata/policy.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add("roles: {a: {members: slack/U1, allow: [{verbs: all, clusters: b}]}}\nchannels: {b: [slack/C1]}")
	f.Add("roles:\n  0:\n    allow:\n    -\n  1:\n    allow:\n      - nodes: !0000\n000: #0")
	f.Add("roles: &a {x: *a}\nquotas: {person: {ram: 1.5G}}")
	f.Fuzz(func(t *testing.T, file string) {
		p, err := ParsePolicy([]byte(file))
		if err != nil {
			if v := p.Decide(Question{Actor: alice, Verb: "list"}); v.Allow {
				t.Errorf("%q: a bad file allows", file)
			}
			return
		}
		if v := p.Decide(Question{Actor: provision.Actor{}, Verb: "list"}); v.Allow {
			t.Errorf("%q: nobody may %+v", file, v)
		}
		for _, a := range p.Approvals {
			if a.Need < 1 || a.Expires <= 0 || len(a.Verbs) == 0 {
				t.Errorf("%q: approval %+v", file, a)
			}
		}
	})
}

// TestPolicyWordsAreReadAsWritten: a tag may look like a number or a truth; an
// anchor stands for what it names.
func TestPolicyWordsAreReadAsWritten(t *testing.T) {
	p, err := ParsePolicy([]byte("roles:\n  dev:\n    members: slack/*\n    allow:\n    - {verbs: &v [start, stop], scope: all, tags: 3.20}\n    - {verbs: *v, scope: all, tags: [010, 1e3, yes, 2026-12-01]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	allow := p.Roles[0].Allow
	if d := cmp.Diff([]string{"3.20"}, allow[0].Tags); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"010", "1e3", "yes", "2026-12-01"}, allow[1].Tags); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(allow[0].Verbs, allow[1].Verbs); d != "" {
		t.Error(d)
	}
	p, err = ParsePolicy([]byte("roles: {dev: {members: slack/*, allow: [{verbs: all, scope: all}]}}\nquotas: {person: {vms: 010, cores: 016}}\napprovals: [{verbs: migrate, scope: all, need: 02}]\n"))
	if err != nil || *p.Quotas.Person.VMs != 10 || *p.Quotas.Person.Cores != 16 || p.Approvals[0].Need != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

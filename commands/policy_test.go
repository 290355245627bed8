package commands

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/provision"
)

var (
	alice = provision.Actor{Platform: "slack", ID: "U1", Name: "alice"}
	bob   = provision.Actor{Platform: "slack", ID: "U2", Name: "bob"}
	carol = provision.Actor{Platform: "discord", ID: "3", Name: "carol"}
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

func limit(n int64) *int64 { return &n }

// labPolicy: alice leads, bob develops, ops of Discord move what is tagged.
func labPolicy() Policy {
	return Policy{
		Roles: []Role{
			{
				Name: "admin", People: []Member{{"slack", "U1"}},
				Allow: []Rule{{Verbs: []string{AllVerbs}, Scope: ScopeAll}},
			},
			{
				Name: "dev", People: []Member{{"slack", "U2"}},
				Allow: []Rule{
					{Verbs: []string{ReadVerbs}, Scope: ScopeAll},
					{Verbs: []string{"install", "destroy", "cancel"}},
					{Verbs: []string{"destroy"}, Scope: ScopeAll, Tags: []string{"scratch"}},
				},
			},
			{
				Name: "ops", Groups: []string{"discord:900"},
				Allow: []Rule{
					{Verbs: []string{"migrate"}, Scope: ScopeAll, Nodes: []string{"pve1", "pve2"}},
					{Verbs: []string{"install"}, Nodes: []string{"pve1"}},
					{Verbs: []string{"list"}, Nodes: []string{"pve1"}},
				},
			},
		},
		Approvals: DefaultApprovals(),
		Quotas:    Quotas{Person: Limits{VMs: limit(2), MemoryMB: limit(8192)}, Total: Limits{Cores: limit(0)}},
	}
}

func TestDecide(t *testing.T) {
	his, hers := &Target{Owner: &bob}, &Target{Owner: &alice}
	ops := []string{"discord:900"}
	gate := func(reason string) *provision.Gate {
		return &provision.Gate{Need: 1, Of: []string{"admin"}, Reason: reason, Expires: noon.Add(24 * time.Hour)}
	}
	over := func(reason string) *provision.Gate {
		g := gate(reason)
		g.OverQuota = true
		return g
	}
	others := "to destroy other people's VMs needs one"
	for _, tt := range []struct {
		name string
		q    Question
		want Verdict
	}{
		{"admin lists", Question{Actor: alice, Verb: "list"}, Verdict{Allow: true, Rule: "role admin: all on all VMs"}},
		{"dev lists", Question{Actor: bob, Verb: "list"}, Verdict{Allow: true, Rule: "role dev: read on all VMs"}},
		{"dev looks at hers", Question{Actor: bob, Verb: "show", Target: hers}, Verdict{Allow: true, Rule: "role dev: read on all VMs"}},
		{"dev installs", Question{Actor: bob, Verb: "install"}, Verdict{Allow: true, Rule: "role dev: install, destroy, cancel on own VMs"}},
		{"dev destroys his", Question{Actor: bob, Verb: "destroy", Target: his}, Verdict{Allow: true, Rule: "role dev: install, destroy, cancel on own VMs"}},
		{"dev cancels her job", Question{Actor: bob, Verb: "cancel", Target: hers}, Verdict{Rule: "no rule allows it", Say: "you may cancel only what is yours, and this belongs to alice"}},
		{"dev destroys hers", Question{Actor: bob, Verb: "destroy", Target: hers}, Verdict{Rule: "no rule allows it", Say: "you may destroy only what is tagged scratch"}},
		{"dev destroys nobody's", Question{Actor: bob, Verb: "destroy", Target: &Target{}}, Verdict{Rule: "no rule allows it", Say: "you may destroy only what is tagged scratch"}},
		{"dev cancels nobody's", Question{Actor: bob, Verb: "cancel", Target: &Target{}}, Verdict{Rule: "no rule allows it", Say: "you may cancel only what is yours, and this belongs to nobody I know"}},
		{
			"dev destroys a scratch VM of hers",
			Question{Actor: bob, Verb: "destroy", Target: &Target{Owner: &alice, Tags: []string{"ubuntu", "scratch"}}, Now: noon},
			Verdict{Allow: true, Rule: "role dev: destroy on all VMs tagged scratch", Gate: gate(others), Say: "this waits for an approval by admin: " + others},
		},
		{"dev migrates", Question{Actor: bob, Verb: "migrate", Target: his}, Verdict{Rule: "no rule allows it", Say: "your role (dev) does not include migrate"}},
		{
			"admin destroys his",
			Question{Actor: alice, Verb: "destroy", Target: his, Now: noon},
			Verdict{Allow: true, Rule: "role admin: all on all VMs", Gate: gate(others), Say: "this waits for an approval by admin: " + others},
		},
		{
			"admin drains a node with VMs of others",
			Question{Actor: alice, Verb: "drain", Target: &Target{}, Now: noon},
			Verdict{Allow: true, Rule: "role admin: all on all VMs", Gate: gate("to drain other people's VMs needs one"), Say: "this waits for an approval by admin: to drain other people's VMs needs one"},
		},
		{"admin drains an empty node", Question{Actor: alice, Verb: "drain", Now: noon}, Verdict{Allow: true, Rule: "role admin: all on all VMs"}},
		{"dev reads the audit", Question{Actor: bob, Verb: "audit", Target: hers}, Verdict{Allow: true, Rule: "role dev: read on all VMs"}},
		{"admin destroys hers", Question{Actor: alice, Verb: "destroy", Target: hers}, Verdict{Allow: true, Rule: "role admin: all on all VMs"}},

		{"stranger lists", Question{Actor: carol, Verb: "list"}, Verdict{Rule: "no rule allows it", Say: "you have no role here; an admin can give discord/3 one"}},
		{"nobody lists", Question{Verb: "list"}, Verdict{Rule: "no rule allows it", Say: "you have no role here; an admin can give / one"}},
		{"a name gives nothing", Question{Actor: provision.Actor{Platform: "slack", ID: "U9", Name: "alice"}, Verb: "list"}, Verdict{Rule: "no rule allows it", Say: "you have no role here; an admin can give slack/U9 one"}},
		{"an id is of one platform", Question{Actor: provision.Actor{Platform: "discord", ID: "U1"}, Verb: "list"}, Verdict{Rule: "no rule allows it", Say: "you have no role here; an admin can give discord/U1 one"}},
		{"a group is of one platform", Question{Actor: provision.Actor{Platform: "web", ID: "3"}, Groups: ops, Verb: "list"}, Verdict{Rule: "no rule allows it", Say: "you have no role here; an admin can give web/3 one"}},

		{"ops list, whatever their nodes", Question{Actor: carol, Groups: ops, Verb: "list"}, Verdict{Allow: true, Rule: "role ops: list on own VMs on pve1"}},
		{"ops install somewhere", Question{Actor: carol, Groups: ops, Verb: "install"}, Verdict{Rule: "no rule allows it", Say: "name the node: you may install on pve1 only"}},
		{"ops install there", Question{Actor: carol, Groups: ops, Verb: "install", Nodes: []string{"pve1"}}, Verdict{Allow: true, Rule: "role ops: install on own VMs on pve1"}},
		{"ops install elsewhere", Question{Actor: carol, Groups: ops, Verb: "install", Nodes: []string{"pve3"}}, Verdict{Rule: "no rule allows it", Say: "you may install on pve1 only, not on pve3"}},
		{"ops migrate out", Question{Actor: carol, Groups: ops, Verb: "migrate", Target: his, Nodes: []string{"pve1", "pve3"}}, Verdict{Rule: "no rule allows it", Say: "you may migrate on pve1, pve2 only, not on pve3"}},

		{"within quota", Question{Actor: bob, Verb: "install", Wants: Resources{VMs: 1, MemoryMB: 4096}, Usage: Usage{Person: Resources{VMs: 1, MemoryMB: 4096}}}, Verdict{Allow: true, Rule: "role dev: install, destroy, cancel on own VMs"}},
		{
			"over quota",
			Question{Actor: bob, Verb: "install", Now: noon, Wants: Resources{VMs: 2, Cores: 4, MemoryMB: 5000}, Usage: Usage{Person: Resources{VMs: 1, MemoryMB: 4096}, Total: Resources{Cores: 10}}},
			Verdict{
				Allow: true, Rule: "role dev: install, destroy, cancel on own VMs",
				Gate: over("one person may have 2 VMs, and this makes 3; one person may have 8G of memory, and this makes 9096M; all together may have 0 cores, and this makes 14"),
				Say:  "this waits for an approval by admin: one person may have 2 VMs, and this makes 3; one person may have 8G of memory, and this makes 9096M; all together may have 0 cores, and this makes 14",
			},
		},
		{"over quota already, and takes nothing", Question{Actor: bob, Verb: "destroy", Target: his, Usage: Usage{Person: Resources{VMs: 9}}}, Verdict{Allow: true, Rule: "role dev: install, destroy, cancel on own VMs"}},
	} {
		tt.want.Quotas = tt.want.Allow
		if d := cmp.Diff(tt.want, labPolicy().Decide(tt.q)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	free := labPolicy()
	free.Quotas = Quotas{}
	if v := free.Decide(Question{Actor: bob, Verb: "install"}); !v.Allow || v.Quotas {
		t.Errorf("without quotas: %+v", v)
	}
}

func TestZeroPolicyDenies(t *testing.T) {
	for _, verb := range append(table.names(), "") {
		for _, actor := range []provision.Actor{alice, {}, {Platform: "system", ID: "system"}} {
			if v := (Policy{}).Decide(Question{Actor: actor, Verb: verb}); v.Allow || v.Say == "" || v.Rule == "" {
				t.Errorf("%v %s: %+v", actor, verb, v)
			}
		}
	}
}

func TestDemoPolicyAllows(t *testing.T) {
	for _, verb := range table.names() {
		q := Question{Actor: carol, Verb: verb, Target: &Target{Owner: &bob}, Wants: Resources{VMs: 1000}}
		if v := DemoPolicy().Decide(q); !v.Allow || v.Gate != nil {
			t.Errorf("%s: %+v", verb, v)
		}
	}
}

func TestApprovals(t *testing.T) {
	ask := func(p Policy, verb string, target *Target) Verdict {
		return p.Decide(Question{Actor: alice, Verb: verb, Target: target, Now: noon})
	}
	p := labPolicy()
	p.Approvals = []Approval{
		{Verbs: []string{AllVerbs}, Scope: ScopeOwn},
		{Verbs: []string{"destroy"}, Need: 2, Of: []string{"ops"}, Expires: time.Hour},
	}
	p.SoloAdmin = true
	v := ask(p, "destroy", &Target{Owner: &alice})
	want := &provision.Gate{
		Need: 3, Of: []string{"admin", "ops"}, Expires: noon.Add(time.Hour), SoloOK: true,
		Reason: "to destroy one's own VMs needs one; to destroy any VMs needs one",
		Each: []provision.Quorum{
			{Need: 1, Of: []string{"admin"}, Reason: "to destroy one's own VMs needs one"},
			{Need: 2, Of: []string{"ops"}, Reason: "to destroy any VMs needs one"},
		},
	}
	if d := cmp.Diff(want, v.Gate); d != "" {
		t.Errorf("both of two: %s", d)
	}
	if v.Say != "this waits for an approval by admin and 2 approvals by ops: "+want.Reason {
		t.Errorf("says %s", v.Say)
	}
	if v := ask(p, "show", &Target{Owner: &alice}); !v.Allow || v.Gate != nil {
		t.Errorf("looking needs an approval: %+v", v)
	}
	if v := ask(p, "install", nil); !v.Allow || v.Gate != nil {
		t.Errorf("an install is of nobody's VM: %+v", v)
	}
	// Nobody may do it to all VMs, so nobody can approve: better no than for ever.
	p = labPolicy()
	p.Roles = p.Roles[1:]
	q := Question{Actor: bob, Verb: "destroy", Target: &Target{Owner: &alice, Tags: []string{"scratch"}}}
	if v := p.Decide(q); v.Allow || v.Say != "it needs an approval that no role may give: to destroy other people's VMs needs one" {
		t.Errorf("without approvers: %+v", v)
	}
}

func TestMayVote(t *testing.T) {
	p := labPolicy()
	gate := provision.Gate{Need: 1, Of: []string{"admin", "ops"}}
	solo := gate
	solo.SoloOK = true
	confirmation := provision.Gate{Need: 1, SoloOK: true}
	yourself := "you asked for this yourself, so somebody else has to decide"
	only := "only admin or ops can decide this"
	for _, tt := range []struct {
		name         string
		gate         provision.Gate
		asker, voter provision.Actor
		groups       []string
		want         string
	}{
		{"an admin", gate, bob, alice, nil, ""},
		{"by the platform's role", gate, bob, carol, []string{"discord:900"}, ""},
		{"without the role", gate, alice, bob, nil, only},
		{"the role was taken away", gate, bob, carol, nil, only},
		{"the asker", gate, alice, alice, nil, yourself},
		{"the asker under another name", gate, provision.Actor{Platform: "slack", ID: "U1", Name: "al"}, alice, nil, yourself},
		{"the asker confirms", confirmation, bob, bob, nil, ""},
		{"an admin confirms for the asker", confirmation, bob, alice, nil, "only bob can confirm this, who asked for it"},
		{"the asker, alone", solo, alice, alice, nil, ""},
		{"the asker, alone, without the role", solo, bob, bob, nil, only},
	} {
		if got := p.MayVote(tt.gate, tt.asker, tt.voter, tt.groups); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAdminsPolicy(t *testing.T) {
	p, err := AdminsPolicy([]string{"slack:U1", " discord:3 ", "slack:U1"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Member{{"slack", "U1"}, {"discord", "3"}}, p.Roles[0].People); d != "" {
		t.Error(d)
	}
	for actor, want := range map[provision.Actor]bool{alice: true, carol: true, bob: false} {
		if v := p.Decide(Question{Actor: actor, Verb: "install"}); v.Allow != want {
			t.Errorf("%v: %+v", actor, v)
		}
	}
	if v := p.Decide(Question{Actor: alice, Verb: "destroy", Target: &Target{}}); v.Gate == nil || v.Gate.SoloOK {
		t.Errorf("two admins: %+v", v)
	}
	one, err := AdminsPolicy([]string{"slack:U1"})
	if err != nil || !one.SoloAdmin {
		t.Errorf("one admin: %+v, %v", one, err)
	}
	for _, bad := range [][]string{nil, {""}, {"alice"}, {"slack:"}, {":U1"}, {"slack:*"}, {"everyone"}, {"slack:U1:U2"}, {"sl ack:U1"}} {
		if p, err := AdminsPolicy(bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestGroups(t *testing.T) {
	p := Policy{Roles: []Role{
		{Name: "ops", Groups: []string{"slack:S1", "discord:31", "slack:S2"}},
		{Name: "dev", Groups: []string{"slack:S1", "slackish:S9"}},
		{Name: "all"},
	}}
	if got := p.Groups("slack"); !slices.Equal(got, []string{"S1", "S2"}) {
		t.Errorf("Slack's groups are %q", got)
	}
	if got := p.Groups("web"); len(got) != 0 {
		t.Errorf("the page's groups are %q", got)
	}
}

// Two rules that apply are two approvals: neither group decides for the other,
// and what is over quota is decided by those whom the quota names.
func TestEveryApprovalThatAppliesIsNeeded(t *testing.T) {
	p := labPolicy()
	p.Roles = append(p.Roles, Role{Name: "sec", People: []Member{{"slack", "U5"}}})
	p.Approvals = []Approval{
		{Verbs: []string{"destroy", "install"}, Of: []string{"ops"}},
		{Verbs: []string{"destroy"}, Of: []string{"sec"}, Need: 2},
	}
	p.Quotas = Quotas{Person: Limits{VMs: limit(0)}, Over: Approval{Of: []string{"admin"}, Expires: time.Minute}}
	v := p.Decide(Question{Actor: alice, Verb: "destroy", Target: &Target{Owner: &alice}, Now: noon})
	if v.Gate == nil || v.Gate.Need != 3 || !slices.Equal(v.Gate.Of, []string{"ops", "sec"}) || len(v.Gate.Each) != 2 {
		t.Errorf("two groups: %+v", v.Gate)
	}
	for _, voter := range []struct {
		by     provision.Actor
		groups []string
		may    bool
	}{{carol, []string{"discord:900"}, true}, {provision.Actor{Platform: "slack", ID: "U5"}, nil, true}, {bob, nil, false}} {
		if say := p.MayVote(*v.Gate, alice, voter.by, voter.groups); (say == "") != voter.may {
			t.Errorf("%s is told %q", voter.by, say)
		}
	}
	v = p.Decide(Question{Actor: alice, Verb: "install", Wants: Resources{VMs: 1}, Now: noon})
	switch g := v.Gate; {
	case g == nil || len(g.Each) != 2 || !g.OverQuota || !g.Expires.Equal(noon.Add(time.Minute)):
		t.Errorf("over quota: %+v", g)
	case v.Say != "this waits for an approval by ops and an approval by admin: to install any VMs needs one; one person may have 0 VMs, and this makes 1":
		t.Errorf("over quota it says %s", v.Say)
	}
	// A group that includes another one's voters, and as many of them, is enough.
	p.Approvals = append(p.Approvals, Approval{Verbs: []string{"install"}, Of: []string{"ops", "sec"}})
	if v := p.Decide(Question{Actor: alice, Verb: "install", Now: noon}); v.Gate == nil || len(v.Gate.Each) != 0 || !slices.Equal(v.Gate.Of, []string{"ops"}) {
		t.Errorf("of ops, and of ops or sec: %+v", v.Gate)
	}
}

// One person with several identities is one person: not their own approver, and
// the owner of what they ordered elsewhere. Their roles stay the identity's.
func TestIdentitiesOfOnePerson(t *testing.T) {
	p := labPolicy()
	http := provision.Actor{Platform: "http", ID: "bob"}
	p.Roles[1].People = append(p.Roles[1].People, Member{"http", "bob"})
	his := Question{Actor: bob, Verb: "cancel", Target: &Target{Owner: &http}}
	if v := p.Decide(his); v.Allow {
		t.Errorf("strangers: %+v", v)
	}
	gate := provision.Gate{Need: 1, Of: []string{"dev"}}
	if say := p.MayVote(gate, http, bob, nil); say != "" {
		t.Errorf("strangers: %s", say)
	}
	p.People = []Human{{Name: "bob", As: []provision.Actor{bob, http, {Platform: "web", ID: "bob"}}}}
	if v := p.Decide(his); !v.Allow {
		t.Errorf("his own: %+v", v)
	}
	if v := p.Decide(Question{Actor: alice, Verb: "destroy", Target: &Target{Owner: &http}}); v.Gate == nil {
		t.Error("his VM is alice's by now")
	}
	if say := p.MayVote(gate, http, bob, nil); say != "you asked for this yourself, so somebody else has to decide" {
		t.Errorf("he approves what he asked for: %q", say)
	}
	if say := p.MayVote(provision.Gate{Need: 1}, http, bob, nil); say != "" {
		t.Errorf("he can't confirm what he asked for: %s", say)
	}
	if v := p.Decide(Question{Actor: provision.Actor{Platform: "web", ID: "bob"}, Verb: "list"}); v.Allow {
		t.Errorf("a role went from one identity to another: %+v", v)
	}
	if others := p.Others(http); len(others) != 2 || !p.Same(bob, http) || p.Same(bob, alice) {
		t.Errorf("he is also %v", others)
	}
}

// An approval that more people may give does not take the place of one that
// fewer may.
func TestTheStricterApproval(t *testing.T) {
	p := labPolicy()
	wide := Approval{Verbs: []string{"destroy"}, Of: []string{"dev", "ops"}}
	narrow := Approval{Verbs: []string{"destroy"}, Of: []string{"ops"}}
	for _, all := range [][]Approval{{narrow, wide}, {wide, narrow}} {
		p.Approvals = all
		v := p.Decide(Question{Actor: alice, Verb: "destroy", Target: &Target{Owner: &alice}, Now: noon})
		if v.Gate == nil || !slices.Equal(v.Gate.Of, []string{"ops"}) {
			t.Errorf("%+v: the gate is %+v, want one by ops alone", all, v.Gate)
		}
	}
	// So it is with what is over quota.
	zero := int64(0)
	p.Approvals = []Approval{{Verbs: []string{"install"}, Of: []string{"dev", "admin"}}}
	p.Quotas = Quotas{Person: Limits{VMs: &zero}, Over: Approval{Of: []string{"admin"}}}
	v := p.Decide(Question{Actor: alice, Verb: "install", Wants: Resources{VMs: 1}, Now: noon})
	if v.Gate == nil || !slices.Equal(v.Gate.Of, []string{"admin"}) {
		t.Errorf("over quota the gate is %+v, want one by admin", v.Gate)
	}
}

// However much is asked for, it is not less than the quota.
func TestQuotasOfHugeNumbers(t *testing.T) {
	p := labPolicy()
	huge := Resources{VMs: 1, Cores: 1 << 62, MemoryMB: 1<<63 - 1, DiskMB: 1<<63 - 1}
	q := Question{Actor: bob, Verb: "install", Wants: huge.Plus(huge), Usage: Usage{Person: huge, Total: huge.Plus(huge)}, Now: noon}
	if v := p.Decide(q); v.Gate == nil || !v.Gate.OverQuota {
		t.Errorf("a huge order: %+v", v)
	}
	less := Resources{Cores: -1 << 63}
	if sum := less.Plus(less); sum.Cores >= 0 {
		t.Errorf("the sum of two negative ones is %d", sum.Cores)
	}
}

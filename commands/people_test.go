package commands

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pvebot/provision"
)

// However an identity is written down, it is the same one, or it is refused with
// where to find the id: a name that matches nobody is not taken.
func TestIdentity(t *testing.T) {
	for text, want := range map[string]string{
		"slack:U1": "slack/U1", "slack/U012ABC": "slack/U012ABC", " Slack:U012ABC ": "slack/U012ABC", "slack:u012abcde": "slack/U012ABCDE",
		"<@U012ABC|alice>": "slack/U012ABC", "slack:<@U012ABC|alice>": "slack/U012ABC", "slack/@U012ABC": "slack/U012ABC", "U012ABCDE": "slack/U012ABCDE",
		"discord:<@80351110224678912>": "discord/80351110224678912", "discord/<@!80351110224678912>": "discord/80351110224678912",
		"<@80351110224678912>": "discord/80351110224678912", "80351110224678912": "discord/80351110224678912", "discord:2": "discord/2",
		"web:alice": "web/alice", "web/@alice": "web/alice", "http/ci": "http/ci", "memory/U1": "memory/U1",
	} {
		if got, err := Identity(text); err != nil || got.Key() != want {
			t.Errorf("%q is %s, want %s: %v", text, got.Key(), want, err)
		}
	}
	for text, hint := range map[string]string{
		"slack/@alice": "Copy member ID", "slack:alice": "Copy member ID", "discord:alice#1234": "Copy User ID", "discord/@alice": "Copy User ID",
		"@alice": "Copy member ID", "alice": "PLATFORM/ID", "u012abcde": "PLATFORM/ID", "": "PLATFORM/ID", "slack:": "PLATFORM/ID", "everyone": "PLATFORM/ID",
		"slack/*": "PLATFORM/ID", "slak/U012ABC": "did you mean slack?", "<@&80351110224678912>": "under groups", "slack:U1:U2": "Copy member ID", "web:a/b": "PLATFORM/ID",
	} {
		if got, err := Identity(text); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q is %s, %v; want a hint with %q", text, got.Key(), err, hint)
		}
	}
	for text, want := range map[string]string{
		"discord:900": "discord:900", "discord/900": "discord:900", "<@&900>": "discord:900", "discord:<@&900>": "discord:900",
		"slack:<!subteam^S012|ops>": "slack:S012", "ops": "", "discord:ops": "",
	} {
		if got, ok := groupOf(text); got != want || ok != (want != "") {
			t.Errorf("the group %q is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"slack/C012": "C012", "slack:<#C012|general>": "C012", "discord:17": "17", "slack/#general": "", "discord/general": "", "general": ""} {
		if got, wrong := channelOf(text); got.Channel != want || (wrong == nil) != (want != "") {
			t.Errorf("the channel %q is %+v, want %q", text, got, want)
		}
	}
	if who, err := PersonOf("slack", "@alice"); err == nil || !strings.Contains(err.Error(), "no id of a person on Slack") {
		t.Errorf("@alice, typed in Slack, is %+v: %v", who, err)
	}
}

// Tags are compared as PVE does: it has them in small letters.
func TestTagsOfARule(t *testing.T) {
	p := Policy{Roles: []Role{{Name: "dev", People: []Member{{}}, Allow: []Rule{{Verbs: []string{AllVerbs}, Scope: ScopeAll, Tags: []string{"Prod"}}}}}}
	for tag, want := range map[string]bool{"prod": true, "Prod": true, "production": false} {
		if v := p.Decide(Question{Actor: alice, Verb: "stop", Target: &Target{Tags: []string{"web", tag}}}); v.Allow != want {
			t.Errorf("tagged %s: %+v", tag, v)
		}
	}
}

// TestExamplePolicy: the example for operators does what its comments say.
func TestExamplePolicy(t *testing.T) {
	text, err := os.ReadFile("../deploy/policy.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadPolicy("policy.example.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	who := func(platform, id string) provision.Actor { return provision.Actor{Platform: platform, ID: id} }
	admin, page, dev, sec := who("slack", "U012ALICE"), who("web", "alice"), who("slack", "U9"), who("slack", "U012CAROL")
	for _, tt := range []struct {
		what  string
		q     Question
		allow bool
		gate  string
	}{
		{"an admin on the page", Question{Actor: page, Verb: "destroy", Target: &Target{Owner: &page}}, true, ""},
		{"an admin, of what she ordered on Slack", Question{Actor: page, Verb: "destroy", Target: &Target{Owner: &admin}}, true, ""},
		{"somebody else's VM", Question{Actor: page, Verb: "destroy", Target: &Target{Owner: &dev}}, true, "an approval by admin and an approval by sec"},
		{"somebody on Slack looks", Question{Actor: dev, Verb: "show", Target: &Target{Owner: &page}}, true, ""},
		{"their own VM", Question{Actor: dev, Verb: "set", Target: &Target{Owner: &dev}}, true, ""},
		{"another's", Question{Actor: dev, Verb: "set", Target: &Target{Owner: &page}}, false, ""},
		{"what is tagged scratch", Question{Actor: dev, Verb: "destroy", Target: &Target{Owner: &page, Tags: []string{"scratch"}}}, true, "an approval by admin and an approval by sec"},
		{"over quota", Question{Actor: dev, Verb: "install", Wants: Resources{VMs: 6}}, true, "an approval by admin"},
		{"ops between two nodes", Question{Actor: who("discord", "7"), Groups: []string{"discord:175928847299117063"}, Verb: "migrate", Target: &Target{Owner: &dev}, Nodes: []string{"pve1", "pve2"}}, true, "an approval by admin"},
		{"ops elsewhere", Question{Actor: who("discord", "7"), Groups: []string{"discord:175928847299117063"}, Verb: "migrate", Target: &Target{Owner: &dev}, Nodes: []string{"pve1", "pve3"}}, false, ""},
		{"a stranger", Question{Actor: who("web", "bob"), Verb: "list"}, false, ""},
	} {
		v := p.Decide(tt.q)
		gate := ""
		if v.Gate != nil {
			gate = v.Gate.String()
		}
		if v.Allow != tt.allow || gate != tt.gate {
			t.Errorf("%s: %+v, gate %q, want %v and %q", tt.what, v, gate, tt.allow, tt.gate)
		}
	}
	if !slices.Contains(p.RolesOf(sec, nil), "sec") {
		t.Error("carol is not of sec")
	}
	lines := strings.Join(p.Summary(), "\n")
	for _, want := range []string{
		"role admin: slack/U012ALICE, web/alice, http/alice, discord/80351110224678912\n  may all on all VMs\n",
		"approval: to destroy other people's VMs needs an approval by sec within 12h\n", "quota: one person may have 5 VMs\n",
		"  beyond that it needs an approval by admin within 48h\n", "alice is one person: slack/U012ALICE, web/alice, http/alice",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the summary lacks %q:\n%s", want, lines)
		}
	}
	if doubts := p.Doubts(); len(doubts) > 0 {
		t.Errorf("doubts: %q", doubts)
	}
	p.People = nil
	if doubts := p.Doubts(); len(doubts) != 1 || !strings.Contains(doubts[0], "web/alice and http/alice have one name and count as two people") {
		t.Errorf("doubts: %q", doubts)
	}
}

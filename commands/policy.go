package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pvebot/provision"
)

// Policy says who may do what. The zero Policy denies everything. It is plain
// data and pure: it may be asked by many goroutines at once.
type Policy struct {
	Roles     []Role
	Approvals []Approval // none: nothing needs an approval but what is over quota
	People    []Human    // who has several identities
	Quotas    Quotas
	// SoloAdmin lets people approve their own requests, where they have the
	// role for it: for a cluster with one admin.
	SoloAdmin bool
	// Channels says which cluster a conversation is about, where there are
	// several and people do not say which.
	Channels map[provision.Conversation]string
}

// Role is some people and what they may do. A person may have several roles;
// what one of them allows is allowed.
type Role struct {
	Name   string
	People []Member
	Groups []string // PLATFORM:ID of a platform's own group or role
	Allow  []Rule
}

// Member is a person, all of a platform when ID is empty, everybody when both
// are.
type Member struct{ Platform, ID string }

// Scope says whose VMs and jobs are meant. A VM that the bot did not make
// belongs to nobody: it is one of all and of others.
type Scope string

// The scopes.
const (
	ScopeOwn    Scope = "own"
	ScopeOthers Scope = "others" // in approvals only
	ScopeAll    Scope = "all"
)

// The words that stand for several verbs.
const (
	AllVerbs  = "all"
	ReadVerbs = "read" // the verbs that change nothing
)

// Rule allows verbs. Of a verb that is about an existing VM or job, Scope,
// Tags and Nodes narrow which.
type Rule struct {
	Verbs []string // names of verbs, AllVerbs, ReadVerbs
	Scope Scope    // ScopeOwn or ScopeAll; "" is ScopeOwn
	Tags  []string // the VM has one of these; empty: any VM
	Nodes []string // all nodes concerned are among these; empty: any node
	// Clusters it holds in; empty: any.
	Clusters []string
}

// Approval says which requests wait for others to agree.
type Approval struct {
	Verbs   []string // as in Rule
	Scope   Scope    // whose VMs; "" is ScopeAll
	Need    int      // so many different people; below 1 is 1
	Of      []string // with one of these roles; empty: the roles that may do it to every VM
	Expires time.Duration
}

// DefaultExpiry is how long an approval is waited for, unless said otherwise.
const DefaultExpiry = 24 * time.Hour

// DefaultApprovals is what needs an approval where a policy does not say:
// moving and destroying other people's VMs, and draining nodes that have some.
func DefaultApprovals() []Approval {
	return []Approval{{Verbs: []string{"migrate", "destroy", "drain"}, Scope: ScopeOthers, Need: 1, Expires: DefaultExpiry}}
}

// AdminsPolicy is the policy of ADMINS=slack:U1,discord:2: these people may do
// everything, nobody else anything. A single admin approves alone.
func AdminsPolicy(admins []string) (Policy, error) {
	role := Role{Name: "admin", Allow: []Rule{{Verbs: []string{AllVerbs}, Scope: ScopeAll}}}
	for _, s := range admins {
		who, err := Identity(s)
		if err != nil {
			return Policy{}, fmt.Errorf("ADMINS: %w", err)
		}
		m := Member{who.Platform, who.ID}
		if !slices.Contains(role.People, m) {
			role.People = append(role.People, m)
		}
	}
	if len(role.People) == 0 {
		return Policy{}, fmt.Errorf("ADMINS names nobody: write PLATFORM:ID, like slack:U012ABC")
	}
	return Policy{Roles: []Role{role}, Approvals: DefaultApprovals(), SoloAdmin: len(role.People) == 1}, nil
}

// DemoPolicy lets everybody do everything.
func DemoPolicy() Policy {
	return Policy{Roles: []Role{{
		Name:   "everyone",
		People: []Member{{}},
		Allow:  []Rule{{Verbs: []string{AllVerbs}, Scope: ScopeAll}},
	}}}
}

// RolesOf are the names of the roles that actor has; groups are the platform's
// own, PLATFORM:ID. Names that people give themselves do not count.
func (p Policy) RolesOf(actor provision.Actor, groups []string) []string {
	var names []string
	for _, r := range p.Roles {
		if r.has(actor, groups) {
			names = append(names, r.Name)
		}
	}
	return names
}

// Groups are the ids of the groups of a platform that the policy speaks of.
func (p Policy) Groups(platform string) []string {
	var ids []string
	for _, r := range p.Roles {
		for _, g := range r.Groups {
			if id, ok := strings.CutPrefix(g, platform+":"); ok && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (r Role) has(actor provision.Actor, groups []string) bool {
	if actor.Platform == "" || actor.ID == "" {
		return false
	}
	for _, m := range r.People {
		if (m.Platform == "" || m.Platform == actor.Platform) && (m.ID == "" || m.ID == actor.ID) {
			return true
		}
	}
	return slices.ContainsFunc(r.Groups, func(g string) bool {
		return strings.HasPrefix(g, actor.Platform+":") && slices.Contains(groups, g)
	})
}

// covers reports whether verbs, names or words for several, have verb.
func covers(verbs []string, verb string) bool {
	return slices.ContainsFunc(verbs, func(v string) bool {
		switch v {
		case AllVerbs:
			return true
		case ReadVerbs:
			row := table.verb(verb)
			return row != nil && row.Reads
		}
		return v == verb
	})
}

// String is the rule as people read it: install, start on own VMs tagged web.
func (r Rule) String() string {
	s := strings.Join(r.Verbs, ", ")
	if r.Scope == ScopeAll {
		s += " on all VMs"
	} else {
		s += " on own VMs"
	}
	if len(r.Tags) > 0 {
		s += " tagged " + strings.Join(r.Tags, " or ")
	}
	if len(r.Nodes) > 0 {
		s += " on " + strings.Join(r.Nodes, ", ")
	}
	if len(r.Clusters) > 0 {
		s += " in " + strings.Join(r.Clusters, ", ")
	}
	return s
}

package commands

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"pvebot/cluster/textfile"
	"pvebot/cluster/yamlfile"
	"pvebot/provision"
)

// maxPolicy is the longest policy file that is read, in bytes.
const maxPolicy = 256 << 10

// ReadPolicy is ParsePolicy of the file called name, which its errors name.
func ReadPolicy(name string, data []byte) (Policy, error) {
	p, err := ParsePolicy(data)
	return p, textfile.In(name, err)
}

// ParsePolicy reads policy.yaml. The error joins one *textfile.Error for each thing
// that is wrong; the Policy is then the zero one.
func ParsePolicy(data []byte) (Policy, error) {
	if len(data) > maxPolicy {
		return Policy{}, &textfile.Error{Say: fmt.Sprintf("the policy has %d bytes, and at most %d are read", len(data), maxPolicy)}
	}
	f, root, err := readYAML(data)
	if err != nil {
		return Policy{}, err
	}
	r := policyReader{root: root, roles: slices.Sorted(maps.Keys(f.Roles))}
	p := r.policy(f)
	if len(r.wrong) > 0 {
		return Policy{}, errors.Join(r.wrong...)
	}
	return p, nil
}

// policyReader checks a file's words, and collects what is wrong.
type policyReader struct {
	root   *ast.File
	roles  []string
	people []Human
	wrong  []error
}

// place is where in the file something stands: keys and indexes.
type place []any

func (at place) at(more ...any) place { return append(slices.Clip(at), more...) }

// fail notes what is wrong at a place: the innermost that has a line.
func (r *policyReader) fail(at place, hint, format string, a ...any) {
	r.wrong = append(r.wrong, &textfile.Error{Line: r.line(at), Say: fmt.Sprintf(format, a...), Try: hint})
}

func (r *policyReader) line(at place) int {
	for n := len(at); n > 0; n-- {
		b := (&yaml.PathBuilder{}).Root()
		for _, part := range at[:n] {
			switch part := part.(type) {
			case string:
				b = b.Child(part)
			case int:
				b = b.Index(uint(part))
			}
		}
		node, err := b.Build().FilterFile(r.root)
		if err == nil && node != nil && node.GetToken() != nil {
			return node.GetToken().Position.Line
		}
	}
	return 0
}

func (r *policyReader) policy(f policyFile) Policy {
	p := Policy{SoloAdmin: f.SoloAdmin, Approvals: DefaultApprovals()}
	if len(f.Roles) == 0 {
		r.fail(nil, "begin with roles: {admin: {members: [slack/U012ABC], allow: [{verbs: all, scope: all}]}}", "there are no roles, so nobody could do anything")
	}
	p.People = r.humans(f.People)
	r.people = p.People
	for _, name := range r.roles {
		p.Roles = append(p.Roles, r.role(name, f.Roles[name]))
	}
	if f.Approvals != nil {
		p.Approvals = nil
		for i, a := range *f.Approvals {
			at := place{"approvals", i}
			r.verbs(at, a.Verbs)
			p.Approvals = append(p.Approvals, r.approval(at, a))
		}
	}
	p.Quotas.Person = r.limits(place{"quotas", "person"}, f.Quotas.Person)
	p.Quotas.Total = r.limits(place{"quotas", "total"}, f.Quotas.Total)
	if a := f.Quotas.Approval; a != nil {
		at := place{"quotas", "approval"}
		if len(a.Verbs) > 0 || a.Scope != "" {
			r.fail(at, "", "the approval of what is over quota has no verbs and no scope")
		}
		p.Quotas.Over = r.approval(at, *a)
	}
	for _, cluster := range slices.Sorted(maps.Keys(f.Channels)) {
		r.channels(&p, cluster, f.Channels[cluster])
	}
	return p
}

// channels are the conversations that are about a cluster.
func (r *policyReader) channels(p *Policy, cluster string, channels list) {
	at := place{"channels", cluster}
	if !clusterRE.MatchString(cluster) {
		r.fail(place{"channels"}, "use lower-case letters, digits and -", "a cluster can't be called %s", clip(cluster))
	}
	for i, s := range channels {
		where, wrong := channelOf(s)
		switch other, twice := p.Channels[where]; {
		case wrong != nil:
			r.fail(at.at(i), wrong.Try, "%s", wrong.Say)
		case twice:
			r.fail(at.at(i), "", "%s is about %s already", clip(s), other)
		default:
			if p.Channels == nil {
				p.Channels = map[provision.Conversation]string{}
			}
			p.Channels[where] = cluster
		}
	}
}

var (
	roleRE  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	groupRE = regexp.MustCompile(`^[a-z][a-z0-9_-]*:[A-Za-z0-9_-]+$`)
)

func (r *policyReader) role(name string, f roleFile) Role {
	at := place{"roles", name}
	role := Role{Name: name}
	if !roleRE.MatchString(name) {
		r.fail(place{"roles"}, "use lower-case letters, digits, - and _", "a role can't be called %s", clip(name))
		at = place{"roles"}
	}
	if len(f.Members)+len(f.Groups) == 0 {
		r.fail(at, "list members or groups, or members: everyone", "nobody has the role %s", name)
	}
	for i, s := range f.Members {
		role.People = append(role.People, r.member(at.at("members", i), s)...)
	}
	for i, s := range f.Groups {
		g, ok := groupOf(s)
		if !ok {
			r.fail(at.at("groups", i), "write PLATFORM:ID like discord:175928847299117063", "%s is no group", clip(s))
		}
		role.Groups = append(role.Groups, g)
	}
	if len(f.Allow) == 0 {
		r.fail(at, "add allow: [{verbs: read, scope: all}]", "the role %s allows nothing", name)
	}
	for i, a := range f.Allow {
		at := at.at("allow", i)
		r.verbs(at, a.Verbs)
		rule := Rule{Verbs: a.Verbs, Scope: r.scope(at, a.Scope, ScopeOwn, ScopeOwn, ScopeAll), Tags: lower(a.Tags), Nodes: a.Nodes, Clusters: a.Clusters}
		r.words(at, "tags", a.Tags, tagRE)
		r.words(at, "nodes", a.Nodes, nodeRE)
		r.words(at, "clusters", a.Clusters, clusterRE)
		role.Allow = append(role.Allow, rule)
	}
	return role
}

// member is who a line of members means: an identity, or somebody of people by
// their name.
func (r *policyReader) member(at place, s string) []Member {
	for _, h := range r.people {
		if h.Name != s {
			continue
		}
		var all []Member
		for _, a := range h.As {
			all = append(all, Member{a.Platform, a.ID})
		}
		return all
	}
	m, wrong := identity(s)
	if wrong != nil {
		r.fail(at, wrong.Try, "%s", wrong.Say)
	}
	return []Member{m}
}

// humans are the people who have several identities. An identity is one
// person's.
func (r *policyReader) humans(f map[string]list) []Human {
	var all []Human
	whose := map[provision.Actor]string{}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		at := place{"people", name}
		if !roleRE.MatchString(name) {
			r.fail(place{"people"}, "use lower-case letters, digits, - and _", "a person can't be called %s here", clip(name))
			at = place{"people"}
		}
		h := Human{Name: name}
		for i, s := range f[name] {
			who, err := Identity(s)
			other, taken := whose[who]
			switch wrong, _ := errors.AsType[*textfile.Error](err); {
			case wrong != nil:
				r.fail(at.at(i), wrong.Try, "%s", wrong.Say)
			case taken:
				r.fail(at.at(i), "", "%s is %s already", who.Key(), other)
			default:
				whose[who] = name
				h.As = append(h.As, who)
			}
		}
		if len(h.As) == 0 && len(f[name]) == 0 {
			r.fail(at, "list them, like [slack/U012ABC, web/alice]", "%s has no identity", name)
		}
		all = append(all, h)
	}
	return all
}

// PVE: a tag begins with a letter, digit or _, and goes on with + - . too.
var tagRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_+.-]*$`)

// lower is tags as PVE writes them down.
func lower(tags list) []string {
	var all []string
	for _, tag := range tags {
		all = append(all, strings.ToLower(tag))
	}
	return all
}

func (r *policyReader) words(at place, key string, words list, re *regexp.Regexp) {
	for i, w := range words {
		if !re.MatchString(w) {
			r.fail(at.at(key, i), "", "%s can't be among the %s", clip(w), key)
		}
	}
}

func (r *policyReader) verbs(at place, verbs list) {
	if len(verbs) == 0 {
		r.fail(at, "add verbs: [install, list], verbs: read or verbs: all", "the verbs are missing")
	}
	known := append(table.names(), AllVerbs, ReadVerbs)
	for i, v := range verbs {
		if !slices.Contains(known, v) {
			hint := "these are: " + strings.Join(known, ", ")
			if near := Nearest(v, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.fail(at.at("verbs", i), hint, "there is no verb %s", clip(v))
		}
	}
}

// scope reads one of allowed; "" is fallback.
func (r *policyReader) scope(at place, s string, fallback Scope, allowed ...Scope) Scope {
	if s == "" {
		return fallback
	}
	if !slices.Contains(allowed, Scope(s)) {
		var names []string
		for _, a := range allowed {
			names = append(names, string(a))
		}
		r.fail(at.at("scope"), "write one of "+strings.Join(names, ", "), "there is no scope %s here", clip(s))
	}
	return Scope(s)
}

func (r *policyReader) approval(at place, f approvalFile) Approval {
	a := Approval{
		Verbs: f.Verbs,
		Scope: r.scope(at, f.Scope, ScopeAll, ScopeOwn, ScopeOthers, ScopeAll),
		Need:  1, Of: f.Of, Expires: DefaultExpiry,
	}
	if f.Need != nil {
		if a.Need = int(*f.Need); a.Need < 1 || a.Need > 20 {
			r.fail(at.at("need"), "", "need is from 1 to 20, not %d", a.Need)
		}
	}
	for i, name := range f.Of {
		if !slices.Contains(r.roles, name) {
			hint := "the roles are " + strings.Join(r.roles, ", ")
			if near := Nearest(name, r.roles); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.fail(at.at("of", i), hint, "there is no role %s", clip(name))
		}
	}
	if f.Expires != "" {
		p := Param{Type: TypeDuration, Min: 60, Max: 90 * 86400, Example: "24h"}
		v, fault := table.check(p, f.Expires)
		if fault != nil {
			r.fail(at.at("expires"), "", "expires %s", fault.say)
		}
		a.Expires = time.Duration(v.num) * time.Second
	}
	return a
}

func (r *policyReader) limits(at place, f limitsFile) Limits {
	count := func(key string, n *yamlfile.Number) *int64 {
		if n != nil && *n < 0 {
			r.fail(at.at(key), "leave it out for no limit", "%s can't be below 0", key)
		}
		return (*int64)(n)
	}
	size := func(key, unit string, s *string) *int64 {
		if s == nil {
			return nil
		}
		v, fault := table.check(Param{Type: TypeSize, Bare: unit, Example: "64G"}, *s)
		if fault != nil {
			r.fail(at.at(key), "leave it out for no limit", "%s %s", key, fault.say)
		}
		return &v.num
	}
	return Limits{
		VMs: count("vms", f.VMs), Cores: count("cores", f.Cores),
		MemoryMB: size("ram", "M", f.RAM), DiskMB: size("disk", "G", f.Disk),
	}
}

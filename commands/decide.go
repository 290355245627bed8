package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pvebot/provision"
)

// Question is whether somebody may do something.
type Question struct {
	Actor  provision.Actor
	Groups []string // the platform's groups or roles of Actor, PLATFORM:ID
	Verb   string   // the verb's first name
	// Target is the VM or job that it is about, nil when it is about none that
	// exists: install, list.
	Target *Target
	// Nodes that are concerned: where the VM is and where it shall go. Empty
	// where the bot chooses.
	Nodes   []string
	Cluster string    // that it is about
	Wants   Resources // what it would take beyond what is taken
	Usage   Usage     // what is taken now
	// Whose it would be, and Usage.Person is; zero: the actor's.
	Whose provision.Actor
	Now   time.Time // gates expire from here on
}

// Target is an existing VM or job.
type Target struct {
	Owner *provision.Actor // nil: nobody's
	Tags  []string
}

// Usage is what VMs take: those of the asker, and all that the bot made.
type Usage struct{ Person, Total Resources }

// Verdict is a Policy's answer.
type Verdict struct {
	Allow bool
	Gate  *provision.Gate // what must happen first; nil: nothing
	Rule  string          // the rule that decided, for /vm can and the audit
	Say   string          // why not, or what it waits for: a sentence without a final stop
	// Quotas: there are some, so that the answer holds until somebody takes
	// something.
	Quotas bool
}

// Decide answers q. Rules only allow: the first that fits does.
func (p Policy) Decide(q Question) Verdict {
	q = p.asOwner(q)
	rule, refusal := p.allows(q)
	if refusal != "" {
		return Verdict{Rule: "no rule allows it", Say: refusal}
	}
	v := Verdict{Allow: true, Rule: rule, Quotas: p.Limited()}
	gate, err := p.gate(q)
	if err != "" {
		return Verdict{Rule: rule, Say: err}
	}
	if gate != nil {
		v.Gate, v.Say = gate, fmt.Sprintf("this waits for %s: %s", gate, gate.Reason)
	}
	return v
}

// allows finds the rule that lets q through. Otherwise it says what the rule
// that came nearest lacks.
func (p Policy) allows(q Question) (rule, refusal string) {
	nearest := -1
	roles := p.RolesOf(q.Actor, q.Groups)
	for _, role := range p.Roles {
		if !slices.Contains(roles, role.Name) {
			continue
		}
		for _, r := range role.Allow {
			reach, lack := r.reach(q)
			if lack == "" {
				return "role " + role.Name + ": " + r.String(), ""
			}
			if reach > nearest {
				nearest, refusal = reach, lack
			}
		}
	}
	switch {
	case len(roles) == 0:
		return "", fmt.Sprintf("you have no role here; an admin can give %s one", q.Actor.Key())
	case nearest <= 0:
		return "", fmt.Sprintf("your role (%s) does not include %s", strings.Join(roles, ", "), q.Verb)
	}
	return "", refusal
}

// reach is how far q gets through the rule, and what it lacks then; "" when it
// gets through.
func (r Rule) reach(q Question) (far int, lack string) {
	if !covers(r.Verbs, q.Verb) {
		return 0, "the verb"
	}
	if len(r.Clusters) > 0 && q.sited() && !slices.Contains(r.Clusters, q.Cluster) {
		return 1, fmt.Sprintf("you may %s in cluster %s only", q.Verb, strings.Join(r.Clusters, ", "))
	}
	if q.Target == nil {
		if len(r.Tags) > 0 {
			return 1, fmt.Sprintf("you may %s only what is tagged %s", q.Verb, strings.Join(r.Tags, " or "))
		}
	} else {
		if r.Scope != ScopeAll && !q.own() {
			return 2, fmt.Sprintf("you may %s only what is yours, and this %s", q.Verb, q.belongs())
		}
		tagged := func(tag string) bool {
			// PVE: tags differ by more than their capitals.
			return slices.ContainsFunc(q.Target.Tags, func(t string) bool { return strings.EqualFold(t, tag) })
		}
		if len(r.Tags) > 0 && !slices.ContainsFunc(r.Tags, tagged) {
			return 3, fmt.Sprintf("you may %s only what is tagged %s", q.Verb, strings.Join(r.Tags, " or "))
		}
	}
	if len(r.Nodes) == 0 || covers([]string{ReadVerbs}, q.Verb) && q.Target == nil {
		return 5, ""
	}
	if len(q.Nodes) == 0 {
		return 4, fmt.Sprintf("name the node: you may %s on %s only", q.Verb, strings.Join(r.Nodes, ", "))
	}
	for _, node := range q.Nodes {
		if !slices.Contains(r.Nodes, node) {
			return 4, fmt.Sprintf("you may %s on %s only, not on %s", q.Verb, strings.Join(r.Nodes, ", "), node)
		}
	}
	return 5, ""
}

// sited: it is about the things of a cluster.
func (q Question) sited() bool {
	v := table.verb(q.Verb)
	return v == nil || v.Sited || q.Target != nil
}

func (q Question) own() bool {
	return q.Target != nil && q.Target.Owner != nil && q.Target.Owner.Same(q.Actor)
}

// asOwner is q about what belongs to the asker under another identity as if it
// was the one that they ask with.
func (p Policy) asOwner(q Question) Question {
	if q.Target != nil && q.Target.Owner != nil && !q.own() && p.Same(*q.Target.Owner, q.Actor) {
		mine := *q.Target
		mine.Owner = &q.Actor
		q.Target = &mine
	}
	return q
}

func (q Question) belongs() string {
	if q.Target.Owner == nil {
		return "belongs to nobody I know"
	}
	return "belongs to " + q.Target.Owner.String()
}

// gate wants all approvals that q needs, each by itself: who may give one does
// not give another's. nil when q needs none. The sentence is why it can't be
// had.
func (p Policy) gate(q Question) (*provision.Gate, string) {
	if covers([]string{ReadVerbs}, q.Verb) {
		return nil, ""
	}
	var needed []provision.Quorum
	expires := time.Duration(0)
	add := func(a Approval, reason string) {
		needed = append(needed, p.quorum(q, a, reason))
		if within := a.within(); expires == 0 || within < expires {
			expires = within
		}
	}
	for _, a := range p.Approvals {
		if covers(a.Verbs, q.Verb) && a.concerns(q) {
			add(a, fmt.Sprintf("to %s %s VMs needs one", q.Verb, a.whose()))
		}
	}
	over := p.Quotas.passed(q)
	for _, reason := range over {
		add(p.Quotas.Over, reason)
	}
	if len(needed) == 0 {
		return nil, ""
	}
	for _, n := range needed {
		if len(n.Of) == 0 {
			return nil, "it needs an approval that no role may give: " + n.Reason
		}
	}
	gate := provision.NewGate(needed...)
	gate.Expires, gate.SoloOK, gate.OverQuota = q.Now.Add(expires), p.SoloAdmin, len(over) > 0
	return &gate, ""
}

// quorum is who gives an approval.
func (p Policy) quorum(q Question, a Approval, reason string) provision.Quorum {
	of := a.Of
	if len(of) == 0 {
		of = p.masters(q)
	}
	return provision.Quorum{Need: max(1, a.Need), Of: of, Reason: reason}
}

// within is how long the approval is waited for.
func (a Approval) within() time.Duration {
	if a.Expires <= 0 {
		return DefaultExpiry
	}
	return a.Expires
}

func (a Approval) concerns(q Question) bool {
	switch a.Scope {
	case ScopeOwn:
		return q.own()
	case ScopeOthers:
		return q.Target != nil && !q.own()
	default:
		return true
	}
}

func (a Approval) whose() string {
	switch a.Scope {
	case ScopeOwn:
		return "one's own"
	case ScopeOthers:
		return "other people's"
	default:
		return "any"
	}
}

// masters are the roles that may do what q is about to every VM of its cluster.
func (p Policy) masters(q Question) []string {
	var names []string
	for _, role := range p.Roles {
		if slices.ContainsFunc(role.Allow, func(r Rule) bool {
			here := len(r.Clusters) == 0 || slices.Contains(r.Clusters, q.Cluster)
			return r.Scope == ScopeAll && len(r.Tags)+len(r.Nodes) == 0 && here && covers(r.Verbs, q.Verb)
		}) {
			names = append(names, role.Name)
		}
	}
	return names
}

// MayVote says whether voter may decide about what asker asked for: the
// sentence is why not, "" when they may. A gate of no roles is a confirmation:
// the asker's own word, and nobody else's.
func (p Policy) MayVote(g provision.Gate, asker, voter provision.Actor, groups []string) (refusal string) {
	if len(g.Of) == 0 {
		if !p.Same(asker, voter) {
			return fmt.Sprintf("only %s can confirm this, who asked for it", asker)
		}
		return ""
	}
	roles := p.RolesOf(voter, groups)
	if !slices.ContainsFunc(g.Of, func(role string) bool { return slices.Contains(roles, role) }) {
		return "only " + strings.Join(g.Of, " or ") + " can decide this"
	}
	if p.Same(asker, voter) && !g.SoloOK {
		return "you asked for this yourself, so somebody else has to decide"
	}
	return ""
}

package provision

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Gate is an approval that an order waits for: one requirement, or several
// that must all be met.
type Gate struct {
	Need    int       `json:"need"`             // votes for it; of several requirements the sum of theirs
	Of      []string  `json:"of"`               // roles that may vote; of several requirements all of theirs; none: only the asker, who confirms the order
	Reason  string    `json:"reason"`           // the rules, for people
	Digest  string    `json:"digest,omitempty"` // of the plan that was shown
	Plan    *Plan     `json:"plan,omitempty"`   // that was shown
	Expires time.Time `json:"expires"`
	SoloOK  bool      `json:"solo_ok,omitempty"` // the asker's own vote counts
	// OverQuota: those who decide were told that it is more than a quota.
	OverQuota bool `json:"over_quota,omitempty"`
	// Each are the requirements where there are several. Bots that know only
	// Need and Of take no vote on such an order: see Order.Stored.
	Each []Quorum `json:"each,omitempty"`
}

// Quorum is one requirement of a gate: so many people, each of whom has one of
// these roles. One person's vote counts in every quorum whose roles they have.
type Quorum struct {
	Need   int      `json:"need"`
	Of     []string `json:"of"`
	Reason string   `json:"reason,omitempty"`
}

// NewGate is a gate that wants all of quorums. One that another includes, whose
// voters are enough for both, is not asked for by itself.
func NewGate(quorums ...Quorum) Gate {
	var g Gate
	var reasons []string
	var each []Quorum
	for _, q := range quorums {
		reasons = append(reasons, q.Reason)
		q.Of = slices.Clone(q.Of)
		each = with(each, q)
	}
	for _, q := range each {
		g.Need += q.Need
		for _, role := range q.Of {
			if !slices.Contains(g.Of, role) {
				g.Of = append(g.Of, role)
			}
		}
	}
	if len(each) > 1 {
		g.Each = each
	}
	g.Reason = strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
	return g
}

// with is quorums and q, without those that others include.
func with(quorums []Quorum, q Quorum) []Quorum {
	both := func(a, b Quorum) string {
		if a.Reason == "" || b.Reason == "" {
			return cmp.Or(a.Reason, b.Reason)
		}
		return a.Reason + "; " + b.Reason
	}
	if i := slices.IndexFunc(quorums, func(there Quorum) bool { return there.includes(q) }); i >= 0 {
		quorums[i].Reason = both(quorums[i], q)
		return quorums
	}
	var out []Quorum
	for _, there := range quorums {
		if q.includes(there) {
			q.Reason = both(there, q)
			continue
		}
		out = append(out, there)
	}
	return append(out, q)
}

// includes: whoever meets q has met the other one.
func (q Quorum) includes(other Quorum) bool {
	return q.Need >= other.Need && !slices.ContainsFunc(q.Of, func(role string) bool { return !slices.Contains(other.Of, role) })
}

// Quorums are the requirements of g, one or several.
func (g Gate) Quorums() []Quorum {
	if len(g.Each) > 0 {
		return g.Each
	}
	return []Quorum{{Need: g.Need, Of: g.Of, Reason: g.Reason}}
}

// String is what a gate waits for: an approval by ops and 2 approvals by sec.
func (g Gate) String() string {
	var parts []string
	for _, q := range g.Quorums() {
		parts = append(parts, q.String())
	}
	return strings.Join(parts, " and ")
}

// String is what is wanted: 2 approvals by ops or admin.
func (q Quorum) String() string {
	of := strings.Join(q.Of, " or ")
	if q.Need == 1 {
		return "an approval by " + of
	}
	return fmt.Sprintf("%d approvals by %s", q.Need, of)
}

// Tally is how far a requirement of a gate is met.
type Tally struct {
	Quorum
	Yes int // people who agreed
}

// Met reports whether enough people agreed.
func (t Tally) Met() bool { return t.Yes >= t.Need }

// Tallies are the requirements of the job's gate with the votes so far; none
// without a gate.
func (j *Job) Tallies() []Tally {
	g := j.Order.Gate
	if g == nil {
		return nil
	}
	var all []Tally
	for _, q := range g.Quorums() {
		t := Tally{Quorum: q}
		for _, v := range j.Votes {
			if v.Yes && (len(g.Each) == 0 || v.of(q)) {
				t.Yes++
			}
		}
		all = append(all, t)
	}
	return all
}

// of reports whether v is a vote of one of q's roles.
func (v Vote) of(q Quorum) bool {
	return slices.ContainsFunc(v.As, func(role string) bool { return slices.Contains(q.Of, role) })
}

// Missing are the requirements that the job still waits for.
func (j *Job) Missing() []Tally {
	return slices.DeleteFunc(j.Tallies(), Tally.Met)
}

// Waits is what requirements still need: 2 approvals by sec.
func Waits(missing []Tally) string {
	var parts []string
	for _, t := range missing {
		t.Need -= t.Yes
		parts = append(parts, t.Quorum.String())
	}
	return strings.Join(parts, " and ")
}

// Idle reports whether v would change nothing: all that its voter may decide
// about is decided, and others are waited for.
func (j *Job) Idle(v Vote) bool {
	g := j.Order.Gate
	return v.Yes && g != nil && len(g.Each) > 0 && !slices.ContainsFunc(j.Missing(), func(t Tally) bool { return v.of(t.Quorum) })
}

// Same reports whether v and w are votes of one person, as far as v knows.
func (v Vote) Same(w Vote) bool { return v.Is(w.By) }

// Is reports whether a is who votes, by this identity or another of theirs.
func (v Vote) Is(a Actor) bool {
	return v.By.Same(a) || slices.ContainsFunc(v.Also, a.Same)
}

// form2 marks the stored kind of orders in which something decides that bots
// before it know nothing of. To them it is a kind that they do not know: they
// neither take such jobs nor votes on them.
const form2 = "@2"

// newer is implemented by specs some of whose values older bots would get wrong.
type newer interface{ newer() bool }

// Stored is o as it is kept: its spec's kind carries the form that a bot must
// know to act on it.
func (o Order) Stored() (Order, error) {
	spec, ok := o.Spec.(newer)
	if several := o.Gate != nil && len(o.Gate.Each) > 0; !several && !(ok && spec.newer()) {
		return o, nil
	}
	raw, err := json.Marshal(o.Spec)
	if err != nil {
		return o, err
	}
	o.Spec = Unknown{o.Spec.Kind() + form2, string(raw)}
	return o, nil
}

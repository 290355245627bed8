package commands

import (
	"fmt"
	"strings"
	"time"

	"pvebot/provision"
)

// Summary says in lines what each role may do, what needs approvals, and what
// is limited.
func (p Policy) Summary() []string {
	var lines []string
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
	for _, r := range p.Roles {
		add("role %s: %s", r.Name, strings.Join(r.who(), ", "))
		for _, rule := range r.Allow {
			add("  may %s", rule)
		}
	}
	if len(p.Approvals) == 0 {
		add("nothing needs an approval")
	}
	for _, a := range p.Approvals {
		add("approval: to %s %s VMs needs %s", strings.Join(a.Verbs, ", "), a.whose(), a)
	}
	lines = append(lines, p.Quotas.Person.lines("one person")...)
	lines = append(lines, p.Quotas.Total.lines("all together")...)
	if p.Limited() {
		add("  beyond that it needs %s", p.Quotas.Over)
	}
	for _, h := range p.People {
		add("%s is one person: %s", h.Name, strings.Join(keys(h.As), ", "))
	}
	if p.SoloAdmin {
		add("people may approve what they asked for themselves")
	}
	return lines
}

// Doubts are what may be meant otherwise: identities that look like one person
// and are not linked.
func (p Policy) Doubts() []string {
	var doubts []string
	seen := map[string]provision.Actor{}
	for _, r := range p.Roles {
		for _, m := range r.People {
			a := provision.Actor{Platform: m.Platform, ID: m.ID}
			if m.Platform == "" || m.ID == "" || m.ID == "local" {
				continue
			}
			other, there := seen[m.ID]
			seen[m.ID] = a
			if there && !p.Same(a, other) {
				doubts = append(doubts, fmt.Sprintf("%s and %s have one name and count as two people; if they are one, say so: people: {%s: [%s, %s]}",
					other.Key(), a.Key(), strings.ToLower(m.ID), other.Key(), a.Key()))
			}
		}
	}
	return doubts
}

// String is who has to agree, and how soon.
func (a Approval) String() string {
	of := strings.Join(a.Of, " or ")
	if of == "" {
		of = "those who may do it to every VM"
	}
	q := provision.Quorum{Need: max(1, a.Need), Of: []string{of}}
	within := strings.TrimSuffix(strings.TrimSuffix(a.within().Round(time.Minute).String(), "0s"), "0m")
	return fmt.Sprintf("%s within %s", q, within)
}

// who are the role's people and groups, as the file writes them.
func (r Role) who() []string {
	var all []string
	for _, m := range r.People {
		switch {
		case m.Platform == "":
			all = append(all, "everyone")
		case m.ID == "":
			all = append(all, m.Platform+"/*")
		default:
			all = append(all, m.Platform+"/"+m.ID)
		}
	}
	for _, g := range r.Groups {
		all = append(all, "group "+g)
	}
	return all
}

func (l Limits) lines(who string) []string {
	var lines []string
	for _, c := range l.counts(Resources{}, Resources{VMs: 1, Cores: 1, MemoryMB: 1, DiskMB: 1}) {
		lines = append(lines, fmt.Sprintf("quota: %s may have %s %s", who, c.show(c.limit), c.unit))
	}
	return lines
}

func keys(actors []provision.Actor) []string {
	var all []string
	for _, a := range actors {
		all = append(all, a.Key())
	}
	return all
}

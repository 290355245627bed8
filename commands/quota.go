package commands

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"pvebot/provision"
)

// Resources are counts of what VMs take.
type Resources struct{ VMs, Cores, MemoryMB, DiskMB int64 }

// Plus is what a and b take together. A sum that no number holds is the largest
// one: it must not come out small, or below nothing.
func (a Resources) Plus(b Resources) Resources {
	return Resources{
		VMs: sum(a.VMs, b.VMs), Cores: sum(a.Cores, b.Cores),
		MemoryMB: sum(a.MemoryMB, b.MemoryMB), DiskMB: sum(a.DiskMB, b.DiskMB),
	}
}

// sum is a+b, as near to it as a number gets.
func sum(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// Limits bound Resources; nil is no limit.
type Limits struct{ VMs, Cores, MemoryMB, DiskMB *int64 }

// Quotas are limits that need an approval to pass.
type Quotas struct {
	Person, Total Limits
	Over          Approval // its Verbs and Scope do not matter
}

// Limited reports whether the policy has quotas.
func (p Policy) Limited() bool { return p.Quotas.Person != Limits{} || p.Quotas.Total != Limits{} }

// Over says what q would pass of the quotas as they are counted now, "" when
// nothing.
func (p Policy) Over(q Question) string { return strings.Join(p.Quotas.passed(q), "; ") }

// Brings says where q takes what is limited: this brings alice to 4 of 2 VMs.
// It is "" when q takes nothing of that.
func (p Policy) Brings(q Question) string {
	whose := q.Whose
	if whose == (provision.Actor{}) {
		whose = q.Actor
	}
	var parts []string
	say := func(who string, l Limits, used Resources) {
		var figures []string
		for _, c := range l.counts(used, q.Wants) {
			figures = append(figures, fmt.Sprintf("%s of %s %s", c.show(c.then()), c.show(c.limit), c.unit))
		}
		if len(figures) > 0 {
			parts = append(parts, who+" to "+strings.Join(figures, ", "))
		}
	}
	say(whose.String(), p.Quotas.Person, q.Usage.Person)
	say("all together", p.Quotas.Total, q.Usage.Total)
	if len(parts) == 0 {
		return ""
	}
	return "this brings " + strings.Join(parts, ", and ")
}

// passed says which quotas q would pass.
func (qs Quotas) passed(q Question) []string {
	return append(
		qs.Person.passed("one person may have", q.Usage.Person, q.Wants),
		qs.Total.passed("all together may have", q.Usage.Total, q.Wants)...)
}

func (l Limits) passed(who string, used, wants Resources) []string {
	var said []string
	for _, c := range l.counts(used, wants) {
		if c.then() > c.limit {
			said = append(said, fmt.Sprintf("%s %s %s, and this makes %s", who, c.show(c.limit), c.unit, c.show(c.then())))
		}
	}
	return said
}

// counted is a resource that is limited, and wanted.
type counted struct {
	limit, used, wants int64
	unit               string
	show               func(int64) string
}

// then is what is used once it is there.
func (c counted) then() int64 { return sum(c.used, c.wants) }

// counts are the resources of wants that l limits.
func (l Limits) counts(used, wants Resources) []counted {
	plain := func(n int64) string { return strconv.FormatInt(n, 10) }
	size := func(n int64) string { return cmp.Or(Size(n), "0M") }
	var all []counted
	add := func(limit *int64, used, wants int64, unit string, show func(int64) string) {
		if limit == nil || wants <= 0 {
			return
		}
		if *limit == 1 {
			unit = strings.TrimSuffix(unit, "s")
		}
		all = append(all, counted{*limit, used, wants, unit, show})
	}
	add(l.VMs, used.VMs, wants.VMs, "VMs", plain)
	add(l.Cores, used.Cores, wants.Cores, "cores", plain)
	add(l.MemoryMB, used.MemoryMB, wants.MemoryMB, "of memory", size)
	add(l.DiskMB, used.DiskMB, wants.DiskMB, "of disk", size)
	return all
}

package bot

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// Engine is what the bot needs of a [provision.Engine]. Errors are
// *provision.Error.
type Engine interface {
	FindVM(ctx context.Context, word string) (provision.VM, error)
	VMs(ctx context.Context) ([]provision.VM, error)
	Snapshots(ctx context.Context, vm provision.VMRef) ([]cluster.VMSnapshot, error)

	Prepare(ctx context.Context, spec provision.Spec) (provision.Spec, error)
	Preview(ctx context.Context, spec provision.Spec) (provision.Plan, error)
	Submit(ctx context.Context, o provision.Order) (provision.Job, error)
	Cancel(ctx context.Context, id provision.JobID, by provision.Actor) (provision.Job, error)
	Vote(ctx context.Context, v provision.Vote) (provision.Job, error)
	Resolve(ctx context.Context, r provision.Resolution) (provision.Job, error)
}

// Policy says who may do what. commands.Policy is one.
type Policy interface {
	Decide(q commands.Question) commands.Verdict
	// MayVote says why voter may not decide about what asker asked for, ""
	// when they may.
	MayVote(g provision.Gate, asker, voter provision.Actor, groups []string) string
	// RolesOf are the roles of somebody who is in these groups of a platform.
	RolesOf(actor provision.Actor, groups []string) []string
	// Same reports whether two identities are one person's, Others are those
	// that the person has beside this one.
	Same(a, b provision.Actor) bool
	Others(a provision.Actor) []provision.Actor
	// Limited: there are quotas. Over says what q would pass of them, "" when
	// nothing; Brings where q takes what is limited.
	Limited() bool
	Over(q commands.Question) string
	Brings(q commands.Question) string
}

// Clerk stands between people and the engine: whatever they ask for, vote on
// or decide goes through one, wherever they do it. It finds the VM that is
// meant, asks the policy, shows the plan where somebody must agree to it, and
// writes the audit. Its errors are (or wrap) a *provision.Error; Denied is the
// policy's no. All methods may be called concurrently.
type Clerk struct {
	Engine Engine // of the first cluster
	// Sites are all clusters, where there are several or the policy speaks of
	// clusters.
	Sites  Sites
	Store  Store
	Policy Policy
	Clock  cluster.Clock // default: the system's
	Log    *slog.Logger  // default: discards

	cluster string // that Engine is for; "" when nobody needs to know
}

func (c *Clerk) clock() cluster.Clock {
	if c.Clock == nil {
		return cluster.SystemClock{}
	}
	return c.Clock
}

func (c *Clerk) now() time.Time { return c.clock().Now() }

func (c *Clerk) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// Asker is somebody who wants something, and from where.
type Asker struct {
	By     provision.Actor
	Groups []string // the platform's groups or roles of By, PLATFORM:ID
	Where  provision.Conversation
	// Cluster is the one that is meant where a request names none; "" is the
	// first.
	Cluster string
	Key     string // of the interaction: what it ordered once is not ordered again
	// OnFailure is what a failed step of the order leads to.
	OnFailure provision.OnFailure
	// Sure: they know what they do. Without it they confirm what can't be
	// taken back. What nobody knows before it is shown, a new host key, is
	// confirmed by all.
	Sure bool
}

// ConfirmWithin is how long somebody has to confirm what they asked for.
const ConfirmWithin = 15 * time.Minute

// Orders makes the orders that a request asks for, without handing them in:
// all of them are allowed, and as far as can be told they can be done. Of an
// order that somebody must agree to, the gate has the plan.
func (c *Clerk) Orders(ctx context.Context, a Asker, req commands.Request) ([]Draft, error) {
	req, cluster := commands.Site(req)
	c, err := c.at(cmp.Or(cluster, a.Cluster))
	if err != nil {
		return nil, err
	}
	if install, ok := req.(commands.Install); ok {
		return c.installs(ctx, a, install)
	}
	m, err := c.matter(ctx, a, req)
	if err != nil {
		return nil, err
	}
	d, err := c.take(ctx, a, m, c.text(req))
	return []Draft{d}, err
}

// OrderOf is Orders for programs, which know the spec; text says it in words.
func (c *Clerk) OrderOf(ctx context.Context, a Asker, spec provision.Spec, text string) (Draft, error) {
	c, err := c.at(a.Cluster)
	if err != nil {
		return Draft{}, err
	}
	m, err := c.wanted(ctx, a, spec, text)
	if err != nil {
		return Draft{}, err
	}
	return c.take(ctx, a, m, text)
}

// wanted is the matter of a spec that somebody orders. An install is completed
// first: what it takes counts. Where the VMs of a drain go is not for the asker
// to say, and counts as well.
func (c *Clerk) wanted(ctx context.Context, a Asker, spec provision.Spec, text string) (matter, error) {
	switch s := spec.(type) {
	case provision.Drain:
		return c.matter(ctx, a, commands.Drain{Node: s.Node})
	case provision.Install:
		ready, err := c.Engine.Prepare(ctx, spec)
		if err != nil {
			return matter{}, err
		}
		return c.ofSpec(ctx, a, ready)
	}
	if err := spec.Validate(); err != nil {
		return matter{}, err
	}
	m, err := c.ofSpec(ctx, a, spec)
	if err != nil {
		return m, err
	}
	return c.looked(ctx, a, m, text)
}

// take makes a draft of what the policy allows.
func (c *Clerk) take(ctx context.Context, a Asker, m matter, text string) (Draft, error) {
	v, err := c.decide(ctx, a, m, text)
	if err != nil {
		return Draft{}, err
	}
	if s, ok := m.spec.(provision.Extend); ok && s.Until.IsZero() {
		return Draft{}, provision.Errorf(provision.Conflict, "%s has no end of life, so there is nothing to extend", s.VM)
	}
	if m.spec, err = c.Engine.Prepare(ctx, m.spec); err != nil {
		return Draft{}, err
	}
	return c.draft(ctx, a, m, text, v)
}

// decide asks the policy; its no is written down.
func (c *Clerk) decide(ctx context.Context, a Asker, m matter, text string) (commands.Verdict, error) {
	v := c.Policy.Decide(m.q)
	if v.Allow {
		return v, nil
	}
	c.note(ctx, provision.AuditRow{
		By: a.By, What: "refused", Verb: m.q.Verb, Cluster: c.cluster, VMID: vmidOf(m.spec), Rule: v.Rule, Text: text, Result: v.Say,
	})
	return v, &provision.Error{Kind: provision.Denied, Say: v.Say}
}

// Draft is an order that was not handed in yet, with the rule that allows it.
type Draft struct {
	Order provision.Order
	Rule  string

	asker   Asker
	counted bool // for quotas
}

// Ordered are the jobs that a has led to already by this key, oldest first: what
// somebody ordered once, and asks for again, may stand in its own way by now.
// req is nil where the order was a spec.
func (c *Clerk) Ordered(ctx context.Context, a Asker, req commands.Request) ([]provision.Job, error) {
	keys := []string{a.Key}
	if req != nil {
		what, _ := commands.Site(req)
		if install, ok := what.(commands.Install); ok {
			for i := range install.Count {
				keys = append(keys, keyOf(a.Key, i))
			}
		}
	}
	jobs, err := c.Store.Jobs(ctx, provision.Filter{Keys: keys})
	jobs = slices.DeleteFunc(jobs, func(job provision.Job) bool { return !job.Order.By.Same(a.By) })
	slices.Reverse(jobs)
	return jobs, err
}

// draft puts the order together. Where somebody must agree, they see the plan.
func (c *Clerk) draft(ctx context.Context, a Asker, m matter, text string, v commands.Verdict) (Draft, error) {
	o := provision.Order{
		Key: a.Key, Cluster: c.cluster, By: a.By, Where: a.Where, Spec: m.spec, Gate: v.Gate,
		OnFailure: cmp.Or(a.OnFailure, provision.OnFailureAsk), Text: text,
	}
	_, trusts := m.spec.(provision.Trust)
	if why := irrevocable(m.spec); o.Gate == nil && why != "" && (!a.Sure || trusts) {
		o.Gate = &provision.Gate{Need: 1, Reason: why, Expires: c.now().Add(ConfirmWithin), SoloOK: true}
	}
	if o.Gate != nil {
		p, err := c.Engine.Preview(ctx, m.spec)
		if err == nil {
			err = refusal(p)
		}
		if err != nil {
			return Draft{}, err
		}
		o.Gate.Plan, o.Gate.Digest = &p, p.Digest
	}
	return Draft{Order: o, Rule: v.Rule, asker: a, counted: v.Quotas && counts(m.spec)}, nil
}

// irrevocable says why people confirm what they ordered, "" when they don't.
func irrevocable(spec provision.Spec) string {
	switch spec.(type) {
	case provision.Destroy:
		return "The VM and its disks are gone after that, for good"
	case provision.Rollback:
		return "What came after the snapshot is lost"
	case provision.Drain:
		return "Every VM of the node moves"
	case provision.Trust:
		return "I take whoever shows the new key for this VM then"
	}
	return ""
}

// refusal is a plan's blockers as an error, nil when there are none.
func refusal(p provision.Plan) error {
	if len(p.Blockers) == 0 {
		return nil
	}
	return provision.Errorf(provision.Conflict, "can't %s: %s", p.Title, strings.Join(p.Blockers, "; "))
}

// Submit hands a draft in. One that counts for quotas is counted again: others
// may have taken something since it was made, and then it waits at a gate.
func (c *Clerk) Submit(ctx context.Context, d Draft) (provision.Job, error) {
	c, err := c.at(d.Order.Cluster)
	if err != nil {
		return provision.Job{}, err
	}
	if d.Order.Gate == nil && d.counted {
		done, err := c.counting(ctx)
		if err != nil {
			return provision.Job{}, err
		}
		defer done()
		if d, err = c.recount(ctx, d); err != nil {
			return provision.Job{}, err
		}
	}
	job, err := c.Engine.Submit(ctx, d.Order)
	row := provision.AuditRow{By: d.Order.By, What: "ordered", Rule: d.Rule, Text: d.Order.Text}
	if err != nil {
		row.What, row.Verb, row.VMID, row.Result = "refused", d.Order.Spec.Kind(), vmidOf(d.Order.Spec), said(err)
		row.Cluster = d.Order.Cluster
		c.note(ctx, row)
		return job, err
	}
	row.Result = string(job.State)
	if g := job.Order.Gate; g != nil && job.State == provision.StateWaiting {
		row.Result = "waits: " + g.Reason
	}
	c.noteJob(ctx, row, job)
	return job, nil
}

// Plan says what req would do, and what the policy says about it. Nothing is
// ordered.
func (c *Clerk) Plan(ctx context.Context, a Asker, req commands.Request) (provision.Plan, commands.Verdict, error) {
	req, cluster := commands.Site(req)
	c, err := c.at(cmp.Or(cluster, a.Cluster))
	if err != nil {
		return provision.Plan{}, commands.Verdict{}, err
	}
	var m matter
	if install, ok := req.(commands.Install); ok {
		m, err = c.wanted(ctx, a, allOf(install), c.text(req))
	} else {
		m, err = c.matter(ctx, a, req)
	}
	if err != nil {
		return provision.Plan{}, commands.Verdict{}, err
	}
	return c.plan(ctx, a, m, c.text(req))
}

// PlanOf is Plan for programs, which know the spec; text says it in words.
func (c *Clerk) PlanOf(ctx context.Context, a Asker, spec provision.Spec, text string) (provision.Plan, commands.Verdict, error) {
	c, err := c.at(a.Cluster)
	if err != nil {
		return provision.Plan{}, commands.Verdict{}, err
	}
	m, err := c.wanted(ctx, a, spec, text)
	if err != nil {
		return provision.Plan{}, commands.Verdict{}, err
	}
	return c.plan(ctx, a, m, text)
}

func (c *Clerk) plan(ctx context.Context, a Asker, m matter, text string) (provision.Plan, commands.Verdict, error) {
	v, err := c.decide(ctx, a, m, text)
	if err != nil {
		return provision.Plan{}, v, err
	}
	p, err := c.Engine.Preview(ctx, m.spec)
	return p, v, err
}

// MaySee says whether somebody may use a verb that changes nothing; vm is nil
// when it is about none. The error is Denied.
func (c *Clerk) MaySee(a Asker, verb string, vm *provision.VM) error {
	c, err := c.at(a.Cluster)
	if err != nil {
		return err
	}
	q := c.question(a, verb)
	if vm != nil {
		q.Target, q.Nodes = targetOf(*vm), []string{vm.Node}
	}
	if v := c.Policy.Decide(q); !v.Allow {
		return &provision.Error{Kind: provision.Denied, Say: v.Say}
	}
	return nil
}

// Package orders takes orders that come by HTTP. It stands before the bot's
// clerk for programs: they are sure of what they ask for, nobody is there to be
// asked what becomes of a failed step, and people see their jobs where
// approvals are given.
package orders

import (
	"context"
	"log/slog"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// Config is what a Clerk needs. Cluster, Where and Log may be left out.
type Config struct {
	Clerk *bot.Clerk
	// Cluster is the one that is meant where an order names none, of several;
	// "": the first.
	Cluster string
	// Where is the conversation in which the jobs are shown and approvals
	// asked for; zero: they are only on the dashboard.
	Where provision.Conversation
	Log   *slog.Logger
}

// Clerk takes orders. Its errors are *provision.Error where a person can do
// something about them. All methods may be called by many goroutines at once.
type Clerk struct {
	clerk   *bot.Clerk
	cluster string
	where   provision.Conversation
	log     *slog.Logger
}

// New makes a Clerk.
func New(cfg Config) *Clerk {
	c := &Clerk{clerk: cfg.Clerk, cluster: cfg.Cluster, where: cfg.Where, log: cfg.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Order is what somebody wants done.
type Order struct {
	By   provision.Actor
	Spec provision.Spec
	Key  string // equal keys are one order
	Text string // for people to read
}

func (c *Clerk) asker(by provision.Actor, key string) bot.Asker {
	where := c.where
	if where.Platform == "" {
		where.Platform = by.Platform
	}
	return bot.Asker{By: by, Where: where, Cluster: c.cluster, Key: key, OnFailure: provision.OnFailureUndo, Sure: true}
}

// Place makes o a job, which waits at a gate when somebody has to approve it.
func (c *Clerk) Place(ctx context.Context, o Order) (provision.Job, error) {
	if c.cluster != "" {
		o.Text += " " + commands.ClusterParam.Label() + " " + c.cluster
	}
	draft, err := c.clerk.OrderOf(ctx, c.asker(o.By, o.Key), o.Spec, o.Text)
	if err != nil {
		return provision.Job{}, err
	}
	return c.submit(ctx, draft)
}

// Ordered are the jobs that by has ordered with this key already, oldest first;
// req is nil where the order was no line.
func (c *Clerk) Ordered(ctx context.Context, by provision.Actor, req commands.Request, key string) ([]provision.Job, error) {
	return c.clerk.Ordered(ctx, c.asker(by, key), req)
}

// PlaceLine makes jobs of what a line of chat asks for: one, but for an install
// of several VMs. When the error is about a later one, the first ones are
// there.
func (c *Clerk) PlaceLine(ctx context.Context, by provision.Actor, req commands.Request, key string) ([]provision.Job, error) {
	drafts, err := c.clerk.Orders(ctx, c.asker(by, key), req)
	if err != nil {
		return nil, err
	}
	var jobs []provision.Job
	for _, draft := range drafts {
		job, err := c.submit(ctx, draft)
		if err != nil {
			return jobs, err
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

func (c *Clerk) submit(ctx context.Context, draft bot.Draft) (provision.Job, error) {
	job, err := c.clerk.Submit(ctx, draft)
	if err != nil {
		return job, err
	}
	if !job.Order.By.Same(draft.Order.By) {
		return provision.Job{}, provision.Errorf(provision.Conflict, "somebody else's order has this key")
	}
	if c.where.Platform != "" { // the follower posts what has no message yet
		ref := provision.CardRef{Job: job.ID, Platform: c.where.Platform, Ref: []byte("null")}
		if err := c.clerk.Store.SetCard(context.WithoutCancel(ctx), ref); err != nil {
			c.log.ErrorContext(ctx, "a job will have no card", "job", job.ID, "err", err)
		}
	}
	return job, nil
}

// Preview says what spec would do, to those who may order it.
func (c *Clerk) Preview(ctx context.Context, by provision.Actor, spec provision.Spec, text string) (provision.Plan, commands.Verdict, error) {
	return c.clerk.PlanOf(ctx, c.asker(by, ""), spec, text)
}

// PreviewLine is Preview of what a line of chat asks for.
func (c *Clerk) PreviewLine(ctx context.Context, by provision.Actor, req commands.Request) (provision.Plan, commands.Verdict, error) {
	return c.clerk.Plan(ctx, c.asker(by, ""), req)
}

// MaySee says whether by may use a verb that changes nothing; vm is nil when
// it is about none.
func (c *Clerk) MaySee(by provision.Actor, verb string, vm *provision.VM) error {
	return c.clerk.MaySee(c.asker(by, ""), verb, vm)
}

// Cancel asks for a job's end.
func (c *Clerk) Cancel(ctx context.Context, by provision.Actor, id provision.JobID) (provision.Job, error) {
	return c.clerk.Cancel(ctx, c.asker(by, ""), id)
}

// Resolve decides what becomes of a parked or failed job.
func (c *Clerk) Resolve(ctx context.Context, by provision.Actor, id provision.JobID, do provision.Decision) (provision.Job, error) {
	switch do {
	case provision.Retry, provision.RollBack, provision.Keep:
		return c.clerk.Resolve(ctx, c.asker(by, ""), id, do)
	}
	return provision.Job{}, provision.Errorf(provision.Invalid, "%.40q is no decision: retry, roll_back or keep", string(do))
}

// Vote records a vote at a job's gate. A digest, where it is given, is that of
// the plan that the voter saw, and must be the gate's.
func (c *Clerk) Vote(ctx context.Context, by provision.Actor, id provision.JobID, yes bool, digest string) (provision.Job, error) {
	job, err := c.clerk.Store.Job(ctx, id)
	if err != nil {
		return job, err
	}
	if gate := job.Order.Gate; gate != nil && digest != "" && digest != gate.Digest {
		return job, provision.Errorf(provision.Conflict, "this is not the plan that job %d waits with", id)
	}
	return c.clerk.Vote(ctx, c.asker(by, ""), id, yes)
}

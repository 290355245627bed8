package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pvebot/commands"
	"pvebot/provision"
)

// Vote records somebody's yes or no to a job that waits. A yes is to the plan
// that they saw: when it is another one by now the vote does not count, the
// job ends, and the error is a *ChangedError.
func (c *Clerk) Vote(ctx context.Context, a Asker, id provision.JobID, yes bool) (provision.Job, error) {
	job, err := c.Store.Job(ctx, id)
	if err != nil {
		return job, err
	}
	if c, err = c.of(job); err != nil {
		return job, err
	}
	gate := job.Order.Gate
	if gate != nil {
		if say := c.Policy.MayVote(*gate, job.Order.By, a.By, a.Groups); say != "" {
			c.noteJob(ctx, provision.AuditRow{By: a.By, What: "refused", Rule: gate.Reason, Text: voteText(yes), Result: say}, job)
			return job, &provision.Error{Kind: provision.Denied, Say: say}
		}
	}
	v := provision.Vote{Job: id, By: a.By, Yes: yes, At: c.now(), Also: c.Policy.Others(a.By)}
	if gate != nil {
		v.Digest = gate.Digest
		v.As = c.votesAs(a, *gate)
		// A late vote is the store's to answer.
		open := job.State == provision.StateWaiting && (gate.Expires.IsZero() || c.now().Before(gate.Expires))
		if yes && open {
			if err := c.stillWanted(ctx, a, job); err != nil {
				return job, err
			}
			if c.Policy.Limited() && counts(job.Order.Spec) {
				done, err := c.counting(ctx)
				if err != nil {
					return job, err
				}
				defer done()
				if v.Grants, err = c.grants(ctx, a, job); err != nil {
					return job, err
				}
			}
		}
	}
	after, err := c.Engine.Vote(ctx, v)
	row := provision.AuditRow{By: a.By, What: "voted", Text: voteText(yes), Result: said(err)}
	if gate != nil {
		row.Rule = gate.Reason
	}
	if err != nil {
		c.noteJob(ctx, row, job)
		return job, err
	}
	row.Result = string(after.State)
	if v.Grants != "" {
		row.Result += ": " + v.Grants
	}
	c.noteJob(ctx, row, after)
	return after, nil
}

// votesAs are the roles of somebody that matter at a gate of several
// requirements.
func (c *Clerk) votesAs(a Asker, g provision.Gate) []string {
	if len(g.Each) == 0 {
		return nil
	}
	return slices.DeleteFunc(c.Policy.RolesOf(a.By, a.Groups), func(role string) bool { return !slices.Contains(g.Of, role) })
}

func voteText(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// ChangedError says that what was to be agreed to is not what would be done
// by now. Its kind is Conflict.
type ChangedError struct {
	Old   provision.JobID // is over
	Why   string          // a sentence without a final stop
	Again *provision.Job  // takes its place; nil: nothing does
}

func (e *ChangedError) Error() string {
	s := fmt.Sprintf("this is not what you saw any more: %s. Job %d is over", e.Why, e.Old)
	switch {
	case e.Again == nil:
	case e.Again.State == provision.StateWaiting:
		s += fmt.Sprintf(", job %d asks again", e.Again.ID)
	default:
		s += fmt.Sprintf(", job %d takes its place", e.Again.ID)
	}
	return s
}

// Unwrap gives the error its kind.
func (e *ChangedError) Unwrap() error {
	return &provision.Error{Kind: provision.Conflict, Say: e.Error()}
}

// planWatch is who cancels a job whose plan is not the one that was shown.
var planWatch = provision.Actor{Platform: systemPlatform, ID: "plan", Name: "the bot, since the plan changed"}

// systemPlatform is where the bot itself is a person.
const systemPlatform = "system"

// stillWanted holds what would be done now, and who may have it done, to what
// was shown. When they differ the job ends, and a new one asks as things are.
func (c *Clerk) stillWanted(ctx context.Context, a Asker, job provision.Job) error {
	o := job.Order
	plan, err := c.Engine.Preview(ctx, o.Spec)
	if err == nil {
		err = refusal(plan)
	}
	switch kind := provision.KindOf(err); {
	case err == nil && plan.Digest != o.Gate.Digest:
		return c.startOver(ctx, a, job, "the plan changed")
	case kind == provision.NotFound, kind == provision.Conflict:
		return c.drop(ctx, job, said(err))
	case err != nil:
		return err // it can't be told now
	}
	if len(o.Gate.Of) > 0 {
		return nil // who says yes answers for it
	}
	m, err := c.ofSpec(ctx, a, o.Spec)
	if err != nil {
		return err
	}
	v, err := c.decide(ctx, a, m, o.Text)
	if err == nil && v.Gate != nil {
		return c.startOver(ctx, a, job, "it needs an approval by now")
	}
	return err
}

// drop ends a job that can't be done as it was shown.
func (c *Clerk) drop(ctx context.Context, job provision.Job, why string) error {
	if _, err := c.Engine.Cancel(ctx, job.ID, planWatch); err != nil {
		return err
	}
	c.noteJob(ctx, provision.AuditRow{By: planWatch, What: "cancelled", Result: why}, job)
	return &ChangedError{Old: job.ID, Why: why}
}

// startOver ends a job and orders anew what it ordered.
func (c *Clerk) startOver(ctx context.Context, a Asker, job provision.Job, why string) error {
	err := c.drop(ctx, job, why)
	changed, ok := errors.AsType[*ChangedError](err)
	if !ok {
		return err
	}
	if again, err := c.again(ctx, a, job); err != nil {
		changed.Why = said(err)
	} else {
		changed.Again = &again
	}
	return changed
}

// again orders anew what job ordered, as things are now. The asker must still
// be allowed to, and somebody must agree to it as to the first one.
func (c *Clerk) again(ctx context.Context, a Asker, job provision.Job) (provision.Job, error) {
	o := job.Order
	asker := Asker{By: o.By} // whose groups are known only when they are here
	if a.By.Same(o.By) {
		asker.Groups = a.Groups
	}
	spec, err := c.Engine.Prepare(ctx, o.Spec)
	if err != nil {
		return provision.Job{}, err
	}
	m, err := c.ofSpec(ctx, asker, spec)
	if err != nil {
		return provision.Job{}, err
	}
	v := c.Policy.Decide(m.q)
	if !v.Allow {
		return provision.Job{}, provision.Errorf(provision.Denied, "the plan changed, so %s has to ask again", o.By)
	}
	asker.Where, asker.OnFailure = o.Where, o.OnFailure
	asker.Key = fmt.Sprintf("%s/again/%d", o.Key, job.ID)
	draft, err := c.draft(ctx, asker, m, o.Text, v)
	if err != nil {
		return provision.Job{}, err
	}
	if draft.Order.Gate == nil && o.Gate != nil { // what was to be agreed to still is
		plan, err := c.Engine.Preview(ctx, spec)
		if err != nil {
			return provision.Job{}, err
		}
		gate := *o.Gate
		gate.Plan, gate.Digest = &plan, plan.Digest
		draft.Order.Gate = &gate
	}
	return c.Submit(ctx, draft)
}

// Cancel ends a job.
func (c *Clerk) Cancel(ctx context.Context, a Asker, id provision.JobID) (provision.Job, error) {
	job, err := c.Store.Job(ctx, id)
	if err != nil {
		return job, err
	}
	if c, err = c.of(job); err != nil {
		return job, err
	}
	v, err := c.mayTouch(ctx, a, "cancel", job)
	if err != nil {
		return job, err
	}
	after, err := c.Engine.Cancel(ctx, id, a.By)
	row := provision.AuditRow{By: a.By, What: "cancelled", Rule: v.Rule, Result: said(err)}
	if err != nil {
		c.noteJob(ctx, row, job)
		return job, err
	}
	row.Result = string(after.State)
	c.noteJob(ctx, row, after)
	return after, nil
}

// Resolve decides what becomes of a job that failed. Who may order it may try
// it again, who may cancel it may do the rest.
func (c *Clerk) Resolve(ctx context.Context, a Asker, id provision.JobID, do provision.Decision) (provision.Job, error) {
	job, err := c.Store.Job(ctx, id)
	if err != nil {
		return job, err
	}
	if c, err = c.of(job); err != nil {
		return job, err
	}
	verb := "cancel"
	if do == provision.Retry && job.Order.Spec != nil {
		verb = job.Order.Spec.Kind()
	}
	v, err := c.mayTouch(ctx, a, verb, job)
	if err != nil {
		return job, err
	}
	if do == provision.Retry && job.State == provision.StateFailed && v.Quotas && counts(job.Order.Spec) {
		done, err := c.counting(ctx)
		if err != nil {
			return job, err
		}
		defer done()
		if err := c.stillFits(ctx, a, job); err != nil {
			c.noteJob(ctx, provision.AuditRow{By: a.By, What: "refused", Rule: v.Rule, Text: string(do), Result: said(err)}, job)
			return job, err
		}
	}
	after, err := c.Engine.Resolve(ctx, provision.Resolution{Job: id, By: a.By, Do: do})
	row := provision.AuditRow{By: a.By, What: "resolved", Rule: v.Rule, Text: string(do), Result: said(err)}
	if err != nil {
		c.noteJob(ctx, row, job)
		return job, err
	}
	row.Result = string(after.State)
	c.noteJob(ctx, row, after)
	return after, nil
}

// mayTouch asks the policy about an existing job. The error is Denied.
func (c *Clerk) mayTouch(ctx context.Context, a Asker, verb string, job provision.Job) (commands.Verdict, error) {
	v := c.Policy.Decide(c.aboutJob(ctx, a, verb, job))
	if !v.Allow {
		c.noteJob(ctx, provision.AuditRow{By: a.By, What: "refused", Rule: v.Rule, Text: verb, Result: v.Say}, job)
		return v, &provision.Error{Kind: provision.Denied, Say: v.Say}
	}
	return v, nil
}

// aboutJob is a question about a job: it belongs to who ordered it, and what
// the bot ordered by itself to the owner of the VM.
func (c *Clerk) aboutJob(ctx context.Context, a Asker, verb string, job provision.Job) commands.Question {
	q := c.question(a, verb)
	q.Cluster = job.Order.Cluster
	q.Target = &commands.Target{Owner: &job.Order.By}
	if s, ok := job.Order.Spec.(provision.VMSpec); ok && job.Order.By.Platform == systemPlatform {
		vm, err := c.Engine.FindVM(ctx, strconv.Itoa(s.Target().VMID))
		if err == nil && vm.UUID == s.Target().UUID {
			q.Target = targetOf(vm)
		}
	}
	if job.Facts.Node != "" {
		q.Nodes = []string{job.Facts.Node}
	}
	return q
}

// noteJob writes an audit row about a job.
func (c *Clerk) noteJob(ctx context.Context, row provision.AuditRow, job provision.Job) {
	row.Job, row.VMID, row.Cluster = job.ID, job.Facts.VMID, job.Order.Cluster
	if spec := job.Order.Spec; spec != nil {
		row.Verb = spec.Kind()
		if id := vmidOf(spec); id != 0 {
			row.VMID = id
		}
	}
	c.note(ctx, row)
}

// note writes an audit row. It was done or refused by then: that it can't be
// written down is the operator's to know.
func (c *Clerk) note(ctx context.Context, row provision.AuditRow) {
	if err := c.Store.Audit(context.WithoutCancel(ctx), row); err != nil {
		c.log().ErrorContext(ctx, "the audit could not be written", "by", row.By.Key(), "what", row.What, "job", row.Job, "err", err)
	}
}

// vmidOf is the VM that a spec is about; 0: none, or several.
func vmidOf(spec provision.Spec) int {
	if s, ok := spec.(provision.VMSpec); ok {
		return s.Target().VMID
	}
	return 0
}

// said is an error as people are told it, "" for none.
func said(err error) string {
	if err == nil {
		return ""
	}
	say, _ := provision.Explain(err)
	return strings.TrimSuffix(say, ".")
}

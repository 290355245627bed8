package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"pvebot/commands"
	"pvebot/provision"
)

// act does what an inbound asks for and answers it.
func (d *Desk) act(ctx context.Context, in Inbound) {
	if in.Kind == Click {
		if t, ok := turnOf(in.Button); ok {
			d.whisper(ctx, in, d.turnPage(ctx, in, t))
		} else {
			d.whisper(ctx, in, d.press(ctx, in))
		}
		return
	}
	req, err := requestOf(in)
	if err != nil { // Triage answers these; a replay may find a new grammar
		d.whisper(ctx, in, errorCard(&provision.Error{Kind: provision.Invalid, Say: err.Error(), Try: "/vm help"}))
		return
	}
	at, req, err := d.counterFor(in, req)
	if err != nil {
		d.whisper(ctx, in, errorCard(err))
		return
	}
	if denied := at.mayAsk(ctx, in, req); denied != nil {
		d.whisper(ctx, in, *denied)
		return
	}
	var c *Card
	switch {
	case DryRun(req):
		c, err = at.plan(ctx, in, req)
	case changes(req):
		err = at.order(ctx, in, req)
	default:
		c, err = at.answer(ctx, in, req)
	}
	if err != nil {
		d.log.InfoContext(ctx, "a request led to nothing", "verb", req.Verb(), "by", in.By.Key(), "err", err)
		no := errorCard(err)
		c = &no
	}
	if c != nil {
		d.whisper(ctx, in, *c)
	}
}

// asker is who sent in.
func (d *Desk) asker(in Inbound) Asker {
	a := Asker{By: in.By, Groups: in.Roles, Where: in.Where, Key: in.Platform + "/" + in.ID, OnFailure: provision.OnFailureAsk}
	if rule, ok := d.onFailure[in.Platform]; ok {
		a.OnFailure = rule
	}
	return a
}

// changes: the request orders something.
func changes(req commands.Request) bool {
	v, ok := commands.VerbOf(req.Verb())
	_, cancel := req.(commands.Cancel)
	return ok && !v.Reads && !cancel
}

// DryRun: the request only asks what would be done.
func DryRun(req commands.Request) bool {
	switch r := req.(type) {
	case commands.Install:
		return r.DryRun
	case commands.Destroy:
		return r.DryRun
	case commands.Migrate:
		return r.DryRun
	case commands.Drain:
		return r.DryRun
	}
	return false
}

// mayAsk is the quick check of a request, before anything is looked up: nil
// lets it through. Of what concerns a job or VM it says nothing yet, but to
// those who may do nothing at all.
func (d counter) mayAsk(ctx context.Context, in Inbound, req commands.Request) *Card {
	a := d.asker(in)
	q := d.clerk.question(a, req.Verb())
	if len(d.policy.RolesOf(in.By, in.Roles)) > 0 {
		switch req := req.(type) {
		case commands.VMRequest, commands.Cancel, commands.Drain, commands.Audit:
			return nil // once it is known whose it is
		case commands.Install:
			if req.Spec.Node != "" {
				q.Nodes = []string{req.Spec.Node}
			}
		}
	}
	var err error
	if changes(req) {
		_, err = d.clerk.decide(ctx, a, matter{q: q}, d.clerk.text(req))
	} else if v := d.policy.Decide(q); !v.Allow {
		err = &provision.Error{Kind: provision.Denied, Say: v.Say}
	}
	if err == nil {
		return nil
	}
	c := errorCard(err)
	return &c
}

// order hands in what req orders and shows the card of each job.
func (d counter) order(ctx context.Context, in Inbound, req commands.Request) error {
	var word password
	if install, ok := req.(commands.Install); ok && install.Password {
		var err error
		if word, err = newPassword(); err != nil {
			return err
		}
		install.Spec.PasswordHash = word.hash
		req = install
	}
	drafts, err := d.clerk.Orders(ctx, d.asker(in), req)
	if err != nil {
		// What was ordered before its bot died may stand in its own way by now.
		jobs, lookErr := d.clerk.Ordered(ctx, d.asker(in), req)
		if lookErr != nil {
			d.log.WarnContext(ctx, "can't look for what was ordered", "platform", in.Platform, "id", in.ID, "err", lookErr)
		}
		for _, job := range jobs {
			d.post(ctx, in, job)
		}
		if len(jobs) > 0 {
			return nil
		}
		return err
	}
	for i, draft := range drafts {
		job, err := d.clerk.Submit(ctx, draft)
		if err != nil {
			return err
		}
		if word.hash != "" && i == 0 {
			d.whisper(ctx, in, word.card(job))
		}
		d.post(ctx, in, job)
	}
	return nil
}

// plan shows what req would do.
func (d counter) plan(ctx context.Context, in Inbound, req commands.Request) (*Card, error) {
	p, v, err := d.clerk.Plan(ctx, d.asker(in), req)
	if err != nil {
		return nil, err
	}
	c := d.titled(planCard(p, v))
	return &c, nil
}

// post shows a new job's card and stores its ref before anything else. When
// that does not work the ref is stored as missing, and the follower posts it.
func (d *Desk) post(ctx context.Context, in Inbound, job provision.Job) {
	where := job.Order.Where.Platform
	a, ok := d.adapters[where]
	if !ok {
		return
	}
	// From here on ctx may end: a card that was posted must be remembered.
	keep := context.WithoutCancel(ctx)
	if _, known, err := d.store.Card(ctx, where, job.ID); err == nil && known {
		d.nudge(where, job.ID) // a replay: it was posted before
		return
	}
	ref := provision.CardRef{Job: job.ID, Platform: where, Ref: noRef}
	posted, private, err := postCard(ctx, a, job, Show(job, d.clock.Now()))
	switch {
	case errors.Is(err, ErrGone):
		d.log.WarnContext(ctx, "no card can be posted there", "job", job.ID, "channel", job.Order.Where.Channel)
		d.whisper(ctx, in, noteCard(Plain, fmt.Sprintf("I can't post here, so job %d runs without a message. /vm jobs shows how it goes", job.ID)))
		return
	case err != nil:
		d.log.WarnContext(ctx, "can't post a card now; it comes later", "job", job.ID, "err", err)
	default:
		ref.Ref, ref.Shown = json.RawMessage(posted), job.Seq
	}
	if err := d.store.SetCard(keep, ref); err != nil {
		d.log.ErrorContext(ctx, "can't store where a card is", "job", job.ID, "err", err)
		return
	}
	if private {
		d.whisper(ctx, in, noteCard(Plain, fmt.Sprintf("I can't post here, so I show you alone how job %d goes. Invite me to have the next ones here", job.ID)))
	}
	d.nudge(where, job.ID)
}

func (d *Desk) nudge(platform string, id provision.JobID) {
	if d.follower != nil {
		d.follower.Nudge(platform, id)
	}
}

// whisper answers in private. That it can't be is no reason to stop.
func (d *Desk) whisper(ctx context.Context, in Inbound, c Card) {
	a, ok := d.adapters[in.Platform]
	if !ok {
		return
	}
	if err := a.Whisper(ctx, in, c); err != nil {
		d.log.WarnContext(ctx, "can't answer", "platform", in.Platform, "to", in.By.Key(), "err", err)
	}
}

// cancel ends a job on request.
func (d *Desk) cancel(ctx context.Context, in Inbound, id provision.JobID) (Card, error) {
	job, err := d.clerk.Cancel(ctx, d.asker(in), id)
	if err != nil {
		return Card{}, err
	}
	d.nudge(job.Order.Where.Platform, id)
	if job.State == provision.StateCancelled {
		return noteCard(Good, fmt.Sprintf("Job %d is cancelled", id)), nil
	}
	return noteCard(Good, fmt.Sprintf("Job %d stops at the next safe place, and what it did is undone", id)), nil
}

// press obeys a button, and answers it in any case.
func (d *Desk) press(ctx context.Context, in Inbound) Card {
	c, err := d.pressed(ctx, in)
	if changed, ok := errors.AsType[*ChangedError](err); ok {
		d.nudge(in.Platform, changed.Old)
		if changed.Again != nil {
			d.post(ctx, in, *changed.Again)
		}
		return Card{Title: "Not any more", Tone: Bad, Text: capital(full(changed.Error()))}
	}
	if err != nil {
		d.log.InfoContext(ctx, "a click led to nothing", "button", in.Button, "by", in.By.Key(), "err", err)
		return errorCard(err)
	}
	return c
}

func (d *Desk) pressed(ctx context.Context, in Inbound) (Card, error) {
	p, ok := pressOf(in.Button)
	if !ok {
		return noteCard(Bad, "I don't know this button any more"), nil
	}
	if p.Do == actCancel {
		return d.cancel(ctx, in, p.Job)
	}
	job, err := d.store.Job(ctx, p.Job)
	if err != nil {
		return Card{}, err
	}
	if p.Shown != shownMark(p.Do, job) {
		return noteCard(Bad, fmt.Sprintf("That came too late: job %d has changed since, it %s now", job.ID, stateWords(job.State))), nil
	}
	if p.Do == actExtend {
		return d.extend(ctx, in, job)
	}
	defer d.nudge(job.Order.Where.Platform, job.ID)
	in.Roles = d.rolesNow(ctx, in)
	switch p.Do {
	case actApprove, actReject:
		if job, err = d.clerk.Vote(ctx, d.asker(in), job.ID, p.Do == actApprove); err != nil {
			return Card{}, err
		}
		if g := job.Order.Gate; g != nil && len(g.Of) == 0 {
			return noteCard(Good, fmt.Sprintf("As you say: job %d %s", job.ID, stateWords(job.State))), nil
		}
		return noteCard(Good, votedText(job)), nil
	default:
		if job, err = d.clerk.Resolve(ctx, d.asker(in), job.ID, decisions[p.Do]); err != nil {
			return Card{}, err
		}
		return noteCard(Good, fmt.Sprintf("As you say: job %d %s", job.ID, stateWords(job.State))), nil
	}
}

// rolesNow are the roles of who pressed a button that decides something, asked
// for anew. When they can't be told nobody has any by a group.
func (d *Desk) rolesNow(ctx context.Context, in Inbound) []string {
	r, ok := d.adapters[in.Platform].(Roster)
	if !ok {
		return in.Roles
	}
	roles, err := r.RolesOf(ctx, in.By, in.Where)
	if err != nil {
		d.log.WarnContext(ctx, "can't ask which roles somebody has", "platform", in.Platform, "by", in.By.Key(), "err", err)
		return nil
	}
	return roles
}

var decisions = map[action]provision.Decision{
	actRetry: provision.Retry, actRollBack: provision.RollBack, actKeep: provision.Keep,
}

// extendBy is what the button of a reminder gives.
const extendBy = 7 * 24 * time.Hour

// extend obeys the button of a reminder: it is about the VM and the end of
// life that the reminder was about.
func (d *Desk) extend(ctx context.Context, in Inbound, reminder provision.Job) (Card, error) {
	spec, ok := reminder.Order.Spec.(provision.Remind)
	if !ok {
		return noteCard(Bad, "I don't know this button any more"), nil
	}
	at, err := d.counterOf(reminder)
	if err != nil {
		return Card{}, err
	}
	word := strconv.Itoa(spec.VM.VMID)
	vm, err := at.engine.FindVM(ctx, word)
	if err != nil {
		return Card{}, err
	}
	switch {
	case vm.UUID != spec.VM.UUID:
		return Card{}, provision.Errorf(provision.Conflict, "VM %s is another one by now: %s", word, vm.Name)
	case !vm.Until.Equal(spec.Until):
		return Card{}, provision.Errorf(provision.Conflict, "that was done already: %s", livesUntil(vm))
	}
	if err := at.order(ctx, in, commands.Extend{VM: word, By: extendBy}); err != nil {
		return Card{}, err
	}
	return noteCard(Good, fmt.Sprintf("%s lives %d days longer", vm.VMRef, int(extendBy.Hours())/24)), nil
}

package provision

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"pvebot/cluster"
)

// What a job does is in the audit log beside what people asked for: each
// command that changed something, and how the job ended. The rows are on
// behalf of who ordered it.

// ran writes down a command. It runs while a step does: a store that is away
// is waited for, but not for ever.
func (h *holder) ran(ctx context.Context, r cluster.Ran) {
	h.mu.Lock()
	h.lost = r.Task == "" && errors.Is(r.Err, cluster.ErrLost)
	h.mu.Unlock()
	text := r.Where + ": " + r.Line
	if r.Line == "" {
		text = r.Where + ": end of task " + r.Task
	}
	result := "ok"
	switch {
	case r.Err != nil:
		result = strings.ReplaceAll(r.Err.Error(), "\n", "; ")
	case r.Line != "" && r.Task != "":
		result = "began as task " + r.Task
	}
	h.audit(ctx, h.job(), AuditRow{What: "ran", Text: text, Result: result})
}

// ended writes down how the job ends, before it does: a bot that dies in
// between leaves a row too many, and not one too few. The caller holds h.mu.
func (h *holder) ended(ctx context.Context, ev Event) {
	if !ev.State.Final() && ev.State != StateParked {
		return
	}
	result := string(ev.State)
	if problem := cmp.Or(ev.Err, h.lease.Job.Problem); problem != nil && ev.State != StateSucceeded {
		result += ": " + problem.Say
	}
	h.audit(ctx, h.lease.Job, AuditRow{What: "ended", Result: result})
}

// audit adds a row about a job. What happened is written down also when the
// program is asked to end; a store that refuses it then is not tried again.
func (h *holder) audit(ctx context.Context, job Job, r AuditRow) {
	r.By, r.Job, r.VMID, r.Cluster = job.Order.By, job.ID, job.Facts.VMID, job.Order.Cluster
	if spec := job.Order.Spec; spec != nil {
		r.Verb = spec.Kind()
		if s, ok := spec.(VMSpec); ok && r.VMID == 0 {
			r.VMID = s.Target().VMID
		}
	}
	began, patience := h.clock.Now(), h.term/3
	if ctx.Err() != nil {
		patience = min(patience, putDownTime)
	}
	try := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return h.store.Audit(ctx, r)
	}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := try()
		if err == nil {
			return
		}
		if h.clock.Now().Sub(began) > h.term/3 || h.clock.Sleep(ctx, pause) != nil {
			h.log.Error("the audit log misses a row", "what", r.What, "text", r.Text, "result", r.Result, "err", err)
			return
		}
	}
}

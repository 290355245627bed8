package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"pvebot/provision"
)

// unread checks that err tells people that something can't be read, and what helps.
func (e *env) unread(what string, err error) {
	e.Helper()
	var told *provision.Error
	if !errors.As(err, &told) || told.Kind == provision.Internal || !strings.Contains(told.Say, "can't be read") || told.Try == "" {
		e.Errorf("%s: %v", what, err)
	}
}

// One job that can't be read is shown as such, and is nobody's work; all others
// are shown, worked on and swept as ever.
func testBrokenJob(e *env) {
	before, bad, after := e.submit(order("before")), e.submit(order("bad")), e.submit(order("after"))
	waits := e.submit(e.gated("bad, waiting", 1))
	expires := e.submit(e.gated("waiting", 1))
	e.h.Break(e, e.s, "job", int64(bad.ID), 0)
	e.h.Break(e, e.s, "job", int64(waits.ID), 0)

	jobs, err := e.s.Jobs(e.ctx, provision.Filter{})
	e.must(err)
	var ids []provision.JobID
	for _, j := range jobs {
		ids = append(ids, j.ID)
		broken := j.ID == bad.ID || j.ID == waits.ID
		if says := j.Problem != nil && strings.Contains(j.Problem.Say, "can't be read"); says != broken {
			e.Errorf("job %d: %+v", j.ID, j.Problem)
		}
		if _, err := json.Marshal(j); err != nil {
			e.Errorf("job %d can't be told: %v", j.ID, err)
		}
	}
	e.same("jobs", ids, []provision.JobID{expires.ID, waits.ID, after.ID, bad.ID, before.ID})
	j, err := e.s.Job(e.ctx, bad.ID)
	e.must(err)
	if j.State != provision.StateQueued || j.Order.Spec.Kind() != "install" || !j.Order.By.Same(alice) || j.Order.Cluster != "main" || j.Created.IsZero() {
		e.Errorf("what is left of it is %+v", j)
	}

	for _, want := range []provision.JobID{before.ID, after.ID} {
		if l := e.claim("w"); l.Job.ID != want {
			e.Errorf("job %d was claimed, want %d", l.Job.ID, want)
		}
	}
	wanted := provision.Wanted{Cluster: "main"}
	_, err = e.s.Claim(e.ctx, "w", wanted)
	e.is(err, provision.ErrNothing)
	if in, some, err := e.s.Free(e.ctx, wanted); err != nil || some && in == 0 {
		e.Errorf("workers are sent after it again at once: %v, %v, %v", in, some, err)
	}
	_, err = e.s.Cancel(e.ctx, bad.ID, alice)
	e.unread("its end", err)
	_, err = e.s.Vote(e.ctx, provision.Vote{Job: waits.ID, By: bob, Yes: true, Digest: "d1"})
	e.unread("a vote", err)
	_, err = e.s.Submit(e.ctx, order("bad"), plan())
	e.unread("the same order again", err)

	e.clock.Move(2 * time.Hour)
	if n, err := e.s.Sweep(e.ctx, time.Hour); n != 1 || err != nil {
		e.Errorf("%d were swept, %v", n, err)
	}
	e.inState(expires.ID, provision.StateCancelled)
}

// One event that can't be read says so, and all others reach their readers.
func testBrokenEvent(e *env) {
	l := e.running("a")
	e.append(l, started("slot"), done("slot"))
	e.h.Break(e, e.s, "event", int64(l.Job.ID), 3)
	e.s = e.h.Reopen(e, e.s, e.clock)
	check := func(where string, n uint64, ev provision.Event) {
		e.Helper()
		if ev.Seq != n || ev.Job != l.Job.ID || ev.At.IsZero() || strings.Contains(ev.Text, "can't be read") != (n == 3) {
			e.Errorf("%s: event %d is %+v", where, n, ev)
		}
	}
	n := uint64(0)
	for ev, err := range e.s.Events(e.ctx, l.Job.ID, 0) {
		e.must(err)
		n++
		check("its job's", n, ev)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	n = 0
	for ev, err := range e.s.Follow(ctx, 0) {
		if err != nil {
			break
		}
		n++
		check("the feed's", n, ev)
		if n == 4 {
			cancel()
		}
	}
	if n != 4 {
		e.Errorf("%d events were followed, want 4", n)
	}
}

// The same of VMs, the audit log and interactions.
func testBrokenRecords(e *env) {
	for _, id := range []int{101, 102} {
		e.must(e.s.SaveVM(e.ctx, provision.VMRecord{Cluster: "main", VMID: id, UUID: "u", Owner: alice, Until: e.now().Add(time.Hour)}))
		e.must(e.s.Audit(e.ctx, provision.AuditRow{By: alice, What: "ordered", VMID: id, Job: 7, Cluster: "main"}))
	}
	e.h.Break(e, e.s, "VM", 101, 0)
	e.h.Break(e, e.s, "audit row", 1, 0)

	records, err := e.s.VMRecords(e.ctx, "main")
	e.must(err)
	if len(records) != 2 || records[1].Owner != alice {
		e.Fatalf("the records are %+v", records)
	}
	if r := records[0]; r.VMID != 101 || r.Cluster != "main" || r.Owner.Same(alice) || r.Owner.String() != "unreadable" || !r.Until.IsZero() {
		e.Errorf("what is left of the one is %+v", r)
	}
	_, _, err = e.s.VMRecord(e.ctx, "main", 101)
	e.unread("the VM itself", err)
	_, err = e.s.UpdateVM(e.ctx, "main", 101, "u", func(*provision.VMRecord) {})
	e.unread("a change of it", err)
	e.must(e.s.SaveVM(e.ctx, provision.VMRecord{Cluster: "main", VMID: 101, UUID: "u", Owner: bob}))
	if r, known, err := e.s.VMRecord(e.ctx, "main", 101); err != nil || !known || r.Owner != bob {
		e.Errorf("saved anew: %+v, %v, %v", r, known, err)
	}

	var rows []provision.AuditRow
	for r, err := range e.s.AuditRows(e.ctx, provision.AuditFilter{By: &alice}) {
		e.must(err)
		rows = append(rows, r)
	}
	if len(rows) != 2 || rows[1].What != "ordered" {
		e.Fatalf("the rows are %+v", rows)
	}
	if r := rows[0]; r.Seq != 1 || r.What != "unreadable" || !strings.Contains(r.Result, "can't be read") || r.VMID != 101 || !r.By.Same(alice) {
		e.Errorf("what is left of the one is %+v", r)
	}
	if _, err := e.s.VerifyAudit(e.ctx, ""); err == nil || !strings.Contains(err.Error(), "audit row 1 was changed") {
		e.Errorf("the log verifies: %v", err)
	}

	if _, err := e.s.Accept(e.ctx, provision.Inbox{Platform: "slack", ID: "1", Data: []byte(`{}`)}); err != nil {
		e.Fatal(err)
	}
	e.h.Break(e, e.s, "interaction", 0, 0)
	if all, err := e.s.Unhandled(e.ctx, "slack"); err != nil || len(all) != 1 || all[0].ID != "1" {
		e.Errorf("the interactions are %+v, %v", all, err)
	}
}

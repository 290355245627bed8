package provision_test

import (
	"slices"
	"strings"
	"testing"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// Every command that changed something on a node is in the audit log, with who
// it was for and how it ended; so is the end of each job. No secret is.
func TestAuditIsComplete(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	spec := ubuntu()
	spec.PasswordHash = "$6$saltsalt$" + provision.Secret(strings.Repeat("a", 86))
	s.sim.FailOnce("qm start", 255, "no luck\ntoday")
	defer s.start()()
	failed := s.mustOrder(spec)
	s.await(failed, provision.StateFailed)
	done := s.mustOrder(spec)
	job := s.await(done, provision.StateSucceeded)

	var rows []provision.AuditRow
	var lines []string
	for r, err := range s.store.AuditRows(t.Context(), provision.AuditFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.By != alice || r.Verb != "install" || r.VMID == 0 || r.Result == "" || strings.ContainsAny(r.Text+r.Result, "\n") {
			t.Errorf("row %+v", r)
		}
		if strings.Contains(r.Text+r.Result, "saltsalt") {
			t.Errorf("a secret is in row %+v", r)
		}
		rows = append(rows, r)
		lines = append(lines, r.What+" "+r.Text+" | "+r.Result)
	}
	has := func(what, text, result string, job provision.JobID) bool {
		return slices.ContainsFunc(rows, func(r provision.AuditRow) bool {
			return r.What == what && r.Text == text && strings.HasPrefix(r.Result, result) && (job == 0 || r.Job == job)
		})
	}
	for _, ran := range s.sim.Ran() {
		if !ran.Changes() || ran.Argv[0] == "wget" { // that one is part of a script
			continue
		}
		if !has("ran", ran.Node+": "+cluster.Shown(ran.Argv), "", 0) {
			t.Errorf("%s on %s is not in the audit log", cluster.Shown(ran.Argv), ran.Node)
		}
	}
	for _, want := range []struct {
		what, text, result string
		job                provision.JobID
	}{
		{"ended", "", "failed: ", failed},
		{"ended", "", "succeeded", done},
		{"ran", job.Facts.Node + ": end of task create-" + job.Facts.UUID + "-1", "ok", done},
		{"ran", "guest " + job.Facts.IP.String() + ":22: sudo -n -- /bin/bash -s", "began as task init-" + job.Facts.UUID, done},
		{"ran", "guest " + job.Facts.IP.String() + ":22: end of task init-" + job.Facts.UUID, "ok", done},
	} {
		if !has(want.what, want.text, want.result, want.job) {
			t.Errorf("there is no row %+v in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	if !slices.ContainsFunc(rows, func(r provision.AuditRow) bool { return strings.Contains(r.Result, "no luck; today") }) {
		t.Errorf("the reason of the failure is not in\n%s", strings.Join(lines, "\n"))
	}
	if last, err := s.store.VerifyAudit(t.Context(), ""); err != nil || last.Seq != int64(len(rows)) {
		t.Errorf("%d rows verify as %d, %v", len(rows), last.Seq, err)
	}
}

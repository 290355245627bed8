package storetest

import (
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pvebot/provision"
)

func testVMRecords(e *env) {
	full := provision.VMRecord{
		Cluster: "pve", VMID: 101, UUID: "u-1", Name: "web-1", Owner: provision.Actor{Platform: "slack", ID: "U1"},
		Where: provision.Conversation{Platform: "slack", Channel: "C1"}, Job: 7, IP: netip.MustParseAddr("192.0.2.101"),
		User: "ubuntu", HostKey: "ssh-ed25519 AAAA", Cores: 2, MemoryMB: 2048, DiskMB: 16384,
		Created: epoch, Until: epoch.Add(time.Hour), Reminded: true,
	}
	other := provision.VMRecord{Cluster: "lab", VMID: 101, UUID: "u-2"}
	early := provision.VMRecord{Cluster: "pve", VMID: 100, UUID: "u-3"}
	for _, r := range []provision.VMRecord{{Cluster: "pve", VMID: 101, UUID: "old"}, full, other, early} {
		if err := e.s.SaveVM(e.ctx, r); err != nil {
			e.Fatal(err)
		}
	}
	same := cmpopts.EquateComparable(netip.Addr{})
	if got, known, err := e.s.VMRecord(e.ctx, "pve", 101); err != nil || !known || !cmp.Equal(got, full, same) {
		e.Errorf("VM 101 came back as %+v, %v, %v", got, known, err)
	}
	got, err := e.s.VMRecords(e.ctx, "pve")
	if diff := cmp.Diff([]provision.VMRecord{early, full}, got, same); err != nil || diff != "" {
		e.Errorf("%v\n%s", err, diff)
	}
	grow := func(r *provision.VMRecord) { r.Cores++ }
	for uuid, there := range map[string]bool{"u-1": true, "old": false, "": false} {
		if known, err := e.s.UpdateVM(e.ctx, "pve", 101, uuid, grow); err != nil || known != there {
			e.Errorf("an update of the VM with uuid %q: %v, %v", uuid, known, err)
		}
	}
	full.Cores++
	if got, _, err := e.s.VMRecord(e.ctx, "pve", 101); err != nil || !cmp.Equal(got, full, same) {
		e.Errorf("after an update VM 101 is %+v, %v", got, err)
	}
	if known, err := e.s.UpdateVM(e.ctx, "pve", 102, "u-4", grow); err != nil || known {
		e.Errorf("an unknown VM was updated: %v, %v", known, err)
	}
	for range 2 {
		if err := e.s.ForgetVM(e.ctx, "pve", 101); err != nil {
			e.Fatal(err)
		}
	}
	if _, known, err := e.s.VMRecord(e.ctx, "pve", 101); err != nil || known {
		e.Errorf("a forgotten VM is known: %v", err)
	}
	if _, known, _ := e.s.VMRecord(e.ctx, "lab", 101); !known {
		e.Error("forgetting a VM took the other cluster's with it")
	}
}

// updates is how many change one record at once.
const updates = 20

func testVMRecordsAtOnce(e *env) {
	e.must(e.s.SaveVM(e.ctx, provision.VMRecord{Cluster: "pve", VMID: 101, UUID: "u-1"}))
	atOnce(updates, func(int) {
		known, err := e.s.UpdateVM(e.ctx, "pve", 101, "u-1", func(r *provision.VMRecord) { r.Cores++ })
		if err != nil || !known {
			e.Errorf("%v, %v", known, err)
		}
	})
	if r, _, err := e.s.VMRecord(e.ctx, "pve", 101); err != nil || r.Cores != updates {
		e.Errorf("of %d changes at once %d are left, %v", updates, r.Cores, err)
	}
}

func testAudit(e *env) {
	bob := provision.Actor{Platform: "slack", ID: "U2"}
	rows := []provision.AuditRow{
		{By: alice, What: "ordered", Verb: "install", VMID: 101, Job: 1, Rule: "admins: all", Text: "/vm install ubuntu"},
		{By: bob, What: "refused", Verb: "destroy", VMID: 101, Rule: "none"},
		{By: alice, What: "ended", Verb: "install", VMID: 102, Job: 1, Cluster: "main", Result: "succeeded"},
	}
	if last, err := e.s.VerifyAudit(e.ctx, ""); last.Seq != 0 || err != nil {
		e.Errorf("an empty log verifies as %d, %v", last.Seq, err)
	}
	for _, r := range rows {
		if err := e.s.Audit(e.ctx, r); err != nil {
			e.Fatal(err)
		}
	}
	for _, tt := range []struct {
		f    provision.AuditFilter
		want []int64
	}{
		{provision.AuditFilter{}, []int64{1, 2, 3}},
		{provision.AuditFilter{By: &alice}, []int64{1, 3}},
		{provision.AuditFilter{VMID: 101}, []int64{1, 2}},
		{provision.AuditFilter{Job: 1, By: &alice, VMID: 102}, []int64{3}},
		{provision.AuditFilter{After: 1}, []int64{2, 3}},
		{provision.AuditFilter{Cluster: "main"}, []int64{1, 2, 3}},
		{provision.AuditFilter{Cluster: "other"}, []int64{1, 2}},
		{provision.AuditFilter{Limit: 2}, []int64{2, 3}},
	} {
		var got []int64
		for r, err := range e.s.AuditRows(e.ctx, tt.f) {
			if err != nil {
				e.Fatal(err)
			}
			if r.Hash != r.Sum() || r.At.IsZero() || r.What != rows[r.Seq-1].What || r.Text != rows[r.Seq-1].Text {
				e.Errorf("row %d is %+v", r.Seq, r)
			}
			got = append(got, r.Seq)
		}
		if !cmp.Equal(got, tt.want) {
			e.Errorf("%+v selects %v, want %v", tt.f, got, tt.want)
		}
	}
	last, err := e.s.VerifyAudit(e.ctx, "")
	if last.Seq != 3 || last.What != "ended" || last.Hash != last.Sum() || err != nil {
		e.Errorf("three rows verify as %+v, %v", last, err)
	}
	for _, kept := range []string{last.Hash, last.Prev} {
		if again, err := e.s.VerifyAudit(e.ctx, kept); err != nil || again.Hash != last.Hash {
			e.Errorf("with the hash %s that was kept: %+v, %v", kept, again, err)
		}
	}
	if _, err := e.s.VerifyAudit(e.ctx, provision.AuditRow{Seq: 4}.Sum()); err == nil {
		e.Errorf("a hash that is not in the log was found in it")
	}
}

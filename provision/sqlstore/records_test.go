package sqlstore

import (
	"strings"
	"testing"

	"pvebot/provision"
)

// Whoever changes, removes or cuts off audit rows is found out.
func TestAuditIsTamperEvident(t *testing.T) {
	for name, tt := range map[string]struct{ do, want string }{
		"changed": {`UPDATE audit SET data = replace(data, 'ordered', 'refused') WHERE seq = 2`, "audit row 2 was changed"},
		"removed": {`DELETE FROM audit WHERE seq = 2`, "audit row 2 is missing"},
		"cut off": {`DELETE FROM audit WHERE seq = 3`, "audit rows after 2 are missing"},
		// What is searched is what the hashes hold.
		"hidden from a person":   {`UPDATE audit SET actor = 'mallory' WHERE seq = 2`, "its column actor"},
		"hidden from a platform": {`UPDATE audit SET platform = 'web' WHERE seq = 2`, "its column platform"},
		"hidden from a VM":       {`UPDATE audit SET vmid = 7 WHERE seq = 2`, "its column vmid"},
		"hidden from a cluster":  {`UPDATE audit SET cluster = 'x' WHERE seq = 2`, "its column cluster"},
		"hidden from a job":      {`UPDATE audit SET job = 7 WHERE seq = 2`, "its column job"},
		"another hash":           {`UPDATE audit SET hash = 'x' WHERE seq = 3`, "its column hash"},
		"swapped":                {`UPDATE audit SET data = (SELECT data FROM audit WHERE seq = 3) WHERE seq = 2`, "audit row 2 was changed"},
		"no JSON":                {`UPDATE audit SET data = '{' WHERE seq = 2`, "audit row 2 was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			for range 3 {
				if err := s.Audit(t.Context(), provision.AuditRow{What: "ordered", By: provision.Actor{Platform: "slack", ID: "U1"}, VMID: 101}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.db.ExecContext(t.Context(), tt.do); err != nil {
				t.Fatal(err)
			}
			if _, err := s.VerifyAudit(t.Context(), ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it says %v, want %q", err, tt.want)
			}
		})
	}
}

// A log that was cut off together with the counter of its rows is whole in
// itself: only the hash that somebody kept tells.
func TestAuditThatWasCutOffMissesTheKeptHash(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for range 3 {
		if err := s.Audit(t.Context(), provision.AuditRow{What: "ordered"}); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := s.VerifyAudit(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []string{`DELETE FROM audit WHERE seq = 3`, `UPDATE feed SET value = 2 WHERE name = 'audit'`} {
		if _, err := s.db.ExecContext(t.Context(), do); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := s.VerifyAudit(t.Context(), ""); err != nil || last.Seq != 2 {
		t.Fatalf("without the hash: %+v, %v", last, err)
	}
	if _, err := s.VerifyAudit(t.Context(), kept.Hash); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("with the hash: %v", err)
	}
}

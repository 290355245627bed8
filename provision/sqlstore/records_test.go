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
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			for range 3 {
				if err := s.Audit(t.Context(), provision.AuditRow{What: "ordered"}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.db.ExecContext(t.Context(), tt.do); err != nil {
				t.Fatal(err)
			}
			if _, err := s.VerifyAudit(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it says %v, want %q", err, tt.want)
			}
		})
	}
}

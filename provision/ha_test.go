package provision_test

import (
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// TestHighAvailabilityIsNamed: what PVE's high availability looks after it would
// start, stop and move behind our back. Whatever is ordered, people hear who has
// the VM, and what they can do.
func TestHighAvailabilityIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.byHand("pve1", "qm", "snapshot", "101", "before")
	s.sim.HAManaged(101)
	s.sim.HAManaged(103)
	before := len(s.changed())
	runs, stopped := s.vm(101), s.vm(103)
	for name, spec := range map[string]provision.Spec{
		"start":    provision.Power{Do: "start", VM: stopped},
		"stop":     provision.Power{Do: "stop", VM: runs},
		"shutdown": provision.Power{Do: "shutdown", VM: runs},
		"reboot":   provision.Power{Do: "reboot", VM: runs},
		"set":      provision.Set{VM: stopped, Cores: 1},
		"snapshot": provision.Snapshot{VM: runs, Name: "after"},
		"rollback": provision.Rollback{VM: runs, Name: "before"},
		"clone":    provision.Clone{VM: stopped},
		"migrate":  provision.Migrate{VM: runs, To: "pve2"},
		"drain":    provision.Drain{Node: "pve1"},
		"destroy":  provision.Destroy{VM: stopped},
	} {
		_, err := s.engine.Prepare(t.Context(), spec)
		if err == nil {
			t.Errorf("%s is taken", name)
			continue
		}
		say, try := provision.Explain(err)
		if !strings.Contains(say, "managed by PVE's high availability") || !strings.Contains(say+"; "+try, "ha-manager remove vm:10") {
			t.Errorf("%s: %q, and to do %q", name, say, try)
		}
	}
	if now := s.changed(); len(now) > before {
		t.Errorf("something was done: %v", now[before:])
	}
}

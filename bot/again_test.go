package bot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pvebot/provision"
)

// A plan that changed asks again with the plan as it is now, and whoever says
// yes to that is obeyed.
func TestAskedAgain(t *testing.T) {
	s := newSiege(t)
	approve := s.others()
	s.engine.set(102, func(vm *provision.VM) { vm.Node = "pve3" })
	s.press(carol, approve)
	s.press(carol, approve) // the old card's
	if got := page(s.chat.Cards()[1]); !strings.Contains(got, "it is on pve3") || !strings.Contains(got, "asked by alice") {
		t.Errorf("the new card: %s", got)
	}
	s.press(dave, s.button(1, "Approve"))
	if got := s.running(); !slices.Equal(got, []provision.JobID{2}) {
		t.Errorf("jobs %v can run, want job 2", got)
	}
	var told []string
	for row, err := range s.store.AuditRows(t.Context(), provision.AuditFilter{VMID: 102}) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, fmt.Sprintf("%s %s job %d: %s", row.By, row.What, row.Job, row.Result))
	}
	want := []string{
		"alice ordered job 1: waits: to destroy other people's VMs needs one",
		"the bot, since the plan changed cancelled job 1: the plan changed",
		"alice ordered job 2: waits: to destroy other people's VMs needs one",
		"carol voted job 1: that came too late: job 1 was cancelled",
		"dave voted job 2: queued",
	}
	if !slices.Equal(told, want) {
		t.Errorf("the audit says\n%s", strings.Join(told, "\n"))
	}
}

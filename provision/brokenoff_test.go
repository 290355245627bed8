package provision_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// quick is the machine's clock, twenty times as fast.
type quick struct{ began time.Time }

func (q quick) Now() time.Time { return q.began.Add(20 * time.Since(q.began)) }

func (q quick) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d / 20):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// logOf are the lines that a step told in the job's thread.
func (s *site) logOf(id provision.JobID, step string) (lines []string) {
	s.t.Helper()
	last, err := s.store.Position(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for e, err := range s.store.Follow(s.t.Context(), 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Job == id && e.Kind == provision.StepLog && e.Step == step {
			lines = append(lines, strings.Split(e.Text, "\n")...)
		}
		if e.Pos >= last {
			return lines
		}
	}
	return lines
}

// What a VM is waited for in vain is said in one sentence, at once, and once.
func TestVMThatGoesWhileItIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		meanwhile func(s *site, vm provision.VMRef)
		say, try  string
		ask       bool
	}{
		"switched off": {
			meanwhile: func(s *site, vm provision.VMRef) { s.byHand(vm.Node, "qm", "stop", strconv.Itoa(vm.VMID)) },
			say:       "VM VMID was switched off while the bot waited for it", try: "order it again",
		},
		"switched off, and people decide": {
			meanwhile: func(s *site, vm provision.VMRef) { s.byHand(vm.Node, "qm", "stop", strconv.Itoa(vm.VMID)) },
			say:       "VM VMID was switched off while the bot waited for it", try: "qm start VMID on NODE, then Retry", ask: true,
		},
		"removed": {
			meanwhile: func(s *site, vm provision.VMRef) {
				s.byHand(vm.Node, "qm", "stop", strconv.Itoa(vm.VMID))
				s.byHand(vm.Node, "qm", "destroy", strconv.Itoa(vm.VMID))
			},
			say: "VM VMID is gone: somebody removed it", try: "order it again",
		},
		"silent": {
			meanwhile: func(*site, provision.VMRef) {},
			say:       "VM VMID does not get ready: nothing answers at ADDRESS:22, for ", try: "order it again, and watch its console meanwhile: qm terminal VMID on NODE",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{Statd: -1})
			s.clock = quick{time.Now()}
			s.settings.Stall = time.Hour
			if name == "silent" {
				s.settings.Stall = time.Minute
			}
			s.engine = s.newEngine()
			s.sim.OnCommand(func(r pvesim.Ran) {
				if strings.HasPrefix(r.String(), "qm start") {
					s.sim.NeverBoot(vmidIn(r))
				}
			})
			s.start()
			id := provision.JobID(0)
			if tc.ask {
				id = s.do(ubuntu(), nil)
			} else {
				id = s.mustOrder(ubuntu())
			}
			s.awaitStep(id, "waiting for ready")
			job, err := s.store.Job(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			tc.meanwhile(s, provision.VMRef{VMID: job.Facts.VMID, Node: job.Facts.Node})
			job = s.await(id, provision.StateFailed, provision.StateParked, provision.StateSucceeded)
			want := func(text string) string {
				text = strings.ReplaceAll(text, "qm terminal VMID", "qm terminal vmid")
				text = strings.ReplaceAll(text, "VMID", strconv.Itoa(job.Facts.VMID))
				text = strings.ReplaceAll(text, "qm terminal vmid", "qm terminal VMID")
				return strings.NewReplacer("ADDRESS", job.Facts.IP.String(), "NODE", job.Facts.Node).Replace(text)
			}
			if p := job.Problem; p == nil || !strings.HasPrefix(p.Say, want(tc.say)) || p.Try != want(tc.try) {
				t.Errorf("the install %s: %+v", job.State, p)
			}
			if log := s.logOf(id, "waiting for ready"); len(log) > 0 {
				t.Errorf("it says more than once: %q", log)
			}
		})
	}
}

// The init script goes on when the connection breaks and when the bot dies, again
// and again, and its output is told once.
func TestInitGoesOnWithoutTheBot(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Init: 3 * time.Second}})
	watching, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	told := make(chan struct{}, 1000)
	wg.Go(func() {
		for e, err := range s.store.Follow(watching, 0) {
			if err != nil {
				return
			}
			if e.Kind == provision.StepLog && e.Step == "SSH initialization" {
				told <- struct{}{}
			}
		}
	})
	stop := s.start()
	id := s.mustOrder(ubuntu())
	for death := range 3 {
		<-told
		if death == 1 { // a connection breaks
			for _, node := range s.pve.Nodes().Names() {
				s.sim.Cut(node)
			}
			continue
		}
		stop()
		s.engine = s.newEngine()
		stop = s.start()
	}
	job := s.await(id, provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if job.State != provision.StateSucceeded {
		t.Fatalf("the install %s: %+v", job.State, job.Problem)
	}
	undisturbed := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	script := func(id provision.JobID) []string {
		return slices.DeleteFunc(s.logOf(id, "SSH initialization"), func(l string) bool { return strings.Contains(l, "looking again") })
	}
	if got, want := script(id), script(undisturbed.ID); !slices.Equal(got, want) {
		t.Errorf("told was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A change whose connection breaks is looked for, and made if it did not happen.
func TestChangesWhoseConnectionBreaks(t *testing.T) {
	t.Parallel()
	power := func(do string) func(provision.VMRef) provision.Spec {
		return func(vm provision.VMRef) provision.Spec { return provision.Power{Do: do, VM: vm} }
	}
	for how, before := range map[string]bool{"before": true, "after": false} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{Statd: -1})
			s.clock = quick{time.Now()}
			s.engine = s.newEngine()
			s.start()
			for _, change := range []struct {
				line string
				task bool // it runs on the node without us
				spec func(provision.VMRef) provision.Spec
			}{
				{"qm set", false, func(vm provision.VMRef) provision.Spec { return provision.Set{VM: vm, Cores: 2} }},
				{"qm disk", false, func(vm provision.VMRef) provision.Spec { return provision.Set{VM: vm, GrowMB: 1024} }},
				{"qm start", false, power("start")},
				{"qm stop", false, power("stop")},
				{"qm snapshot", true, func(vm provision.VMRef) provision.Spec { return provision.Snapshot{VM: vm, Name: "before"} }},
				{"qm rollback", true, func(vm provision.VMRef) provision.Spec { return provision.Rollback{VM: vm, Name: "before"} }},
				{"qm clone", true, func(vm provision.VMRef) provision.Spec { return provision.Clone{VM: vm, Name: "copy"} }},
				{"qm destroy", true, func(vm provision.VMRef) provision.Spec { return provision.Destroy{VM: vm} }},
			} {
				vm := s.vm(103)
				if before && !change.task { // it is killed with its connection
					s.sim.FailOnce(change.line, 255, "")
					cut := sync.OnceFunc(func() { s.sim.Cut(vm.Node) })
					s.sim.OnCommand(func(r pvesim.Ran) {
						if strings.HasPrefix(r.String(), change.line) {
							cut()
						}
					})
				} else {
					s.sim.Lose(vm.Node, change.line)
				}
				s.succeeds(s.do(change.spec(vm), nil))
			}
		})
	}
}

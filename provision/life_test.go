package provision_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

var bob = provision.Actor{Platform: "test", ID: "bob"}

// vm is a VM as orders mean it.
func (s *site) vm(id int) provision.VMRef {
	s.t.Helper()
	vm, err := s.engine.FindVM(s.t.Context(), strconv.Itoa(id))
	if err != nil {
		s.t.Fatal(err)
	}
	return vm.VMRef
}

// do prepares and submits an order of any kind.
func (s *site) do(spec provision.Spec, gate *provision.Gate) provision.JobID {
	s.t.Helper()
	prepared, err := s.engine.Prepare(s.t.Context(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	if gate != nil {
		plan, err := s.engine.Preview(s.t.Context(), prepared)
		if err != nil {
			s.t.Fatal(err)
		}
		gate.Plan, gate.Digest = &plan, plan.Digest
	}
	s.orders++
	job, err := s.engine.Submit(s.t.Context(), provision.Order{
		Key: "do/" + strconv.Itoa(s.orders), By: alice, Spec: prepared, Gate: gate, OnFailure: provision.OnFailureAsk,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return job.ID
}

// succeeds waits for a job's end, which must be a good one.
func (s *site) succeeds(id provision.JobID) provision.Job {
	s.t.Helper()
	job := s.await(id, provision.StateSucceeded, provision.StateParked, provision.StateFailed, provision.StateCancelled)
	if job.State != provision.StateSucceeded {
		s.t.Fatalf("job %d %s: %+v", id, job.State, job.Problem)
	}
	return job
}

// ran counts the commands that begin with some words.
func (s *site) ran(words string) int {
	n := 0
	for _, r := range s.sim.Ran() {
		if strings.HasPrefix(r.String()+" ", words+" ") {
			n++
		}
	}
	return n
}

// changed are the commands that change something.
func (s *site) changed() []string {
	var all []string
	for _, r := range s.sim.Ran() {
		if r.Changes() {
			all = append(all, r.String())
		}
	}
	return all
}

// A VM that moves between the look and the command is found again.
func TestVMThatMoved(t *testing.T) {
	t.Parallel()
	for command, spec := range map[string]func(provision.VMRef) provision.Spec{
		"qm set 103":      func(vm provision.VMRef) provision.Spec { return provision.Set{VM: vm, Cores: 2} },
		"qm disk":         func(vm provision.VMRef) provision.Spec { return provision.Set{VM: vm, GrowMB: 1024} },
		"qm snapshot 103": func(vm provision.VMRef) provision.Spec { return provision.Snapshot{VM: vm, Name: "before"} },
		"qm destroy 103":  func(vm provision.VMRef) provision.Spec { return provision.Destroy{VM: vm} },
	} {
		t.Run(command, func(t *testing.T) {
			s := newSite(t, pvesim.Options{})
			moved := false
			s.sim.OnCommand(func(r pvesim.Ran) {
				if !moved && strings.HasPrefix(r.String(), command) {
					moved = true
					s.sim.Move(103, "pve2")
				}
			})
			s.start()
			s.succeeds(s.do(spec(s.vm(103)), nil))
			if n := s.ran(command); !moved || n != 2 {
				t.Errorf("%s ran %d times, want once where it was and once where it is", command, n)
			}
		})
	}
}

// An answer that got lost is looked up: the command happened, and is not run
// again.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	s.sim.Lose("pve1", "qm stop")
	s.succeeds(s.do(provision.Power{Do: "stop", VM: s.vm(101)}, nil))
	s.sim.Lose("pve1", "qm snapshot")
	s.succeeds(s.do(provision.Snapshot{VM: s.vm(101), Name: "before"}, nil))
	s.sim.Lose("pve1", "qm destroy")
	s.succeeds(s.do(provision.Destroy{VM: s.vm(101)}, nil))
	for _, command := range []string{"qm stop", "qm snapshot", "qm destroy"} {
		if n := s.ran(command); n != 1 {
			t.Errorf("%s ran %d times", command, n)
		}
	}
}

// A VMID that belongs to another VM by the time that a job runs is left alone.
func TestRecycledVMID(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	old := s.vm(103)
	id := s.do(provision.Destroy{VM: old}, nil)
	s.sim.Recycle(103)
	if _, err := s.engine.Prepare(t.Context(), provision.Set{VM: old, Cores: 2}); provision.KindOf(err) != provision.Conflict {
		t.Errorf("an order for the old one is answered with %v", err)
	}
	s.start()
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	if job.State != provision.StateParked || !strings.Contains(job.Problem.Say, "VM 103 is another one by now (other-103), not old-wiki") {
		t.Errorf("the job %s: %+v", job.State, job.Problem)
	}
	if ran := s.changed(); len(ran) > 0 {
		t.Errorf("%q ran", ran)
	}
}

// What was agreed to is what is run: a plan that changed meanwhile is shown
// anew, and those who agreed are asked anew.
func TestChangedPlanAsksAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	gate := &provision.Gate{Need: 1, Of: []string{"ops"}, Reason: "it is not hers", Expires: time.Now().Add(time.Hour)}
	id := s.do(provision.Migrate{VM: s.vm(101), To: "pve2"}, gate)
	first := gate.Digest
	vote := func(digest string) error {
		_, err := s.engine.Vote(t.Context(), provision.Vote{Job: id, By: bob, Yes: true, Digest: digest})
		return err
	}
	if err := vote(first); err != nil {
		t.Fatal(err)
	}
	s.sim.Detach(101) // one disk more travels
	stop := s.start()
	job := s.await(id, provision.StateWaiting, provision.StateParked, provision.StateSucceeded)
	now := job.Order.Gate
	switch {
	case job.State != provision.StateWaiting:
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	case now.Digest == first || !strings.Contains(now.Plan.Verdict, "2 local disks") || len(job.Votes) != 0 || !now.Expires.After(time.Now()):
		t.Errorf("it asks %+v, with the votes %v", now.Plan, job.Votes)
	case job.Step("checking migration").Status != provision.StepPending:
		t.Errorf("its steps are %+v", job.Steps)
	}
	if ran := s.changed(); len(ran) > 0 {
		t.Errorf("%q ran", ran)
	}
	if err := vote(first); provision.KindOf(err) != provision.Conflict {
		t.Errorf("a vote for the old plan is answered with %v", err)
	}
	if err := vote(now.Digest); err != nil {
		t.Fatal(err)
	}
	s.succeeds(id)
	stop()
	if vm, _ := s.sim.VM(101); vm.Node != "pve2" {
		t.Errorf("the VM is on %s", vm.Node)
	}
}

// Where nobody was asked a plan only has to be possible.
func TestChangedPlanOfNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	id := s.do(provision.Migrate{VM: s.vm(101), To: "pve2"}, nil)
	s.sim.Detach(101)
	s.start()
	s.succeeds(id)
}

// A long command lives on when the bot dies, and the next bot follows it.
func TestActOutlivesTheBot(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	dir := t.TempDir()
	s.store.Close()
	s.store = openStore(t, dir)
	s.engine = s.newEngine()
	began := make(chan struct{}, 9)
	s.sim.OnCommand(func(r pvesim.Ran) {
		if strings.HasPrefix(r.String(), "qm shutdown 101") {
			began <- struct{}{}
		}
	})
	release := s.sim.Hold("qm shutdown 101")
	stop := s.start()
	id := s.do(provision.Power{Do: "shutdown", VM: s.vm(101)}, nil)
	<-began
	stop()
	s.store.Close()
	release()

	s.store = openStore(t, dir) // leases of the dead are void
	s.engine = s.newEngine()
	defer s.start()()
	s.succeeds(id)
	if n := s.ran("qm shutdown"); n != 1 {
		t.Errorf("qm shutdown ran %d times", n)
	}
}

// What ran before runs again when the rest is rolled back.
func TestUndoOfAStop(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.FailOnce("qm destroy", 255, "lvremove failed")
	s.start()
	id := s.do(provision.Destroy{VM: s.vm(101)}, nil)
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	if job.State != provision.StateParked || job.Problem.Output != "lvremove failed" {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	if vm, _ := s.sim.VM(101); vm.Running {
		t.Fatal("the VM was not stopped")
	}
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(id, provision.StateFailed)
	if vm, _ := s.sim.VM(101); !vm.Running {
		t.Error("the VM does not run again")
	}
}

// A VM whose life is extended in the moment that its end is ordered lives on.
func TestExtendedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(101)
	order := func(spec provision.Spec) provision.JobID {
		spec, err := s.engine.Prepare(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		s.orders++
		job, err := s.engine.Submit(t.Context(), provision.Order{
			Key: "system/" + strconv.Itoa(s.orders), By: provision.Actor{Platform: "system", ID: "lifetime"}, Spec: spec, OnFailure: provision.OnFailureAsk,
		})
		if err != nil {
			t.Fatal(err)
		}
		return job.ID
	}
	lives := func(until time.Time) {
		err := s.store.SaveVM(t.Context(), provision.VMRecord{Cluster: "sim", VMID: 101, UUID: vm.UUID, Owner: alice, Until: until, Told: until})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		spec  provision.Spec
		until time.Duration // from now
		want  string
	}{
		{provision.Power{Do: "stop", VM: vm}, day, "was extended meanwhile"},
		{provision.Destroy{VM: vm}, day, "was extended meanwhile"},
		{provision.Destroy{VM: vm}, -day / 2, "was not told a day ago"}, // it has its day of grace
	} {
		lives(time.Now().Add(tt.until))
		job := s.await(order(tt.spec), provision.StateCancelled, provision.StateSucceeded, provision.StateParked)
		if job.State != provision.StateCancelled || !strings.Contains(job.Problem.Say, tt.want) {
			t.Errorf("%s %s: %+v", tt.spec.Kind(), job.State, job.Problem)
		}
	}
	if ran := s.changed(); len(ran) > 0 {
		t.Errorf("%q ran", ran)
	}
	lives(time.Now().Add(-2 * day))
	s.succeeds(order(provision.Destroy{VM: vm}))
}

// What the bot runs in is not switched off, nor moved, by the bot.
func TestOwnVM(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	s.settings.BotVMID = 101
	s.engine = s.newEngine()
	vm := s.vm(101)
	for _, spec := range []provision.Spec{
		provision.Power{Do: "stop", VM: vm}, provision.Power{Do: "shutdown", VM: vm}, provision.Power{Do: "reboot", VM: vm},
		provision.Destroy{VM: vm}, provision.Rollback{VM: vm, Name: "clean"}, provision.Migrate{VM: vm, To: "pve2"}, provision.Drain{Node: "pve1"},
	} {
		if _, err := s.engine.Prepare(t.Context(), spec); provision.KindOf(err) != provision.Conflict {
			t.Errorf("%s is answered with %v", spec.Kind(), err)
		}
	}
}

// A drain moves each VM to a node whose CPU can run it, though another one has
// more room.
func TestDrainLooksAtCPUs(t *testing.T) {
	nodes := pvesim.DefaultNodes()
	nodes[1].Memory = nodes[2].Memory / 2
	s := newSite(t, pvesim.Options{Nodes: nodes})
	for cpu, want := range map[string]string{"x86-64-v4": "pve2", "x86-64-v3": "pve3"} {
		s.sim.SetOption(101, "cpu", cpu)
		spec, err := s.engine.Prepare(t.Context(), provision.Drain{Node: "pve1"})
		if err != nil {
			t.Fatal(err)
		}
		if moves := spec.(provision.Drain).Moves; len(moves) != 1 || moves[0].To != want {
			t.Errorf("a VM of type %s goes to %+v, want %s", cpu, moves, want)
		}
	}
}

// The pre-flight finds what stands in a VM's way, and says nothing of what
// does not.
func TestPreflight(t *testing.T) {
	t.Parallel()
	o := pvesim.Options{
		Storages: append(pvesim.DefaultStorages(),
			pvesim.StorageSpec{Name: "chain", Type: "dir", Content: []string{"images"}, Capacity: 1 << 40, VolumeChain: true},
			pvesim.StorageSpec{Name: "files", Type: "dir", Content: []string{"images"}, Capacity: 1 << 40},
			pvesim.StorageSpec{Name: "btrfs", Type: "btrfs", Content: []string{"images"}, Capacity: 1 << 40}),
		Mappings: []pvesim.MappingSpec{{Name: "nic", Nodes: []string{"pve1", "pve2"}, Live: true}, {Name: "gpu", Nodes: []string{"pve1", "pve2"}}},
	}
	on := func(storage, format string) func(*pvesim.Sim) { // 103 has its only disk there
		return func(s *pvesim.Sim) {
			s.SetOption(103, "scsi0", "")
			s.AttachDisk(103, "scsi0", storage, format, 8<<30)
		}
	}
	for name, tt := range map[string]struct {
		plant   func(*pvesim.Sim)
		snap    bool // 103 has a snapshot
		vmid    int
		to      string
		blocker string // "": there is none
		warning string
		verdict string
	}{
		"online":                 {vmid: 101, to: "pve2", verdict: "online, from pve1 to pve2, with 1 local disk of 64G"},
		"offline":                {vmid: 103, to: "pve1", verdict: "offline, from pve3 to pve1, with 1 local disk of 16G"},
		"passthrough":            {plant: func(s *pvesim.Sim) { s.Passthrough(101) }, vmid: 101, to: "pve2", blocker: "it uses a device of its node: hostpci0"},
		"CD-ROM":                 {plant: func(s *pvesim.Sim) { s.AttachISO(101) }, vmid: 101, to: "pve2", blocker: "a CD-ROM image is on local storage"},
		"HA":                     {plant: func(s *pvesim.Sim) { s.HAManaged(101) }, vmid: 101, to: "pve2", blocker: "high availability"},
		"lock":                   {plant: func(s *pvesim.Sim) { s.HoldLock(101, "backup") }, vmid: 101, to: "pve2", blocker: "it is locked (backup)"},
		"quorum":                 {plant: func(s *pvesim.Sim) { s.Quorum(false) }, vmid: 101, to: "pve2", blocker: "the cluster has no quorum"},
		"CPU":                    {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "x86-64-v4") }, vmid: 101, to: "pve3", blocker: "its CPU type x86-64-v4 is more than pve3 can do (x86-64-v3)"},
		"CPU, stopped":           {plant: func(s *pvesim.Sim) { s.SetOption(103, "cpu", "x86-64-v4"); s.Move(103, "pve1") }, vmid: 103, to: "pve3", warning: "it will not start there", verdict: "offline"},
		"host CPU":               {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "host") }, vmid: 101, to: "pve3", blocker: "its CPU type is host, and the CPU of pve3 lacks avx512"},
		"same CPU":               {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "host") }, vmid: 101, to: "pve2", verdict: "online"},
		"snapshots in a chain":   {plant: on("chain", "qcow2"), snap: true, vmid: 103, to: "pve1", blocker: "snapshots can't travel with chain:103/vm-103-disk-0.qcow2"},
		"a chain without any":    {plant: on("chain", "qcow2"), vmid: 103, to: "pve1", verdict: "offline"},
		"snapshots in the file":  {plant: on("files", "qcow2"), snap: true, vmid: 103, to: "pve1", verdict: "offline"},
		"snapshots of btrfs":     {plant: on("btrfs", "raw"), snap: true, vmid: 103, to: "pve1", verdict: "offline"},
		"snapshots of thin LVM":  {snap: true, vmid: 103, to: "pve1", blocker: "snapshots can't travel with local-lvm:"},
		"mapped device":          {plant: func(s *pvesim.Sim) { s.SetOption(101, "hostpci0", "mapping=nic") }, vmid: 101, to: "pve2", verdict: "online"},
		"mapped USB, stopped":    {plant: func(s *pvesim.Sim) { s.SetOption(103, "usb0", "mapping=nic") }, vmid: 103, to: "pve1", verdict: "offline"}, // PVE: it stands among the local ones
		"mapped, not there":      {plant: func(s *pvesim.Sim) { s.SetOption(101, "hostpci0", "mapping=nic") }, vmid: 101, to: "pve3", blocker: "it uses the mapped device nic (hostpci0), and pve3 has none"},
		"mapped, not live":       {plant: func(s *pvesim.Sim) { s.SetOption(101, "hostpci0", "mapping=gpu") }, vmid: 101, to: "pve2", blocker: "it uses the mapped device gpu (hostpci0), which can't move while it runs"},
		"named CPU":              {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "EPYC-Rome") }, vmid: 101, to: "pve3", warning: "its CPU type EPYC-Rome may be more than pve3 can do, whose CPU lacks avx512", verdict: "online"},
		"named CPU of like ones": {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "EPYC-Rome") }, vmid: 101, to: "pve2", verdict: "online"},
		"custom CPU":             {plant: func(s *pvesim.Sim) { s.SetOption(101, "cpu", "custom-x") }, vmid: 101, to: "pve3", warning: "its CPU type custom-x may be more than pve3 can do", verdict: "online"},

		"memory":       {plant: func(s *pvesim.Sim) { s.SetOption(101, "memory", "524288") }, vmid: 101, to: "pve2", warning: "it needs 512G", verdict: "online"},
		"full storage": {plant: func(s *pvesim.Sim) { s.Fill("local-lvm", 1<<30) }, vmid: 101, to: "pve2", warning: "storage local-lvm on pve2 has 1G free, which is too little", verdict: "online"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			if tt.plant != nil {
				tt.plant(s.sim)
			}
			if tt.snap {
				s.byHand("pve3", "qm", "snapshot", "103", "before")
			}
			p, err := s.engine.Preview(t.Context(), provision.Migrate{VM: s.vm(tt.vmid), To: tt.to})
			if err != nil {
				t.Fatal(err)
			}
			blockers, warnings := strings.Join(p.Blockers, "; "), strings.Join(p.Warnings, "; ")
			if !strings.Contains(blockers, tt.blocker) || tt.blocker == "" && blockers != "" {
				t.Errorf("the blockers are %q, want %q", blockers, tt.blocker)
			}
			if !strings.Contains(warnings, tt.warning) || tt.warning == "" && warnings != "" {
				t.Errorf("the warnings are %q, want %q", warnings, tt.warning)
			}
			if !strings.HasPrefix(p.Verdict, tt.verdict) {
				t.Errorf("the verdict is %q, want %q", p.Verdict, tt.verdict)
			}
		})
	}
}

// byHand runs a command on a node, as an administrator does.
func (s *site) byHand(node string, argv ...string) string {
	s.t.Helper()
	r, err := s.pve.Nodes().Node(node)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := r.Run(s.t.Context(), cluster.Cmd{Argv: argv})
	if err != nil {
		s.t.Fatal(argv, err)
	}
	return string(res.Stdout)
}

// A VM that got another name since its snapshot is rolled back, and runs again.
func TestRollbackToAnotherName(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.byHand("pve1", "qm", "snapshot", "101", "before")
	s.byHand("pve1", "qm", "set", "101", "--name", "renamed")
	s.start()
	id := s.do(provision.Rollback{VM: s.vm(101), Name: "before"}, nil)
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	if job.State != provision.StateSucceeded {
		t.Errorf("the job %s: %+v", job.State, job.Problem)
	}
	if vm, _ := s.sim.VM(101); !vm.Running {
		t.Error("the VM ran before, and is off")
	}
	if job.State == provision.StateParked {
		if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
			t.Fatal(err)
		}
		job = s.await(id, provision.StateFailed, provision.StateParked)
		t.Logf("%s: %+v", job.State, job.Problem)
	}
}

// A VM that was renamed has an end of life all the same.
func TestEndOfLifeOfARenamedVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(101)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 101, UUID: vm.UUID, Name: vm.Name, Owner: alice, Until: time.Now().Add(-time.Hour), Reminded: true,
	}); err != nil {
		t.Fatal(err)
	}
	s.byHand("pve1", "qm", "set", "101", "--name", "renamed")
	s.start()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if vm, _ := s.sim.VM(101); !vm.Running {
			return
		}
	}
	t.Error("it lives on")
}

// An end of life that failed is tried again the next day, not before. Nobody
// orders it twice.
func TestEndOfLifeThatFailed(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	vm := s.vm(101)
	if err := s.store.SaveVM(t.Context(), provision.VMRecord{
		Cluster: "sim", VMID: 101, UUID: vm.UUID, Name: vm.Name, Owner: alice, Until: time.Now().Add(-25 * time.Hour), Reminded: true, Told: time.Now().Add(-25 * time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	s.sim.FailOnce("qm destroy", 255, "lvremove failed")
	due := func(after time.Duration, want int) []provision.Job {
		t.Helper()
		s.clock = offClock{cluster.SystemClock{}, after}
		for range 2 { // another bot may do so, too
			if err := s.newEngine().EndOfLife(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		jobs, err := s.store.Jobs(t.Context(), provision.Filter{})
		if err != nil || len(jobs) != want {
			t.Fatalf("after %s there are %d jobs, %v; want %d", after, len(jobs), err, want)
		}
		return jobs // the newest first
	}
	first := due(0, 1)[0].ID
	s.start()
	s.await(first, provision.StateParked)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: first, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(first, provision.StateFailed)
	due(22*time.Hour, 1)
	s.succeeds(due(24*time.Hour, 2)[0].ID)
	if _, there := s.sim.VM(101); there {
		t.Error("it lives on")
	}
}

// A clone has no address that its source has, on any interface.
func TestCloneOfTwoInterfaces(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.byHand("pve3", "qm", "set", "103", "--ide2", "local-lvm:cloudinit", "--net1", "virtio,bridge=vmbr0", "--ipconfig1", "ip=10.9.9.9/24")
	s.start()
	job := s.succeeds(s.do(provision.Clone{VM: s.vm(103), Name: "copy"}, nil))
	if copied, _ := s.sim.VM(job.Facts.VMID); strings.Contains(copied.Options["ipconfig1"], "10.9.9.9") {
		t.Errorf("the clone has its source's address: %v", copied.Options)
	}
}

func TestMemoryWithItsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.SetOption(103, "memory", "current=4096")
	s.sim.FailOnce("qm disk resize", 0, "no space left on device")
	s.start()
	id := s.do(provision.Set{VM: s.vm(103), MemoryMB: 8192, GrowMB: 1024}, nil)
	s.await(id, provision.StateParked)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.RollBack}); err != nil {
		t.Fatal(err)
	}
	s.await(id, provision.StateFailed)
	if vm, _ := s.sim.VM(103); !strings.Contains(vm.Options["memory"], "4096") {
		t.Errorf("memory is %q", vm.Options["memory"])
	}
}

// A VM with a balloon gets less memory than that: the balloon follows.
func TestSetBelowTheBalloon(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.settings.BalloonMinMB = 1024
	s.engine = s.newEngine()
	s.start()
	for _, tt := range []struct {
		by     string // what the administrator chose
		memory int
		want   string
	}{
		{"3072", 2048, "1024"}, // as the bot chooses
		{"3072", 1024, "1024"}, // too small for a balloon: all of it
		{"3000", 2048, "2048"},
		{"1500", 2048, "1500"},
	} {
		s.byHand("pve3", "qm", "set", "103", "--memory", "4096", "--balloon", tt.by)
		s.succeeds(s.do(provision.Set{VM: s.vm(103), MemoryMB: tt.memory}, nil))
		if vm, _ := s.sim.VM(103); vm.Options["balloon"] != tt.want {
			t.Errorf("of %s, with %d MiB, the balloon is %s, not %s", tt.by, tt.memory, vm.Options["balloon"], tt.want)
		}
	}
}

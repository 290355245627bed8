package provision_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// startByHand runs a command on a node in the background, as an administrator
// would, and waits until the VM that it makes is locked. The command's end is
// waited for by the returned function.
func (s *site) startByHand(vmid int, node string, argv ...string) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.byHand(node, argv...)
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if vm, ok := s.sim.VM(vmid); ok && vm.Lock == "create" {
			return func() { <-done }
		}
		if time.Now().After(deadline) {
			s.t.Error("her create does not begin")
			return func() { <-done }
		}
	}
}

// mine is how an administrator creates a VM with a disk from an image that is on
// the storage nfs.
func mine(id, image string) []string {
	return []string{"qm", "create", id, "--name", "mine", "--memory", "512", "--net0", "virtio,bridge=vmbr0", "--scsi0", "local-lvm:0,import-from=" + image}
}

// A VMID that somebody is creating a VM with at this moment is not taken by us.
// PVE holds the VM's lock file for the whole of a create or a restore, so that a
// second create is not told "already exists" but fails with a time-out of that
// lock (facts/pve.md, sections 3 and 10). The job goes on with another VMID, and
// the administrator's VM is left alone.
func TestVMIDIsBeingCreatedBySomebody(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Import: 8 * time.Second}}) // longer than a create waits for the lock
	s.start()
	image := s.image("pve1")
	wait := func() {}
	var once sync.Once
	hers := 0
	s.sim.OnCommand(func(r pvesim.Ran) {
		if strings.HasPrefix(r.String(), "qm create") && !strings.Contains(r.String(), "--name mine") {
			once.Do(func() {
				hers = vmidIn(r)
				wait = s.startByHand(hers, "pve1", mine(r.Argv[2], image)...)
			})
		}
	})
	job := s.await(s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"}), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	wait()
	time.Sleep(500 * time.Millisecond)
	if vm, ok := s.sim.VM(hers); !ok || vm.Name != "mine" {
		t.Errorf("VM %d, which somebody else has just created, is gone: %+v", hers, vm)
	}
	if job.State != provision.StateSucceeded || job.Facts.VMID == hers {
		t.Errorf("the job %s as VM %d: %+v", job.State, job.Facts.VMID, job.Problem)
	}
}

// image brings an image onto a node and returns what import-from takes.
func (s *site) image(node string) string {
	s.t.Helper()
	if _, err := s.stock().Fetch(s.t.Context(), node, "ubuntu", "26.04", func(string) {}); err != nil {
		s.t.Fatal(err)
	}
	rec, err := s.pve.ImageRecord(s.t.Context(), node, s.settings.ImageDir, "ubuntu-26.04")
	if err != nil {
		s.t.Fatal(err)
	}
	return rec.Source
}

// vmidIn is the VMID of a command of qm.
func vmidIn(r pvesim.Ran) int {
	id, _ := strconv.Atoi(r.Argv[2]) // 0 is nobody's
	return id
}

// leavesHers cancels a job, whose bot was stopped, while somebody creates a VM
// with its VMID: her VM is left alone.
func (s *site) leavesHers(id provision.JobID, image string) {
	s.t.Helper()
	job, err := s.store.Job(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	vmid := job.Facts.VMID
	if _, there := s.sim.VM(vmid); there {
		s.t.Fatalf("VM %d is there already", vmid)
	}
	wait := s.startByHand(vmid, "pve1", mine(strconv.Itoa(vmid), image)...)
	if _, err := s.engine.Cancel(s.t.Context(), id, alice); err != nil {
		s.t.Fatal(err)
	}
	s.engine = s.newEngine()
	s.start()
	job = s.await(id, provision.StateCancelled, provision.StateFailed, provision.StateParked)
	s.t.Logf("the job %s: %+v", job.State, job.Problem)
	wait()
	time.Sleep(500 * time.Millisecond)
	if vm, ok := s.sim.VM(vmid); !ok || vm.Name != "mine" {
		s.t.Errorf("VM %d, which somebody else was creating, is gone", vmid)
	}
}

// A job that is cancelled before its own create began leaves a VM alone that
// somebody else is creating with its VMID, although PVE's task log tells of a
// create of that VMID since the step began.
func TestUndoOfACreateThatNeverBegan(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Import: 4 * time.Second}})
	s.settings.ParallelImports = 1
	s.engine = s.newEngine()
	image := s.image("pve1")
	stop := s.start()
	release := s.sim.Hold("qm create")
	first := s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"})
	s.awaitStep(first, "creating VM")
	second := s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"}) // waits for the first one's import
	s.awaitStep(second, "creating VM")
	time.Sleep(300 * time.Millisecond)
	stop() // the bot is restarted
	release()
	s.leavesHers(second, image)
}

// The same holds for a job that is tried again and waits for its turn: PVE's task
// log tells of her create, which still runs, and none of ours does. People are
// asked.
func TestUndoOfARetryThatNeverBegan(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Import: 4 * time.Second}})
	s.settings.ParallelImports = 1
	s.engine = s.newEngine()
	image := s.image("pve1")
	stop := s.start()
	s.sim.FailOnce("qm create", 255, "unable to create VM 254 - no luck")
	second := s.do(provision.Install{OS: "ubuntu", Node: "pve1"}, nil)
	s.await(second, provision.StateParked)
	release := s.sim.Hold("qm create")
	first := s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"})
	s.awaitStep(first, "creating VM")
	time.Sleep(300 * time.Millisecond)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: second, By: alice, Do: provision.Retry}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	stop()
	release()
	s.leavesHers(second, image)
}

// awaitStep waits until a step of the job has begun.
func (s *site) awaitStep(id provision.JobID, step string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for e, err := range s.store.Follow(ctx, 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Job == id && e.Kind == provision.StepStarted && e.Step == step {
			return
		}
	}
}

// An undo of an install frees the disks that a create may have left, and no
// backup of the VM that was made meanwhile: a restore of it may be all that
// somebody has.
func TestUndoKeepsBackups(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.settings.Storage = "nfs" // takes disks and backups
	s.settings.Stall = 300 * time.Millisecond
	s.engine = s.newEngine()
	backup := ""
	s.sim.OnCommand(func(r pvesim.Ran) {
		if strings.HasPrefix(r.String(), "qm start") {
			s.sim.NeverBoot(vmidIn(r))
			backup = s.sim.Backup(vmidIn(r), "nfs") // PVE's backup job comes by
		}
	})
	s.start()
	job := s.await(s.mustOrder(ubuntu()), provision.StateFailed, provision.StateSucceeded, provision.StateParked)
	if job.State != provision.StateFailed || backup == "" {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	for _, v := range s.sim.Volumes() {
		if v.ID == backup {
			return
		}
	}
	t.Errorf("%s was removed", backup)
}

// A job whose import failed can be tried again once the reason is gone: the VM
// is created anew.
func TestRetryAfterFailedImport(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Import: 2 * time.Second}})
	s.start()
	id := s.do(provision.Install{OS: "ubuntu", Node: "pve1"}, nil)
	s.awaitStep(id, "importing disk image")
	for _, upid := range s.sim.Running() { // somebody ends it, the storage is full, ...
		s.byHand("pve1", "pvesh", "delete", "/nodes/pve1/tasks/"+upid)
	}
	job := s.await(id, provision.StateParked, provision.StateSucceeded)
	t.Logf("the job %s: %+v", job.State, job.Problem)
	if job.State != provision.StateParked {
		t.Fatal("the import did not fail")
	}
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: id, By: alice, Do: provision.Retry}); err != nil {
		t.Fatal(err)
	}
	if job = s.await(id, provision.StateParked, provision.StateSucceeded); job.State != provision.StateSucceeded {
		t.Errorf("tried again, the job %s: %+v", job.State, job.Problem)
	}
}

// A storage of type esxi has the content `import` and room without end, as PVE
// tells it, but takes no downloads: an image goes elsewhere.
func TestDepotIsNotESXi(t *testing.T) {
	const gib = 1 << 30
	t.Parallel()
	s := newSite(t, pvesim.Options{Storages: []pvesim.StorageSpec{
		{Name: "esxi", Type: "esxi", Content: []string{"import"}},
		{Name: "local", Type: "dir", Content: []string{"iso"}, Capacity: 50 * gib},
		{Name: "local-lvm", Type: "lvmthin", Content: []string{"images"}, Capacity: 100 * gib},
	}})
	s.start()
	if job := s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve1"}); !strings.HasPrefix(job.Facts.Image, s.settings.ImageDir) {
		t.Errorf("the image is %s", job.Facts.Image)
	}
}

// Who gives up making a template leaves no VM behind that is none.
func TestTemplateGivenUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{Latency: pvesim.Latency{Import: 2 * time.Second}})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.stock().Template(ctx, "pve1", "ubuntu", "", "", func(text string) {
		if strings.HasPrefix(text, "importing") {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("it was made all the same")
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.sim.Running()) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if vm, ok := s.sim.VM(9000); ok {
		t.Errorf("there is a VM 9000 now, template: %q", vm.Options["template"])
	}
	if orphans := s.sim.Orphans(); len(orphans) > 0 {
		t.Errorf("volumes without a VM: %v", orphans)
	}
}

package provision_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/provision"
	"pvebot/provision/image"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	// These tests mostly wait for other processes; -parallel says otherwise.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(simtest.Main{M: m}.Run())
}

// site is a simulated cluster with an engine that works on it.
type site struct {
	*bench
	sim      *pvesim.Sim
	pve      *cluster.Cluster
	settings provision.Settings
	guests   provision.GuestAccess
	lease    time.Duration // of the store; 0: the default
	clock    cluster.Clock // nil: the machine's
}

func newSite(t *testing.T, o pvesim.Options) *site {
	t.Helper()
	sim := pvesim.Start(t, o)
	access := sim.Access()
	var targets []cluster.Target
	for name, addr := range access.Addrs {
		targets = append(targets, cluster.Target{Name: name, Addr: addr})
	}
	nodes, err := cluster.Connect(cluster.NodesConfig{Targets: targets, Signers: []ssh.Signer{access.Signer}, HostKeys: sim.HostKeys()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nodes.Close() })
	pool, err := alloc.NewPool("192.168.0.1", alloc.DefaultStart, alloc.DefaultEnd)
	if err != nil {
		t.Fatal(err)
	}
	where := cluster.Config{Name: "sim", PVEEtc: access.PVEEtc, RunDir: access.RunDir, BootIDFile: access.BootIDFile}
	s := &site{
		sim: sim, pve: cluster.New(nodes, cluster.NewTasks(nodes, where), where),
		settings: provision.Settings{MainNode: "pve1", Pool: pool, Storage: "local-lvm", ImageDir: access.ImageDir},
		guests: provision.GuestAccess{
			Signers:   []ssh.Signer{access.Signer},
			PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(access.Signer.PublicKey()))),
			Dial:      nodes.Dial,
		},
	}
	s.bench = &bench{t: t, store: openStore(t, t.TempDir())}
	t.Cleanup(func() { s.store.Close() })
	s.engine = s.newEngine()
	return s
}

func (s *site) newEngine() *provision.Engine {
	return provision.NewEngine(provision.Config{
		Store: s.store, Owner: "test", Cluster: s.pve, Images: image.Default(),
		Settings: s.settings, Guests: s.guests, Lease: s.lease, Clock: s.clock,
	})
}

func ubuntu() provision.Install { return provision.Install{OS: "ubuntu"} }

// order prepares and submits an install.
func (s *site) order(spec provision.Install) (provision.JobID, error) {
	s.t.Helper()
	prepared, err := s.engine.Prepare(s.t.Context(), spec)
	if err != nil {
		return 0, err
	}
	s.orders++
	job, err := s.engine.Submit(s.t.Context(), provision.Order{
		Key: fmt.Sprint(s.orders), By: alice, Spec: prepared, OnFailure: provision.OnFailureUndo,
	})
	return job.ID, err
}

func (s *site) mustOrder(spec provision.Install) provision.JobID {
	s.t.Helper()
	id, err := s.order(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// clean checks that nothing of VMs that failed is left: no VM, no volume, no
// slot but cooling ones.
func (s *site) clean(vms int) {
	s.t.Helper()
	if orphans := s.sim.Orphans(); len(orphans) > 0 {
		s.t.Errorf("volumes without a VM: %v", orphans)
	}
	var made []int
	for _, v := range s.sim.VMs() {
		if strings.Contains(v.Options["tags"], "pvebot") || v.Lock != "" {
			made = append(made, v.VMID)
		}
	}
	if len(made) != vms {
		s.t.Errorf("the cluster has VMs %v of ours, want %d of them", made, vms)
	}
	held, err := s.store.Held(s.t.Context(), "vmid/"+s.pve.Name())
	if err != nil {
		s.t.Fatal(err)
	}
	for slot, job := range held {
		if job != 0 {
			s.t.Errorf("slot %s is held by job %d", slot, job)
		}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	job := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if job.State != provision.StateSucceeded {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	f := job.Facts
	if !netip.MustParsePrefix("192.168.0.0/24").Contains(f.IP) || f.VMID != int(f.IP.As4()[3]) || f.User != "ubuntu" || f.BootID == "" || f.HostKey == "" {
		t.Errorf("the facts are %+v", f)
	}
	vm, ok := s.sim.VM(f.VMID)
	if !ok {
		t.Fatalf("VM %d is not there", f.VMID)
	}
	for option, want := range map[string]string{
		"cores": "2", "memory": "2048", "name": f.Name, "ciuser": "ubuntu", "ipconfig0": "ip=" + f.IP.String() + "/24,gw=192.168.0.1",
		"cpu": "x86-64-v3", "ostype": "l26", "ciupgrade": "0", "tags": "pvebot;ubuntu",
	} {
		if got := vm.Options[option]; got != want {
			t.Errorf("%s is %q, want %q", option, got, want)
		}
	}
	if !strings.Contains(vm.Options["scsi0"], "size=16G") {
		t.Errorf("the disk is %q", vm.Options["scsi0"])
	}
	s.clean(1)
	told := map[string]int{}
	for ev, err := range s.store.Events(t.Context(), job.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == provision.StepLog && (ev.Step == "creating VM" || ev.Step == "importing disk image") {
			for line := range strings.Lines(ev.Text) {
				told[strings.TrimSpace(line)]++
			}
		}
	}
	for _, made := range []string{"ide2: successfully created disk", "scsi0: successfully created disk"} {
		n := 0
		for line, times := range told {
			if strings.HasPrefix(line, made) {
				n += times
			}
		}
		if n != 1 {
			t.Errorf("%q was told %d times, want once: %v", made, n, told)
		}
	}

	// The second one finds the image.
	before := len(s.sim.Ran())
	job = s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed)
	if job.State != provision.StateSucceeded || job.Facts.VMID == f.VMID {
		t.Fatalf("the second job %s as VM %d: %+v", job.State, job.Facts.VMID, job.Problem)
	}
	var calls []string
	for _, r := range s.sim.Ran()[before:] {
		switch r.Argv[0] {
		case "qm", "pvesh", "pvesm":
			calls = append(calls, strings.Join(r.Argv, " "))
		}
	}
	if n := s.downloads(before); n != 0 {
		t.Errorf("the second install downloaded %d times", n)
	}
	if len(calls) > 7 {
		t.Errorf("an install took %d calls of PVE's tools:\n%s", len(calls), strings.Join(calls, "\n"))
	}
}

// Everything that can go wrong on the way leaves nothing behind.
func TestInstallFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault func(*pvesim.Sim)
		step  string // where it fails
		say   string
	}{
		"create refuses": {
			func(s *pvesim.Sim) { s.FailOnce("qm create", 255, "unable to create VM 101 - no luck") },
			"creating VM", "creating the VM on pve1 failed: no luck",
		},
		"resize fails quietly": {
			func(s *pvesim.Sim) { s.FailOnce("qm disk resize", 0, "no space left on device") },
			"initializing configuration", "growing the disk on pve1 failed: the storage is full",
		},
		"start fails": {
			func(s *pvesim.Sim) { s.FailOnce("qm start", 255, "start failed: QEMU exited with code 1") },
			"starting VM", "starting the VM on pve1 failed: QEMU exited with code 1",
		},
		"no checksum file": {
			func(s *pvesim.Sim) { s.FailOnce("wget -T 10 -t 2 -qO-", 8, "ERROR 404: Not Found.") },
			"validating OS image URL", "pve1 can't fetch https://cloud-images.ubuntu.com/releases/26.04/release/SHA256SUMS",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pvesim.Options{})
			tt.fault(s.sim)
			s.start()
			spec := ubuntu()
			spec.Node = "pve1"
			job := s.await(s.mustOrder(spec), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
			if job.State != provision.StateFailed {
				t.Fatalf("the job %s: %+v", job.State, job.Problem)
			}
			if job.Problem.Say != tt.say {
				t.Errorf("it says %q, want %q", job.Problem.Say, tt.say)
			}
			if st := job.Step(tt.step).Status; st != provision.StepReverted && st != provision.StepBad {
				t.Errorf("step %q is %q", tt.step, st)
			}
			s.clean(0)
		})
	}
}

// What makes no sense is refused before anything is touched.
func TestPrepareRefuses(t *testing.T) {
	s := newSite(t, pvesim.Options{})
	s.settings.MaxCores, s.settings.MaxMemoryMB, s.settings.MaxDiskMB = 8, 16384, 512*1024
	s.engine = s.newEngine()
	for say, spec := range map[string]provision.Install{
		"there is no image of beos; I have almalinux, debian, rocky, ubuntu":                   {OS: "beos"},
		"there is no image of ubuntu 19.04; I have 20.04, 22.04, 24.04, 26.04":                 {OS: "ubuntu", Version: "19.04"},
		"64 CPUs are more than the 8 that one VM may have here":                                {OS: "ubuntu", Cores: 64},
		"32G of memory are more than the 16G that one VM may have here":                        {OS: "ubuntu", MemoryMB: 32768},
		"a disk of 1T is more than the 512G that one VM may have here":                         {OS: "ubuntu", DiskMB: 1 << 20},
		"a disk of 8G is too small: at least 16G":                                              {OS: "ubuntu", DiskMB: 8192},
		"there is no node pve9; I know pve1, pve2, pve3":                                       {OS: "ubuntu", Node: "pve9"},
		"20 is no VMID: 100 to 999999999":                                                      {OS: "ubuntu", VMID: 20},
		"id 9000 is outside 100-254, the ids whose addresses are given out":                    {OS: "ubuntu", VMID: 9000},
		`"under_score" is no name for a VM: letters, digits and hyphens, parts joined by dots`: {OS: "ubuntu", Name: "under_score"},
		`"Root!" is no login name: lower-case letters, digits, - and _`:                        {OS: "ubuntu", User: "Root!"},
		"key wants an SSH public key, the line in ~/.ssh/id_ed25519.pub (ssh-ed25519 AAAA...)": {OS: "ubuntu", Key: "hello"},
		"key takes one key, one line":                                                          {OS: "ubuntu", Key: "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5XipGPSY4KKRCs5uoP3TwqD9qpZhsGWlpf17Xc3HqN"},
	} {
		_, err := s.engine.Prepare(t.Context(), spec)
		if got, _ := provision.Explain(fmt.Errorf("%w", orNil(err))); got != say {
			t.Errorf("%+v: %q, want %q", spec, got, say)
		}
	}
	for _, r := range s.sim.Ran() {
		if r.Argv[0] == "qm" {
			t.Errorf("%q ran", r.Argv)
		}
	}
}

func orNil(err error) error {
	if err == nil {
		return fmt.Errorf("accepted")
	}
	return err
}

// Ten installs at once get ten VMs.
func TestInstallMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	var ids []provision.JobID
	for range 10 {
		ids = append(ids, s.mustOrder(ubuntu()))
	}
	vms, nodes := map[int]bool{}, map[string]bool{}
	for _, id := range ids {
		job := s.await(id, provision.StateSucceeded, provision.StateFailed, provision.StateParked)
		nodes[job.Facts.Node] = true
		if job.State != provision.StateSucceeded || vms[job.Facts.VMID] {
			t.Errorf("job %d %s as VM %d: %+v", id, job.State, job.Facts.VMID, job.Problem)
		}
		vms[job.Facts.VMID] = true
	}
	if len(nodes) < 2 {
		t.Errorf("all went to %v", nodes)
	}
	s.clean(10)
}

// An OS that asks for more than every node's CPU has goes where it can run, is
// refused elsewhere, and nothing else changes.
func TestInstallWhatOneNodeCanRun(t *testing.T) {
	t.Parallel()
	nodes := pvesim.DefaultNodes()[1:] // pve2, pve3
	nodes[1].Flags = strings.ReplaceAll(nodes[1].Flags, " avx2", "")
	s := newSite(t, pvesim.Options{Nodes: nodes, Empty: true})
	s.settings.MainNode = "pve2"
	s.engine = s.newEngine()
	s.start()
	for spec, want := range map[provision.Install]string{
		{OS: "rocky", Version: "10"}:              "x86-64-v3 on pve2",
		{OS: "rocky", Version: "9", Node: "pve3"}: "x86-64-v2-AES on pve3",
	} {
		job := s.await(s.mustOrder(spec), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
		if got := job.Facts.CPU + " on " + job.Facts.Node; got != want || job.State != provision.StateSucceeded {
			t.Errorf("%s %s: %s, %+v; want %s", spec.OS, spec.Version, got, job.Problem, want)
		}
	}
	_, err := s.order(provision.Install{OS: "almalinux", Version: "10", Node: "pve3"})
	if want := "AlmaLinux 10 needs a CPU of type x86-64-v3, and pve3 has no more than x86-64-v2-AES: it lacks avx2"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

// Somebody creates a VM with our VMID behind our back: the next slot is taken.
func TestVMIDTakenMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.sim.FailOnce("qm create", 255, "unable to create VM 100 - VM 100 already exists on node 'pve1'")
	s.start()
	job := s.await(s.mustOrder(ubuntu()), provision.StateSucceeded, provision.StateFailed, provision.StateParked)
	if job.State != provision.StateSucceeded {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	s.clean(1)
}

// A cancel at any step leaves nothing behind.
func TestCancelAtEveryStep(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	plan, err := s.engine.PlanOf(ubuntu())
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	for _, step := range plan {
		t.Run(step.Name, func(t *testing.T) {
			id := s.mustOrder(ubuntu())
			s.cancelAt(t, id, step.Name)
			job := s.await(id, provision.StateSucceeded, provision.StateFailed, provision.StateCancelled, provision.StateParked)
			late := step.Name == "rebooting VM" || step.Name == "finalizing" // over in no time here
			if job.State != provision.StateCancelled && !late {
				t.Fatalf("the job %s: %+v", job.State, job.Problem)
			}
		})
	}
}

// cancelAt asks for the job's end as soon as the step has begun.
func (s *site) cancelAt(t *testing.T, id provision.JobID, step string) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for e, err := range s.store.Follow(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Job == id && e.Kind == provision.StepStarted && e.Step == step {
			if _, err := s.engine.Cancel(t.Context(), id, alice); err != nil && provision.KindOf(err) != provision.Conflict {
				t.Fatal(err)
			}
			return
		}
	}
}

// An install that failed to import and waits for a decision imports nothing:
// it does not keep the others from importing.
func TestParkedImportMakesRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.settings.ParallelImports = 1
	s.engine = s.newEngine()
	s.start()
	s.sim.FailOnce("qm create", 255, "unable to create VM: no space left on device")
	order := func(key string) provision.JobID {
		spec := ubuntu()
		spec.Node = "pve1"
		prepared, err := s.engine.Prepare(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		job, err := s.engine.Submit(t.Context(), provision.Order{Key: key, By: alice, Spec: prepared, OnFailure: provision.OnFailureAsk})
		if err != nil {
			t.Fatal(err)
		}
		return job.ID
	}
	first := order("first")
	s.await(first, provision.StateParked)
	second := order("second")
	s.await(second, provision.StateSucceeded)
	if _, err := s.engine.Resolve(t.Context(), provision.Resolution{Job: first, By: alice, Do: provision.Retry}); err != nil {
		t.Fatal(err)
	}
	s.await(first, provision.StateSucceeded)
}

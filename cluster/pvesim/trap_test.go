package pvesim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim"
)

// gate is a clock on which time passes only for those who are woken: each
// Sleep waits for that, for open, or for the end of its context.
type gate struct {
	sleepers chan sleeper
	opened   chan struct{}
}

type sleeper struct {
	d    time.Duration
	wake chan struct{}
}

func newGate() *gate {
	return &gate{sleepers: make(chan sleeper), opened: make(chan struct{})}
}

func (g *gate) Now() time.Time { return time.Now() }

func (g *gate) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	s := sleeper{d, make(chan struct{})}
	select {
	case g.sleepers <- s:
		<-s.wake
	case <-g.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// open lets all sleep no more.
func (g *gate) open() { close(g.opened) }

// wake waits for n sleepers, one after the other, and wakes each.
func (g *gate) wake(t testing.TB, n int) {
	t.Helper()
	for range n {
		close(g.next(t).wake)
	}
}

func (g *gate) next(t testing.TB) sleeper {
	t.Helper()
	select {
	case s := <-g.sleepers:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nobody sleeps")
		return sleeper{}
	}
}

const create = "qm create 201 --scsi0 local:0,import-from=local:import/debian-12.qcow2"

// importing is a cluster on which `create` runs, halted at its third line of
// progress.
func importing(t *testing.T, command string) (*pvesim.Sim, *gate, shell, *ssh.Session) {
	t.Helper()
	g := newGate()
	o := labOptions()
	o.Clock, o.Latency = g, pvesim.Latency{Import: 20 * time.Second}
	s := pvesim.Start(t, o)
	sh := dial(t, s, "pve1")
	session, err := sh.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(command); err != nil {
		t.Fatal(err)
	}
	g.wake(t, 2)
	return s, g, sh, session
}

// await asks until ok, as one does about another process.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": not within half a minute")
		}
	}
}

// lastTask is the newest task of a VM, as pvesh tells of it, with its log.
func lastTask(t *testing.T, sh shell, vmid int) (exit, log string) {
	t.Helper()
	get := func(path string, into any) {
		out, errs, status := sh.run("pvesh get "+path+" --output-format json", "")
		if status != 0 {
			t.Fatalf("%s: %s", path, errs)
		}
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatal(err)
		}
	}
	var tasks []struct{ UPID string }
	get(fmt.Sprintf("/nodes/pve1/tasks --source all --vmid %d", vmid), &tasks)
	if len(tasks) == 0 {
		return "", ""
	}
	var status struct{ Status, ExitStatus string }
	get("/nodes/pve1/tasks/"+tasks[0].UPID+"/status", &status)
	var lines []struct{ T string }
	get("/nodes/pve1/tasks/"+tasks[0].UPID+"/log --limit 500", &lines)
	for _, l := range lines {
		log += l.T + "\n"
	}
	if status.Status == "running" {
		return "running", log
	}
	return status.ExitStatus, log
}

// PVE: the reader is gone, the next line ends the task, which cleans up.
func TestReaderGone(t *testing.T) {
	s, g, _, _ := importing(t, create)
	s.Cut("pve1")
	g.open()
	await(t, "the VM is gone", func() bool { return len(s.VMs()) == 0 })
	sh := dial(t, s, "pve1")
	await(t, "the task ended", func() bool { exit, _ := lastTask(t, sh, 201); return exit == "broken pipe" })
	if _, log := lastTask(t, sh, 201); !strings.HasSuffix(log, "TASK ERROR: broken pipe\n") {
		t.Errorf("log:\n%s", log)
	}
	if left := s.Orphans(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// PVE: the tool itself is killed; nobody cleans up, the VM stays locked.
func TestToolKilled(t *testing.T) {
	s, g, sh, _ := importing(t, create)
	ran := s.Ran()
	if _, errs, status := sh.run(fmt.Sprintf("kill -KILL %d", ran[len(ran)-1].Pid), ""); status != 0 {
		t.Fatal(errs)
	}
	g.open()
	await(t, "the task is dead", func() bool { exit, _ := lastTask(t, sh, 201); return exit == "unexpected status" })
	if _, log := lastTask(t, sh, 201); strings.Contains(log, "TASK") {
		t.Errorf("log:\n%s", log)
	}
	for _, x := range []struct{ command, want string }{
		{"qm config 201", "1| lock: create\n=> exit 0\n"},
		{"qm create 201", "2| unable to create VM 201 - VM 201 already exists on node 'pve1'\n=> exit 255\n"},
		{"qm start 201", "2| VM is locked (create)\n=> exit 255\n"},
		{"qm destroy 201 --purge 1 --destroy-unreferenced-disks 1", "2| VM is locked (create)\n=> exit 255\n"},
	} {
		if got := play(sh, x.command); got != x.want {
			t.Errorf("$ %s\n%s\nwant\n%s", x.command, got, x.want)
		}
	}
	if left := s.Orphans(); len(left) != 1 || left[0].ID != "local:201/vm-201-disk-0.qcow2" {
		t.Errorf("orphans: %v, want the disk", left)
	}
	if got, want := play(sh, "qm destroy 201 --skiplock 1 --purge 1 --destroy-unreferenced-disks 1"),
		"1| purging VM 201 from related configurations..\n=> exit 0\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if left := s.Volumes(); len(left) != 0 && left[0].VMID != 0 {
		t.Errorf("volumes: %v", left)
	}
}

// PVE: unlock and a plain destroy leave the disk.
func TestPlainDestroyLeavesOrphan(t *testing.T) {
	s, g, sh, _ := importing(t, create)
	ran := s.Ran()
	sh.run(fmt.Sprintf("kill -KILL %d", ran[len(ran)-1].Pid), "")
	g.open()
	await(t, "the task is dead", func() bool { exit, _ := lastTask(t, sh, 201); return exit == "unexpected status" })
	if got := play(sh, "qm unlock 201 && qm destroy 201"); got != "=> exit 0\n" {
		t.Error(got)
	}
	if left := s.Orphans(); len(left) != 1 {
		t.Errorf("orphans: %v, want the disk", left)
	}
	if got := play(sh, "pvesm free local:201/vm-201-disk-0.qcow2"); got != "1| Removed volume 'local:201/vm-201-disk-0.qcow2'\n=> exit 0\n" {
		t.Error(got)
	}
}

// A task that is told to stop cleans up.
func TestInterrupted(t *testing.T) {
	s, _, sh, session := importing(t, create)
	ran := s.Ran()
	if _, errs, status := sh.run(fmt.Sprintf("kill -TERM %d", ran[len(ran)-1].Pid), ""); status != 0 {
		t.Fatal(errs)
	}
	if err := session.Wait(); err == nil {
		t.Error("the command succeeded")
	}
	if exit, _ := lastTask(t, sh, 201); exit != "received interrupt" {
		t.Errorf("the task ended with %q", exit)
	}
	if len(s.VMs()) != 0 || len(s.Orphans()) != 0 {
		t.Errorf("left behind: %v %v", s.VMs(), s.Orphans())
	}
}

// PVE: a task that prints nothing does not notice that its reader is gone.
func TestSilentTaskGoesOn(t *testing.T) {
	g := newGate()
	s := pvesim.Start(t, pvesim.Options{Clock: g, Latency: pvesim.Latency{Start: 6 * time.Second}})
	session, err := dial(t, s, "pve3").client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("qm start 103"); err != nil {
		t.Fatal(err)
	}
	starting := g.next(t)
	s.Cut("pve3")
	close(starting.wake)
	await(t, "the VM runs", func() bool { vm, _ := s.VM(103); return vm.Running })
}

// Detached, with its output in a file, a task outlives the connection.
func TestDetached(t *testing.T) {
	s, g, _, session := importing(t, "setsid sh -c '"+create+"; echo $? >status' </dev/null >out 2>&1 &")
	if err := session.Wait(); err != nil {
		t.Fatal(err)
	}
	s.Cut("pve1")
	g.open()
	sh := dial(t, s, "pve1")
	await(t, "the task ended", func() bool { out, _, _ := sh.run("cat status", ""); return out == "0\n" })
	if out, _, _ := sh.run("tail -n 1 out", ""); !strings.HasPrefix(out, "scsi0: successfully created disk") {
		t.Error(out)
	}
	if exit, _ := lastTask(t, sh, 201); exit != "OK" {
		t.Errorf("the task ended with %q", exit)
	}
}

// A reboot kills the worker with its tool.
func TestRebootDuringCreate(t *testing.T) {
	s, g, _, _ := importing(t, "nohup "+create+" </dev/null >out 2>&1")
	before, _, _ := dial(t, s, "pve1").run("cat "+s.Access().BootIDFile, "")
	g.open()
	if err := s.Reboot("pve1"); err != nil {
		t.Fatal(err)
	}
	sh := dial(t, s, "pve1")
	after, _, _ := sh.run("cat "+s.Access().BootIDFile, "")
	if before == after || len(after) != 37 {
		t.Errorf("boot id %q after %q", after, before)
	}
	await(t, "the task is dead", func() bool { exit, _ := lastTask(t, sh, 201); return exit == "unexpected status" })
	if vm, ok := s.VM(201); !ok || vm.Lock != "create" {
		t.Errorf("%+v", vm)
	}
}

// The lock file of a VM is held while a task works on it.
func TestLockFile(t *testing.T) {
	_, g, sh, session := importing(t, create)
	done := make(chan string)
	go func() { done <- play(sh, "qm start 201") }()
	// The import and the start that waits for it both sleep now. Only the
	// start's time passes.
	for _, s := range []sleeper{g.next(t), g.next(t)} {
		if s.d == 10*time.Second {
			close(s.wake)
		} else {
			defer close(s.wake)
		}
	}
	want := "2| trying to acquire lock...\n2| can't lock file '/var/lock/qemu-server/lock-201.conf' - got timeout\n=> exit 4\n"
	if got := <-done; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	session.Close()
	g.open()
}

package pvesim_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

func TestFailOnce(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	sh := dial(t, s, "pve1")
	s.FailOnce("qm start 103", 255, "start failed: QEMU exited with code 1")
	if got := play(sh, "qm start 101"); !strings.Contains(got, "already running") {
		t.Errorf("another command met the fault: %s", got)
	}
	sh3 := dial(t, s, "pve3")
	if got, want := play(sh3, "qm start 103"), "2| start failed: QEMU exited with code 1\n=> exit 255\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := play(sh3, "qm start 103"); got != "=> exit 0\n" {
		t.Errorf("the second time: %s", got)
	}
	stop := s.Fail("qm", 1, "no")
	play(sh, "qm list")
	if got := play(sh, "qm list"); got != "2| no\n=> exit 1\n" {
		t.Errorf("%s", got)
	}
	stop()
	if got := play(sh, "qm status 101"); got != "1| status: running\n=> exit 0\n" {
		t.Errorf("%s", got)
	}
	ran := s.Ran()
	if last := ran[len(ran)-1]; last.Node != "pve1" || last.String() != "qm status 101" {
		t.Errorf("ran %v", last)
	}
}

// A lost command has happened, and its caller knows nothing.
func TestLose(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	r := runner(t, connect(t, s), "pve3")
	s.Lose("pve3", "qm start")
	_, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"qm", "start", "103"}})
	if !errors.Is(err, cluster.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	if vm, _ := s.VM(103); !vm.Running {
		t.Error("the VM does not run")
	}
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"qm", "status", "103"}}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestHold(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	release := s.Hold("qm stop 101")
	began := make(chan pvesim.Ran, 1)
	s.OnCommand(func(r pvesim.Ran) { began <- r })
	done := make(chan string)
	go func() { done <- play(dial(t, s, "pve1"), "qm stop 101") }()
	if r := <-began; r.String() != "qm stop 101" {
		t.Errorf("began %v", r)
	}
	if vm, _ := s.VM(101); !vm.Running {
		t.Error("a held command went on")
	}
	release()
	if got := <-done; got != "=> exit 0\n" {
		t.Error(got)
	}
	if vm, _ := s.VM(101); vm.Running {
		t.Error("a released command did not go on")
	}
}

// lives says whether a process runs; one that died may stay a zombie for a
// while, since the machine's init has to reap it.
func lives(pid string) bool {
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestDownAndUp(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	sh1, sh2 := dial(t, s, "pve1"), dial(t, s, "pve2")
	sh2.run("touch /proc/self/fd/20/run/mark; setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! >/proc/self/fd/20/tmp/pid", "")
	pid, _, _ := sh2.run("cat /proc/self/fd/20/tmp/pid", "")
	s.Down("pve2")
	if lives(pid) {
		t.Errorf("process %s outlived its node", pid)
	}
	if got := play(sh1, "cat /proc/self/fd/20/etc/pve/.members"); !strings.Contains(got, `"pve2":{"id":2,"ip":"192.168.0.12","online":0}`) {
		t.Error(got)
	}
	for _, x := range []struct{ command, want string }{
		{"pvesh get /nodes/pve2/status --output-format json", "proxy handler failed: ssh: connect to host 192.168.0.12 port 22: No route to host"},
		{"pvesh get /cluster/resources --type vm --output-format json", `{"id":"qemu/102","node":"pve2","status":"unknown","tags":"prod","type":"qemu","vmid":102}`},
		{"pvesh get /cluster/resources --type node --output-format json", `{"id":"node/pve2","node":"pve2","status":"offline","type":"node"}`},
		{"ping -c 1 -W 1 192.168.0.102", "0 received"},
	} {
		if got := play(sh1, x.command); !strings.Contains(got, x.want) {
			t.Errorf("$ %s\n%s\nwant %s", x.command, got, x.want)
		}
	}
	_, err := runner(t, connect(t, s), "pve2").Run(t.Context(), cluster.Cmd{Argv: []string{"true"}})
	if !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("%v, want ErrNotStarted", err)
	}
	if err := s.Up("pve2"); err != nil {
		t.Fatal(err)
	}
	sh2 = dial(t, s, "pve2")
	if got := play(sh2, "ls -A /proc/self/fd/20/run; qm status 102"); got != "1| status: stopped\n=> exit 0\n" {
		t.Errorf("after the reboot:\n%s", got)
	}
}

func TestFullStorage(t *testing.T) {
	o := labOptions()
	s := pvesim.Start(t, o)
	s.Fill("local", 1<<30)
	sh := dial(t, s, "pve1")
	got := play(sh, create)
	if !strings.Contains(got, "1| qemu-img: error while writing at byte") ||
		!strings.Contains(got, "2| unable to create VM 201 - cannot import from 'local:import/debian-12.qcow2' - copy failed: command '/usr/bin/qemu-img convert") ||
		!strings.HasSuffix(got, "failed: exit code 1\n=> exit 255\n") {
		t.Errorf("%s", got)
	}
	if len(s.VMs()) != 0 || len(s.Orphans()) != 0 {
		t.Errorf("left behind: %v %v", s.VMs(), s.Orphans())
	}
}

func TestNoQuorum(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{})
	s.Quorum(false)
	sh := dial(t, s, "pve1")
	if got := play(sh, "qm create 200"); !strings.Contains(got, "cluster not ready - no quorum?") || strings.Contains(got, "exit 0") {
		t.Error(got)
	}
	if got := play(sh, "cat /proc/self/fd/20/etc/pve/.members"); !strings.Contains(got, `"quorate":0`) {
		t.Error(got)
	}
	s.Quorum(true)
	if got := play(sh, "qm create 200"); got != "=> exit 0\n" {
		t.Error(got)
	}
}

func TestUnknownKeyIsRefused(t *testing.T) {
	s := pvesim.Start(t, bare)
	other := pvesim.Start(t, bare)
	_, err := ssh.Dial("tcp", s.Access().Addrs["pve1"], &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(other.Access().Signer)}, HostKeyCallback: s.HostKeys(),
	})
	if err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("%v", err)
	}
}

// OpenSSH takes ten sessions per connection.
func TestTenSessions(t *testing.T) {
	s := pvesim.Start(t, bare)
	sh := dial(t, s, "pve1")
	for range 10 {
		session, err := sh.client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if err := session.Start("sleep 600"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := sh.client.NewSession()
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed {
		t.Errorf("the eleventh: %v", err)
	}
}

// A shim that was called outside a simulated node says so.
func TestShimOutside(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	qm := filepath.Join(t.TempDir(), "qm")
	if err := os.Symlink(self, qm); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(qm, "list").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 70 || !strings.Contains(string(out), "not on a simulated node") {
		t.Errorf("%v: %s", err, out)
	}
}

// Nothing that was started on a node outlives the cluster.
func TestCloseEndsAll(t *testing.T) {
	s, err := pvesim.New(bare)
	if err != nil {
		t.Fatal(err)
	}
	sh := dial(t, s, "pve1")
	pid, _, _ := sh.run("setsid sh -c 'trap : TERM HUP INT; sleep 600; sleep 600' </dev/null >/dev/null 2>&1 & echo $!", "")
	dir := filepath.Dir(s.Access().KeyFile)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if lives(pid) {
		t.Errorf("process %s outlived the cluster", pid)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestLongDirIsRefused(t *testing.T) {
	_, err := pvesim.New(pvesim.Options{Dir: filepath.Join(t.TempDir(), strings.Repeat("x", 100))})
	if err == nil || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("%v", err)
	}
}

// quick is a clock on which a second takes a millisecond.
type quick struct{ start time.Time }

func (q quick) Now() time.Time { return q.start.Add(1000 * time.Since(q.start)) }

func (q quick) Sleep(ctx context.Context, d time.Duration) error {
	return cluster.SystemClock{}.Sleep(ctx, d/1000)
}

// With realistic latencies an install takes long enough to be watched.
func TestRealisticLatency(t *testing.T) {
	l := pvesim.RealisticLatency()
	all := 6*l.QM + l.PVESH + l.Download + 2*l.Alloc + l.Import + l.Resize + l.Start + 2*l.Boot + l.CloudInit + l.Init + l.Shutdown
	if all < 20*time.Second || all > 40*time.Second {
		t.Errorf("an install takes %s", all)
	}
	s := pvesim.Start(t, pvesim.Options{Latency: l, Clock: quick{time.Now()}})
	sh := dial(t, s, "pve3")
	if got := play(sh, "qm start 103 && qm status 103"); got != "1| status: running\n=> exit 0\n" {
		t.Error(got)
	}
}

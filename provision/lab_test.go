package provision_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/guest"
)

// TestLab installs, reboots, shuts down and starts a VM whose guest is real: a
// Debian of the machine's own mirror in QEMU, behind the simulated cluster's qm.
// So cloud-init, sshd, the init script, the boot ids and the power button are
// what they are. PVEBOT_LAB is the folder of its image, made when it is not
// there: make lab.
func TestLab(t *testing.T) {
	dir := os.Getenv("PVEBOT_LAB")
	if dir == "" {
		t.Skip("PVEBOT_LAB names no folder; it takes QEMU, root, a network and ten minutes: make lab")
	}
	image := labImage(t, dir)

	var machine *qemu
	s := newSite(t, pvesim.Options{Machine: func(cfg pvesim.MachineConfig) pvesim.Machine {
		machine = newQEMU(t, image, cfg)
		return machine
	}})
	s.settings.Nameserver = "192.168.0.3" // QEMU's own
	s.settings.Stall = 30 * time.Minute   // a CPU in software takes its time
	s.settings.InitEnv = map[string]string{
		"PVEBOT_TIMEZONE": "Europe/Berlin", "PVEBOT_LOCALE": "de_DE.UTF-8", "PVEBOT_SWAP_MB": "64", "PVEBOT_PACKAGES": "jq",
		"PVEBOT_ROOT_HASH": aHash,
	}
	s.engine = s.newEngine()
	s.start()
	do := func(what string, spec provision.Spec) provision.Job {
		t.Helper()
		return s.labJob(t, what, spec)
	}

	job := do("install", provision.Install{OS: "debian", Version: "12", Name: "lab-1", Node: "pve1", MemoryMB: 1024, PasswordHash: aHash})
	ref := provision.VMRef{VMID: job.Facts.VMID, UUID: job.Facts.UUID, Name: job.Facts.Name, Node: "pve1"}
	first := s.labLook(t, job, "")
	for what, want := range map[string]string{
		"hostname": "lab-1", "zone": "/usr/share/zoneinfo/Europe/Berlin", "locale": "LANG=de_DE.UTF-8", "swap": "/swapfile", "jq": "/usr/bin/jq",
		"cloud-init": "status: done", "marker": "debian 12 ", "swappiness": "10", "root": aHash, "user": aHash, "shell": "debian",
	} {
		if !strings.Contains(first[what], want) {
			t.Errorf("%s is %q, want %q", what, first[what], want)
		}
	}
	if answers, err := s.pve.AgentAnswers(t.Context(), "pve1", ref.VMID); err != nil || !answers {
		t.Errorf("the guest agent: %v, %v", answers, err)
	}

	job = do("reboot", provision.Power{Do: "reboot", VM: ref})
	second := s.labLook(t, job, first["key"])
	if second["boot"] == first["boot"] || job.Facts.BootID != first["boot"] {
		t.Errorf("boot ids: %s before, %s after; the job noted %s before", first["boot"], second["boot"], job.Facts.BootID)
	}
	if !strings.Contains(second["swap"], "/swapfile") || second["key"] != first["key"] {
		t.Errorf("after the reboot: swap %q, host key %q, was %q", second["swap"], second["key"], first["key"])
	}

	do("shutdown", provision.Power{Do: "shutdown", VM: ref})
	if said := machine.console(0); !strings.Contains(said, "reboot: Power down") {
		t.Errorf("the guest did not power off by itself; its console ends with\n%s", said[max(0, len(said)-2000):])
	}
	job = do("start", provision.Power{Do: "start", VM: ref})
	if third := s.labLook(t, job, first["key"]); third["boot"] == second["boot"] {
		t.Error("the same boot id after a start")
	}
	do("stop", provision.Power{Do: "stop", VM: ref})
	do("destroy", provision.Destroy{VM: ref})
	s.clean(0)
}

// labImage is the folder with the image, which is made once.
func labImage(t *testing.T, dir string) string {
	t.Helper()
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "genisoimage"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the lab needs %s: apt-get install qemu-system-x86 qemu-utils genisoimage", tool)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "root.raw")); err == nil {
		return dir
	}
	began := time.Now()
	mirror := os.Getenv("PVEBOT_LAB_MIRROR") // "": debootstrap's own choice
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "testdata/lab/image.sh", dir, mirror).CombinedOutput()
	if err != nil {
		t.Fatalf("making the image: %v\n%s", err, out[max(0, len(out)-4000):])
	}
	t.Logf("made the image in %s", time.Since(began).Round(time.Second))
	return dir
}

// labJob does a job to its end, and logs its steps.
func (s *site) labJob(t *testing.T, what string, spec provision.Spec) provision.Job {
	t.Helper()
	prepared, err := s.engine.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	s.orders++
	job, err := s.engine.Submit(t.Context(), provision.Order{Key: fmt.Sprint(s.orders), By: alice, Spec: prepared, OnFailure: provision.OnFailureUndo})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	ctx := t.Context()
	if end, ok := t.Deadline(); ok { // leaves time to say how far it came
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Minute))
		defer cancel()
	}
	for _, err = range s.store.Follow(ctx, 0) {
		var now provision.Job
		if err == nil {
			now, err = s.store.Job(ctx, job.ID)
		}
		if err != nil {
			break
		}
		if job = now; job.State.Final() {
			break
		}
	}
	t.Logf("%s: %s after %s", what, job.State, job.Elapsed(time.Now()).Round(time.Second))
	for _, step := range job.Steps {
		t.Logf("    %-28s %6.1f s  %s", step.Name, step.Elapsed(time.Now()).Seconds(), step.Text)
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if job.State != provision.StateSucceeded {
		t.Fatalf("%s %s: %+v", what, job.State, job.Problem)
	}
	return job
}

// labLook asks the guest itself how it is; key is the host key that it has to
// show, "" for whatever it shows.
func (s *site) labLook(t *testing.T, job provision.Job, key string) map[string]string {
	t.Helper()
	g := guest.Open(guest.Access{
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return s.guests.Dial(ctx, "pve1", addr) },
		Addr: net.JoinHostPort(job.Facts.IP.String(), "22"), User: job.Facts.User, Signers: s.guests.Signers, HostKey: key, Stall: 30 * time.Minute,
	})
	defer g.Close()
	state, err := g.Ready(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{"boot": state.BootID, "key": state.HostKey}
	const script = `say() { printf '%s=%s\n' "$1" "$2"; }
say hostname "$(hostname)"; say zone "$(readlink -f /etc/localtime)"; say locale "$(cat /etc/default/locale)"
say swap "$(tail -n +2 /proc/swaps)"; say jq "$(command -v jq)"; say cloud-init "$(cloud-init status)"
say marker "$(cat /var/lib/pvebot/init.done)"; say swappiness "$(cat /proc/sys/vm/swappiness)"
say root "$(getent shadow root)"; say user "$(getent shadow debian)"; say shell "$SUDO_USER"`
	if _, err := g.Init(t.Context(), guest.Script{Key: "look", Text: []byte(script), Again: true, Line: func(line string, _ int64) {
		if name, value, ok := strings.Cut(line, "="); ok {
			found[name] = value
		}
	}}); err != nil {
		t.Fatal(err)
	}
	return found
}

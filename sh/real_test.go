package sh_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/sh"
)

// real is a Debian or Ubuntu of its own on this machine: what debootstrap makes, entered
// by chroot in namespaces of its own. The kernel is the machine's, so that
// sysctl, swapon and swapoff are replaced by scripts that check what they are
// asked for and tell it in the files that the script looks into.
type real struct{ root string }

// realSuites are the systems by the names that their archives have for them.
var realSuites = map[string]struct{ os, version string }{
	"bullseye": {"debian", "11"}, "bookworm": {"debian", "12"}, "trixie": {"debian", "13"},
	"focal": {"ubuntu", "20.04"}, "jammy": {"ubuntu", "22.04"}, "noble": {"ubuntu", "24.04"}, "resolute": {"ubuntu", "26.04"},
}

// newReal makes one, or skips: it takes half a minute, a network and root.
func newReal(t *testing.T, suite string) *real {
	t.Helper()
	r := &real{root: filepath.Join(t.TempDir(), suite)}
	args := []string{"--variant=minbase", "--include=ca-certificates,procps,systemd,tzdata"}
	if realSuites[suite].os == "ubuntu" {
		// All versions of Ubuntu are made by one recipe, under the name of the first.
		args = append(args, "--components=main,universe", suite, r.root, ubuntuMirror, "gutsy")
	} else {
		args = append(args, suite, r.root, debianMirror(t))
	}
	command(t, "debootstrap", args...)
	t.Cleanup(func() { // files of others, and devices: RemoveAll of the test's folder finds nothing to stumble over
		if err := os.RemoveAll(r.root); err != nil {
			t.Error(err)
		}
	})
	for name, text := range map[string]string{
		"sysctl": `file=${!#}
while read -r name is value; do
	case $name in '#'* | '') continue ;; esac
	[ -e "/proc/sys/${name//.//}" ] && [ "$is" = = ] && [ -n "$value" ] || exit 255
done <"$file"`,
		"swapon": `[ "$(head -c 4096 "$1" | tail -c 10)" = SWAPSPACE2 ] && [ "$(stat -c %a "$1")" = 600 ] || exit 255
printf '%s file 0 0 -2\n' "$1" >>/proc/swaps`,
		"swapoff": `printf 'Filename\n' >/proc/swaps`,
		"sleep":   `:`, // between tries
	} {
		r.write(t, "/usr/local/sbin/"+name, "#!/bin/bash\n"+text+"\n", 0o755)
	}
	r.write(t, "/etc/fstab", "# the image's\n", 0o644)
	r.write(t, "/swaps", "Filename\n", 0o644)
	r.write(t, "/etc/apt/apt.conf.d/99test", "Acquire::Retries::Delay \"false\";\n", 0o644)
	return r
}

const ubuntuMirror = "http://archive.ubuntu.com/ubuntu"

// debianMirror is where this machine gets Debian packages from.
func debianMirror(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(command(t, "apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages")) {
		if mirror, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian Debian "); ok {
			return mirror
		}
	}
	t.Skip("this machine gets no packages from a Debian mirror")
	return ""
}

func (r *real) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.root, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// run runs a script as the guest package does: from standard input.
func (r *real) run(t *testing.T, options, script string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--kill-child", "sh", "-euc",
		`mount -t proc proc "$1/proc"
		mount --bind -o ro "$1/proc/sys" "$1/proc/sys"
		mount --bind "$1/swaps" "$1/proc/swaps"
		exec env -i "$(command -v chroot)" "$1" /bin/bash -s`, "sh", r.root)
	c.Stdin = strings.NewReader("{\n" + options + "\n" + script + "\n}\n")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); c.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String(), c.ProcessState.ExitCode()
}

// look is what the script may have changed, and what it must not.
func (r *real) look(t *testing.T) string {
	t.Helper()
	out, status := r.run(t, "", `cat /etc/fstab /etc/default/locale /etc/sysctl.d/60-pvebot.conf
readlink -f /etc/localtime; date +%Z; LC_ALL=C locale -a; stat -c '%n %a %s' /swapfile; grep -v '^#' /etc/locale.gen
getent shadow root; dpkg-query -W; cd /etc/apt && find . -type f -exec sha256sum {} + | sort`)
	if status != 0 {
		t.Fatalf("status %d\n%s", status, out)
	}
	return out
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// TestRealDebian runs the script for real, with the packages of the machine's
// own mirror, or of Ubuntu's: PVEBOT_DEBOOTSTRAP names the suites, as in
//
//	PVEBOT_DEBOOTSTRAP="bullseye bookworm trixie noble" go test -timeout 60m -run TestRealDebian -v ./sh
func TestRealDebian(t *testing.T) {
	suites := strings.Fields(os.Getenv("PVEBOT_DEBOOTSTRAP"))
	switch {
	case len(suites) == 0:
		t.Skip("PVEBOT_DEBOOTSTRAP names no suite; bookworm takes a minute and the network")
	case os.Getuid() != 0:
		t.Skip("only root can make a Debian in a folder")
	}
	for _, tool := range []string{"debootstrap", "unshare", "chroot", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) { testRealDebian(t, suite) })
	}
}

func testRealDebian(t *testing.T, suite string) {
	const options = "export PVEBOT_TIMEZONE=Europe/Berlin PVEBOT_LOCALE=de_DE.UTF-8 PVEBOT_SWAP_MB=8 PVEBOT_PACKAGES='jq tree' PVEBOT_UPGRADE=1 PVEBOT_ROOT_HASH='$6$salt$hash'"
	system, ok := realSuites[suite]
	if !ok {
		t.Fatalf("no suite is called %s", suite)
	}
	data, err := sh.Script(system.os, system.version)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	began := time.Now()
	r := newReal(t, suite)
	t.Logf("debootstrap took %s", time.Since(began).Round(time.Second))
	sources, _ := r.run(t, "", "cat /etc/apt/sources.list")

	// What is wrong is said before anything is done.
	if out, status := r.run(t, "export PVEBOT_TIMEZONE=Mars/Olympus", text); status != sh.StatusRefused || strings.Contains(out, "==>") {
		t.Errorf("a time zone that there is not: status %d\n%s", status, out)
	}
	var first string
	for run := 1; run <= 2; run++ {
		began = time.Now()
		out, status := r.run(t, options, text)
		if status != 0 || !strings.HasSuffix(out, "\n==> done\n") {
			t.Fatalf("run %d: status %d\n%s", run, status, out)
		}
		t.Logf("run %d took %s", run, time.Since(began).Round(time.Second))
		state := r.look(t)
		if run == 2 {
			if state != first {
				t.Errorf("after the second run\n%s\nafter the first\n%s", state, first)
			}
			break
		}
		first = state
		for _, want := range []string{
			"# the image's\n/swapfile none swap sw 0 0\n", "LANG=de_DE.UTF-8\n", "vm.swappiness = 10\n", "/usr/share/zoneinfo/Europe/Berlin\nCE",
			"de_DE.utf8\n", "/swapfile 600 8388608\n", "de_DE.UTF-8 UTF-8\n", "root:$6$salt$hash:", "qemu-guest-agent\t", "jq\t", "tree\t",
		} {
			if !strings.Contains(state, want) {
				t.Errorf("%q is missing from\n%s", want, state)
			}
		}
	}
	if now, _ := r.run(t, "", "cat /etc/apt/sources.list"); now != sources {
		t.Errorf("the package sources were\n%s\nand are\n%s", sources, now)
	}

	for what, tc := range map[string]struct {
		options string
		status  int
		say     string
	}{
		"no such package":  {"export PVEBOT_PACKAGES=no-such-package-anywhere", sh.StatusPackages, "pvebot: packages cannot be installed"},
		"no network":       {"export http_proxy=http://127.0.0.1:9", sh.StatusSources, "pvebot: the package lists cannot be read"},
		"a step fails":     {"sysctl() { return 42; }", sh.StatusFailed, "pvebot: failed while setting kernel options (status 42)"},
		"swap that shrank": {"export PVEBOT_SWAP_MB=4", 0, "==> done"},
	} {
		if out, status := r.run(t, tc.options, text); status != tc.status || !strings.Contains(out, tc.say) {
			t.Errorf("%s: status %d, want %d\n%s", what, status, tc.status, out)
		}
	}
	mirror := ubuntuMirror
	if system.os == "debian" {
		mirror = debianMirror(t)
	}
	r.write(t, "/etc/apt/sources.list.d/gone.list", "deb "+mirror+" "+suite+"-long-gone main\n", 0o644)
	// apt-get writes the address in its own way: without a slash at its end.
	if out, status := r.run(t, "", text); status != 0 || !strings.Contains(out, "pvebot: warning: The repository '"+strings.TrimSuffix(mirror, "/")+" "+suite+"-long-gone Release'") {
		t.Errorf("a source that is gone: status %d\n%s", status, out)
	}
	if got, _ := r.run(t, "", "stat -c %s /swapfile; grep -c swapfile /etc/fstab"); got != fmt.Sprintf("%d\n1\n", 4<<20) {
		t.Errorf("swap that shrank: %s", got)
	}
}

package sh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/syntax"

	"pvebot/cluster/pvesim/simguest"
	"pvebot/sh"
)

func script(t *testing.T, name string) (os, version, text string) {
	t.Helper()
	os, version, _ = strings.Cut(name, "_")
	data, err := sh.Script(os, version)
	if err != nil {
		t.Fatal(err)
	}
	return os, version, string(data)
}

func TestNames(t *testing.T) {
	want := strings.Fields("almalinux_9 almalinux_10 debian_11 debian_12 debian_13 rocky_8 rocky_9 rocky_10 ubuntu_20.04 ubuntu_22.04 ubuntu_24.04 ubuntu_26.04")
	if got := sh.Names(); !slices.Equal(got, want) {
		t.Error(got)
	}
}

func TestNoScript(t *testing.T) {
	for _, tc := range [][2]string{{"debian", "7"}, {"", ""}, {"common", ""}, {"../sh/ubuntu", "24.04"}, {"ubuntu", "24.04.sh"}} {
		if data, err := sh.Script(tc[0], tc[1]); !errors.Is(err, fs.ErrNotExist) || data != nil {
			t.Errorf("%q: %q, %v", tc, data, err)
		}
	}
}

func TestShellsReadTheScripts(t *testing.T) {
	for _, name := range sh.Names() {
		_, _, text := script(t, name)
		for _, checker := range [][]string{{"bash", "-n"}, {"shellcheck", "-s", "bash", "-"}} {
			t.Run(name+"/"+checker[0], func(t *testing.T) {
				if _, err := exec.LookPath(checker[0]); err != nil {
					t.Skipf("%s is not installed", checker[0])
				}
				c := exec.Command(checker[0], checker[1:]...)
				c.Stdin = strings.NewReader(text)
				if out, err := c.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// The scripts are written as shfmt writes them.
func TestScriptsAreFormatted(t *testing.T) {
	parser, printer := syntax.NewParser(syntax.KeepComments(true), syntax.Variant(syntax.LangBash)), syntax.NewPrinter()
	for _, name := range sh.Names() {
		_, _, text := script(t, name)
		file, err := parser.Parse(strings.NewReader(text), name)
		if err != nil {
			t.Fatal(err)
		}
		var formatted bytes.Buffer
		if err := printer.Print(&formatted, file); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, formatted.String()); diff != "" {
			t.Errorf("%s (-is +shfmt):\n%s", name, diff)
		}
	}
}

// A script says at once that it stops at the first error.
func TestScriptsAreStrict(t *testing.T) {
	for _, name := range sh.Names() {
		_, _, text := script(t, name)
		if !strings.HasPrefix(text, "#!/bin/bash\n") || !strings.Contains(text, "\nset -euo pipefail\n") {
			t.Errorf("%s is not strict", name)
		}
	}
}

// A script that arrives in part does nothing.
func TestOnlyTheLastLineActs(t *testing.T) {
	for _, name := range sh.Names() {
		_, _, text := script(t, name)
		if !strings.HasSuffix(text, "\nmain\n") || strings.Count(text, "\nmain\n") != 1 {
			t.Errorf("%s does not end with its only call of main", name)
		}
	}
}

// hurry is a clock on which sleeping takes no time.
type hurry struct {
	mu  sync.Mutex
	now time.Time
}

func (c *hurry) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *hurry) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

func boot(t *testing.T, os, version string) *simguest.Guest {
	g := simguest.New(simguest.Config{
		Hostname: "web-1", User: "admin", OS: os, Version: version, RebootRequired: true,
		Clock: &hurry{now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)},
	})
	t.Cleanup(g.Close)
	g.Boot()
	return g
}

// run runs the script in the guest, with options in front of it.
func run(t *testing.T, g *simguest.Guest, options, text string) (output string, status int) {
	t.Helper()
	output, status, err := g.Run(t.Context(), "bash -s <<'END-OF-SCRIPT'\n"+options+"\n"+text+"\nEND-OF-SCRIPT")
	if err != nil {
		t.Fatal(err)
	}
	return output, status
}

// state is what of the disk the script may touch.
func state(t *testing.T, g *simguest.Guest) string {
	t.Helper()
	var all bytes.Buffer
	for _, name := range []string{
		"/etc/fstab", "/etc/locale.gen", "/etc/default/locale", "/etc/locale.conf", "/etc/sysctl.d/60-pvebot.conf", "/proc/swaps", "/etc/shadow",
	} {
		data, _ := g.File(name)
		all.WriteString(name + ":\n" + string(data))
	}
	out, status, err := g.Run(t.Context(), "readlink -f /etc/localtime; ls /var/lib/dpkg/info /etc/sysctl.d /var/lib/pvebot; stat -c '%a %s' /swapfile")
	if err != nil || status != 0 {
		t.Fatal(err, status, out)
	}
	return all.String() + out
}

func TestTwiceIsOnce(t *testing.T) {
	const options = "export PVEBOT_TIMEZONE=Europe/Berlin PVEBOT_LOCALE=en_US.UTF-8 PVEBOT_SWAP_MB=512 PVEBOT_PACKAGES='nginx  jq' PVEBOT_UPGRADE=1 PVEBOT_ROOT_HASH='$6$salt$hash'"
	for _, name := range sh.Names() {
		t.Run(name, func(t *testing.T) {
			os, version, text := script(t, name)
			g := boot(t, os, version)
			out, status := run(t, g, options, text)
			if status != 0 || !strings.HasSuffix(out, "\n==> done\npvebot: reboot required\n") {
				t.Fatalf("status %d\n%s", status, out)
			}
			if !g.Agent() {
				t.Error("the agent does not run")
			}
			first := state(t, g)
			for _, want := range []string{
				"/swapfile none swap sw 0 0\n", "LANG=en_US.UTF-8\n", "root:$6$salt$hash:", "vm.swappiness = 10\n",
				"zoneinfo/Europe/Berlin\n", "nginx.list\n", "jq.list\n", "\ninit.done\n", "600 536870912\n",
			} {
				if !strings.Contains(first, want) {
					t.Errorf("%q is missing from\n%s", want, first)
				}
			}
			g.Reboot()
			out, status = run(t, g, options, text)
			if status != 0 || !strings.HasSuffix(out, "\n==> done\n") {
				t.Fatalf("again: status %d\n%s", status, out)
			}
			if again := state(t, g); again != first {
				t.Errorf("after the second run\n%s\nafter the first\n%s", again, first)
			}
			if out, status := run(t, g, "export PVEBOT_SWAP_MB=256", text); status != 0 {
				t.Errorf("smaller swap: status %d\n%s", status, out)
			} else if got := state(t, g); !strings.Contains(got, "600 268435456\n") || strings.Count(got, "/swapfile") != 2 {
				t.Errorf("smaller swap:\n%s", got)
			}
		})
	}
}

// Without options the image keeps its time zone, locale, passwords and lack of
// swap; with them it keeps its package sources.
func TestNothingUnasked(t *testing.T) {
	const look = "cat /etc/fstab /etc/shadow; for f in /etc/locale.gen /etc/default/locale /etc/locale.conf; do cat $f || echo none; done; readlink -f /etc/localtime"
	for _, name := range sh.Names() {
		os, version, text := script(t, name)
		g := boot(t, os, version)
		before, _, err := g.Run(t.Context(), look)
		if err != nil {
			t.Fatal(err)
		}
		if out, status := run(t, g, "", text); status != 0 || strings.Contains(out, "upgrading") {
			t.Errorf("%s: status %d\n%s", name, status, out)
		}
		if after, _, _ := g.Run(t.Context(), look); before != after {
			t.Errorf("%s: before\n%s\nafter\n%s", name, before, after)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		options, say string
		status       int
	}{
		{"export PVEBOT_TIMEZONE=Mars/Olympus", "pvebot: PVEBOT_TIMEZONE: this system knows no time zone Mars/Olympus\n", sh.StatusRefused},
		{"export PVEBOT_TIMEZONE=../../etc/passwd", "pvebot: PVEBOT_TIMEZONE: no time zone is called ../../etc/passwd\n", sh.StatusRefused},
		{"export PVEBOT_LOCALE='en_US.UTF-8; reboot'", "pvebot: PVEBOT_LOCALE: no locale is called en_US.UTF-8; reboot\n", sh.StatusRefused},
		{"export PVEBOT_LOCALE=xx_XX.UTF-8", "pvebot: PVEBOT_LOCALE: this system knows no locale xx_XX.UTF-8\n", sh.StatusRefused},
		{"export PVEBOT_SWAP_MB=lots", "pvebot: PVEBOT_SWAP_MB wants a number of MiB, not lots\n", sh.StatusRefused},
		{"export PVEBOT_UPGRADE=yes", "pvebot: PVEBOT_UPGRADE is 0 or 1, not yes\n", sh.StatusRefused},
		{"export PVEBOT_ROOT_HASH=hunter2", "pvebot: PVEBOT_ROOT_HASH is no hash of crypt(3) with SHA-256 or SHA-512\n", sh.StatusRefused},
		{"export PVEBOT_PACKAGES='git --purge'", "pvebot: PVEBOT_PACKAGES: no package is called --purge\n", sh.StatusRefused},
		{"export PVEBOT_PACKAGES=sudo-", "pvebot: PVEBOT_PACKAGES: no package is called sudo-\n", sh.StatusRefused},
		{"export PVEBOT_PACKAGES='*'", "pvebot: PVEBOT_PACKAGES: no package is called *\n", sh.StatusRefused},
		{"export PVEBOT_PACKAGES=no-such-thing", "pvebot: packages cannot be installed: ", sh.StatusPackages},
		{"rm /usr/bin/sysctl", "pvebot: failed while setting kernel options (status 127)\n", 127}, // a real bash makes it sh.StatusFailed: real_test.go
		{"rm /usr/bin/apt-get /usr/bin/dnf", "pvebot: the package lists cannot be read", sh.StatusSources},
	} {
		for _, name := range []string{"debian_13", "rocky_9"} {
			os, version, text := script(t, name)
			g := boot(t, os, version)
			out, status := run(t, g, tc.options, text)
			if status != tc.status || !strings.Contains(out, tc.say) || strings.Contains(out, "==> done") {
				t.Errorf("%s: %s: status %d, want %d\n%s", name, tc.options, status, tc.status, out)
			}
			if _, ok := g.File("/var/lib/pvebot/init.done"); ok {
				t.Errorf("%s: %s: marked as done", name, tc.options)
			}
		}
	}
}

// What a source that is gone had can often be had elsewhere. Another error of
// apt-get's is one that may pass.
func TestSourceThatIsGone(t *testing.T) {
	os, version, text := script(t, "debian_11")
	const (
		noRelease = "E: The repository 'http://mirror.example.org/debian bullseye-backports Release' no longer has a Release file."
		noAnswer  = "E: Failed to fetch http://mirror.example.org/debian/dists/bullseye/InRelease  Could not connect to mirror.example.org:80"
	)
	for _, tt := range []struct {
		update, says string
		install      int // status of an install that is only tried
		status       int
	}{
		{noRelease, "pvebot: warning: The repository 'http://mirror.example.org/debian bullseye-backports Release' no longer has", 0, 0},
		{noRelease, "package sources of the image are gone", 100, sh.StatusSources},
		{noRelease + "\n" + noAnswer, "try 12 of 12", 0, sh.StatusSources},
		{noAnswer, "try 12 of 12", 0, sh.StatusSources},
	} {
		aptGet := fmt.Sprintf(`apt-get() {
	case " $* " in
	*' update '*) command apt-get "$@"; printf '%%b\n' "%s" >&2; return 100 ;;
	*' -s '*) return %d ;;
	*) command apt-get "$@" ;;
	esac
}`, tt.update, tt.install)
		out, status := run(t, boot(t, os, version), aptGet, text)
		if status != tt.status || !strings.Contains(out, tt.says) {
			t.Errorf("%s: status %d, want %d and %s\n%s", tt.update, status, tt.status, tt.says, out)
		}
	}
}

// TestRepositoryThatIsGone is the same for dnf, which stops at the first one.
func TestRepositoryThatIsGone(t *testing.T) {
	os, version, text := script(t, "rocky_9")
	const (
		is404    = "  - Status code: 404 for https://mirror.example.org/extras/repodata/repomd.xml (IP: 192.0.2.1)"
		is503    = "  - Status code: 503 for https://mirror.example.org/extras/repodata/repomd.xml (IP: 192.0.2.1)"
		noExtras = "Error: Failed to download metadata for repo 'extras': Cannot download repomd.xml: All mirrors were tried"
		warning  = "pvebot: warning: the repository extras is gone"
	)
	for _, tt := range []struct {
		lists, install, says string
		status               int
	}{
		{is404 + "\n" + noExtras, "", warning, 0},
		{is404 + "\n" + noExtras, "Error: Unable to find a match: rsync", "package repositories of the image are gone", sh.StatusSources},
		{is503 + "\n" + noExtras, "", "try 12 of 12", sh.StatusSources},
	} {
		dnf := fmt.Sprintf(`command() {
	if [ "$1" != dnf ]; then builtin command "$@"; return; fi
	case " $* " in
	*' --setopt=extras.skip_if_unavailable=1'*' --assumeno '*) printf '%%b\n' "%s"; return 1 ;;
	*' --setopt=extras.skip_if_unavailable=1'*' makecache '*) return 0 ;;
	*' makecache '*) printf '%%b\n' "%s" >&2; return 1 ;;
	*) builtin command "$@" ;;
	esac
}`, tt.install, tt.lists)
		out, status := run(t, boot(t, os, version), dnf, text)
		if status != tt.status || !strings.Contains(out, tt.says) || strings.Count(out, warning) > 1 {
			t.Errorf("%q, %q: status %d, want %d and %s\n%s", tt.lists, tt.install, status, tt.status, tt.says, out)
		}
	}
}

// Each script runs on its own system only, whatever point release that is.
func TestOnlyWhereItBelongs(t *testing.T) {
	for _, own := range sh.Names() {
		_, _, text := script(t, own)
		for _, there := range sh.Names() {
			if own == there {
				continue // the other tests
			}
			os, version, _ := strings.Cut(there, "_")
			if out, status := run(t, boot(t, os, version), "", text); status != sh.StatusRefused || !strings.Contains(out, "not for this system") {
				t.Errorf("the script for %s on %s: status %d\n%s", own, there, status, out)
			}
		}
	}
}

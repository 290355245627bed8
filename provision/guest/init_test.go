package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim/simguest"
	"pvebot/sh"
)

func TestInit(t *testing.T) {
	_, g := ready(t)
	for _, tc := range []struct {
		name, script string
		env          map[string]string
		lines        []string
		reboot       bool
		status       int
	}{
		{name: "as root", script: "id -u\npwd\necho $HOME", lines: []string{"0", "/", "/root"}},
		{name: "standard error", script: "echo two >&2\n", lines: []string{"two"}},
		{name: "reboot", script: "echo 'pvebot: reboot required'", lines: []string{"pvebot: reboot required"}, reboot: true},
		{name: "no reboot", script: "echo 'no pvebot: reboot required'", lines: []string{"no pvebot: reboot required"}},
		{name: "status", script: "echo a\nexit 3\necho b", lines: []string{"a"}, status: 3},
		{name: "last status", script: "echo a\nfalse", lines: []string{"a"}, status: 1},
		{name: "asks and fails", script: "echo 'pvebot: reboot required'; exit 1", lines: []string{"pvebot: reboot required"}, status: 1},
		{
			name: "environment", script: "printf '%s\n' \"$A\" \"$B\"\nbash -c 'echo \"$A\"'",
			env:   map[string]string{"A": `it's $HOME "x" \ ` + "`id`", "B": "$(reboot); }"},
			lines: []string{`it's $HOME "x" \ ` + "`id`", "$(reboot); }", `it's $HOME "x" \ ` + "`id`"},
		},
		{name: "reads nothing of itself", script: "cat\nread x || echo nothing\necho end", lines: []string{"nothing", "end"}},
		{name: "syntax", script: "echo a\nif true; then", lines: nil, status: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var lines []string
			reboot, err := g.Init(t.Context(), Script{Key: "init", Text: []byte(tc.script), Env: tc.env, Again: true, Line: func(l string, _ int64) { lines = append(lines, l) }})
			failed, refused := errors.AsType[*InitError](err)
			switch {
			case tc.status == 0 && err != nil, tc.status != 0 && (!refused || failed.Status != tc.status), reboot != tc.reboot:
				t.Errorf("reboot %v, error %v", reboot, err)
			case tc.name == "syntax":
				if len(lines) != 1 || !strings.Contains(lines[0], "bash: ") {
					t.Errorf("a broken script printed %q", lines)
				}
			case !slices.Equal(lines, tc.lines):
				t.Errorf("lines %q", lines)
			case refused && !slices.Equal(failed.Last, tc.lines):
				t.Errorf("last lines %q", failed.Last)
			}
		})
	}
}

func TestInitRefusesBadVariables(t *testing.T) {
	_, g := ready(t)
	for _, env := range []map[string]string{{"a b": ""}, {"": ""}, {"A=1;reboot": ""}, {"1A": ""}, {"A": "x\x00y"}} {
		if _, err := g.Init(t.Context(), Script{Key: "init", Text: []byte("touch /root/ran"), Env: env}); !errors.Is(err, cluster.ErrNotStarted) {
			t.Errorf("%q: %v", env, err)
		}
	}
}

// What arrives of a script that breaks off is not run.
func TestHalfAScriptDoesNothing(t *testing.T) {
	l, _ := ready(t)
	whole, err := withEnv([]byte("touch /root/one\ntouch /root/two\n"), map[string]string{"A": "b"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		line := "bash -s <<'END-OF-HALF'\n" + string(whole[:n]) + "\nEND-OF-HALF"
		_, status, err := l.sim.Run(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		_, ran := l.sim.File("/root/one")
		if closed := strings.HasSuffix(strings.TrimSpace(string(whole[:n])), "}"); ran != closed || n > 2 && (status == 0) != closed {
			t.Fatalf("%q: ran %v, status %d", whole[:n], ran, status)
		}
	}
}

// A script that makes its guest restart is begun again, but not for ever.
func TestInitIsCutOff(t *testing.T) {
	for restarts, want := range map[int]bool{1: true, 10: false} {
		_, g := ready(t)
		var lines []string
		script := fmt.Sprintf("echo started\necho x >>/root/count\n[ $(wc -l </root/count) -gt %d ] || { reboot; sleep 1000; }\necho done", restarts)
		_, err := g.Init(t.Context(), Script{Key: "init", Text: []byte(script), Line: func(l string, _ int64) { lines = append(lines, l) }})
		if _, cut := errors.AsType[*CutOffError](err); cut == want || want != (err == nil) {
			t.Errorf("%d restarts: %v", restarts, err)
		}
		// The guest may be gone before the first start was answered, and is asked again then.
		if n := len(lines); want && (n < 2 || !slices.Equal(lines[n-2:], []string{"started", "done"}) || n > 2 && lines[n-3] != cutOffLine) {
			t.Errorf("%d restarts: %q", restarts, lines)
		}
	}
}

func TestInitIsFenced(t *testing.T) {
	l, g := ready(t)
	stale := errors.New("lease is old")
	ctx := cluster.WithFence(t.Context(), func() error { return stale })
	if _, err := g.Init(ctx, Script{Key: "init", Text: []byte("touch /root/ran")}); !errors.Is(err, stale) {
		t.Errorf("Init: %v", err)
	}
	if err := g.Reboot(ctx, "some boot"); !errors.Is(err, stale) {
		t.Errorf("Reboot: %v", err)
	}
	if _, ran := l.sim.File("/root/ran"); ran {
		t.Error("a fenced worker touched the guest")
	}
}

// The whole first boot, with the scripts of the house.
func TestFirstBoot(t *testing.T) {
	for _, name := range sh.Names() {
		t.Run(name, func(t *testing.T) {
			os, version, _ := strings.Cut(name, "_")
			l := newLab(t, func(c *simguest.Config) {
				c.OS, c.Version, c.RebootRequired = os, version, true
				c.Boot, c.CloudInit, c.Init = 5*time.Second, 10*time.Second, 20*time.Second
			})
			l.sim.Boot()
			g := l.open(t)
			before, err := g.Ready(t.Context(), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			script, err := sh.Script(os, version)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			reboot, err := g.Init(t.Context(), Script{
				Key: "init", Text: script, Env: map[string]string{"PVEBOT_SWAP_MB": "64"}, Line: func(l string, _ int64) { lines = append(lines, l) },
			})
			if err != nil || !reboot {
				t.Fatalf("reboot %v, %v\n%s", reboot, err, strings.Join(lines, "\n"))
			}
			if err := g.Reboot(t.Context(), before.BootID); err != nil {
				t.Fatal(err)
			}
			after, err := g.Ready(t.Context(), before.BootID, nil)
			if err != nil || after.BootID == before.BootID || after.HostKey != before.HostKey {
				t.Fatalf("%+v, %v", after, err)
			}
			if reboot, err := g.Init(t.Context(), Script{Key: "init", Text: script}); err != nil || reboot {
				t.Errorf("a second time: reboot %v, %v", reboot, err)
			}
			if !l.sim.Agent() {
				t.Error("no agent answers")
			}
		})
	}
}

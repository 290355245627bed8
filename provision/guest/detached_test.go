package guest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pvebot/cluster"
)

// until makes a script wait for a file.
func until(file string) string { return "while ! [ -e /root/" + file + " ]; do sleep 1; done\n" }

// script is one that waits twice, and says at the end how often it was begun.
func script(line func(string, int64)) Script {
	return Script{
		Key: "init-1", Line: line, Env: map[string]string{"SECRET": "hunter2"},
		Text: []byte("echo begun >>/root/begun\necho one\n" + until("first") +
			"echo 'pvebot: reboot required'\n" + until("second") + "wc -l </root/begun\n"),
	}
}

// patient is a lab whose guest is up, where nothing is given up.
func patient(t *testing.T) (*lab, *Guest) {
	l, _ := ready(t)
	l.access.Stall = 1e6 * time.Hour
	return l, l.open(t)
}

func (l *lab) run(t *testing.T, line string) string {
	t.Helper()
	out, _, err := l.sim.Run(context.Background(), line)
	if err != nil {
		t.Error(err)
	}
	return out
}

// A script goes on when the connection breaks, and when nobody is there any more:
// who comes later finds it, and is told what was not told before.
func TestInitSurvives(t *testing.T) {
	for name, config := range map[string]string{"systemd": "true", "without systemd": "rm -rf /run/systemd"} {
		t.Run(name, func(t *testing.T) {
			l, g := patient(t)
			l.run(t, config)
			var lines []string
			var next int64
			dies, die := context.WithCancel(t.Context())
			_, err := g.Init(dies, script(func(text string, n int64) {
				lines, next = append(lines, text), n
				die() // the bot
			}))
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("the first bot: %v", err)
			}
			l.run(t, "touch /root/first")
			again := l.open(t)
			s := script(func(text string, n int64) {
				lines, next = append(lines, text), n
				if len(lines) == 2 {
					l.sim.Cut()
					l.run(t, "touch /root/second")
				}
			})
			s.Seen = next
			reboot, err := again.Init(t.Context(), s)
			if err != nil || !reboot || !slices.Equal(lines, []string{"one", "pvebot: reboot required", "1"}) {
				t.Errorf("reboot %v, %v, lines %q", reboot, err, lines)
			}
			// Who has not kept that it ended is told once more, until it is forgotten.
			s.Seen = 0
			if reboot, err := again.Init(t.Context(), s); err != nil || !reboot || !slices.Equal(lines[3:], lines[:3]) {
				t.Errorf("again: reboot %v, %v, lines %q", reboot, err, lines)
			}
			if err := again.Forget(t.Context(), s.Key); err != nil {
				t.Error(err)
			}
			if out := l.run(t, "ls "+RunDir); out != "" {
				t.Errorf("it left %q", out)
			}
		})
	}
}

// What the script is given nobody but root can read, in no list of processes
// either, and it is gone when the script has ended.
func TestInitKeepsSecrets(t *testing.T) {
	l, g := patient(t)
	looked := false
	s := script(func(string, int64) {
		if looked {
			return
		}
		looked = true
		defer l.run(t, "touch /root/first /root/second")
		out, _, err := l.sim.Run(t.Context(), "cd "+RunDir+"; stat -c '%a %U' . init-1 init-1/stdin init-1/out; cat init-1/cmd init-1/out; cat init-1/stdin")
		modes, rest, _ := strings.Cut(out, "'")
		if err != nil || modes != "700 root\n700 root\n600 root\n600 root\n" {
			t.Errorf("%v, modes %q", err, modes)
		}
		if strings.Count(rest, "hunter2") != 1 || !strings.HasPrefix(rest, "sudo' '-n' '--' '/bin/bash' '-s'\none\n{\n") {
			t.Errorf("the files hold %q", rest)
		}
	})
	if _, err := g.Init(t.Context(), s); err != nil || !looked {
		t.Fatal(err)
	}
	if out, _, _ := l.sim.Run(t.Context(), "cat "+RunDir+"/init-1/*"); strings.Contains(out, "hunter2") {
		t.Errorf("the files still hold %q", out)
	}
}

// End ends the script with all that it runs, and removes what it left.
func TestEndOfInit(t *testing.T) {
	l, g := patient(t)
	wanted, unwanted := context.WithCancel(t.Context())
	s := script(func(string, int64) { unwanted() })
	s.Text = []byte("echo one\nwhile sleep 0.01; do echo x >/root/alive; done\n")
	if _, err := g.Init(wanted, s); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := g.End(t.Context(), s.Key); err != nil {
		t.Fatal(err)
	}
	out, _, _ := l.sim.Run(t.Context(), "ls "+RunDir+"; rm -f /root/alive; sleep 10; ls /root")
	if strings.Contains(out, "alive") || strings.Contains(out, "init") {
		t.Errorf("it left %q", out)
	}
	if err := g.End(t.Context(), s.Key); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// A run that failed is told again to who looks again, and begun anew for who
// asks for that.
func TestInitAgain(t *testing.T) {
	l, g := patient(t)
	s := Script{Key: "init", Text: []byte("echo x >>/root/runs\n[ -e /root/mended ] || exit 3\n")}
	for range 2 {
		if _, err := g.Init(t.Context(), s); err == nil {
			t.Error("it did not fail")
		}
	}
	_, _, _ = l.sim.Run(t.Context(), "touch /root/mended")
	s.Again = true
	if _, err := g.Init(t.Context(), s); err != nil {
		t.Error(err)
	}
	if runs, _ := l.sim.File("/root/runs"); string(runs) != "x\nx\n" {
		t.Errorf("it ran %q", runs)
	}
}

// A script that prints nothing is given up, and one whose guest is off at once.
func TestInitGivesUp(t *testing.T) {
	l, _ := ready(t)
	l.access.Stall = time.Minute
	_, err := l.open(t).Init(t.Context(), Script{Key: "silent", Text: []byte(until("ever"))})
	if stalled, ok := errors.AsType[*StalledError](err); !ok || stalled.Stage != waitScript || errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("a silent script: %v", err)
	}
	if _, err := l.open(t).Init(t.Context(), Script{Key: "loud", Text: []byte("for i in 1 2 3 4; do sleep 50; echo $i; done")}); err != nil {
		t.Errorf("one that says something: %v", err)
	}
	off := errors.New("the VM is off")
	l.access.Watch = func(context.Context) error { return off }
	_, err = l.open(t).Init(t.Context(), Script{Key: "off", Text: []byte("echo one\n" + until("ever")), Line: func(string, int64) { l.sim.Stop() }})
	if !errors.Is(err, off) {
		t.Errorf("a guest that is off: %v", err)
	}
}

// Who waits after somebody who waited gives up when both together have waited
// long enough, and asks meanwhile whether the VM runs.
func TestReadyGoesOnWaiting(t *testing.T) {
	l := newLab(t, nil)
	l.unplug, l.access.Stall = true, time.Minute
	start := l.clock.Now()
	l.access.Waited = Waited{Stage: waitTCP, Since: start.Add(-40 * time.Second)}
	asked := 0
	l.access.Watch = func(context.Context) error { asked++; return nil }
	_, err := l.open(t).Ready(t.Context(), "", nil)
	took := l.clock.Now().Sub(start)
	if _, stalled := errors.AsType[*StalledError](err); !stalled || took < 20*time.Second || took > 24*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if asked != 1 {
		t.Errorf("it was asked %d times in %v whether the VM runs", asked, took)
	}
	if errors.Is(err, cluster.ErrNotStarted) {
		t.Error("it is told as if nobody had waited")
	}
	off := errors.New("the VM is off")
	l.access.Waited, l.access.Watch = Waited{}, func(context.Context) error { return off }
	start = l.clock.Now()
	if _, err := l.open(t).Ready(t.Context(), "", nil); !errors.Is(err, off) || l.clock.Now().Sub(start) > 20*time.Second {
		t.Errorf("%v after %v", err, l.clock.Now().Sub(start))
	}
}

// A reboot is ordered once more when its answer got lost, but of no guest that
// has rebooted already.
func TestRebootOnlyFromItsBoot(t *testing.T) {
	l, g := ready(t)
	before := l.sim.BootID()
	if err := g.Reboot(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Ready(t.Context(), before, nil); err != nil {
		t.Fatal(err)
	}
	after := l.sim.BootID()
	if err := g.Reboot(t.Context(), before); err != nil || l.sim.BootID() != after {
		t.Errorf("it rebooted twice: %v", err)
	}
}

package guest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster/pvesim/simguest"
)

func TestReadyStageByStage(t *testing.T) {
	l := newLab(t, func(c *simguest.Config) { c.Boot, c.CloudInit = 20*time.Second, 30*time.Second })
	l.unplug = true
	start := l.clock.Now()
	l.clock.onStep = func() {
		switch d := l.clock.Now().Sub(start); {
		case d > 10*time.Second:
			l.unplug = false
		case d > 5*time.Second:
			l.sim.Boot()
		}
	}
	var seen []string
	state, err := l.open(t).Ready(t.Context(), "", func(p Progress) { seen = append(seen, p.Text) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"waiting for TCP", "waiting for SSH",
		"cloud-init: running (Cloud-init v. 24.4 running 'init' at boot. Up 20.00 seconds.)", "cloud-init: done",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("progress %q", seen)
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(l.sim.HostKey())))
	if state.BootID == "" || state.BootID != l.sim.BootID() || state.HostKey != key || len(state.Warnings) > 0 {
		t.Errorf("%+v", state)
	}
	if id, err := l.open(t).BootID(t.Context()); err != nil || id != state.BootID {
		t.Errorf("BootID: %q, %v", id, err)
	}
	if took := l.clock.Now().Sub(start); took > 60*time.Second {
		t.Errorf("noticed after %v", took)
	}
}

// What Ready adds to a boot is one pause, which is short for as long as a boot
// takes; a guest that takes minutes is not asked every blink of an eye.
func TestReadyIsNoticedSoon(t *testing.T) {
	for boot, late := range map[time.Duration]time.Duration{12 * time.Second: 150 * time.Millisecond, 4 * time.Minute: 3 * time.Second} {
		looks := 0
		l := newLab(t, func(c *simguest.Config) { c.Boot = boot })
		l.clock.onStep = func() { looks++ }
		l.sim.Boot()
		start := l.clock.Now()
		if _, err := l.open(t).Ready(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		if took := l.clock.Now().Sub(start); took < boot || took > boot+late {
			t.Errorf("a boot of %v is noticed after %v", boot, took)
		}
		if looks > 400 {
			t.Errorf("a boot of %v takes %d looks", boot, looks)
		}
	}
}

func TestCloudInitOutcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		os, version, result string
		warning, failure    string
	}{
		"warnings":                  {"ubuntu", "24.04", "degraded", "ignoring: all", ""},
		"errors":                    {"ubuntu", "24.04", "error", "", "cloud-init failed in the guest (module package_update_upgrade_install): "},
		"without extended status":   {"debian", "12", "done", "", ""},
		"errors, then":              {"debian", "12", "error", "", "(module package_update_upgrade_install)"},
		"too old for JSON":          {"debian", "11", "done", "", ""},
		"errors, too old for JSON":  {"debian", "11", "error", "", "(module package_update_upgrade_install)"},
		"warnings nobody speaks of": {"debian", "11", "degraded", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *simguest.Config) {
				c.OS, c.Version, c.CloudInitResult, c.CloudInit = tc.os, tc.version, tc.result, 10*time.Second
			})
			l.sim.Boot()
			state, err := l.open(t).Ready(t.Context(), "", nil)
			if tc.failure == "" {
				if err != nil || !strings.Contains(strings.Join(state.Warnings, ""), tc.warning) || (tc.warning == "") != (len(state.Warnings) == 0) {
					t.Errorf("%+v, %v", state, err)
				}
				return
			}
			failed, ok := errors.AsType[*CloudInitError](err)
			if !ok || !strings.Contains(err.Error(), tc.failure) || !strings.Contains(strings.Join(failed.Log, "\n"), "E: Failed to fetch") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoCloudInit(t *testing.T) {
	l := newLab(t, nil)
	l.sim.Boot()
	if _, _, err := l.sim.Run(t.Context(), "rm /usr/bin/cloud-init"); err != nil {
		t.Fatal(err)
	}
	state, err := l.open(t).Ready(t.Context(), "", nil)
	if err != nil || !slices.Equal(state.Warnings, []string{"the guest has no cloud-init"}) {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestReadyGivesUpWhenNothingMoves(t *testing.T) {
	for name, tc := range map[string]struct {
		edit  func(*testing.T, *lab)
		after func(*lab) string
		stage string
		cause string
	}{
		"no network": {edit: func(_ *testing.T, l *lab) { l.unplug = true }, stage: "waiting for TCP", cause: "no route to host"},
		"no sshd":    {edit: func(_ *testing.T, l *lab) { l.sim.Stop() }, stage: "waiting for SSH"},
		"wrong key":  {edit: func(t *testing.T, l *lab) { l.access.Signers = []ssh.Signer{newKey(t)} }, stage: "waiting for SSH login", cause: "unable to authenticate"},
		"no reboot":  {after: func(l *lab) string { return l.sim.BootID() }, stage: "waiting for the reboot"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			l.sim.Boot()
			after := ""
			if tc.edit != nil {
				tc.edit(t, l)
			}
			if tc.after != nil {
				after = tc.after(l)
			}
			l.access.Stall = time.Minute
			start := l.clock.Now()
			_, err := l.open(t).Ready(t.Context(), after, nil)
			stalled, ok := errors.AsType[*StalledError](err)
			if !ok || stalled.Stage != tc.stage || !strings.Contains(err.Error(), tc.cause) {
				t.Fatalf("%v", err)
			}
			if took := l.clock.Now().Sub(start); took < time.Minute || took > 65*time.Second {
				t.Errorf("gave up after %v", took)
			}
		})
	}
}

// A guest that comes and goes does not move.
func TestCirclesAreAStall(t *testing.T) {
	l := newLab(t, func(c *simguest.Config) { c.Boot = time.Hour })
	l.sim.Boot()
	l.access.Stall = time.Minute
	l.clock.onStep = func() { l.unplug = !l.unplug }
	start, stages := l.clock.Now(), map[string]int{}
	_, err := l.open(t).Ready(t.Context(), "", func(p Progress) { stages[p.Text]++ })
	if _, ok := errors.AsType[*StalledError](err); !ok || l.clock.Now().Sub(start) > 65*time.Second {
		t.Errorf("%v after %v", err, l.clock.Now().Sub(start))
	}
	if stages["waiting for TCP"] < 2 || stages["waiting for SSH"] < 2 {
		t.Errorf("reported %v", stages)
	}
}

// Cloud-init that says something new now and then is not stalled.
func TestWhatMovesIsNotStalled(t *testing.T) {
	l := newLab(t, func(c *simguest.Config) { c.Boot, c.CloudInit = 50*time.Second, 50*time.Second })
	l.sim.Boot()
	l.access.Stall = time.Minute
	if _, err := l.open(t).Ready(t.Context(), "", nil); err != nil {
		t.Error(err)
	}
}

func TestReadyEndsWithItsContext(t *testing.T) {
	l := newLab(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := errors.New("somebody cancelled")
	l.clock.onStep = func() { cancel(asked) }
	if _, err := l.open(t).Ready(ctx, "", nil); !errors.Is(err, asked) {
		t.Error(err)
	}
}

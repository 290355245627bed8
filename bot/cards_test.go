package bot_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/provision"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// page is all of a card as text, its buttons and clocks too.
func page(c bot.Card) string {
	var b strings.Builder
	for _, l := range bot.Text(c) {
		b.WriteString(l.Text + "\n")
	}
	b.WriteString("--\n")
	fmt.Fprintf(&b, "tone: %q, final: %v\n", c.Tone, c.Final)
	for _, btn := range c.Buttons {
		fmt.Fprintf(&b, "button: %s, style %q, id %s, confirm %q\n", btn.Label, btn.Style, btn.ID, btn.Confirm)
	}
	return b.String()
}

var (
	born   = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	alice  = provision.Actor{Platform: "memory", ID: "U1", Name: "alice"}
	bob    = provision.Actor{Platform: "memory", ID: "U2", Name: "bob"}
	ops    = provision.Conversation{Platform: "memory", Channel: "ops"}
	recipe = []provision.StepState{
		{Phase: "preparation", Name: "checking VMID"},
		{Phase: "preparation", Name: "assigning IP"},
		{Phase: "VM creation", Name: "creating VM"},
		{Phase: "VM creation", Name: "importing disk image"},
		{Phase: "VM initialization", Name: "waiting for ready"},
	}
)

func order() provision.Order {
	return provision.Order{
		Key: "memory/1", By: alice, Where: ops, Text: "/vm install ubuntu --name web-1",
		Spec: provision.Install{OS: "ubuntu", Version: "24.04", Name: "web-1", Cores: 2, MemoryMB: 2048, DiskMB: 16384},
	}
}

// tale folds events, one second apart, into a job.
func tale(t *testing.T, o provision.Order, evs ...provision.Event) provision.Job {
	t.Helper()
	state := provision.StateQueued
	if o.Gate != nil {
		state = provision.StateWaiting
	}
	evs = append([]provision.Event{{Kind: provision.JobAccepted, Order: &o, State: state, Plan: recipe}}, evs...)
	var job provision.Job
	for i, ev := range evs {
		ev.Job, ev.Seq, ev.At = 12, uint64(i+1), born.Add(time.Duration(i)*time.Second)
		if err := job.Apply(ev); err != nil {
			t.Fatal(err)
		}
	}
	return job
}

func state(s provision.State) provision.Event {
	return provision.Event{Kind: provision.JobState, State: s}
}

// decided is a move that bob made.
func decided(s provision.State, how string) provision.Event {
	return provision.Event{Kind: provision.JobState, State: s, By: &bob, Text: how}
}

func step(kind provision.EventKind, i int, text string) provision.Event {
	return provision.Event{Kind: kind, Step: recipe[i].Name, Text: text}
}

func progress(i int, f float64, text string) provision.Event {
	return provision.Event{Kind: provision.StepProgress, Step: recipe[i].Name, Fraction: &f, Text: text}
}

var (
	facts = provision.Event{Kind: provision.FactsSet, Facts: &provision.Facts{
		VMID: 101, IP: netip.MustParseAddr("192.168.0.101"), Name: "web-1", Node: "pve2", User: "ubuntu",
	}}
	full = &provision.Problem{
		Kind: provision.Full, Say: "storage local-lvm on pve2 has no space left", Try: "/vm install ubuntu --disk 16G",
		Output: "exit status 255\ntransferred 1.2 GiB of 2.0 GiB (60.00%)\nqemu-img: error while writing\n\nno space left on device\n",
	}
	begun = []provision.Event{
		state(provision.StateRunning),
		step(provision.StepStarted, 0, ""), step(provision.StepDone, 0, "101"),
		step(provision.StepStarted, 1, ""), step(provision.StepDone, 1, "192.168.0.101"), facts,
		step(provision.StepStarted, 2, ""), step(provision.StepDone, 2, ""),
		step(provision.StepStarted, 3, ""),
	}
	failing = append(begun[:len(begun):len(begun)], provision.Event{
		Kind: provision.StepFailed, Step: recipe[3].Name, Text: "no space left", Err: full,
	})
	undoing = []provision.Event{
		step(provision.StepUndoing, 3, ""), step(provision.StepUndone, 3, ""),
		step(provision.StepUndoing, 2, ""), step(provision.StepUndone, 2, "destroyed 101"),
		step(provision.StepUndoing, 1, ""), step(provision.StepUndone, 1, ""),
		step(provision.StepUndoing, 0, ""), step(provision.StepUndone, 0, ""),
	}
)

func with(head []provision.Event, tail ...provision.Event) []provision.Event {
	return append(head[:len(head):len(head)], tail...)
}

func trouble(s provision.State) provision.Event {
	return provision.Event{Kind: provision.JobState, State: s, Err: full}
}

func TestShow(t *testing.T) {
	gated := order()
	gated.Gate = &provision.Gate{
		Need: 2, Of: []string{"ops", "admins"}, Reason: "alice has 5 VMs and may have 5", Digest: "d1",
		Expires: born.Add(24 * time.Hour),
	}
	cancelled := tale(t, order(), begun...)
	cancelled.CancelAsked = &bob
	jobs := map[string]provision.Job{
		"waiting":      tale(t, gated, provision.Event{Kind: provision.GateVoted, By: &bob, Yes: true}),
		"queued":       tale(t, order()),
		"running":      tale(t, order(), with(begun, progress(3, 0.6, "1.2 GiB of 2.0 GiB"))...),
		"cancel asked": cancelled,
		"parked":       tale(t, order(), with(failing, trouble(provision.StateParked))...),
		"undoing":      tale(t, order(), with(failing, with([]provision.Event{trouble(provision.StateUndoing)}, undoing[:3]...)...)...),
		"failed and undone": tale(t, order(), with(failing,
			with([]provision.Event{trouble(provision.StateUndoing)}, with(undoing, state(provision.StateFailed))...)...)...),
		"failed and kept": tale(t, order(), with(failing, trouble(provision.StateParked), decided(provision.StateFailed, "kept as it is by bob"))...),
		"cancelled": tale(t, order(), with(begun,
			with([]provision.Event{{Kind: provision.JobState, State: provision.StateUndoing, Err: &provision.Problem{Kind: provision.Cancelled, Say: "bob did not want it any more"}}},
				with(undoing, state(provision.StateCancelled))...)...)...),
		"rejected": tale(t, gated, provision.Event{Kind: provision.GateVoted, By: &bob},
			provision.Event{Kind: provision.JobState, State: provision.StateCancelled, Err: &provision.Problem{Kind: provision.Cancelled, Say: "bob rejected it"}}),
		"succeeded": tale(t, order(), with(begun, step(provision.StepDone, 3, "2.0 GiB"), step(provision.StepStarted, 4, ""),
			step(provision.StepDone, 4, ""), state(provision.StateSucceeded))...),
		"tried again": tale(t, order(), with(failing, trouble(provision.StateParked), decided(provision.StateQueued, "tried again by bob"))...),
		"approved": tale(t, gated, provision.Event{Kind: provision.GateVoted, By: &bob, Yes: true}, provision.Event{Kind: provision.GateVoted, By: &carol, Yes: true},
			decided(provision.StateQueued, "approved by carol"), state(provision.StateRunning)),
	}
	for name, job := range jobs {
		t.Run(name, func(t *testing.T) {
			c := bot.Show(job, born.Add(90*time.Second))
			golden(t, "card/"+strings.ReplaceAll(name, " ", "-"), page(c))
			if c.Job != job.ID || c.Seq != job.Seq || c.Final != job.State.Final() || !c.Started.Equal(job.Created) {
				t.Errorf("the card says job %d, seq %d, final %v, started %v", c.Job, c.Seq, c.Final, c.Started)
			}
			if c.Text == "" {
				t.Error("a notification would be empty")
			}
		})
	}
}

// Whatever is in a job, showing it is safe.
func TestShowOddJobs(t *testing.T) {
	for name, job := range map[string]provision.Job{
		"zero":            {},
		"no problem":      {ID: 1, State: provision.StateFailed},
		"no gate":         {ID: 1, State: provision.StateWaiting, Votes: []provision.Vote{{By: bob, Yes: true}}},
		"unknown state":   {ID: 1, State: "resting"},
		"clock goes back": {ID: 1, State: provision.StateSucceeded, Created: born, Started: born, Ended: born.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			c := bot.Show(job, born)
			if c.Title == "" || c.Text == "" {
				t.Errorf("title %q, text %q", c.Title, c.Text)
			}
			if strings.Contains(page(c), "-1h") {
				t.Errorf("a negative time: %s", page(c))
			}
		})
	}
}

// A failure is said once: what failed, and why.
func TestFailureIsSaidOnce(t *testing.T) {
	for why, want := range map[string]string{
		"starting the VM on pve1 failed: no memory":                              "Starting the VM on pve1 failed: no memory.",
		"starting the VM could not begin: node pve1 does not answer":             "Starting the VM could not begin: node pve1 does not answer.",
		"starting the VM was cut off: pve1 restarted, or the command was killed": "Starting the VM was cut off: pve1 restarted, or the command was killed.",
		"storage local-lvm has no space left":                                    "Importing disk image failed: storage local-lvm has no space left.",
	} {
		p := &provision.Problem{Kind: provision.Failed, Say: why}
		c := bot.Show(provision.Job{
			ID: 1, State: provision.StateFailed, Problem: p,
			Steps: []provision.StepState{{Name: "importing disk image", Status: provision.StepBad, Text: why, Started: born}},
		}, born)
		if c.Text != want || c.Steps[0].Text != "" {
			t.Errorf("%q beside the step %q, want %q", c.Text, c.Steps[0].Text, want)
		}
	}
}

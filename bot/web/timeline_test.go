package web

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/provision"
)

func TestTimeline(t *testing.T) {
	begin := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	step := func(phase, title string, status provision.Status, from, took time.Duration) bot.CardStep {
		return bot.CardStep{Phase: phase, Title: title, Status: status, Started: begin.Add(from), Elapsed: took}
	}
	got := timelineOf([]bot.CardStep{
		step("preparation", "checking VMID", provision.StepOK, 0, time.Millisecond),
		step("preparation", "assigning IP", provision.StepOK, 0, 10*time.Second),
		step("creation", "creating VM", provision.StepBad, 10*time.Second, 30*time.Second),
		{Phase: "creation", Title: "starting VM"},
	})
	want := &timeline{
		Bars: []bar{
			{"0.00%", "0.25%", "done", false, "checking VMID: 0.0s"},
			{"0.00%", "25.00%", "done", false, "assigning IP: 10s"},
			{"25.00%", "75.00%", "failed", true, "creating VM: 30s"},
		},
		Ticks: []tick{{"0.00%", "0"}, {"25.00%", "10s"}, {"50.00%", "20s"}, {"75.00%", "30s"}},
		Text:  "What took long: assigning IP: 10s, creating VM: 30s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, steps := range map[string][]bot.CardStep{
		"nothing":  nil,
		"pending":  {{Phase: "a", Title: "b"}, {Phase: "a", Title: "c"}},
		"one step": {step("a", "b", provision.StepOK, 0, time.Minute)},
		"an instant": {
			step("a", "b", provision.StepOK, 0, time.Millisecond), step("a", "c", provision.StepOK, 0, time.Millisecond),
		},
	} {
		if got := timelineOf(steps); got != nil {
			t.Errorf("%s makes a picture: %+v", name, got)
		}
	}
}

// The ticks are few, whatever a job took.
func TestTicks(t *testing.T) {
	for _, whole := range []time.Duration{time.Second, 7 * time.Second, 44 * time.Second, 10 * time.Minute, 3 * time.Hour, 100 * time.Hour} {
		got := timelineOf([]bot.CardStep{
			{Phase: "a", Title: "b", Status: provision.StepOK, Started: time.Unix(0, 0), Elapsed: time.Millisecond},
			{Phase: "a", Title: "c", Status: provision.StepOK, Started: time.Unix(0, 0), Elapsed: whole},
		})
		if n := len(got.Ticks); n < 2 || n > maxTicks+1 {
			t.Errorf("%s: %d ticks: %v", whole, n, got.Ticks)
		}
	}
	for d, want := range map[time.Duration]string{0: "0", 500 * time.Millisecond: "500ms", 20 * time.Second: "20s", time.Minute: "1m", 90 * time.Second: "1m30s", 2 * time.Hour: "2h"} {
		if got := tickLabel(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

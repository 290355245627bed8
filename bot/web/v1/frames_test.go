package v1

import (
	"strconv"
	"strings"
	"testing"

	"pvebot/provision"
)

// Each event is written out once for all, none for another, and without the
// secrets of its order.
func TestFrames(t *testing.T) {
	var f frames
	at := func(pos provision.Position) string {
		t.Helper()
		text, err := f.of(provision.Event{
			Pos: pos, Job: 1, Kind: provision.JobAccepted,
			Order: &provision.Order{Key: "k", Spec: provision.Install{OS: "ubuntu", PasswordHash: "$6$hidden"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "hidden") {
			t.Errorf("a password's hash is in the stream: %s", text)
		}
		return string(text)
	}
	for _, pos := range []provision.Position{1, 2, 1, 257, 1, 257, 258, 2} {
		if text := at(pos); !strings.HasPrefix(text, "id: "+strconv.Itoa(int(pos))+"\nevent: job.accepted\ndata: {") || !strings.HasSuffix(text, "}\n\n") {
			t.Errorf("position %d: %q", pos, text)
		}
	}
	one, err := f.of(provision.Event{Pos: 300, Kind: provision.StepLog, Text: "first"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.of(provision.Event{Pos: 300, Kind: provision.StepLog, Text: "first"})
	if err != nil || &one[0] != &again[0] {
		t.Errorf("it was written out twice: %v", err)
	}
}

// BenchmarkFrame is an event on its way to many watchers.
func BenchmarkFrame(b *testing.B) {
	var f frames
	ev := provision.Event{Pos: 9, Job: 1, Seq: 7, Kind: provision.StepLog, Text: "transferred 1.4 GiB of 3.5 GiB (40.00%)"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.of(ev); err != nil {
			b.Fatal(err)
		}
	}
}

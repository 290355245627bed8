package web

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

package discord

import (
	"slices"
	"testing"
	"time"

	"pvebot/provision/pinned"
)

// TestNamesThatAreKept: where cards are, and how interactions that wait in the
// inbox are answered.
func TestNamesThatAreKept(t *testing.T) {
	pinned.Check(t, "testdata/pinned.txt", slices.Concat(
		pinned.Keys(t, "ref", place{}), pinned.Keys(t, "reply", reply{}, time.Unix(1, 0).UTC()),
		[]string{"role " + role, "button yes " + yesPrefix, "form " + formPrefix},
	))
}

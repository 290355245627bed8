package web

import (
	"slices"
	"testing"
	"time"

	"pvebot/provision/pinned"
)

// TestNamesThatAreKept: where cards are, and what cookies and login links say.
func TestNamesThatAreKept(t *testing.T) {
	pinned.Check(t, "testdata/pinned.txt", slices.Concat(
		pinned.Keys(t, "ref", address{}), pinned.Keys(t, "ticket", ticket{}, time.Unix(1, 0).UTC()),
	))
}

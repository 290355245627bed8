package sqlstore

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"strings"
	"testing"

	"pvebot/provision/pinned"
)

var _ = flag.Bool("update", false, "write down names that are new")

// released is the last migration that a released version has.
const released = "00004"

// TestMigrationsStay: a migration that stores have been through is never
// changed, since they do not go through it again. What is new is another file.
func TestMigrationsStay(t *testing.T) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name()[:len(released)] > released {
			continue
		}
		text, err := migrations.ReadFile("migrations/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%s %x", e.Name(), sha256.Sum256(text)))
	}
	for _, table := range kept {
		for column := range strings.SplitSeq(table.columns, ", ") {
			names = append(names, "copied "+table.name+"."+column)
		}
	}
	pinned.Check(t, "testdata/pinned.txt", names)
}

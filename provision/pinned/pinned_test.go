package pinned

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tape notes what a test would complain about.
type tape struct {
	testing.TB
	said []string
}

func (t *tape) Helper() {}
func (t *tape) Errorf(format string, args ...any) {
	t.said = append(t.said, fmt.Sprintf(format, args...))
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "names.txt")
	try := func(update bool, names ...string) string {
		said := &tape{TB: t}
		check(said, file, update, names)
		return strings.Join(said.said, "\n")
	}
	if said := try(true, "b", "a", "a"); said != "" {
		t.Errorf("the first update: %s", said)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "a\nb\n" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if said := try(false, "a", "b"); said != "" {
		t.Errorf("unchanged: %s", said)
	}
	if said := try(false, "a", "b", "c"); !strings.Contains(said, "-update") || !strings.Contains(said, "  c") || strings.Contains(said, "gone") {
		t.Errorf("one more: %s", said)
	}
	for _, update := range []bool{false, true} {
		if said := try(update, "a", "b string"); !strings.Contains(said, `"b" is gone`) {
			t.Errorf("one less, update %v: %s", update, said)
		}
	}
}

type shape interface{ area() int }

type square struct {
	Side int `json:"side"`
}

func (square) area() int { return 0 }

func TestKeys(t *testing.T) {
	type inner struct {
		At   time.Time       `json:"at,omitzero"`
		Data json.RawMessage `json:"data,omitempty"`
	}
	type outer struct {
		Name  string            `json:"name,omitempty"`
		Many  []inner           `json:"many,omitempty"`
		Some  map[string]int    `json:"some,omitempty"`
		One   *inner            `json:"one,omitempty"`
		Shape shape             `json:"shape,omitempty"`
		None  map[string]string `json:"-"`
		Yes   bool              `json:"yes,omitempty"`
	}
	got := Keys(t, "outer", outer{}, time.Unix(1, 0), json.RawMessage("1"), square{1})
	want := []string{
		"outer.many[].at string", "outer.many[].data number", "outer.name string", "outer.one.at string", "outer.one.data number",
		"outer.shape.side number", "outer.some.* number", "outer.yes bool",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// colour is what TestConstants looks for.
type colour string

func TestConstants(t *testing.T) {
	said := &tape{TB: t}
	if names := Constants(said, "colour"); len(names) > 0 || len(said.said) != 1 {
		t.Errorf("constants of a type that has none: %q, %q", names, said.said)
	}
	var _ colour
}

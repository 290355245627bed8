package cluster

import (
	"slices"
	"testing"
	"time"
)

// The oldest snapshot is first, also of those of one second.
func TestSnapshotsAreInOrder(t *testing.T) {
	at := time.Unix(1000, 0)
	list := []VMSnapshot{
		{Name: "c", Parent: "a", At: at},
		{Name: "z", At: at.Add(-time.Second)},
		{Name: "b", Parent: "c", At: at},
		{Name: "a", Parent: "z", At: at},
		{Name: "new", Parent: "b", At: at.Add(time.Second)},
	}
	sortSnapshots(list)
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	if want := []string{"z", "a", "c", "b", "new"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

package provision

import (
	"encoding/json"
	"flag"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pvebot/cluster"
	"pvebot/provision/image"
	"pvebot/provision/pinned"
)

var _ = flag.Bool("update", false, "write down names that are new")

// pinSamples are what fields are filled with that can't be made up.
var pinSamples = []any{
	time.Unix(1, 0).UTC(), netip.MustParseAddr("192.0.2.1"), netip.MustParsePrefix("192.0.2.0/24"), json.RawMessage(`"raw"`), Spec(Install{OS: "ubuntu"}),
}

// TestNamesOfStates: kinds, states, events, topics and whatever else is one of a
// closed list.
func TestNamesOfStates(t *testing.T) {
	names := pinned.Constants(t, "State", "EventKind", "Status", "Decision", "OnFailure", "Kind", "topic")
	for from, to := range moves {
		for _, s := range to {
			names = append(names, "move "+string(from)+" -> "+string(s))
		}
	}
	for _, kind := range kinds {
		names = append(names, "spec "+kind)
	}
	names = append(names, "actor "+system.Key(), "template stamp "+templateStamp(image.Image{OS: "ubuntu", Version: "24.04"}, "SUM", "local-lvm"))
	pinned.Check(t, "testdata/pinned/states.txt", names)
}

// TestNamesOfKeys: the JSON keys of all that is stored, or that bots tell each
// other.
func TestNamesOfKeys(t *testing.T) {
	names := slices.Concat(
		pinned.Keys(t, "job", Job{}, pinSamples...),
		pinned.Keys(t, "event", Event{}, pinSamples...),
		pinned.Keys(t, "vote", Vote{}, pinSamples...),
		pinned.Keys(t, "vm record", VMRecord{}, pinSamples...),
		pinned.Keys(t, "audit", AuditRow{}, pinSamples...),
		pinned.Keys(t, "question", inquiry{}, pinSamples...),
		pinned.Keys(t, "answer", reply{}, pinSamples...),
		pinned.Keys(t, "answer vm", VM{}, pinSamples...),
		pinned.Keys(t, "answer vms", []VM(nil), pinSamples...),
		pinned.Keys(t, "answer snapshots", []cluster.VMSnapshot(nil), pinSamples...),
		pinned.Keys(t, "answer resources", cluster.Resources{}, pinSamples...),
		pinned.Keys(t, "answer images", []Image(nil), pinSamples...),
		pinned.Keys(t, "answer baselines", []cluster.Baseline(nil), pinSamples...),
		pinned.Keys(t, "answer preview", Plan{}, pinSamples...),
	)
	pinned.Check(t, "testdata/pinned/keys.txt", names)
}

// oneOfEach has one spec of each kind.
func oneOfEach(t *testing.T) map[string]Spec {
	all := map[string]Spec{}
	for _, s := range []Spec{
		Install{OS: "ubuntu", Version: "24.04"}, Set{}, Destroy{}, Migrate{To: "pve2"}, Snapshot{}, Rollback{}, Clone{}, Extend{}, Adopt{}, Trust{}, Remind{},
		Drain{Node: "pve1", Moves: []Migrate{{VM: VMRef{VMID: 101, UUID: "u", Name: "web-1", Node: "pve1"}, To: "pve2"}}},
	} {
		all[s.Kind()] = s
	}
	for _, do := range powers {
		all[do] = Power{Do: do}
	}
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, kinds) {
		t.Fatalf("there are specs of the kinds %q, this test knows %q: give it the missing ones", kinds, got)
	}
	return all
}

// TestNamesOfSpecs: the JSON keys of each spec, and the steps of its recipe,
// by which jobs are resumed.
func TestNamesOfSpecs(t *testing.T) {
	var names []string
	k := NewRemote(nil, "pve").kit
	for kind, spec := range oneOfEach(t) {
		names = append(names, pinned.Keys(t, kind, spec, pinSamples...)...)
		steps, err := k.planOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			names = append(names, kind+" step "+s.Phase+"/"+s.Name)
		}
		for _, held := range k.claims(spec) {
			names = append(names, kind+" claims "+held.Pool+" "+held.Slot)
		}
	}
	pinned.Check(t, "testdata/pinned/specs.txt", names)
}

package provision

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// everySpec has one of each kind, no field left at zero.
func everySpec() []Spec {
	return []Spec{
		Install{
			OS: "ubuntu", Version: "24.04", Name: "web-1", Cores: 4, MemoryMB: 4096, DiskMB: 32768,
			Node: "pve2", Storage: "local-lvm", Network: "dmz", User: "alice", Key: "ssh-ed25519 AAAA a@b", VMID: 120, TTL: time.Hour,
			NumberName: true, PasswordHash: "$6$s$h", Several: &Several{Count: 2, Names: []string{"web-1", "web-3"}},
		},
		Power{Do: "start", VM: web1}, Power{Do: "stop", VM: web1}, Power{Do: "shutdown", VM: web1}, Power{Do: "reboot", VM: web1},
		Set{VM: web1, Cores: 4, MemoryMB: 4096, GrowMB: 1024, Disk: "virtio1"},
		Destroy{VM: web1, Volumes: []string{"local-lvm:vm-101-disk-0"}, Detached: true},
		migrateWeb1,
		Drain{Node: "pve1", Moves: []Migrate{migrateWeb1}, Digest: "d"},
		Snapshot{VM: web1, Name: "before"},
		Rollback{VM: web1, Name: "before", Size: Size{Cores: 2, Sockets: 2, MemoryMB: 2048, BalloonMB: 1024, DiskMB: 16384}},
		Clone{VM: web1, Name: "web-2"},
		Extend{VM: web1, Until: epoch},
		Adopt{VM: web1},
		Trust{VM: web1, HostKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtI3vaFv5dPvNhI0OyYlK5kAwMjS8+L2c+mnJjOJUf5"},
		Remind{VM: web1, Until: epoch, Over: true},
	}
}

var (
	web1        = VMRef{VMID: 101, UUID: "0b1f7ae2-3c3e-4a3c-9d2b-7f1f0c8f2a11", Name: "web-1", Node: "pve1"}
	migrateWeb1 = Migrate{VM: web1, To: "pve2", Mode: "online", Storage: "local-lvm", Digest: "d"}
)

func TestSpecsSurviveStorage(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range everySpec() {
		seen[s.Kind()] = true
		v := reflect.ValueOf(s)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: field %s is not tried", s.Kind(), v.Type().Field(i).Name)
			}
		}
		data, err := MarshalSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := UnmarshalSpec(data); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s came back as %+v, %v", data, got, err)
		}
	}
	for kind := range specs {
		if !seen[kind] {
			t.Errorf("specs of kind %s are not tried", kind)
		}
	}
	if _, err := UnmarshalSpec([]byte(`{"kind":"teleport","spec":{}}`)); err == nil {
		t.Error("a spec of unknown kind was read")
	}
}

func TestOrderSurvivesStorage(t *testing.T) {
	o := Order{
		Key: "slack/1", Cluster: "pve", By: Actor{"slack", "U1", "Alice"}, Where: Conversation{"slack", "C1"},
		Spec: everySpec()[0], OnFailure: OnFailureAsk, Text: "/vm install ubuntu",
		Gate: &Gate{Need: 1, Of: []string{"ops"}, Reason: "r", Digest: "d", Expires: epoch},
	}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var got Order
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, got); diff != "" {
		t.Error(diff)
	}
}

// life is a job's events up to a failed second step.
func life() []Event {
	half := 0.5
	events := []Event{
		{Kind: JobAccepted, State: StateQueued, Order: &Order{Spec: everySpec()[0]}, Plan: []StepState{{Phase: "p", Name: "a"}, {Phase: "p", Name: "b"}}},
		{Kind: JobState, State: StateRunning},
		{Kind: StepStarted, Step: "a"},
		{Kind: FactsSet, Facts: &Facts{VMID: 101, Node: "pve1"}},
		{Kind: StepProgress, Step: "a", Fraction: &half, Text: "half way"},
		{Kind: StepDone, Step: "a", Text: "fine"},
		{Kind: StepStarted, Step: "b"},
		{Kind: StepLog, Step: "b", Text: "line"},
		{Kind: StepFailed, Step: "b", Text: "no", Err: &Problem{Kind: Failed, Say: "no"}},
		{Kind: JobState, State: StateParked, Err: &Problem{Kind: Failed, Say: "no"}},
	}
	for i := range events {
		events[i].Job, events[i].Seq, events[i].At = 7, uint64(i+1), epoch.Add(time.Duration(i)*time.Second)
	}
	return events
}

func fold(t *testing.T, events ...Event) Job {
	t.Helper()
	var j Job
	for _, e := range events {
		if err := j.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func TestFold(t *testing.T) {
	j := fold(t, life()...)
	want := []StepState{
		{Phase: "p", Name: "a", Status: StepOK, Text: "fine", Started: epoch.Add(2 * time.Second), Ended: epoch.Add(5 * time.Second)},
		{Phase: "p", Name: "b", Status: StepBad, Text: "no", Started: epoch.Add(6 * time.Second), Ended: epoch.Add(8 * time.Second)},
	}
	if diff := cmp.Diff(want, j.Steps); diff != "" {
		t.Error(diff)
	}
	if j.ID != 7 || j.State != StateParked || j.Facts.VMID != 101 || j.Problem == nil || j.Seq != 10 {
		t.Errorf("folded to %+v", j)
	}
}

// A job that was parked goes on at the failed step and keeps what it knows;
// one that was undone starts from nothing.
func TestRetry(t *testing.T) {
	events := life()
	retry := Event{Kind: JobState, State: StateQueued, Job: 7, Seq: 11}
	j := fold(t, append(events, retry)...)
	if got := []Status{j.Steps[0].Status, j.Steps[1].Status}; !slices.Equal(got, []Status{StepOK, StepPending}) {
		t.Errorf("after a retry the steps are %q", got)
	}
	if j.Facts.VMID != 101 || j.Problem != nil {
		t.Errorf("after a retry: %+v", j)
	}
	undone := append(life(),
		Event{Kind: JobState, State: StateUndoing, Job: 7, Seq: 11},
		Event{Kind: StepUndoing, Step: "a", Job: 7, Seq: 12},
		Event{Kind: StepUndone, Step: "a", Job: 7, Seq: 13},
		Event{Kind: JobState, State: StateFailed, Job: 7, Seq: 14},
		Event{Kind: JobState, State: StateQueued, Job: 7, Seq: 15})
	j = fold(t, undone...)
	if j.Steps[0].Status != StepPending || j.Steps[1].Status != StepPending || j.Facts != (Facts{}) {
		t.Errorf("after an undo and a retry: %+v", j)
	}
}

func TestFoldRefuses(t *testing.T) {
	for name, e := range map[string]Event{
		"a hole":           {Kind: StepLog, Seq: 12},
		"a repetition":     {Kind: StepLog, Seq: 10},
		"an unknown step":  {Kind: StepStarted, Step: "c", Seq: 11},
		"no step":          {Kind: StepStarted, Seq: 11},
		"a forbidden move": {Kind: JobState, State: StateSucceeded, Seq: 11},
		"an unknown kind":  {Kind: "job.teleported", Seq: 11},
	} {
		j := fold(t, life()...)
		before := j
		if err := j.Apply(e); err == nil {
			t.Errorf("%s was folded in", name)
		} else if !reflect.DeepEqual(before, j) {
			t.Errorf("%s changed the job", name)
		}
	}
}

// Every state can be reached, and only final states are at rest for good.
func TestMoves(t *testing.T) {
	reached := map[State]bool{}
	for from, tos := range moves {
		for _, to := range tos {
			reached[to] = true
			if _, ok := moves[to]; !ok {
				t.Errorf("%q leads to %q, which has no row", from, to)
			}
		}
	}
	for s := range moves {
		if s != "" && !reached[s] {
			t.Errorf("%q can't be reached", s)
		}
		if len(moves[s]) == 0 && !s.Final() {
			t.Errorf("%q is a dead end but not final", s)
		}
	}
}

// A step that changes something can tell whether it is done; names are unique.
func TestPlansCanBeResumed(t *testing.T) {
	k := newKit(Config{})
	for _, spec := range everySpec() {
		plan, err := k.planOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		kind := spec.Kind()
		names := map[string]bool{}
		for _, s := range plan {
			if s.Changes && s.Done == nil {
				t.Errorf("%s: %s changes something and can't be asked whether it is done", kind, s.Name)
			}
			if names[s.Name] || s.Phase == "" || s.Run == nil {
				t.Errorf("%s: %q has a name twice, no phase or nothing to run", kind, s.Name)
			}
			names[s.Name] = true
		}
	}
}

// A job's JSON form, which stores keep, folds on like the job itself.
func TestJobSurvivesStorage(t *testing.T) {
	j := fold(t, life()...)
	data, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var got Job
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

// A stored name that only its bearer could read as theirs is not shown to
// others.
func TestActorIsNamedForEverybody(t *testing.T) {
	for want, a := range map[string]Actor{
		"alice":     {Platform: "slack", ID: "U1", Name: "alice"},
		"slack/U1":  {Platform: "slack", ID: "U1"},
		"web/local": {Platform: "web", ID: "local", Name: "you"},
	} {
		if got := a.String(); got != want {
			t.Errorf("%+v is %q, want %q", a, got, want)
		}
	}
}

// An order that older bots would carry out on another disk is kept as one of a
// kind that they do not know.
func TestNamedDiskIsNotForOlderBots(t *testing.T) {
	for disk, want := range map[string]string{"": "set", "virtio1": "set" + form2} {
		o, err := Order{Spec: Set{VM: VMRef{VMID: 101}, GrowMB: 1024, Disk: disk}}.Stored()
		if err != nil || o.Spec.Kind() != want {
			t.Errorf("disk %q: %v, %v; want %s", disk, o.Spec, err, want)
		}
	}
}

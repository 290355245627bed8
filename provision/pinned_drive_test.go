package provision_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/pinned"
)

// What is different in each run of TestNamesThatAreWritten.
var (
	uuids   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	sums    = regexp.MustCompile(`\b([0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{128})\b`)
	numbers = regexp.MustCompile(`\d+`)
)

func pattern(name string) string {
	name = uuids.ReplaceAllString(name, "UUID")
	name = sums.ReplaceAllString(name, "SUM")
	return numbers.ReplaceAllString(name, "N")
}

// TestNamesThatAreWritten drives the code that writes names which stand
// nowhere else: pools, roles, tasks and their folders, stamps, image records.
func TestNamesThatAreWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	var mu sync.Mutex
	names := map[string]bool{}
	note := func(what, name string) {
		mu.Lock()
		defer mu.Unlock()
		names[what+" "+pattern(name)] = true
	}
	s.sim.OnCommand(func(pvesim.Ran) { s.noteTasks(note) })
	s.start()
	first := s.succeeds(s.mustOrder(provision.Install{OS: "ubuntu", Version: "24.04", Name: "web-1", Node: "pve1"}))
	ref := func() provision.VMRef { return s.vm(first.Facts.VMID) }
	description := func(id int) string { vm, _ := s.sim.VM(id); return vm.Description }
	note("description of an install", description(first.Facts.VMID))
	for _, spec := range []func() provision.Spec{
		func() provision.Spec { return provision.Snapshot{VM: ref(), Name: "before"} },
		func() provision.Spec { return provision.Power{Do: "reboot", VM: ref()} },
		func() provision.Spec { return provision.Power{Do: "shutdown", VM: ref()} },
		func() provision.Spec { return provision.Rollback{VM: ref(), Name: "before"} },
	} {
		s.succeeds(s.do(spec(), nil))
	}
	if shots, err := s.engine.Snapshots(t.Context(), ref()); err != nil || len(shots) != 1 {
		t.Errorf("snapshots: %v, %v", shots, err)
	} else {
		note("description of a snapshot", shots[0].Description)
	}
	s.succeeds(s.do(provision.Clone{VM: s.vm(103), Name: "copy"}, nil))
	vms, err := s.engine.FindVM(t.Context(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	note("description of a clone", description(vms.VMID))
	s.succeeds(s.do(provision.Migrate{VM: s.vm(103), To: "pve2"}, nil))
	s.succeeds(s.do(provision.Destroy{VM: ref()}, nil))
	s.noteRecords(note)
	last, err := s.store.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.store.Follow(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Facts != nil && e.Facts.Task != "" {
			note("task in the facts", e.Facts.Task)
		}
		if e.Pool != "" {
			note("pool", e.Pool)
		}
		if e.Pos >= last {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	var all []string
	for name := range names {
		all = append(all, strings.ReplaceAll(name, "\n", `\n`))
	}
	pinned.Check(t, "testdata/pinned/written.txt", all)
}

// noteTasks notes the tasks that are on the nodes, and their files.
func (s *site) noteTasks(note func(what, name string)) {
	for _, node := range []string{"pve1", "pve2", "pve3"} {
		tasks, _ := filepath.Glob(filepath.Join(s.sim.NodeDir(node), "run", "*", "*"))
		for _, task := range tasks {
			rel, err := filepath.Rel(s.sim.NodeDir(node), task)
			if err != nil {
				s.t.Error(err)
			}
			note("task", fmt.Sprint("/", rel))
		}
	}
}

// noteRecords notes what the nodes remember of their images.
func (s *site) noteRecords(note func(what, name string)) {
	for _, node := range []string{"pve1", "pve2", "pve3"} {
		records, err := filepath.Glob(filepath.Join(s.sim.NodeDir(node), "var/lib/vz/pvebot/*.image"))
		if err != nil {
			s.t.Error(err)
		}
		for _, file := range records {
			text, err := os.ReadFile(file)
			if err != nil {
				s.t.Error(err)
			}
			note("image record "+filepath.Base(file), string(text))
		}
	}
}

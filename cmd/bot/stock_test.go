package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/cluster/pvesim"
)

// Images are listed, fetched and pruned while no bot runs.
func TestImages(t *testing.T) {
	t.Parallel()
	storages := pvesim.DefaultStorages()[:2] // without the one that all share
	sim := pvesim.Start(t, pvesim.Options{Storages: storages, Nodes: pvesim.DefaultNodes()[:2], Empty: true})
	run := func(args ...string) (string, error) {
		t.Helper()
		var out strings.Builder
		p := program{env: sim.Env(), dotenv: os.DevNull, out: &out, err: &out}
		err := p.run(t.Context(), append([]string{"images"}, args...))
		return out.String(), err
	}
	shows := func(text string, err error, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("%v; %q is not in\n%s", err, want, text)
			}
		}
	}
	text, err := run()
	shows(text, err, "Debian 12 (bookworm)", "Rocky Linux 10", "2035-05")
	text, err = run("fetch", "debian", "12", "--node", "pve2")
	shows(text, err, "pve2: Debian 12 (bookworm) is ", "pvebot/debian-12-")
	if strings.Contains(text, "pve1") {
		t.Errorf("pve1 was not meant:\n%s", text)
	}
	text, err = run("fetch", "debian", "12")
	shows(text, err, "pve1: Debian 12 (bookworm) is ", "pve2: on pve2 already")
	text, err = run()
	shows(text, err, "pve1  ", "pve2  ", "pvebot/debian-12-")

	// An older release and a broken download have rested; a young file may be a
	// download under way.
	dir := filepath.Join(sim.NodeDir("pve1"), "var/lib/vz/pvebot")
	for name, age := range map[string]time.Duration{
		"debian-12-0123456789ab.qcow2": 2 * time.Hour, "ubuntu-24.04.img": 48 * time.Hour, "rocky-9-0123456789ab.qcow2.part": 2 * time.Hour,
		"debian-13-0123456789ab.qcow2.part": time.Minute, "mine.qcow2": 48 * time.Hour,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	text, err = run("prune")
	shows(text, err, "pve1: would remove", "debian-12-0123456789ab.qcow2, 1 MiB", "ubuntu-24.04.img", "Nothing was removed")
	text, err = run("prune", "--yes")
	shows(text, err, "pve1: removed")
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	var names []string
	for _, f := range left {
		names = append(names, filepath.Base(f))
	}
	all := strings.Join(names, " ")
	if len(names) != 4 || !strings.Contains(all, "mine.qcow2") || !strings.Contains(all, "debian-13-0123456789ab.qcow2.part") || !strings.Contains(all, "debian-12.image") {
		t.Errorf("left are %s", all)
	}
	text, err = run("prune")
	shows(text, err, "Nothing to remove.")

	text, err = run("fetch", "debian", "12", "--node", "pve1", "--template")
	shows(text, err, "pve1: Debian 12 (bookworm) has the template 9000 on local-lvm")
	text, err = run("fetch", "debian", "12", "--node", "pve1", "--template")
	shows(text, err, "has the template 9000")
	if vm, ok := sim.VM(9000); !ok || vm.Options["template"] != "1" || vm.Name != "template-debian-12" {
		t.Errorf("the template is %+v", vm)
	}
	text, err = run("prune")
	shows(text, err, "Nothing to remove.")
	if _, err := run("fetch", "debian", "12", "--node", "pve1", "--template", "--storage", "local"); err == nil || !strings.Contains(err.Error(), "storage local is not for VM disks") {
		t.Errorf("a template on local: %v", err)
	}

	if _, err := run("fetch", "beos"); err == nil || !strings.Contains(err.Error(), "there is no image of beos") {
		t.Errorf("beos: %v", err)
	}
	if _, err := run("fetch", "debian", "12", "--node", "pve9"); err == nil || !strings.Contains(err.Error(), "there is no NODE_pve9; there are pve1, pve2") {
		t.Errorf("pve9: %v", err)
	}
}

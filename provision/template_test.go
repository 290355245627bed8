package provision_test

import (
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
	"pvebot/provision/image"
)

// stock is the site's, as the command line sees it.
func (s *site) stock() *provision.Stock {
	return provision.NewStock(provision.Config{Cluster: s.pve, Images: image.Default(), Settings: s.settings})
}

func (s *site) mustTemplate(node, os, storage string) {
	s.t.Helper()
	if _, err := s.stock().Template(s.t.Context(), node, os, "", storage, func(string) {}); err != nil {
		s.t.Fatal(err)
	}
}

// ranSince are the commands of a prefix that were run since the nodes had run n.
func (s *site) ranSince(n int, prefix string) (found []string) {
	for _, r := range s.sim.Ran()[n:] {
		if strings.HasPrefix(r.String()+" ", prefix+" ") {
			found = append(found, r.String())
		}
	}
	return found
}

// Where there is a template, a VM is a linked clone of it and in nothing else
// unlike one that was imported.
func TestLinkedClone(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.settings.OnBoot = true
	s.engine = s.newEngine()
	s.start()
	spec := provision.Install{OS: "ubuntu", Node: "pve1", Cores: 3, MemoryMB: 3072}
	imported, _ := s.sim.VM(s.mustInstall(spec).Facts.VMID)
	if imported.Options["onboot"] != "1" {
		t.Errorf("it does not start with its node: %+v", imported.Options)
	}
	s.mustTemplate("pve1", "ubuntu", "")
	before := len(s.sim.Ran())
	job := s.mustInstall(spec)
	cloned, _ := s.sim.VM(job.Facts.VMID)
	if n := len(s.ranSince(before, "qm create")); n != 0 || job.Facts.Template != 9000 || len(s.ranSince(before, "qm clone 9000")) != 1 {
		t.Errorf("%d creates, template %d", n, job.Facts.Template)
	}
	own := map[string]bool{"name": true, "ipconfig0": true, "smbios1": true, "vmgenid": true, "net0": true, "meta": true, "scsi0": true, "ide2": true}
	for key, want := range imported.Options {
		if got := cloned.Options[key]; got != want && !own[key] {
			t.Errorf("%s is %q, and %q where the image was imported", key, got, want)
		}
	}
	for key := range cloned.Options {
		if _, ok := imported.Options[key]; !ok {
			t.Errorf("it has %s: %s, and an imported one has not", key, cloned.Options[key])
		}
	}
	if !strings.Contains(cloned.Options["scsi0"], "size=16G") || !strings.Contains(cloned.Options["smbios1"], job.Facts.UUID) || !strings.HasSuffix(cloned.Options["net0"], ",bridge=vmbr0") {
		t.Errorf("it is %+v", cloned.Options)
	}
	s.clean(2)
	// Another node has no template.
	if job := s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve2"}); job.Facts.Template != -1 {
		t.Errorf("pve2 cloned template %d", job.Facts.Template)
	}
}

// A clone that fails on the way leaves nothing behind, and the template stays.
func TestLinkedCloneFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	s.mustTemplate("pve1", "ubuntu", "")
	for command, step := range map[string]string{"qm clone": "creating VM", "qm set": "importing disk image", "qm start": "starting VM"} {
		s.sim.FailOnce(command, 255, "no luck")
		job := s.await(s.mustOrder(provision.Install{OS: "ubuntu", Node: "pve1"}), provision.StateFailed, provision.StateSucceeded, provision.StateParked)
		if job.State != provision.StateFailed || !strings.Contains(job.Problem.Say, "no luck") {
			t.Errorf("%s: the job %s: %+v", step, job.State, job.Problem)
		}
		s.clean(0)
	}
	// A VMID that somebody took is passed over here as well.
	s.sim.FailOnce("qm clone", 2, "unable to create VM 100: config file already exists")
	s.mustInstall(provision.Install{OS: "ubuntu", Node: "pve1"})
	if vm, ok := s.sim.VM(9000); !ok || vm.Options["template"] != "1" {
		t.Error("the template is gone")
	}
	s.clean(1)
}

// Templates are made where linked clones can be migrated, once, and are pruned
// when there is a newer image.
func TestTemplateStorages(t *testing.T) {
	const gib = 1 << 30
	for kind, can := range map[string]bool{"lvmthin": true, "btrfs": true, "rbd": true, "nfs": true, "dir": false, "zfspool": false, "lvm": false} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, pvesim.Options{
				Nodes: pvesim.DefaultNodes()[:1], Empty: true,
				Storages: []pvesim.StorageSpec{{Name: "st", Type: kind, Content: []string{"images"}, Capacity: 500 * gib, Shared: kind == "rbd" || kind == "nfs"}},
			})
			s.settings.Storage = "st"
			s.engine = s.newEngine()
			s.start()
			_, err := s.stock().Template(t.Context(), "pve1", "debian", "", "", func(string) {})
			if (err == nil) != can {
				t.Fatalf("a template: %v", err)
			}
			job := s.mustInstall(provision.Install{OS: "debian"})
			if want := map[bool]int{true: 9000, false: -1}[can]; job.Facts.Template != want {
				t.Errorf("it used template %d, want %d", job.Facts.Template, want)
			}
			s.clean(1)
			if !can {
				return
			}
			s.mustTemplate("pve1", "debian", "st")
			if rest, err := s.stock().Remains(t.Context()); err != nil || len(rest) != 0 {
				t.Errorf("the current template is told to be %+v, %v", rest, err)
			}
		})
	}
}

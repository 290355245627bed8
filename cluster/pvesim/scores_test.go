package pvesim_test

import (
	"pvebot/cluster/pvesim"
)

// Why an exchange is passed over.
const (
	notANode  = "the transcript is from a place that was no whole node"
	cut       = "the transcript's line is cut off"
	noTables  = "tables of text are not simulated, only JSON"
	elsewhere = "a test of the traps holds the simulation to it"
	stricter  = "strict.txt is nearer to a whole node"
)

const newWeb1 = "qm create 101 --name web1 --memory 512 --net0 virtio,bridge=vmbr0 --scsi0 local:1"

// scores says how the transcripts are replayed, by the names of their files.
// 03-disconnect tells of broken connections, in prose: see trap_test.go.
func scores() map[string]score {
	return map[string]score{
		"01-create-and-validation": {images: []string{"import/debian-12.qcow2"}},
		"02-lifecycle": {
			before: map[string]func(*stage){
				"qm start 101 #2": func(s *stage) { s.sim.Deaf(101) }, // it ignores ACPI
				"qm snapshot 101 s1": func(s *stage) {
					s.sim.SetOption(101, "scsi1", "")
					s.sim.SetOption(101, "unused0", "")
				},
				"qm start 106":        func(s *stage) { s.sim.HoldLock(106, "backup") },
				"qm migrate 106 pve2": func(s *stage) { s.sim.Down("pve2") },
				"qm start 106 #3": func(s *stage) {
					s.run("qm stop 106")
					s.sim.Move(106, "pve2")
				},
			},
			passed: map[string]string{
				"qm clone 106 109":            notANode,
				"qm cloudinit update 106":     notANode,
				"qm shutdown 101":             stricter,
				"qm shutdown 101 --timeout 3": stricter,
				"qm reboot 101":               stricter,
			},
		},
		"04-pvesh-json": {
			before: map[string]func(*stage){
				"pvesh create /nodes/pve1/qemu/101/status/start":                      func(s *stage) { s.run(newWeb1) },
				"pvesh create /nodes/pve2/qemu/101/status/start --output-format json": func(s *stage) { s.sim.Down("pve2") },
				"pvesh get /nodes/pve1/tasks --limit 2 --output-format json":          func(s *stage) { s.run("qm create 160") },
				"pvesh get /cluster/status --output-format json":                      func(s *stage) { s.up("pve2") },
			},
			passed: map[string]string{
				"pvesh get /nodes --output-format json":                                                                            notANode,
				"pvesh get /nodes --output-format json #2":                                                                         notANode,
				"pvesh get /cluster/resources --output-format json":                                                                notANode,
				"pvesh get /cluster/resources --type vm --output-format json":                                                      notANode,
				"pvesh get /cluster/resources --type node --output-format json":                                                    notANode,
				"pvesh get /cluster/resources --type storage --output-format json":                                                 notANode,
				"pvesh get /version --output-format json":                                                                          notANode,
				"pvesh get /nodes/pve1/tasks/UPID:pve1:00000030:000578F8:6B03AB08:qmcreate:202:root@pam:/log --output-format json": notANode,
				"pvesh get /nodes/pve1/status --output-format json":                                                                cut,
				"pvesh get /nodes/pve1/capabilities/qemu/cpu --output-format json":                                                 cut,
				"pvesh get /cluster/status --output-format json":                                                                   stricter,
				"pvesh get /cluster/nextid":                                                                                        "next-id of datacenter.cfg is not simulated",
				"qm set 101 --cores 1":                                                                                             elsewhere,
			},
		},
		"05-json-shapes": {
			statd: -1,
			guests: []pvesim.GuestSpec{
				{VMID: 101, Node: "pve1", Name: "web1", Cores: 2, MemoryMB: 512, Disk: 1 << 30, Storage: "local", Running: true, Tags: "a;b", Options: map[string]string{"lock": "backup"}},
				{VMID: 160, Node: "pve2", Name: "far", Cores: 1, MemoryMB: 512, Disk: 1 << 30, Storage: "local"},
			},
			before: map[string]func(*stage){
				"pvesh get /cluster/resources --type vm --output-format json-pretty": func(s *stage) {
					s.run("qm create 150 --name tmpl")
					s.sim.Template(150)
					s.sim.Down("pve2")
				},
				"pvesh get /nodes/pve1/tasks/UPID:pve1:00000023:0005ACE2:6B03AB8D:qmcreate:101:root@pam:/status --output-format json-pretty": func(s *stage) {
					s.run("qm stop 101 --skiplock 1")
					s.run("qm destroy 101 --skiplock 1")
					s.run(newWeb1 + " --tags 'a;b'")
				},
				"pvesh get /nodes/pve1/qemu/101/migrate --output-format json": func(s *stage) { s.up("pve2") },
			},
			passed: map[string]string{
				"pvesh get /cluster/resources --type storage --output-format json-pretty":                                               notANode,
				"pvesh get /cluster/resources --type vm":                                                                                noTables,
				"pvesh get /cluster/resources --type node":                                                                              noTables,
				"pvesh get /nodes/pve1/tasks --source active --output-format json":                                                      elsewhere,
				"pvesh get /nodes/pve1/tasks/UPID:pve1:00000079:0005B0AF:6B03AB97:qmstart:101:root@pam:/status --output-format json":    elsewhere,
				"pvesh delete /nodes/pve1/tasks/UPID:pve1:00000079:0005B0AF:6B03AB97:qmstart:101:root@pam:":                             elsewhere,
				"pvesh get /nodes/pve1/tasks/UPID:pve1:00000079:0005B0AF:6B03AB97:qmstart:101:root@pam:/status --output-format json #2": elsewhere,
			},
		},
		"06-pve84-spotcheck": {version: "8.4.21"},
		"07-edge": {
			before: map[string]func(*stage){
				"qm status 300": func(s *stage) {
					for _, c := range []string{newWeb1, "qm create 202", "qm create 300 --memory 512", "qm create 310 --name b"} {
						s.run(c)
					}
					vm, _ := s.sim.VM(202)
					for key := range vm.Options { // a create that was killed leaves a lock and nothing else
						s.sim.SetOption(202, key, "")
					}
					s.sim.HoldLock(202, "create")
				},
				"qm config 101": func(s *stage) { s.sim.SetOption(101, "description", "zeile ü\nline2: 100%") }, // by a shell with a locale
			},
			passed: map[string]string{
				"qm create 300 --memory 512 --args FAIL --start 1":                                                                    elsewhere,
				"pvesh get /nodes/pve1/tasks/UPID:pve1:0000004B:000630E1:6B03ACDF:qmcreate:202:root@pam:/status --output-format json": elsewhere,
				"pvesh get /nodes/pve1/tasks --vmid 202 --source all --output-format json":                                            elsewhere,
				"qm set 101 --description zeile ü\nline2: 100%":                                                                       "the transcript lacks a line of the output",
				"qm start 101":             notANode,
				"qm set 101 --delete tags": stricter,
			},
		},
	}
}

// up brings a node back.
func (s *stage) up(node string) {
	s.t.Helper()
	if err := s.sim.Up(node); err != nil {
		s.t.Fatal(err)
	}
}

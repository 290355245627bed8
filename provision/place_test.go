package provision

import (
	"slices"
	"strings"
	"testing"

	"pvebot/cluster"
	"pvebot/provision/image"
)

const gib = 1 << 30

// threeNodes are alike, but for the memory in use: most is free on pve2.
func threeNodes() *site {
	s := &site{draining: map[string]JobID{}}
	var cpus []cluster.NodeCPU
	for i, used := range []int64{20, 10, 30} {
		name := []string{"pve1", "pve2", "pve3"}[i]
		s.ours = append(s.ours, name)
		s.Nodes = append(s.Nodes, cluster.Node{Name: name, Status: "online", CPUs: 16, CPU: 0.1, Mem: used * gib, MaxMem: 64 * gib})
		s.Storages = append(s.Storages, cluster.Storage{
			Name: "fast", Node: name, Type: "lvmthin", Content: []string{"images"}, Active: true, Total: 500 * gib, Avail: 100 * gib,
		})
		cpus = append(cpus, cluster.NodeCPU{Node: name, Type: "x86-64-v3", Next: "x86-64-v4", Lacks: []string{"avx512f"}})
	}
	s.groups = []cluster.Baseline{{Type: "x86-64-v3", Nodes: cpus}}
	return s
}

func installing(node string, memoryMB, cores int) Job {
	return Job{
		Order: Order{Spec: Install{MemoryMB: memoryMB, Cores: cores, DiskMB: 40 * 1024}},
		Facts: Facts{Node: node, Storage: "fast", VMID: 150},
	}
}

func TestChoose(t *testing.T) {
	weak := func(s *site, node, typ string, lacks ...string) {
		for i, n := range s.groups[0].Nodes {
			if n.Node == node {
				s.groups[0].Nodes[i] = cluster.NodeCPU{Node: node, Type: typ, Next: "x86-64-v3", Lacks: lacks}
				s.groups[0].Type = typ
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(s *site)
		spec   Install
		needs  string // CPU type
		want   string // "node cpu", or the error
		why    string // part of it
	}{
		"most memory": {want: "pve2 x86-64-v3", why: "54G of memory free, CPUs 10% busy"},
		"load counts": {
			change: func(s *site) { s.Nodes[1].CPU = 0.9 }, want: "pve1 x86-64-v3", why: "44G of memory free, CPUs 10% busy",
		},
		"what guests may take counts, not what they have taken so far": {
			change: func(s *site) { s.vms = []VM{{VMRef: VMRef{Node: "pve2"}, Status: "running", MemoryMB: 40 << 10}} },
			want:   "pve1 x86-64-v3",
		},
		"a fresh VM counts by its record": {
			change: func(s *site) { s.vms = []VM{{VMRef: VMRef{Node: "pve2"}, Status: "unknown", MemoryMB: 40 << 10}} },
			want:   "pve1 x86-64-v3",
		},
		"templates and stopped VMs take no memory": {
			change: func(s *site) {
				s.vms = []VM{
					{VMRef: VMRef{Node: "pve2"}, Status: "unknown", Template: true, MemoryMB: 60 << 10},
					{VMRef: VMRef{Node: "pve2"}, Status: "stopped", MemoryMB: 60 << 10},
				}
			},
			want: "pve2 x86-64-v3", why: "54G",
		},
		"jobs in flight count": {
			change: func(s *site) { s.flight = []Job{installing("pve2", 30<<10, 2)} },
			want:   "pve1 x86-64-v3",
		},
		"a job whose VM runs does not count twice": {
			change: func(s *site) {
				s.flight = []Job{installing("pve2", 6<<10, 2)}
				s.vms = []VM{{VMRef: VMRef{VMID: 150, Node: "pve2"}, Status: "running", MemoryMB: 6 << 10}}
			},
			want: "pve2 x86-64-v3", why: "54G of memory free, CPUs 10% busy",
		},
		"offline": {
			change: func(s *site) { s.Nodes[1].Status = "offline" },
			want:   "pve1 x86-64-v3", why: "44G of memory free, CPUs 10% busy; node pve2 is offline",
		},
		"draining": {
			change: func(s *site) { s.draining["pve2"] = 7 },
			want:   "pve1 x86-64-v3", why: "; node pve2 is being drained by job 7",
		},
		"in maintenance": {
			change: func(s *site) { s.Nodes[1].HAState = "maintenance" },
			want:   "pve1 x86-64-v3", why: "; node pve2 is in maintenance",
		},
		"its CPU is not known": {
			change: func(s *site) { s.groups[0].Nodes = slices.Delete(s.groups[0].Nodes, 1, 2) },
			want:   "pve1 x86-64-v3", why: "; node pve2 does not say what its CPU can do",
		},
		"as ordered, its CPU is not known": {
			change: func(s *site) { s.groups[0].Nodes = slices.Delete(s.groups[0].Nodes, 1, 2) },
			spec:   Install{Node: "pve2"}, want: "node pve2 does not say what its CPU can do",
		},
		"not ours": {
			change: func(s *site) { s.ours = []string{"pve1", "pve3"} }, want: "pve1 x86-64-v3",
		},
		"no space": {
			change: func(s *site) { s.Storages[1].Avail = 2 * gib },
			want:   "pve1 x86-64-v3", why: "; storage fast on pve2 has 2G free, which is too little for a disk of 16G",
		},
		"space that others take soon": {
			change: func(s *site) {
				s.Storages[1].Avail = 6 * gib
				s.flight = []Job{installing("pve2", 512, 1)}
			},
			want: "pve1 x86-64-v3", why: "; storage fast on pve2 has 2G free",
		},
		"thick storage": {
			change: func(s *site) {
				for i := range s.Storages {
					s.Storages[i].Type, s.Storages[i].Avail = "lvm", int64(i+1)*10*gib
				}
			},
			want: "pve2 x86-64-v3", why: "; storage fast on pve1 has 10G free",
		},
		"shared storage is taken from everywhere": {
			change: func(s *site) {
				for i := range s.Storages {
					s.Storages[i].Type, s.Storages[i].Avail, s.Storages[i].Shared = "rbd", 7*gib, true
				}
				s.flight = []Job{installing("pve3", 512, 1)}
			},
			want: "no node can take it: storage fast on pve1 has 3G free, which is too little for a disk of 16G; " +
				"storage fast on pve2 has 3G free, which is too little for a disk of 16G; storage fast on pve3 has 3G free, which is too little for a disk of 16G",
		},
		"no memory": {
			spec: Install{MemoryMB: 50 << 10}, want: "pve2 x86-64-v3",
			why: "; node pve1 has 44G of memory left, too little for 50G; node pve3 has 34G of memory left, too little for 50G",
		},
		"no memory anywhere": {
			change: func(s *site) { s.Nodes = s.Nodes[1:2] }, spec: Install{MemoryMB: 100 << 10},
			want: "node pve2 has 54G of memory left, too little for 100G",
		},
		"as ordered": {spec: Install{Node: "pve3"}, want: "pve3 x86-64-v3", why: "34G of memory free, CPUs 10% busy"},
		"as ordered, offline": {
			change: func(s *site) { s.Nodes[2].Status = "offline" }, spec: Install{Node: "pve3"}, want: "node pve3 is offline",
		},
		"ordered, not ours":    {change: func(s *site) { s.ours = nil }, spec: Install{Node: "pve3"}, want: "node pve3 is not among the bot's nodes"},
		"ordered, not there":   {spec: Install{Node: "pve9"}, want: "there is no node pve9; I know pve1, pve2, pve3"},
		"the group's CPU":      {change: func(s *site) { weak(s, "pve1", "x86-64-v2-AES", "avx2") }, want: "pve2 x86-64-v2-AES"},
		"an OS for the group":  {change: func(s *site) { weak(s, "pve1", "x86-64-v2-AES", "avx2") }, needs: "x86-64-v2", want: "pve2 x86-64-v2-AES"},
		"an OS that needs v3":  {needs: "x86-64-v3", want: "pve2 x86-64-v3"},
		"an OS that some have": {change: func(s *site) { weak(s, "pve2", "x86-64-v2-AES", "avx2") }, needs: "x86-64-v3", want: "pve1 x86-64-v3", why: "; Fedora 99 needs a CPU of type x86-64-v3, and pve2 has no more than x86-64-v2-AES: it lacks avx2"},
		"an OS that the node can't run": {
			change: func(s *site) { weak(s, "pve2", "x86-64-v2-AES", "avx2", "bmi1") }, spec: Install{Node: "pve2"}, needs: "x86-64-v3",
			want: "Fedora 99 needs a CPU of type x86-64-v3, and pve2 has no more than x86-64-v2-AES: it lacks avx2, bmi1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := threeNodes()
			if tt.change != nil {
				tt.change(s)
			}
			if tt.spec.MemoryMB == 0 {
				tt.spec.MemoryMB = 2048
			}
			tt.spec.Storage, tt.spec.DiskMB = "fast", 16<<10
			img := image.Image{Title: "Fedora 99", CPU: "kvm64"}
			if tt.needs != "" {
				img.CPU = tt.needs
			}
			p, err := s.choose(tt.spec, img)
			got := p.node + " " + p.cpu
			if err != nil {
				got, _ = Explain(err)
			}
			if got != tt.want || !strings.Contains(p.why, tt.why) {
				t.Errorf("got %q because of %q; want %q because of %q", got, p.why, tt.want, tt.why)
			}
		})
	}
}

// An OS that only some nodes of the group can run has a price, which is told.
func TestChooseTellsThePrice(t *testing.T) {
	s := threeNodes()
	s.groups[0].Type, s.groups[0].Nodes[2].Type = "x86-64-v2", "x86-64-v2"
	p, err := s.choose(Install{MemoryMB: 2048, Storage: "fast", DiskMB: 16 << 10}, image.Image{Title: "Fedora 99", CPU: "x86-64-v3"})
	if want := "Fedora 99 needs CPU type x86-64-v3, so it can't be migrated to pve3"; err != nil || p.warn != want {
		t.Errorf("%q, %v; want %q", p.warn, err, want)
	}
	p, err = s.choose(Install{MemoryMB: 60 << 10, Storage: "fast", DiskMB: 16 << 10, Node: "pve1"}, image.Image{CPU: "kvm64"})
	if want := "node pve1 has 44G of memory left, too little for 60G"; err != nil || p.warn != want {
		t.Errorf("%q, %v; want %q", p.warn, err, want)
	}
}

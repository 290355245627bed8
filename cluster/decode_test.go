package cluster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestDecodeMembers(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want Membership
	}{
		"cluster": {
			`{"nodename":"pve1","version":4,"cluster":{"name":"lab","version":2,"nodes":2,"quorate":1},
			"nodelist":{"pve2":{"id":2,"online":0},"pve1":{"id":1,"online":1,"ip":"192.0.2.1"}}}`,
			Membership{Cluster: "lab", Quorate: true, Version: 4, Members: []Member{
				{Name: "pve1", Online: true, IP: netip.MustParseAddr("192.0.2.1")}, {Name: "pve2"},
			}},
		},
		"no quorum": {
			`{"nodename":"pve1","version":"5","cluster":{"name":"lab","quorate":0},"nodelist":{}}`,
			Membership{Cluster: "lab", Version: 5},
		},
		"stand-alone": {
			`{"nodename":"pve1","version":0}`,
			Membership{Quorate: true, Members: []Member{{Name: "pve1", Online: true}}},
		},
	} {
		got, err := decodeMembers([]byte(test.in))
		if d := diff.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}

func TestDecodeVMList(t *testing.T) {
	got, err := decodeVMList([]byte(`{"version":3,"ids":{"101":{"node":"pve1","type":"qemu","version":7},"102":{"node":"pve2","type":"lxc"}}}`))
	want := map[int]Guest{101: {101, "pve1", "qemu"}, 102: {102, "pve2", "lxc"}}
	if d := diff.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got, err := decodeVMList([]byte(`{"version":1}`)); err != nil || len(got) != 0 {
		t.Errorf("an empty cluster: %v, %v", got, err)
	}
	for _, bad := range []string{"", "[]", `{"ids":{"x":{}}}`, "cat: no"} {
		if _, err := decodeVMList([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a list", bad)
		}
	}
}

func TestDecodeResources(t *testing.T) {
	got, err := decodeResources([]byte(`[
	{"id":"qemu/160","node":"pve2","status":"unknown","type":"qemu","vmid":160,"tags":"a;b"},
	{"cpu":0.01,"id":"qemu/101","lock":"backup","maxcpu":2,"maxdisk":1073741824,"maxmem":"536870912","mem":104857600,
	 "name":"web1","node":"pve1","status":"running","template":0,"type":"qemu","uptime":55,"vmid":"101"},
	{"id":"qemu/150","maxmem":0,"name":"tmpl","node":"pve1","status":"stopped","template":1,"type":"qemu","vmid":150},
	{"id":"node/pve2","node":"pve2","status":"offline","type":"node"},
	{"cpu":0.05,"id":"node/pve1","maxcpu":8,"maxmem":16000000000,"mem":8000000000,"node":"pve1","status":"online","type":"node","uptime":86400},
	{"content":"iso,images","disk":50,"id":"storage/pve1/local","maxdisk":100,"node":"pve1","plugintype":"dir","shared":0,"status":"available","storage":"local","type":"storage"},
	{"content":"images","id":"storage/pve1/ceph","node":"pve1","plugintype":"rbd","shared":1,"status":"unknown","storage":"ceph","type":"storage"},
	{"id":"sdn/pve1/localnetwork","type":"sdn"}]`))
	want := Resources{
		VMs: []VM{
			{VMID: 101, Name: "web1", Node: "pve1", Type: "qemu", Status: "running", Known: true, CPUs: 2, CPU: 0.01, Mem: 104857600, MaxMem: 536870912, MaxDisk: 1 << 30, Uptime: 55 * time.Second, Lock: "backup"},
			{VMID: 150, Name: "tmpl", Node: "pve1", Type: "qemu", Status: "stopped", Known: true, Template: true},
			{VMID: 160, Node: "pve2", Type: "qemu", Status: "unknown", Tags: []string{"a", "b"}},
		},
		Nodes: []Node{
			{Name: "pve1", Status: "online", CPUs: 8, CPU: 0.05, Mem: 8e9, MaxMem: 16e9, Uptime: 24 * time.Hour},
			{Name: "pve2", Status: "offline"},
		},
		Storages: []Storage{
			{Name: "ceph", Node: "pve1", Type: "rbd", Content: []string{"images"}, Shared: true, Enabled: true},
			{Name: "local", Node: "pve1", Type: "dir", Content: []string{"images", "iso"}, Enabled: true, Active: true, Total: 100, Used: 50, Avail: 50},
		},
	}
	if d := diff.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestDecodeNodeStatus(t *testing.T) {
	got, err := decodeNodeStatus([]byte(`{"cpuinfo":{"cpus":2,"flags":"fpu pni  aes"},"loadavg":["0.25","0.1","0"],
	"memory":{"total":100,"free":"10","available":40},"pveversion":"pve-manager/9.2.11/abc"}`))
	want := NodeStatus{CPUFlags: []string{"fpu", "pni", "aes"}, CPUs: 2, Load1: 0.25, MemTotal: 100, MemFree: 40, Version: "pve-manager/9.2.11/abc"}
	if d := diff.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got, _ := decodeNodeStatus([]byte(`{"memory":{"total":100,"free":10}}`)); got.MemFree != 10 {
		t.Errorf("PVE 8: %d free, want 10", got.MemFree)
	}
}

const conf = `#line one
#owner%3A alice=1 100%25 zeile %C3%BC
agent: enabled=1
cipassword: $5$abc$def
ipconfig0: ip=10.0.0.5/24,gw=10.0.0.1
lock: create
memory: 2048
name: web1
scsi0: local:101/vm-101-disk-0.qcow2,discard=on,size=2G
smbios1: uuid=db9c0a66-7ceb-4e71-9b00-d6356ffa6aa6

[PENDING]
memory: 4096

[snap]
#of the snapshot
name: old
ipconfig0: ip=10.0.0.6/24
`

func TestDecodeConfig(t *testing.T) {
	got := decodeConfig([]byte(conf), "pve1", 101)
	if want := "line one\nowner: alice=1 100% zeile \u00fc"; got.Description != want {
		t.Errorf("description %q, want %q", got.Description, want)
	}
	if got.UUID() != "db9c0a66-7ceb-4e71-9b00-d6356ffa6aa6" || got.Lock() != "create" {
		t.Errorf("uuid %q, lock %q", got.UUID(), got.Lock())
	}
	if got.Options["memory"] != "2048" || got.Options["name"] != "web1" || len(got.Options) != 7 {
		t.Errorf("options %v", got.Options)
	}
	if _, ok := got.Options["cipassword"]; ok {
		t.Error("the password's hash is handed around")
	}
	if got.Digest != "69cdef276f39665ddb1f1e8047845d23bcbce389" {
		t.Errorf("digest %s", got.Digest)
	}
	// PVE 9 and `qm config` write the description as an option.
	if d := decodeConfig([]byte("description: a%0Ab\n"), "pve1", 101).Description; d != "a\nb" {
		t.Errorf("description %q", d)
	}
}

func TestDecodeAddresses(t *testing.T) {
	got := decodeAddresses([]byte(`pve1/qemu-server/101.conf:ipconfig0: ip=10.0.0.5/24,gw=10.0.0.1,ip6=fd00::5/64
pve1/qemu-server/101.conf:net0: virtio=BC:24:11:95:C4:6B,bridge=vmbr0
pve1/qemu-server/101.conf:[PENDING]
pve1/qemu-server/101.conf:ipconfig0: ip=10.0.0.7/24
pve1/qemu-server/101.conf:[snap]
pve1/qemu-server/101.conf:ipconfig0: ip=10.0.0.6/24
pve1/qemu-server/102.conf:ipconfig0: ip=dhcp
pve2/lxc/200.conf:net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=10.0.0.8/24,type=veth
`))
	want := map[netip.Addr]int{
		netip.MustParseAddr("10.0.0.5"): 101, netip.MustParseAddr("fd00::5"): 101, netip.MustParseAddr("10.0.0.7"): 101,
		netip.MustParseAddr("10.0.0.8"): 200,
	}
	if d := diff.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"4096": 4096, "1088M": 1088 << 20, "2G": 2 << 30, "1.5G": 3 << 29, "1T": 1 << 40, "64K": 64 << 10} {
		if got, ok := parseSize(s); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "G", "1GB", "-1G", "+1G", "99999999999T", "x"} {
		if got, ok := parseSize(s); ok {
			t.Errorf("%q is taken for %d", s, got)
		}
	}
}

func TestProgress(t *testing.T) {
	for line, want := range map[string]float64{
		"transferred 1.2 GiB of 2.0 GiB (60.00%)":                              0.6,
		"transferred 0.0 B of 2.0 GiB (0.00%)":                                 0,
		"transferred 2.0 GiB of 2.0 GiB (100.00%)":                             1,
		"mirror-scsi0: transferred 1.0 GiB of 8.0 GiB (12.50%) in 5s":          0.125,
		"drive-scsi0: transferred 1.0 GiB of 8.0 GiB (12.50%) in 1m 5s, ready": 0.125,
	} {
		if got, ok := TransferProgress(line); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", line, got, ok, want)
		}
	}
	for line, want := range map[string]float64{
		" 32768K ........ ........ ........ ........ 12% 98.7M 5s":             0.12,
		"  5120K ........ ........ ...                         100% 1.2G=0.1s": 1,
		"     0K ........ ........ ........ ........  6% 12.3M 40s":            0.06,
		"262144K ,,,,,,,, ........ ........ ........ 53% 1.2G 1s":              0.53,
	} {
		if got, ok := DownloadProgress(line); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", line, got, ok, want)
		}
	}
	for _, line := range []string{
		"", "transferred", "60.00%", "HTTP request sent, awaiting response... 200 OK", "Length: 600M [x] 50% ",
		"transferred 1 B of 2 B (160.00%)", "Saving to: 'noble.img.part'",
	} {
		if got, ok := TransferProgress(line); ok {
			t.Errorf("%q is transfer progress %v", line, got)
		}
		if got, ok := DownloadProgress(line); ok {
			t.Errorf("%q is download progress %v", line, got)
		}
	}
}

// A task is over when the node says so in a word that we know.
func TestDecodeHead(t *testing.T) {
	const direct = "  HTTP/1.1 200 OK\n  Content-Length: 612368384\n  ETag: \"5f-6\"\n"
	const redirect = "  HTTP/1.1 302 Found\n  Content-Length: 312\n  ETag: \"old\"\n  Location: https://other.example.org/x.img\n"
	for text, want := range map[string]Head{
		direct:                         {`"5f-6"`, 612368384},
		redirect + direct:              {`"5f-6"`, 612368384},
		redirect + "  HTTP/1.1 200 OK": {},
		"  HTTP/2 200\n  etag: W/\"a: b\"\n  content-length: lots\n": {ETag: `W/"a: b"`},
		"": {},
	} {
		if got := decodeHead(text); got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
}

func TestDecodePoll(t *testing.T) {
	if p, err := decodePoll([]byte("exited 0 boot 3\na\nb")); err != nil || !p.complete() || string(p.data) != "a\nb" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "exited", "done 0 boot 0\n", "exited x boot 0\n", "exited 0 boot 4\na\nb", "exited 0 boot -1\n"} {
		if p, err := decodePoll([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, p)
		}
	}
}

// Decoders meet whatever a node prints: they may refuse, they may not panic,
// and what they give is sorted and in range.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "{}", "[]", "null", `{"ids":null}`, `[null]`, `[{"type":"qemu","vmid":1e99,"uptime":9e18,"tags":7}]`,
		`{"nodelist":{"a":7},"cluster":[]}`, `{"loadavg":[{}],"cpuinfo":7}`, `[{"type":"storage","maxdisk":-9e18,"disk":9e18}]`, conf,
		"a/1.conf:net0: ip=1.2.3.4/5\n", `{"ids":{"101":{"node":1,"type":true}}}`, "#%", "#%zz\n:\nx:", "transferred 1 B of 2 B (1.%)",
		`[{"name":"old","snaptime":1e18,"parent":7},{"name":"current"}]`, `[{"starttime":"9e18"},{"starttime":1}]`, "exited 0 boot 3\na\nb", "done 0 b 0\n",
		`{"running":1,"local_disks":[{"volid":"a:b","size":1e30},7],"not_allowed_nodes":{"pve2":{"unavailable_storages":["x",1],"blocking-ha-resources":[{}]}}}`,
		"vm: 101\nvm:99999999999999999999\n", "transferred 1.0 GiB of 0.0 B", "active, transferred 1e1 KiB of . B",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeMembers(data)
		_, _ = decodeVMList(data)
		_, _ = decodeStorages(data, "pve1")
		_, _ = decodeVolumes(data)
		_, _ = decodeNodeStatus(data)
		if r, err := decodeResources(data); err == nil {
			if !slices.IsSortedFunc(r.VMs, func(a, b VM) int { return cmp.Compare(a.VMID, b.VMID) }) {
				t.Error("VMs are not sorted")
			}
			for _, v := range r.VMs {
				if v.Uptime < 0 {
					t.Errorf("uptime %v", v.Uptime)
				}
			}
		}
		// What is read can be stored.
		snapshots, _ := decodeSnapshots(data)
		newest, _ := decodeNewest(data)
		check, _ := decodeMigrationCheck(data, "pve2")
		if _, err := json.Marshal([]any{snapshots, newest, check, decodeHAManaged(data)}); err != nil {
			t.Error(err)
		}
		if !slices.IsSortedFunc(snapshots, func(a, b VMSnapshot) int { return a.At.Compare(b.At) }) {
			t.Error("snapshots are not sorted")
		}
		if p, err := decodePoll(data); err == nil && (!slices.Contains(taskStates, p.state) || !bytes.HasSuffix(data, p.data)) {
			t.Errorf("a look at a task: %+v", p)
		}
		if why := reason(data); !utf8.ValidString(why) {
			t.Errorf("a reason: %q", why)
		}
		c := decodeConfig(data, "pve1", 101)
		for k, v := range c.Options {
			if strings.ContainsAny(k+v, "\n") || strings.HasPrefix(k, "[") {
				t.Errorf("option %q: %q", k, v)
			}
			if n, ok := parseSize(property(v, "size")); ok && n < 0 {
				t.Errorf("size %d of %q", n, v)
			}
		}
		for a, id := range decodeAddresses(data) {
			if !a.IsValid() {
				t.Errorf("address %v of %d", a, id)
			}
		}
		for _, progress := range []func(string) (float64, bool){TransferProgress, DownloadProgress, MigrationProgress} {
			if x, ok := progress(string(data)); ok && !(x >= 0 && x <= 1) {
				t.Errorf("progress %v", x)
			}
		}
	})
}

// PVE keeps tags in small letters, and lists them with any of three separators.
func TestTags(t *testing.T) {
	for list, want := range map[string][]string{
		"": nil, "prod": {"prod"}, "Prod;web": {"prod", "web"}, "prod, Web prod": {"prod", "web"}, ";": nil,
	} {
		if got := Tags(list); !slices.Equal(got, want) {
			t.Errorf("%q has the tags %q, want %q", list, got, want)
		}
	}
}

package doctor_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/provision/doctor"
	"pvebot/provision/image"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	os.Exit(simtest.Main{M: m}.Run())
}

// ward is a simulated cluster and how it is looked at.
type ward struct {
	sim     *pvesim.Sim
	nodes   cluster.NodesConfig
	patient doctor.Patient
}

func newWard(t *testing.T, o pvesim.Options) *ward {
	t.Helper()
	sim := pvesim.Start(t, o)
	access := sim.Access()
	pool, err := alloc.NewPool("192.168.0.1", 118, 128)
	if err != nil {
		t.Fatal(err)
	}
	return &ward{sim, sim.NodesConfig(), doctor.Patient{
		Addrs: access.Addrs, MainNode: "pve1", User: "root", KeyFile: "id_ed25519",
		Storage: "local-lvm", Bridge: "vmbr0", ImageDir: access.ImageDir, Pool: pool, Images: image.Default(),
	}}
}

// examine returns what was found, as lines: STATUS CHECK ABOUT: SAY | FIX.
func (w *ward) examine(t *testing.T) []string {
	t.Helper()
	nodes, err := cluster.Connect(w.nodes)
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	where := w.sim.ClusterConfig()
	w.patient.Cluster = cluster.New(nodes, cluster.NewTasks(nodes, where), where)
	var lines []string
	if err := doctor.Examine(t.Context(), w.patient, func(f doctor.Finding) {
		if healthy := f.Status == doctor.Fine || f.Status == doctor.Skipped; healthy != (f.Fix == "") || f.Say == "" || f.Check == "" {
			t.Errorf("a finding is not whole: %+v", f)
		}
		lines = append(lines, strings.Join([]string{string(f.Status), f.Check, f.About + ":", f.Say, "|", f.Fix}, " "))
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestHealthy(t *testing.T) {
	for _, line := range newWard(t, pvesim.Options{}).examine(t) {
		if !strings.HasPrefix(line, "fine ") {
			t.Error(line)
		}
	}
}

// withBridges are the default nodes, each with bridges of its own.
func withBridges(lists ...string) []pvesim.NodeSpec {
	nodes := pvesim.DefaultNodes()
	for i, list := range lists {
		nodes[i].Bridges = strings.Fields(list)
	}
	return nodes
}

// slow is a clock that is behind.
type slow struct {
	cluster.SystemClock
	by time.Duration
}

func (c slow) Now() time.Time { return c.SystemClock.Now().Add(-c.by) }

// Each fault is found, told with what mends it, and hides no other finding that
// it does not concern.
func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		options pvesim.Options
		plant   func(*testing.T, *ward)
		want    []string // beginnings of findings that are not fine: all of them
	}{
		"a node is down": {
			plant: func(_ *testing.T, w *ward) { w.sim.Down("pve2") },
			want: []string{
				"problem nodes pve2: it can't be reached at 127.0.0.1:",
				"warning quorum pve2: the cluster says that it is offline | ssh -p ",
			},
		},
		"a name that only ~/.ssh/config knows": {
			plant: func(_ *testing.T, w *ward) {
				right := w.nodes.Dial
				if right == nil {
					right = new(net.Dialer).DialContext
				}
				addr := w.patient.Addrs["pve2"]
				w.patient.Addrs["pve2"] = "two"
				w.nodes.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
					if to == addr {
						return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: "two", IsNotFound: true}}
					}
					return right(ctx, network, to)
				}
			},
			want: []string{"problem nodes pve2: nobody knows a machine called two | write the address: NODE_pve2=ADDRESS; names and ports of ~/.ssh/config are not read"},
		},
		"no quorum": {
			plant: func(_ *testing.T, w *ward) { w.sim.Quorum(false) },
			want:  []string{"problem quorum : the cluster has no quorum: nothing can be created, started or moved | ssh -p "},
		},
		"keys are not pinned": {
			plant: func(t *testing.T, w *ward) {
				check, err := knownhosts.New()
				if err != nil {
					t.Fatal(err)
				}
				w.nodes.HostKeys = check
			},
			want: append([]string{
				"problem nodes pve1: its host key is not pinned: SHA256:", "problem nodes pve2: its host key is not pinned: SHA256:", "problem nodes pve3: its host key is not pinned: SHA256:",
			}, skipped("tools", "clocks", "quorum", "versions", "storage", "room for images", "bridge", "addresses", "images")...),
		},
		"another machine": {
			plant: func(t *testing.T, w *ward) {
				file := filepath.Join(t.TempDir(), "known_hosts")
				line := knownhosts.Line([]string{knownhosts.Normalize(w.patient.Addrs["pve1"])}, newKey(t).PublicKey())
				if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				check, err := knownhosts.New(file)
				if err != nil {
					t.Fatal(err)
				}
				right := w.nodes.HostKeys
				w.nodes.HostKeys = func(host string, addr net.Addr, key ssh.PublicKey) error {
					if host == w.patient.Addrs["pve1"] {
						return check(host, addr, key)
					}
					return right(host, addr, key)
				}
			},
			want: []string{"problem nodes pve1: it shows another host key than the pinned one: SHA256:"},
		},
		"the key is not let in": {
			plant: func(t *testing.T, w *ward) { w.nodes.Signers = []ssh.Signer{newKey(t)} },
			want: append([]string{
				"problem nodes pve1: it does not let the bot's key in | ssh-copy-id -i id_ed25519 -p ",
				"problem nodes pve2: it does not let the bot's key in", "problem nodes pve3: it does not let the bot's key in",
			}, skipped("tools", "clocks", "quorum", "versions", "storage", "room for images", "bridge", "addresses", "images")...),
		},
		"an old gate": {
			plant: func(_ *testing.T, w *ward) {
				w.sim.ForceCommand("echo 'pvebot-gate: not a command of the bot' >&2; exit 126")
			},
			want: append([]string{
				"problem nodes pve1: its gate is of another version of the bot, or of other settings | bot gate | ssh -p ",
				"problem nodes pve2: its gate is", "problem nodes pve3: its gate is",
			}, skipped("tools", "clocks", "quorum", "versions", "storage", "room for images", "bridge", "addresses", "images")...),
		},
		"clocks": {
			plant: func(_ *testing.T, w *ward) { w.patient.Clock = slow{by: 20 * time.Second} },
			want: []string{
				"warning clocks pve1: its clock and this machine's are ", "warning clocks pve2: its clock", "warning clocks pve3: its clock",
			},
		},
		"clocks by far": {
			plant: func(_ *testing.T, w *ward) { w.patient.Clock = slow{by: -time.Hour} },
			want: []string{
				"problem clocks pve1: its clock and this machine's are ", "problem clocks pve2: its clock", "problem clocks pve3: its clock",
			},
		},
		"a node that nobody configured": {
			plant: func(_ *testing.T, w *ward) {
				delete(w.patient.Addrs, "pve3")
				w.nodes.Targets = slices.DeleteFunc(w.nodes.Targets, func(t cluster.Target) bool { return t.Name == "pve3" })
			},
			want: []string{"warning quorum pve3: it is in the cluster, and the bot does not know it: VMs that move there are out of reach | NODE_pve3=192.168.0.13"},
		},
		"a node that is not in the cluster": {
			plant: func(_ *testing.T, w *ward) {
				w.patient.Addrs["pve9"] = w.patient.Addrs["pve1"]
				w.nodes.Targets = append(w.nodes.Targets, cluster.Target{Name: "pve9", Addr: w.patient.Addrs["pve1"]})
			},
			want: []string{
				"problem quorum pve9: the cluster has no node of that name | take NODE_pve9 out, or call it as PVE does: pve1, pve2, pve3",
				"problem versions pve9: it does not tell its status", "problem storage pve9: it does not list", "problem bridge pve9: it does not list",
			},
		},
		"no such storage": {
			plant: func(_ *testing.T, w *ward) { w.patient.Storage = "ceph" },
			want: []string{
				"problem storage pve1: there is no storage ceph | ASSIGN_STORAGE=local-lvm", "warning storage pve2: there is no storage ceph", "warning storage pve3: there is no storage ceph",
			},
		},
		"storage is full": {
			plant: func(_ *testing.T, w *ward) { w.sim.Fill("local-lvm", 5<<30) },
			want: []string{
				"problem storage pve1: storage local-lvm has 5 GB free, less than one disk | ssh -p ", "problem storage pve2: storage local-lvm has", "problem storage pve3: storage local-lvm has",
			},
		},
		"no such bridge": {
			options: pvesim.Options{Bridges: []string{"vmbr1", "vmbr2"}},
			want: []string{
				"problem bridge pve1: there is no bridge vmbr0 | BRIDGE=vmbr1 or BRIDGE=vmbr2", "problem bridge pve2: there is no bridge vmbr0", "problem bridge pve3: there is no bridge vmbr0",
			},
		},
		"a bridge that only some nodes have": {
			options: pvesim.Options{Nodes: withBridges("vmbr1", "vmbr1", "vmbr0")},
			want: []string{
				"warning bridge pve1: there is no bridge vmbr0: new VMs go to pve3, and can't be moved here | make a bridge: ", "warning bridge pve2: there is no bridge vmbr0: ",
			},
		},
		"bridges of further networks": {
			options: pvesim.Options{Nodes: withBridges("vmbr0 vmbr1", "vmbr0", "vmbr0"), VNets: []pvesim.VNetSpec{{Name: "lab"}}},
			plant: func(_ *testing.T, w *ward) {
				w.patient.Networks = []doctor.Network{{Name: "dmz", Bridge: "vmbr1"}, {Name: "sdn", Bridge: "lab"}, {Name: "old", Bridge: "vmbr7"}}
			},
			want: []string{
				"warning bridge network dmz: its bridge vmbr1 is missing on pve2, pve3: its VMs go to pve1, and can't be moved elsewhere | make a bridge: ",
				"problem bridge network old: no node has its bridge vmbr7 | make a bridge: ",
			},
		},
		"another network": {
			plant: func(t *testing.T, w *ward) {
				pool, err := alloc.NewPool("10.9.8.1", 100, 101)
				if err != nil {
					t.Fatal(err)
				}
				w.patient.Pool = pool
			},
			want: []string{
				"warning bridge pve1: the node's own address on vmbr0 is 192.168.0.11/24, and the gateway 10.9.8.1 is not in that network",
				"warning bridge pve2: the node's own address", "warning bridge pve3: the node's own address",
				"warning addresses : the gateway 10.9.8.1 does not answer a ping from pve1 | see whether GATEWAY is right: ssh -p ",
			},
		},
		"the range is full": {
			plant: func(t *testing.T, w *ward) {
				pool, err := alloc.NewPool("192.168.0.1", 120, 120)
				if err != nil {
					t.Fatal(err)
				}
				w.patient.Pool = pool
			},
			want: []string{"problem addresses : no address of 192.168.0.120-120 is free | widen ASSIGN_IP_START and ASSIGN_IP_END"},
		},
		"strangers in the range": {
			options: pvesim.Options{Answering: addrs("192.168.0.127", "192.168.0.121", "192.168.0.122", "192.168.0.123", "192.168.0.124", "192.168.0.125")},
			want: []string{
				"warning addresses : addresses of the range are in use that no VM's configuration names: 192.168.0.121, 192.168.0.122, 192.168.0.123, 192.168.0.124, 192.168.0.125, 1 more | if a DHCP server",
			},
		},
		"an image is gone": {
			plant: func(_ *testing.T, w *ward) {
				img, _ := image.Default().Find("debian", "12")
				w.sim.SetWeb(img.Sums, []byte("nothing of that name\n"))
			},
			want: []string{"warning images Debian 12 (bookworm): it can't be downloaded: the checksum file has no sha512 line for debian-12-"},
		},
		"no way out": {
			options: pvesim.Options{Web: map[string][]byte{"https://example.org/": nil}},
			want:    []string{"problem images : pve1 can't fetch any image's checksums: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, tc.options)
			if tc.plant != nil {
				tc.plant(t, w)
			}
			got := slices.DeleteFunc(w.examine(t), func(line string) bool { return strings.HasPrefix(line, "fine ") })
			for i := range max(len(got), len(tc.want)) {
				if i >= len(got) || i >= len(tc.want) || !strings.HasPrefix(got[i], tc.want[i]) {
					t.Fatalf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
				}
			}
		})
	}
}

func skipped(checks ...string) []string {
	var lines []string
	for _, c := range checks {
		lines = append(lines, "skipped "+c+" : no node answers")
	}
	return lines
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestProbes(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := errors.New("asked to stop")
	var got []doctor.Finding
	err := doctor.Probes(ctx, []doctor.Probe{
		{Check: "store", Run: func(context.Context) (string, error) { return "answers", nil }},
		{Check: "Slack", Fix: "see docs", Run: func(context.Context) (string, error) { return "", errors.New("the token is revoked") }},
		{Check: "Discord", Fix: "see docs", Run: func(context.Context) (string, error) {
			return "", fmt.Errorf("odd: %w", &doctor.Trouble{Status: doctor.Warning, Say: "no threads there", Fix: "open this link"})
		}},
		{Check: "Discord", Run: func(context.Context) (string, error) { cancel(asked); return "", nil }},
	}, func(f doctor.Finding) { got = append(got, f) })
	want := []doctor.Finding{
		{Check: "store", Status: doctor.Fine, Say: "answers"},
		{Check: "Slack", Status: doctor.Problem, Say: "the token is revoked", Fix: "see docs"},
		{Check: "Discord", Status: doctor.Warning, Say: "odd: no threads there", Fix: "open this link"},
	}
	if !slices.Equal(got, want) || !errors.Is(err, asked) {
		t.Errorf("%+v, %v", got, err)
	}
}

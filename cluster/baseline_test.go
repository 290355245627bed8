package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// definition is PVE's own, each type with all of its flags in the spelling of
// /proc/cpuinfo: CPUConfig.pm of qemu-server 9.2.
var definition = []struct{ name, flags string }{
	{"kvm64", ""},
	{"x86-64-v2", "popcnt pni sse4_1 sse4_2 ssse3"},
	{"x86-64-v2-AES", "aes popcnt pni sse4_1 sse4_2 ssse3"},
	{"x86-64-v3", "aes popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"},
	{"x86-64-v4", "aes popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave avx512f avx512bw avx512cd avx512dq avx512vl"},
}

// runs says by the definition whether a CPU with these flags has a type.
func runs(flags []string, typ int) bool {
	for f := range strings.FieldsSeq(definition[typ].flags) {
		if !slices.Contains(flags, f) {
			return false
		}
	}
	return true
}

// In any cluster: each node of the group has all that the baseline needs, no
// better type has that property, and those who are told to be the limit are
// just those that lack what they are told to lack.
func TestBaselineIsItsDefinition(t *testing.T) {
	all := strings.Fields(definition[len(definition)-1].flags)
	rnd := rand.New(rand.NewPCG(7, 7))
	seen := map[string]int{}
	for range 3000 {
		flags := map[string][]string{}
		var nodes []NodeCPU
		for i := range 1 + rnd.IntN(4) {
			node := fmt.Sprintf("pve%d", i+1)
			has := strings.Fields("fpu lm nx hypervisor " + definition[rnd.IntN(len(definition))].flags)
			for range rnd.IntN(3) { // a flag more, a flag less
				f := all[rnd.IntN(len(all))]
				if i := slices.Index(has, f); i >= 0 {
					has = slices.Delete(has, i, i+1)
				} else {
					has = append(has, f)
				}
			}
			rnd.Shuffle(len(has), func(i, j int) { has[i], has[j] = has[j], has[i] })
			flags[node] = has
			nodes = append(nodes, CPUOf(node, has))
		}
		b := baselineOf(nodes)
		seen[b.Type]++
		for typ, d := range definition {
			everybody := true
			for _, has := range flags {
				everybody = everybody && runs(has, typ)
			}
			if want := cpuRank(d.name) <= cpuRank(b.Type); everybody != want {
				t.Fatalf("%v: the baseline is %s, and everybody can run %s: %v", flags, b.Type, d.name, everybody)
			}
		}
		var limits []string
		for _, n := range b.Limits() {
			limits = append(limits, n.Node)
			if len(n.Lacks) == 0 || cpuRank(n.Next) != cpuRank(b.Type)+1 {
				t.Fatalf("%+v is no reason for %s", n, b.Type)
			}
			for _, f := range n.Lacks {
				if slices.Contains(flags[n.Node], f) {
					t.Fatalf("%s has %s", n.Node, f)
				}
			}
			if has := append(slices.Clone(flags[n.Node]), n.Lacks...); !runs(has, cpuRank(n.Next)) {
				t.Fatalf("%s lacks more than %v for %s", n.Node, n.Lacks, n.Next)
			}
		}
		for node, has := range flags {
			if next := cpuRank(b.Type) + 1; next < len(definition) && runs(has, next) == slices.Contains(limits, node) {
				t.Fatalf("%s is told to be a limit or not, wrongly: %v", node, limits)
			}
		}
	}
	for _, d := range definition {
		if seen[d.name] == 0 {
			t.Errorf("no cluster had the baseline %s", d.name)
		}
	}
}

func TestCPUFits(t *testing.T) {
	for _, x := range []struct {
		cpu, node string
		fits      bool
	}{
		{"x86-64-v3", "x86-64-v3", true},
		{"x86-64-v3", "x86-64-v2-AES", false},
		{"x86-64-v2,flags=+aes", "x86-64-v2", true},
		{"kvm64", "kvm64", true},
		{"x86-64-v2", "kvm64", false},
		{"host", "kvm64", true}, // nobody can tell
		{"", "kvm64", true},
	} {
		if got := CPUFits(x.cpu, x.node); got != x.fits {
			t.Errorf("%q on a node that can %s: %v", x.cpu, x.node, got)
		}
	}
}

// A node is asked once per boot; who joins, leaves or is booted again changes
// the baseline at once.
func TestBaselineIsRenewed(t *testing.T) {
	const path = "pvesh get /nodes/%s/status --output-format json"
	status := func(typ int) func() (Result, error) {
		return says(`{"cpuinfo":{"flags":"fpu ` + definition[typ].flags + `"}}`)
	}
	members := func(version, online int) func() (Result, error) {
		return says(fmt.Sprintf(`{"version":%d,"cluster":{"quorate":1},"nodelist":{"pve1":{"online":1},"pve2":{"online":%d},"pve3":{"online":1}}}`, version, online))
	}
	const boot = "cat -- /boot"
	pve1 := &answers{reply: replies{
		"cat -- /etc/pve/.members": inTurn(members(1, 1), members(1, 1), members(2, 0), members(3, 1), members(3, 1)),
		boot:                       says("first\n"),
		fmt.Sprintf(path, "pve1"):  status(4),
		fmt.Sprintf(path, "pve3"):  status(3), // not configured here: asked through pve1
	}}
	pve2 := &answers{reply: replies{
		boot:                      inTurn(says("a\n"), says("a\n"), says("b\n"), says("b\n")),
		fmt.Sprintf(path, "pve2"): inTurn(status(1), status(2)),
	}}
	c := New(fakeNodes{"pve1": pve1, "pve2": pve2}, &fakeTasks{}, Config{BootIDFile: "/boot"})
	for i, want := range []string{"x86-64-v2", "x86-64-v2", "x86-64-v3", "x86-64-v2-AES", "x86-64-v2-AES"} {
		got, err := c.Baseline(t.Context(), "pve1")
		if err != nil || got.Type != want {
			t.Errorf("baseline %d: %s, %v, want %s", i, got.Type, err, want)
		}
	}
	asked := func(a *answers, node string) (n int) {
		for _, c := range a.asked {
			if strings.Join(c.Argv, " ") == fmt.Sprintf(path, node) {
				n++
			}
		}
		return n
	}
	if n := asked(pve1, "pve1"); n != 1 {
		t.Errorf("pve1 was asked %d times", n)
	}
	if n := asked(pve1, "pve3"); n != 3 {
		t.Errorf("pve3, whose boots nobody can see, was asked %d times; want once per membership", n)
	}
	if n := asked(pve2, "pve2"); n != 2 {
		t.Errorf("pve2 was asked %d times, want once per boot", n)
	}
}

func TestBaselineOfGroups(t *testing.T) {
	reply := replies{
		"cat -- /etc/pve/.members": says(`{"version":1,"cluster":{"quorate":1},"nodelist":{"a":{"online":1},"b":{"online":1},"c":{"online":1},"d":{"online":0}}}`),
		"cat -- /boot":             says("x"),
	}
	nodes := fakeNodes{}
	for i, name := range []string{"a", "b", "c"} {
		reply["pvesh get /nodes/"+name+"/status --output-format json"] = says(`{"cpuinfo":{"flags":"fpu ` + definition[4-i].flags + `"}}`)
		nodes[name] = &answers{reply: reply}
	}
	nodes["d"] = &answers{}
	c := New(nodes, &fakeTasks{}, Config{BootIDFile: "/boot", Groups: [][]string{{"d"}, {"c", "a"}}})
	all, err := c.Baselines(t.Context())
	if err != nil || len(all) != 2 || all[0].Type != "x86-64-v2-AES" || all[1].Type != "x86-64-v3" {
		t.Errorf("%+v, %v", all, err)
	}
	if limits := all[0].Limits(); len(limits) != 1 || limits[0].Node != "c" {
		t.Errorf("the first group is limited by %+v", limits)
	}
	if b, err := c.Baseline(t.Context(), "b"); err != nil || len(b.Nodes) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := c.Baseline(t.Context(), "d"); err == nil {
		t.Error("a node that is offline has a baseline")
	}
	if err := CheckGroups([][]string{{"a"}, {"b", "c"}}, nodes.Names()); err != nil {
		t.Error(err)
	}
	for _, bad := range [][][]string{{{"e"}}, {{"a"}, {"a"}}, {{"a", "a"}}} {
		if CheckGroups(bad, nodes.Names()) == nil {
			t.Errorf("%v are taken for groups", bad)
		}
	}
}

package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dark is a node that takes no notice of whoever connects, like one without
// power: a dial ends with the caller's time.
type dark struct {
	fakeNodes
	name string
}

func (d dark) Node(name string) (Runner, error) {
	if name == d.name {
		return darkRunner{}, nil
	}
	return d.fakeNodes.Node(name)
}

type darkRunner struct{}

func (darkRunner) Run(ctx context.Context, _ Cmd) (Result, error) {
	<-ctx.Done()
	return Result{}, notStarted(context.Cause(ctx))
}

// While the first node is dark, somebody with little time, as /readyz is, gets
// an answer of the others: at the second question at the latest.
func TestADarkNodeIsNotAskedFirstForEver(t *testing.T) {
	b := &answers{reply: replies{"cat -- /etc/pve/.members": says(`{"nodename":"b","version":4}`)}}
	c := New(dark{fakeNodes{"a": &answers{}, "b": b}, "a"}, &fakeTasks{}, Config{})
	var err error
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = c.Membership(ctx)
		cancel()
	}
	if err != nil {
		t.Errorf("nobody was asked but the node that is dark: %v", err)
	}
}

// moody is a node that is dark at times.
type moody struct {
	*answers
	dark bool
}

func (m *moody) Run(ctx context.Context, c Cmd) (Result, error) {
	if m.dark {
		return darkRunner{}.Run(ctx, c)
	}
	return m.answers.Run(ctx, c)
}

// moods are nodes of which b is dark at times.
type moods struct {
	fakeNodes
	b *moody
}

func (m moods) Node(name string) (Runner, error) {
	if name == "b" {
		return m.b, nil
	}
	return m.fakeNodes.Node(name)
}

// twoNodes are a, which can x86-64-v4, and b, which can x86-64-v3; a says status
// when it is asked about b.
func twoNodes(status func() (Result, error)) (*Cluster, moods) {
	const path = "pvesh get /nodes/%s/status --output-format json"
	cpu := func(typ int) func() (Result, error) {
		return says(`{"cpuinfo":{"flags":"fpu ` + definition[typ].flags + `"}}`)
	}
	a := &answers{reply: replies{
		"cat -- /etc/pve/.members": says(`{"nodename":"a","version":1,"cluster":{"quorate":1},"nodelist":{"a":{"online":1},"b":{"online":1}}}`),
		"cat -- /boot":             says("a\n"),
		fmt.Sprintf(path, "a"):     cpu(4),
		fmt.Sprintf(path, "b"):     status,
	}}
	b := &answers{reply: replies{"cat -- /boot": says("b\n"), fmt.Sprintf(path, "b"): cpu(3)}}
	nodes := moods{fakeNodes{"a": a, "b": b}, &moody{answers: b}}
	return New(nodes, &fakeTasks{}, Config{BootIDFile: "/boot"}), nodes
}

// wantBaseline asks for the one baseline that there is, and says how long that
// took.
func wantBaseline(t *testing.T, c *Cluster, typ, nodes string) time.Duration {
	t.Helper()
	began := time.Now()
	all, err := c.Baselines(t.Context())
	var names []string
	if len(all) == 1 {
		for _, n := range all[0].Nodes {
			names = append(names, n.Node)
		}
	}
	if err != nil || len(all) != 1 || all[0].Type != typ || strings.Join(names, " ") != nodes {
		t.Errorf("the baselines are %+v, %v; want %s of %s", all, err, typ, nodes)
	}
	return time.Since(began)
}

// What a node can run is known while it is dark, and nobody waits for it.
func TestBaselineOfANodeThatWentDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes := twoNodes(refuses(255, "ssh: connect to host b port 22: No route to host"))
		wantBaseline(t, c, "x86-64-v3", "a b")
		nodes.b.dark = true
		if took := wantBaseline(t, c, "x86-64-v3", "a b"); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A node that could not be asked yet is left out, and costs others little time:
// it is asked again each time.
func TestBaselineWithoutADarkNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes := twoNodes(refuses(255, "ssh: connect to host b port 22: No route to host"))
		nodes.b.dark = true
		wantBaseline(t, c, "x86-64-v4", "a")
		if took := wantBaseline(t, c, "x86-64-v4", "a"); took > 5*time.Second {
			t.Errorf("the second time it took %v", took)
		}
		if able, err := c.CanImportDownload(t.Context(), "b"); err == nil {
			t.Errorf("it is told to be able to download: %v", able)
		}
		nodes.b.dark = false
		wantBaseline(t, c, "x86-64-v3", "a b")
	})
}

// A node that does not reach its own PVE is left out, too.
func TestBaselineWithoutASickNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes := twoNodes(refuses(255, "no"))
		nodes.fakeNodes["b"].reply["pvesh get /nodes/b/status --output-format json"] = refuses(255, "ipcc_send_rec[1] failed: Connection refused")
		wantBaseline(t, c, "x86-64-v4", "a")
	})
}

// Where nobody says what he can run there is no baseline, but a reason.
func TestBaselineOfNobody(t *testing.T) {
	c, nodes := twoNodes(refuses(255, "no"))
	for _, n := range nodes.fakeNodes {
		n.reply["cat -- /boot"] = refuses(1, "cat: /boot: Input/output error")
	}
	if all, err := c.Baselines(t.Context()); err == nil || !strings.Contains(err.Error(), "Input/output error") {
		t.Errorf("the baselines are %+v, %v", all, err)
	}
}

// A member that is not configured here stays what it was when it can't be asked
// anew.
func TestBaselineOfAMemberThatCantBeAskedAnew(t *testing.T) {
	const members = `{"nodename":"a","version":%d,"cluster":{"quorate":1},"nodelist":{"a":{"online":1},"c":{"online":1}}}`
	const path = "pvesh get /nodes/%s/status --output-format json"
	a := &answers{reply: replies{
		"cat -- /etc/pve/.members": inTurn(says(fmt.Sprintf(members, 1)), says(fmt.Sprintf(members, 2))),
		"cat -- /boot":             says("a\n"),
		fmt.Sprintf(path, "a"):     says(`{"cpuinfo":{"flags":"` + definition[4].flags + `"}}`),
		fmt.Sprintf(path, "c"):     inTurn(says(`{"cpuinfo":{"flags":"`+definition[2].flags+`"}}`), refuses(255, "500 proxy loop detected")),
	}}
	c := New(fakeNodes{"a": a}, &fakeTasks{}, Config{BootIDFile: "/boot"})
	wantBaseline(t, c, "x86-64-v2-AES", "a c")
	wantBaseline(t, c, "x86-64-v2-AES", "a c")
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
)

// dice make clusters and orders by chance, and the same ones again by their seed.
type dice struct{ *rand.Rand }

func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }

// sometimes is words or nothing.
func (d dice) sometimes(words string) string {
	if d.IntN(2) == 0 {
		return ""
	}
	return " " + words
}

// cluster is a small one: nodes of few CPUs, little memory and little space,
// some without the bridge, and guests of which some do not fit where they are.
func (d dice) cluster() pvesim.Options {
	o := pvesim.Options{Statd: -1, Storages: []pvesim.StorageSpec{
		{Name: "local-lvm", Type: d.of("lvmthin", "lvm", "zfspool"), Content: []string{"images"}, Capacity: int64(60+d.IntN(200)) << 30},
		{Name: "nfs", Type: "nfs", Content: []string{"images", "import", "iso"}, Shared: true, Capacity: int64(100+d.IntN(400)) << 30},
	}}
	flags := pvesim.DefaultNodes()[0].Flags
	for i := range 2 + d.IntN(2) {
		n := pvesim.NodeSpec{Name: fmt.Sprintf("pve%d", i+1), CPUs: 2 << d.IntN(4), Memory: int64(8<<d.IntN(3)) << 30, Flags: flags}
		if i > 0 && d.IntN(4) == 0 {
			n.Bridges = []string{"vmbr9"}
		}
		o.Nodes = append(o.Nodes, n)
	}
	for i := range 5 {
		cores := 1 << d.IntN(5)
		node := d.IntN(len(o.Nodes))
		o.Guests = append(o.Guests, pvesim.GuestSpec{
			VMID: 200 + i, Name: fmt.Sprintf("vm-%d", i), Node: o.Nodes[node].Name, Cores: cores, MemoryMB: 512 << d.IntN(5), Disk: int64(4+d.IntN(12)) << 30,
			Running: cores*2 <= o.Nodes[node].CPUs && o.Nodes[node].Bridges == nil, Options: map[string]string{"sockets": d.of("1", "1", "2")},
		})
	}
	return o
}

// line is an order as somebody types it.
func (d dice) line(nodes int) string {
	vm, node := fmt.Sprintf("vm-%d", d.IntN(5)), fmt.Sprintf("pve%d", 1+d.IntN(nodes))
	n := func(format string, from, to int) string { return fmt.Sprintf(format, from+d.IntN(to-from)) }
	switch d.IntN(10) {
	case 0, 1, 2:
		return "/vm install ubuntu" + d.sometimes(n("--cpu %d", 1, 24)) + d.sometimes(n("--ram %dG", 1, 24)) + d.sometimes(n("--disk %dG", 16, 300)) +
			d.sometimes(n("--count %d", 1, 8)) + d.sometimes("--node "+node) + d.sometimes("--storage "+d.of("local-lvm", "nfs", "iso")) +
			d.sometimes("--name "+d.of("vm-1", "new", "vm"))
	case 3, 4:
		return "/vm set " + vm + d.sometimes(n("--cpu %d", 1, 24)) + d.sometimes(n("--ram %dG", 1, 80)) + n(" --disk +%dG", 1, 200)
	case 5:
		return "/vm clone " + vm + d.sometimes("--name "+d.of("vm-1", "copy"))
	case 6:
		return "/vm migrate " + vm + " " + node
	case 7:
		return "/vm " + d.of("start", "stop", "reboot", "shutdown", "destroy") + " " + vm
	case 8:
		return "/vm drain " + node
	}
	return "/vm snapshot " + vm + " " + d.of("before", "after")
}

// What a plan says and what becomes of the order agree, whatever is ordered:
// both are refused in the same words, or neither is, and what is taken can be
// carried out.
func TestPlansAndOrdersAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := dice{rand.New(rand.NewPCG(seed, 20261201))}
			o := d.cluster()
			stage, err := (&bench{dir: t.TempDir()}).stage(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := stage.stop(); err != nil && context.Cause(t.Context()) == nil {
					t.Log(err)
				}
			}()
			left := 3 // orders that are carried out
			for i := range 50 {
				line := d.line(len(o.Nodes))
				if stage.agrees(t, fmt.Sprint(seed, "/", i), line, left > 0) {
					left--
				}
			}
		})
	}
}

// agrees compares the plan of a line with its order, and may carry that out.
func (s *stage) agrees(t *testing.T, key, line string, run bool) (ran bool) {
	t.Helper()
	req, err := commands.Parse(line)
	if err != nil {
		return false
	}
	clerk := s.clerk()
	me := bot.Asker{By: provision.Actor{Platform: "web", ID: "local"}, Key: key, Sure: true, OnFailure: provision.OnFailureUndo}
	plan, _, err := clerk.Plan(t.Context(), me, req)
	planned := strings.Join(plan.Blockers, "; ")
	if err != nil {
		planned, _ = provision.Explain(err)
	}
	drafts, err := clerk.Orders(t.Context(), me, req)
	ordered := ""
	if err != nil {
		ordered, _ = provision.Explain(err)
	}
	if (planned == "") != (ordered == "") || !strings.HasSuffix(ordered, planned) {
		t.Errorf("%s\nplan:  %q\norder: %q", line, planned, ordered)
	}
	switch req.Verb() {
	case "install", "set", "clone", "migrate", "snapshot":
	default:
		return false // it may wait for a guest that nobody can get into
	}
	if !run || ordered != "" || len(drafts) > 2 {
		return false
	}
	var ids []provision.JobID
	for _, draft := range drafts {
		job, err := clerk.Submit(t.Context(), draft)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return true
		}
		ids = append(ids, job.ID)
	}
	if _, err := s.settle(t.Context(), ids); err != nil {
		t.Errorf("%s was taken: %v", line, err)
	}
	return true
}

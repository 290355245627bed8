package pvesim_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/runnertest"
	"pvebot/cluster/taskstest"
)

// bare is a cluster for tests that need a node and nothing on it.
var bare = pvesim.Options{Nodes: pvesim.DefaultNodes()[:1], Empty: true}

func connect(t *testing.T, s *pvesim.Sim) cluster.Nodes {
	t.Helper()
	nodes, err := cluster.Connect(s.NodesConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nodes.Close() })
	return nodes
}

func runner(t *testing.T, nodes cluster.Nodes, node string) cluster.Runner {
	t.Helper()
	r, err := nodes.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// scratch makes a directory on a node.
func scratch(t *testing.T, s *pvesim.Sim, r cluster.Runner) string {
	t.Helper()
	dir := filepath.Join(s.Access().RunDir, "../../tmp/scratch")
	if _, err := r.Run(context.Background(), cluster.Cmd{Argv: []string{"mkdir", dir}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRunner(t *testing.T) {
	runnertest.Run(t, runnertest.Harness{New: func(t *testing.T) runnertest.Target {
		s := pvesim.Start(t, bare)
		r := runner(t, connect(t, s), "pve1")
		return runnertest.Target{
			Runner: r, Scratch: scratch(t, s, r),
			Drop: func() { s.Cut("pve1") },
			Refuse: func(on bool) {
				if on {
					s.Down("pve1")
				} else if err := s.Up("pve1"); err != nil {
					t.Error(err)
				}
			},
		}
	}})
}

// A task of before a reboot is lost with /run, and so it is called.
func TestTaskLostWithRun(t *testing.T) {
	s := pvesim.Start(t, bare)
	ts := cluster.NewTasks(connect(t, s), s.ClusterConfig())
	task, err := ts.Start(t.Context(), "pve1", "a", cluster.Cmd{Argv: []string{"sleep", "600"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reboot("pve1"); err != nil {
		t.Fatal(err)
	}
	for _, err = range ts.Follow(t.Context(), task, 0) {
	}
	if !errors.Is(err, cluster.ErrTaskLost) {
		t.Errorf("%v, want ErrTaskLost", err)
	}
	if _, err := ts.Find(t.Context(), "pve1", "a"); !errors.Is(err, cluster.ErrNoTask) {
		t.Errorf("%v, want ErrNoTask", err)
	}
}

func TestTasks(t *testing.T) {
	taskstest.Run(t, taskstest.Harness{New: func(t *testing.T) taskstest.Target {
		s := pvesim.Start(t, bare)
		nodes := connect(t, s)
		r := runner(t, nodes, "pve1")
		dir := scratch(t, s, r)
		cfg := s.ClusterConfig()
		cfg.RunDir = dir + "/run" // survives a reboot, which /run does not
		return taskstest.Target{
			Tasks: func() cluster.Tasks { return cluster.NewTasks(nodes, cfg) },
			Node:  "pve1", Scratch: dir, RunDir: cfg.RunDir, Runner: r,
			Drop: func() { s.Cut("pve1") },
			Reboot: func() {
				if err := s.Reboot("pve1"); err != nil {
					t.Error(err)
				}
			},
		}
	}})
}

// The nodes say which of them this program does not reach, and why.
func TestNodesThatAreNotReached(t *testing.T) {
	s := pvesim.Start(t, pvesim.Options{Empty: true})
	nodes := connect(t, s)
	pve := cluster.New(nodes, cluster.NewTasks(nodes, cluster.Config{}), cluster.Config{PVEEtc: s.Access().PVEEtc})
	failing := func() (all []string) {
		r, err := pve.Resources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Nodes {
			if n.Failing != "" {
				all = append(all, n.Name)
			}
		}
		return all
	}
	ask := cluster.Cmd{Argv: []string{"true"}}
	far := runner(t, nodes, "pve2")
	s.Down("pve2")
	if _, err := far.Run(t.Context(), ask); err == nil {
		t.Fatal("a node that is off answers")
	}
	if got := failing(); !slices.Equal(got, []string{"pve2"}) {
		t.Errorf("not reached: %v, want pve2", got)
	}
	if err := s.Up("pve2"); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Run(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	if got := failing(); len(got) > 0 {
		t.Errorf("not reached: %v, want none", got)
	}
}

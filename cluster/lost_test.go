package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"pvebot/cluster"
)

// lossy is a node whose first answer about starting a task gets lost.
type lossy struct {
	cluster.Nodes
	happens bool // the task is started all the same
	lost    atomic.Bool
}

func (l *lossy) Node(name string) (cluster.Runner, error) {
	r, err := l.Nodes.Node(name)
	return lossyRunner{r, l}, err
}

type lossyRunner struct {
	cluster.Runner
	l *lossy
}

func (r lossyRunner) Run(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
	if len(c.Argv) > 3 && c.Argv[3] == "task-start" && r.l.lost.CompareAndSwap(false, true) {
		if r.l.happens {
			if _, err := r.Runner.Run(ctx, c); err != nil {
				return cluster.Result{}, err
			}
		}
		return cluster.Result{}, fmt.Errorf("%w: the connection was reset", cluster.ErrLost)
	}
	return r.Runner.Run(ctx, c)
}

// A task whose start was not answered is asked for again, and runs once.
func TestStartWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"it began": true, "it did not begin": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes, err := cluster.Connect(cluster.NodesConfig{Targets: []cluster.Target{{Name: "pve1", Local: true}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { nodes.Close() })
			dir := t.TempDir()
			cfg := cluster.Config{RunDir: filepath.Join(dir, "run"), BootIDFile: filepath.Join(dir, "boot_id")}
			if err := os.WriteFile(cfg.BootIDFile, []byte("first\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			ts := cluster.NewTasks(&lossy{Nodes: nodes, happens: happens}, cfg)
			count := filepath.Join(dir, "count")
			task, err := ts.Start(t.Context(), "pve1", "a", cluster.Cmd{
				Argv: []string{"sh", "-c", `cat; echo began >>"$1"`, "sh", count}, Stdin: []byte("input\n"), Changes: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			for line, err := range ts.Follow(t.Context(), task, 0) {
				if err != nil || line.Text != "input" {
					t.Errorf("%+v, %v", line, err)
				}
			}
			if began, err := os.ReadFile(count); err != nil || string(began) != "began\n" {
				t.Errorf("it began %q, %v", began, err)
			}
		})
	}
}

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
	"pvebot/cluster/taskstest"
)

func TestTasksLocal(t *testing.T) {
	t.Parallel()
	taskstest.Run(t, taskstest.Harness{New: func(t *testing.T) taskstest.Target {
		nodes, err := cluster.Connect(cluster.NodesConfig{Targets: []cluster.Target{{Name: "pve1", Local: true}}})
		if err != nil {
			t.Fatal(err)
		}
		return target(t, nodes)
	}})
}

func TestTasksSSH(t *testing.T) {
	t.Parallel()
	taskstest.Run(t, taskstest.Harness{New: func(t *testing.T) taskstest.Target {
		s := sshtest.Start(t)
		nodes, err := cluster.Connect(cluster.NodesConfig{
			Targets: []cluster.Target{{Name: "pve1", Addr: s.Addr}},
			User:    s.User, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey),
		})
		if err != nil {
			t.Fatal(err)
		}
		to := target(t, nodes)
		to.Drop = s.Drop
		return to
	}})
}

// target is the node pve1 of nodes, on this machine.
func target(t *testing.T, nodes cluster.Nodes) taskstest.Target {
	t.Helper()
	t.Cleanup(func() { nodes.Close() })
	dir := t.TempDir()
	cfg := cluster.Config{RunDir: filepath.Join(dir, "run"), BootIDFile: filepath.Join(dir, "boot_id")}
	t.Cleanup(func() { endTasks(t, cfg.RunDir) })
	boot := func(id string) {
		if err := os.WriteFile(cfg.BootIDFile, []byte(id+"\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
	boot("first")
	runner, err := nodes.Node("pve1")
	if err != nil {
		t.Fatal(err)
	}
	return taskstest.Target{
		Tasks:   func() cluster.Tasks { return cluster.NewTasks(nodes, cfg) },
		Node:    "pve1",
		RunDir:  cfg.RunDir,
		Scratch: t.TempDir(),
		Runner:  runner,
		Reboot:  func() { boot("second") },
	}
}

// endTasks kills what a test left running and removes its files, before
// somebody else does and finds one that has just been written.
func endTasks(t *testing.T, runDir string) {
	var err error
	for range 100 {
		began, _ := filepath.Glob(filepath.Join(runDir, "*", "began", "pid"))
		for _, file := range began {
			var pid int
			if data, err := os.ReadFile(file); err == nil {
				_, _ = fmt.Sscan(string(data), &pid)
			}
			// A number may be somebody else's by now; its command line tells.
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if pid > 1 && strings.Contains(string(cmdline), runDir) {
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
		if err = os.RemoveAll(runDir); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(err)
}

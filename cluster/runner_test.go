package cluster_test

import (
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
	"pvebot/cluster/runnertest"
)

func TestLocal(t *testing.T) {
	runnertest.Run(t, runnertest.Harness{New: func(t *testing.T) runnertest.Target {
		return runnertest.Target{Runner: cluster.NewLocal(), Scratch: t.TempDir()}
	}})
}

func TestSSH(t *testing.T) {
	runnertest.Run(t, runnertest.Harness{New: func(t *testing.T) runnertest.Target {
		s := sshtest.Start(t)
		return runnertest.Target{Runner: dial(t, s), Scratch: t.TempDir(), Drop: s.Drop, Refuse: s.Refuse}
	}})
}

// TestSSHOfARootThatGreets: what root's shell prints at its start is no part of
// what a command prints (P15: a .bashrc that says Welcome).
func TestSSHOfARootThatGreets(t *testing.T) {
	runnertest.Run(t, runnertest.Harness{New: func(t *testing.T) runnertest.Target {
		s := sshtest.Start(t)
		s.Greet("Welcome to pve1\n{\"today\": 42}\nno end of a line: ")
		r := cluster.NewSSH(cluster.SSHConfig{
			Name: "pve1", Addr: s.Addr, User: s.User, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey), Fence: true,
		})
		t.Cleanup(func() { r.Close() })
		return runnertest.Target{Runner: r, Scratch: t.TempDir(), Drop: s.Drop, Refuse: s.Refuse}
	}})
}

// dial returns a Runner that talks to s.
func dial(t *testing.T, s *sshtest.Server) *cluster.SSH {
	t.Helper()
	r := cluster.NewSSH(cluster.SSHConfig{
		Name: "pve1", Addr: s.Addr, User: s.User, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey),
	})
	t.Cleanup(func() { r.Close() })
	return r
}

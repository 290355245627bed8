package cluster_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
)

// Why a node does not answer is told in a few words, and is in the log once; so
// is that it is back.
func TestUnreachableNodeIsToldOnce(t *testing.T) {
	server := sshtest.Start(t)
	nobody := freeAddr(t)
	to := nobody
	var log bytes.Buffer
	r := cluster.NewSSH(cluster.SSHConfig{
		Name: "pve1", Addr: server.Addr, User: server.User, Signers: []ssh.Signer{server.Signer}, HostKeys: ssh.FixedHostKey(server.HostKey),
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	})
	defer r.Close()
	for range 3 {
		_, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}})
		if got, want := cluster.Reason(err), "connection refused at "+nobody; got != want {
			t.Errorf("the reason is %q, want %q", got, want)
		}
	}
	if n := strings.Count(log.String(), "the node can't be reached"); n != 1 || !strings.Contains(log.String(), "node=pve1") || !strings.Contains(log.String(), `try="bot doctor"`) {
		t.Errorf("the log says it %d times:\n%s", n, &log)
	}
	to = server.Addr
	if _, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "answers again"); n != 1 {
		t.Errorf("the log says %d times that it is back:\n%s", n, &log)
	}
}

func TestReasonOfAStranger(t *testing.T) {
	server := sshtest.Start(t)
	for want, cfg := range map[string]cluster.SSHConfig{
		"permission denied: the bot's SSH key is not let in": {
			Signers: []ssh.Signer{sshtest.NewKey(t)}, HostKeys: ssh.FixedHostKey(server.HostKey),
		},
		"the host key of pve1 at " + server.Addr + " is not pinned": {
			Signers: []ssh.Signer{server.Signer}, HostKeys: ssh.FixedHostKey(sshtest.NewKey(t).PublicKey()),
			Algorithms: func() []string { return nil },
		},
	} {
		cfg.Name, cfg.Addr, cfg.User = "pve1", server.Addr, server.User
		r := cluster.NewSSH(cfg)
		_, err := r.Run(t.Context(), cluster.Cmd{Argv: []string{"true"}})
		if got := cluster.Reason(err); got != want {
			t.Errorf("the reason of %v is %q, want %q", err, got, want)
		}
		r.Close()
	}
}

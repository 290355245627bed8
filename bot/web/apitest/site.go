// Package apitest puts up what the tests of HTTP APIs need: a simulated
// cluster, a store, an engine that runs, and somebody who takes orders. Call
// pvesim.Main first in TestMain.
package apitest

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pvebot/alloc"
	"pvebot/bot"
	"pvebot/bot/web/access"
	"pvebot/bot/web/orders"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/image"
	"pvebot/provision/sqlstore"
)

// Options say what site to put up. The zero value has the default cluster, no
// tokens and a policy that gives this machine everything.
type Options struct {
	Sim      pvesim.Options
	Access   access.Config
	Policy   commands.Policy
	Settings func(*provision.Settings) // changes them
	Idle     bool                      // the engine does not run
}

// Site is a bot without a chat.
type Site struct {
	Sim      *pvesim.Sim
	Store    provision.Store
	Database string // the store's file
	Cluster  *cluster.Cluster
	Engine   *provision.Engine
	Settings provision.Settings
	Gate     *access.Gate
	Clerk    *orders.Clerk
}

// Start puts up a site that lives as long as the test.
func Start(t *testing.T, o Options) *Site {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &Site{Sim: pvesim.Start(t, o.Sim)}
	reach := s.Sim.Access()
	var targets []cluster.Target
	for name, addr := range reach.Addrs {
		targets = append(targets, cluster.Target{Name: name, Addr: addr})
	}
	nodes, err := cluster.Connect(cluster.NodesConfig{Targets: targets, Signers: []ssh.Signer{reach.Signer}, HostKeys: s.Sim.HostKeys()})
	check(err)
	t.Cleanup(func() { nodes.Close() })
	pool, err := alloc.NewPool("192.168.0.1", alloc.DefaultStart, alloc.DefaultEnd)
	check(err)
	where := cluster.Config{Name: "sim", PVEEtc: reach.PVEEtc, RunDir: reach.RunDir, BootIDFile: reach.BootIDFile}
	s.Cluster = cluster.New(nodes, cluster.NewTasks(nodes, where), where)
	data := t.TempDir()
	s.Store, err = sqlstore.Open(t.Context(), "sqlite:"+data, sqlstore.Options{})
	check(err)
	s.Database = filepath.Join(data, "pvebot.db")
	t.Cleanup(func() { s.Store.Close() })
	s.Settings = provision.Settings{MainNode: "pve1", Pool: pool, Storage: "local-lvm", ImageDir: reach.ImageDir}
	if o.Settings != nil {
		o.Settings(&s.Settings)
	}
	s.Engine = provision.NewEngine(provision.Config{
		Store: s.Store, Owner: "test", Cluster: s.Cluster, Images: image.Default(), Settings: s.Settings,
		Guests: provision.GuestAccess{
			Signers:   []ssh.Signer{reach.Signer},
			PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(reach.Signer.PublicKey()))),
			Dial:      nodes.Dial,
		},
	})
	policy, err := access.Enroll(o.Policy, o.Access)
	check(err)
	s.Gate, err = access.New(o.Access)
	check(err)
	s.Clerk = orders.New(orders.Config{Clerk: &bot.Clerk{Engine: s.Engine, Store: s.Store, Policy: policy}})
	if !o.Idle {
		s.Run(t)
	}
	return s
}

// Run lets the engine work until the test ends.
func (s *Site) Run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Engine.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// Changed are the commands that ran on the nodes and change something.
func (s *Site) Changed() []string {
	var ran []string
	for _, r := range s.Sim.Ran() {
		if r.Changes() {
			ran = append(ran, r.String())
		}
	}
	return ran
}

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/metrics"
	"pvebot/bot/traces"
	"pvebot/bot/web"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// house is the object graph: everything that one bot consists of, except for
// its page.
type house struct {
	store   provision.Store
	sites   bot.Sites // the clusters that people can order in
	works   []*works  // those that this bot works for
	engine  face      // of the first site
	metrics *metrics.Metrics
	traces  *traces.Sender // nil: nobody wants any
	chats   []chat         // beside the page; see join
	policy  commands.Policy
	log     *slog.Logger
	clock   cluster.Clock
	owner   string
	lease   time.Duration
}

// face is what a bot shows of a cluster: that of an engine here, or of one
// elsewhere.
type face interface {
	bot.Engine
	provision.Inventory
}

// works is what works for one cluster.
type works struct {
	name     string
	nodes    cluster.Nodes
	cluster  *cluster.Cluster
	settings provision.Settings
	engine   *provision.Engine
}

// build makes a house from the settings. Close it.
func build(ctx context.Context, c config, policy commands.Policy, log *slog.Logger) (_ *house, err error) {
	h := &house{policy: policy, log: log, clock: c.clock, owner: owner(), lease: c.Kept.Lease}
	if h.clock == nil {
		h.clock = cluster.SystemClock{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	h.metrics = metrics.New(versionName(), h.clock, log)
	if h.traces, err = c.Traces.sender(h.clock, log); err != nil {
		return nil, err
	}
	store, err := openStore(ctx, c.StoreURL, sqlstore.Options{Lease: c.Kept.Lease, Log: log, Clock: h.clock})
	if err != nil {
		return nil, err
	}
	h.store = store
	for _, s := range c.offered() {
		f := face(provision.NewRemote(h.store, s.name))
		if s.here != nil {
			w, err := h.work(*s.here)
			if err != nil {
				return nil, err
			}
			f = w.engine
		}
		h.sites = append(h.sites, bot.Site{Name: s.name, Engine: f, Inventory: f})
		if h.engine == nil {
			h.engine = f
		}
	}
	return h, nil
}

// work has the house work for the cluster of the settings.
func (h *house) work(c config) (*works, error) {
	signers, err := cluster.LoadSigners(c.keyFile())
	if err != nil {
		return nil, fmt.Errorf("SSH_KEY: %w", err)
	}
	w := &works{name: c.Cluster}
	if w.settings, err = c.settings(); err != nil {
		return nil, err
	}
	images, err := c.catalogue()
	if err != nil {
		return nil, err
	}
	groups, err := c.groups()
	if err != nil {
		return nil, err
	}
	c.log = h.log
	if w.nodes, err = connect(c, signers, h.clock, func(skipped error) { h.log.Warn("SSH_KNOWN_HOSTS", "error", skipped) }); err != nil {
		return nil, err
	}
	w.nodes = h.metrics.Nodes(w.name, w.nodes)
	h.works = append(h.works, w)
	where := c.where()
	where.Clock, where.Groups = h.clock, groups
	w.cluster = cluster.New(w.nodes, cluster.NewTasks(w.nodes, where), where)
	w.engine = provision.NewEngine(provision.Config{
		Store: h.store, Cluster: w.cluster, Images: images, Settings: w.settings,
		Guests: guestAccess(c, w.nodes, signers),
		Clock:  h.clock, Log: h.log, Owner: h.owner, Workers: c.Workers, Lease: c.Kept.Lease,
		KeepEvents: time.Duration(c.Kept.Days) * 24 * time.Hour,
	})
	return w, nil
}

// worksFor is what works for a cluster, nil when another bot does.
func (h *house) worksFor(cluster string) *works {
	i := slices.IndexFunc(h.works, func(w *works) bool { return w.name == cluster })
	if i < 0 {
		return nil
	}
	return h.works[i]
}

// openStore opens a house's store. Tests put their own in its place.
var openStore = func(ctx context.Context, url string, o sqlstore.Options) (provision.Store, error) {
	s, err := sqlstore.Open(ctx, url, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (h *house) close() error {
	var errs []error
	for _, c := range h.chats {
		c.Close()
	}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	for _, w := range h.works {
		errs = append(errs, w.nodes.Close())
	}
	return errors.Join(errs...)
}

// open makes the desk and the follower of the given platforms. onFailure says,
// by platform, what a failed step leads to.
func (h *house) open(onFailure map[string]provision.OnFailure, platforms ...bot.Adapter) (*bot.Desk, *bot.Follower) {
	follower := bot.NewFollower(bot.FollowerConfig{
		Store: h.store, Adapters: platforms, Owner: h.owner, Clock: h.clock, Log: h.log,
	})
	desk := bot.NewDesk(bot.DeskConfig{
		Store: h.store, Sites: h.sites, Channels: h.policy.Channels, Policy: h.policy,
		Adapters: platforms, OnFailure: onFailure, Follower: follower, Lease: h.lease, Clock: h.clock, Log: h.log,
	})
	return desk, follower
}

// run opens the house on its page and its chats, and works until ctx ends.
func (h *house) run(ctx context.Context, page bot.Adapter) error {
	platforms := []bot.Adapter{page}
	for _, c := range h.chats {
		platforms = append(platforms, c)
	}
	desk, follower := h.open(nil, platforms...)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.labour(ctx) })
	g.Go(func() error { return follower.Run(ctx) })
	g.Go(func() error { return desk.Run(ctx) })
	g.Go(func() error { return h.measure(ctx, metrics.Sources{Follower: follower, Adapters: platforms}) })
	if h.traces != nil {
		g.Go(func() error { return h.traces.Run(ctx, h.store) })
	}
	g.Go(func() error { return page.Run(ctx, desk) })
	for _, c := range h.chats {
		g.Go(func() error { return h.attend(ctx, c, desk) })
	}
	return unlessDone(ctx, g.Wait())
}

// only works, and tells on its port, if it has one, how it is.
func (h *house) only(ctx context.Context, port *web.Web) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.labour(ctx) })
	if port != nil {
		g.Go(func() error { return h.measure(ctx, metrics.Sources{}) })
		g.Go(func() error { return port.Run(ctx, nil) })
	}
	return g.Wait()
}

// measure lets the metrics ask all that the house has, beside more.
func (h *house) measure(ctx context.Context, more metrics.Sources) error {
	more.Store = h.store
	for _, w := range h.works {
		more.Engines = append(more.Engines, w.engine)
	}
	return h.metrics.Run(ctx, more)
}

// labour works for the clusters that this bot works for, until ctx ends.
func (h *house) labour(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range h.works {
		g.Go(func() error { return w.engine.Run(ctx) })
	}
	return g.Wait()
}

// unlessDone is err, but nil when it only says that ctx was ended: that is how
// a run is meant to end.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// connect reaches the nodes: this machine if it is one of them, the others
// over SSH.
// Lines of known_hosts that can't be read are told to skipped.
func connect(c config, signers []ssh.Signer, clock cluster.Clock, skipped func(error)) (cluster.Nodes, error) {
	known, err := cluster.KnownHosts(c.knownHostsFile())
	if err != nil {
		return nil, fmt.Errorf("SSH_KNOWN_HOSTS: %w", err)
	}
	for _, line := range known.Skipped() {
		skipped(line)
	}
	var targets []cluster.Target
	for _, name := range slices.Sorted(maps.Keys(c.Nodes)) {
		targets = append(targets, cluster.Target{Name: name, Addr: c.Nodes[name], Local: isHere(name)})
	}
	return cluster.Connect(cluster.NodesConfig{
		Targets: targets, User: c.SSHUser, Signers: signers, HostKeys: known.Check, Clock: clock, Log: c.log,
	})
}

// isHere reports whether commands for the node called name are run right here:
// its name is ours, qm is here, and we are root, as qm wants. In a container or
// off the cluster no node is; a bot on a node that is not root goes by SSH.
func isHere(name string) bool {
	host, err := os.Hostname()
	if err != nil {
		return false
	}
	host, _, _ = strings.Cut(host, ".")
	_, err = exec.LookPath("qm")
	return host == name && err == nil && os.Geteuid() == 0
}

// guestAccess is how guests are reached: through their node's SSH connection,
// or directly where the bot is in their network.
func guestAccess(c config, nodes cluster.Nodes, signers []ssh.Signer) provision.GuestAccess {
	a := provision.GuestAccess{
		Signers:   signers,
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signers[0].PublicKey()))) + " pvebot",
		Dial:      nodes.Dial,
	}
	if c.GuestVia == "direct" {
		a.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	return a
}

// owner names this process in leases: HOST/PID/RANDOM. In containers two may have
// host and pid in common.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "bot"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8])
}

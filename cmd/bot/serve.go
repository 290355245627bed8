package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pvebot/bot/web"
	"pvebot/bot/web/access"
	"pvebot/cluster/textfile"
	"pvebot/commands"
	"pvebot/provision"
)

func (p *program) serveCommand() *cobra.Command {
	var only, prefix string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the bot, set up by the environment and .env",
		Long: "Runs the bot: its page, the chats that it is connected to, and the work.\n\n" +
			"With --cluster it only works, for one cluster, on orders that another bot takes and\n" +
			"stores in the same PostgreSQL. It needs that and the nodes, and nobody needs to reach\n" +
			"it: no token, no open port. Where PORT is set for it, /healthz, /readyz and /metrics\n" +
			"are there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if prefix != "" {
				stop, perr := profile(prefix)
				if perr != nil {
					return perr
				}
				defer func() { err = errors.Join(err, stop()) }()
			}
			if only != "" {
				return p.serveOnly(cmd.Context(), only)
			}
			return p.serve(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&only, "cluster", "", "only work, for the cluster called `NAME`")
	cmd.Flags().StringVar(&prefix, "profile", "", "write what CPU and memory are used for to `PREFIX`.cpu and .mem, for go tool pprof")
	return cmd
}

// serve runs the bot.
func (p *program) serve(ctx context.Context) error {
	c, policy, err := readHouse(p.env, p.dotenv)
	if err != nil {
		return err
	}
	log, err := c.logger(p.err)
	if err != nil {
		return err
	}
	for _, said := range c.misspelt {
		log.WarnContext(ctx, "settings", "say", said)
	}
	h, err := build(ctx, c, policy, log)
	if err != nil {
		return err
	}
	if err := h.join(c.Chat); err != nil {
		return errors.Join(err, h.close())
	}
	page, err := h.page(c)
	if err != nil {
		return errors.Join(err, h.close())
	}
	fmt.Fprintf(p.out, "pvebot %s: the page is at %s\n", versionName(), page.URL())
	h.tellSites(p.out)
	err = h.run(ctx, page)
	if cerr := h.close(); err == nil {
		err = cerr
	}
	return err
}

// readHouse reads the settings and the policy. All that is wrong with either is
// told in one error.
func readHouse(environ []string, dotenv string) (config, commands.Policy, error) {
	c, err := gather(environ, dotenv)
	if err != nil {
		return c, commands.Policy{}, err
	}
	policy, perr := c.policy()
	if perr == nil {
		perr = c.checkPolicy(policy)
	}
	err = c.check()
	if incomplete, ok := errors.AsType[*incompleteError](err); ok && perr != nil {
		incomplete.wrong = append(incomplete.wrong, strings.Split(perr.Error(), "\n")...)
		return c, policy, err
	}
	return c, policy, cmp.Or(err, perr)
}

// serveOnly works for one cluster.
func (p *program) serveOnly(ctx context.Context, name string) error {
	c, err := gather(p.env, p.dotenv)
	if err == nil {
		err = c.only(name)
	}
	if err != nil {
		return err
	}
	log, err := c.logger(p.err)
	if err != nil {
		return err
	}
	for _, said := range c.misspelt {
		log.WarnContext(ctx, "settings", "say", said)
	}
	h, err := build(ctx, c, commands.Policy{}, log)
	if err != nil {
		return err
	}
	var port *web.Web
	if c.port {
		if port, err = h.port(c); err != nil {
			return errors.Join(err, h.close())
		}
	}
	fmt.Fprintf(p.out, "pvebot %s: works for cluster %s\n", versionName(), name)
	if port != nil {
		fmt.Fprintf(p.out, "how it is: %s/readyz\n", port.URL())
	}
	return errors.Join(unlessDone(ctx, h.only(ctx, port)), h.close())
}

// tellSites says who works for which cluster, where there are several.
func (h *house) tellSites(out io.Writer) {
	if len(h.sites) < 2 {
		return
	}
	for _, site := range h.sites {
		if h.worksFor(site.Name) != nil {
			fmt.Fprintf(out, "cluster %s: this bot works for it\n", site.Name)
		} else {
			fmt.Fprintf(out, "cluster %s: another bot must work for it: bot serve --cluster %s\n", site.Name, site.Name)
		}
	}
}

// port is where a bot that only works says how it is.
func (h *house) port(c config) (*web.Web, error) {
	_, cfg, err := h.front(c)
	if err != nil {
		return nil, err
	}
	cfg.Bare = true
	return web.New(cfg), nil
}

// front is what is the same for every port of a bot, and who may come in there.
func (h *house) front(c config) (access.Config, web.Config, error) {
	who, err := c.Web.access()
	if err != nil {
		return who, web.Config{}, err
	}
	who.Shared = c.Web.LoginSecret != "" || !loopback(c.Listen)
	gate, err := access.New(who)
	if err != nil {
		return who, web.Config{}, err
	}
	cert, err := c.Web.tls()
	return who, web.Config{
		Store: h.store, Clock: h.clock, Log: h.log, Version: versionName(),
		Addr: net.JoinHostPort(c.Listen, strconv.Itoa(c.Port)), TLS: cert, AllowHosts: c.Web.AllowHosts,
		Checks: h.checks(), Gate: gate, Metrics: scrapesGate(gate, h.metrics),
	}, err
}

// page is the bot's page, with metrics and the API beside it.
func (h *house) page(c config) (*web.Web, error) {
	who, cfg, err := h.front(c)
	if err != nil {
		return nil, err
	}
	api, err := h.api(who, cfg.Gate)
	if err != nil {
		return nil, err
	}
	cfg.MaySee = h.maySee
	if cfg.Inventory, cfg.Fleet = h.engine, h.engine; len(h.sites) > 1 {
		cfg.Sites = h.sites
	}
	cfg.Secret, cfg.API, cfg.Hooks = []byte(c.Web.LoginSecret), api, h.hooks(c.Chat)
	return web.New(cfg), nil
}

// scrapesGate lets those ask for metrics who may look.
func scrapesGate(gate *access.Gate, next http.Handler) http.Handler {
	return gate.Handler(next, func(w http.ResponseWriter, _ *http.Request, status int, err error) {
		say, _ := provision.Explain(err)
		http.Error(w, say, status)
	})
}

// policy is who may do what: POLICY_FILE, or the ADMINS alone.
func (c *config) policy() (commands.Policy, error) {
	if c.PolicyFile == "" {
		return commands.AdminsPolicy(c.Admins)
	}
	policy, err := readPolicy(c.PolicyFile)
	if _, file := errors.AsType[*textfile.Error](err); file {
		err = fmt.Errorf("POLICY_FILE: %w", err)
	}
	return policy, err
}

// readPolicy reads a policy file.
func readPolicy(name string) (commands.Policy, error) {
	text, err := textfile.ReadUTF8(name)
	if err != nil {
		return commands.Policy{}, err
	}
	return commands.ReadPolicy(name, text)
}

// logger writes what operators read.
func (c *config) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL is %q: it is debug, info, warn or error", c.LogLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("LOG_FORMAT is %q: it is text or json", c.LogFormat)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"pvebot/bot"
	"pvebot/bot/console"
	"pvebot/bot/web"
	"pvebot/bot/web/access"
	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
)

// demoOptions are the flags of `bot demo`.
type demoOptions struct {
	listen, data  string
	fast, verbose bool
}

func (p *program) demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo [LINE]",
		Short: "Try it on a simulated cluster; nothing to install, nothing is changed",
		Long: "Without LINE: a chat page on http://127.0.0.1:8080, with a simulated Proxmox VE\n" +
			"cluster of three nodes behind it. With LINE: that one line, in the terminal; the\n" +
			"exit status is 0 when it succeeded.",
		Example: "  bot demo\n  bot demo \"/vm install ubuntu\"\n  bot demo \"/vm install debian --cpu 4 --ram 8G --count 3\"",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.demo(cmd.Context(), o, args)
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", web.DefaultAddr, "where the page is, `host:port`")
	cmd.Flags().StringVar(&o.data, "data", "", "keep jobs in this `directory`; default: a temporary one")
	cmd.Flags().BoolVar(&o.fast, "fast", false, "let nothing take time on the simulated cluster")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "write the log to standard error")
	return cmd
}

func (p *program) demo(ctx context.Context, o demoOptions, args []string) (err error) {
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	sim, err := pvesim.New(simOptions(o.fast))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	c, err := readConfig(sim.Env(), os.DevNull)
	if err != nil {
		return err
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp("", "pvebot"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.data)) }()
	}
	c.StoreURL = "sqlite:" + o.data
	h, err := build(ctx, c, commands.DemoPolicy(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if len(args) == 1 {
		return p.demoLine(ctx, h, args[0])
	}
	gate, err := access.New(access.Config{})
	if err != nil {
		return err
	}
	api, err := h.api(access.Config{}, gate)
	if err != nil {
		return err
	}
	page := web.New(web.Config{
		Store: h.store, Inventory: h.engine, Fleet: h.engine, Clock: h.clock, Log: log, Addr: o.listen, Version: versionName(),
		Actor:  provision.Actor{Platform: web.Platform, ID: "demo", Name: "demo"},
		Checks: h.checks(), Metrics: h.metrics, API: api, Gate: gate, MaySee: h.maySee,
	})
	fmt.Fprintf(p.out, "A simulated Proxmox VE cluster is running. Open %s and type:\n\n  /vm install ubuntu\n\nCtrl-C ends it.\n", page.URL())
	return h.run(ctx, page)
}

// demoLine runs one line in the terminal. A failed step is undone at once:
// nobody is there to be asked later.
func (p *program) demoLine(ctx context.Context, h *house, line string) error {
	screen := p.console()
	desk, follower := h.open(map[string]provision.OnFailure{console.Platform: provision.OnFailureUndo}, screen)
	work, stop := context.WithCancel(ctx)
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return h.labour(work) })
	g.Go(func() error { return follower.Run(work) })
	_, err := screen.RunLine(ctx, desk, line)
	stop()
	if werr := unlessDone(work, g.Wait()); err == nil {
		err = werr
	}
	if f, ok := errors.AsType[*console.Failure](err); ok && slices.ContainsFunc(f.Cards, func(c bot.Card) bool { return c.Tone == bot.Asking }) {
		return fmt.Errorf("%w\nNobody can press a button here: type the line on the page of `bot demo`", err)
	}
	return err
}

// console is the terminal that the program runs in.
func (p *program) console() *console.Console {
	c := console.Config{Out: p.out, NoColor: lookup(p.env, "NO_COLOR") != "", Actor: provision.Actor{Platform: console.Platform, ID: "you", Name: "demo"}}
	if f, ok := p.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && lookup(p.env, "TERM") != "dumb" {
		c.TTY = true
		c.Width = func() int { w, _, _ := term.GetSize(int(f.Fd())); return w }
		c.Height = func() int { _, h, _ := term.GetSize(int(f.Fd())); return h }
	}
	return console.New(c)
}

// lookup is the value of a variable in an environment, "" when it is not set.
func lookup(environ []string, name string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

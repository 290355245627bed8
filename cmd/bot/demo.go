package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"pvebot/bot"
	"pvebot/bot/console"
	"pvebot/bot/web"
	"pvebot/bot/web/access"
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
		Use:   "demo [flags] [LINE]",
		Short: "Try it on a simulated cluster; nothing to install, nothing is changed",
		Long: "Without LINE: a chat page on http://127.0.0.1:8080, or on PORT, with a simulated\n" +
			"Proxmox VE cluster of three nodes behind it. With LINE: that one line, in the\n" +
			"terminal; the exit status is 0 when it succeeded. What stands after LINE's first\n" +
			"word belongs to it.",
		Example: "  bot demo\n  bot demo /vm install ubuntu\n  bot demo --fast /vm install debian --cpu 4 --ram 8G --count 3",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			line, err := demoLineOf(cmd, args)
			if err != nil {
				return err
			}
			return p.demo(cmd.Context(), o, line)
		},
	}
	cmd.Flags().SetInterspersed(false) // the line has flags of its own
	cmd.Flags().StringVar(&o.listen, "listen", "", "where the page is, `host:port`; default "+web.DefaultAddr+", with the port of PORT")
	cmd.Flags().StringVar(&o.data, "data", "", "keep jobs in this `directory`, and the cluster while there are some\nthat are not over; default: a temporary one")
	cmd.Flags().BoolVar(&o.fast, "fast", false, "let nothing take time on the simulated cluster")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "write the log to standard error")
	return cmd
}

// demoLineOf is the line to run: its words, or all of it as one word, after which
// there may be flags of the command.
func demoLineOf(cmd *cobra.Command, args []string) (string, error) {
	if len(args) < 2 || !strings.Contains(args[0], " ") {
		words := make([]string, len(args))
		for i, w := range args {
			if words[i] = w; i > 0 && strings.ContainsAny(w, " \t") {
				words[i] = `"` + w + `"`
			}
		}
		return strings.Join(words, " "), nil
	}
	if err := cmd.ParseFlags(args[1:]); err != nil {
		return "", err
	}
	if more := cmd.Flags().Args(); len(more) > 0 {
		return "", fmt.Errorf("one line at a time: there is %q after %q", more[0], args[0])
	}
	return args[0], nil
}

// demoAddr is where the page is: on PORT of this machine.
func (p *program) demoAddr() (string, error) {
	port := lookup(p.env, "PORT")
	if port == "" {
		return web.DefaultAddr, nil
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("PORT is %q: a port is a number up to 65535", port)
	}
	return net.JoinHostPort("127.0.0.1", port), nil
}

func (p *program) demo(ctx context.Context, o demoOptions, line string) (err error) {
	if o.listen == "" {
		if o.listen, err = p.demoAddr(); err != nil {
			return err
		}
	}
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	sim, err := openDemoCluster(ctx, o)
	if err != nil {
		return err
	}
	over := sim.isNew()
	defer func() { err = errors.Join(err, sim.close(over)) }()
	c, err := readConfig(sim.env, os.DevNull)
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
	if err := sim.fits(ctx, h.store); err != nil {
		return errors.Join(err, h.close())
	}
	defer func() {
		open, serr := unfinished(context.WithoutCancel(ctx), h.store)
		if over = !open && serr == nil; !over && sim.kept != nil {
			fmt.Fprintf(p.out, "Jobs are under way. The simulated cluster stays for 10 minutes: bot demo --data %s goes on with them.\n", sim.dir)
		}
		err = errors.Join(err, serr, h.close())
	}()
	if line != "" {
		return p.demoLine(ctx, h, line)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("the page can't be on %s: %w; choose another place with --listen or PORT", o.listen, err)
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
		Store: h.store, Inventory: h.engine, Fleet: h.engine, Clock: h.clock, Log: log, Listener: l, Version: versionName(),
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

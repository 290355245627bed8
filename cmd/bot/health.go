package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pvebot/bot"
	"pvebot/bot/web"
	"pvebot/cluster"
	"pvebot/provision"
)

// checks are what the bot needs to do its work: the store, the nodes, and a
// connection to each chat that it is on.
func (h *house) checks() []web.Check {
	checks := []web.Check{
		{Name: "store", Ask: func(ctx context.Context) (string, error) {
			err := h.store.Probe(ctx)
			if err != nil && provision.KindOf(err) == provision.Internal {
				err = &provision.Error{Kind: provision.Unavailable, Say: "the store does not answer", Try: "look at the bot's log", Err: err}
			}
			return "answers", err
		}},
	}
	for _, site := range h.sites {
		here := h.worksFor(site.Name)
		switch {
		case here == nil:
			checks = append(checks, web.Check{Name: "cluster " + site.Name, Ask: func(ctx context.Context) (string, error) { return h.askBot(ctx, site.Name) }})
		case len(h.sites) == 1:
			checks = append(checks, web.Check{Name: "nodes", Ask: here.askNodes})
		default:
			checks = append(checks, web.Check{Name: "nodes of " + site.Name, Ask: here.askNodes})
		}
	}
	for _, c := range h.chats {
		if l, ok := c.(bot.Linked); ok {
			checks = append(checks, web.Check{Name: c.Name(), Ask: func(context.Context) (string, error) {
				return sayLink(c.Name(), l.Link(), h.clock.Now())
			}})
		}
	}
	return checks
}

// askNodes reports the cluster as the first node that answers sees it.
func (w *works) askNodes(ctx context.Context) (string, error) {
	m, err := w.cluster.Membership(ctx)
	if err != nil {
		return "", &provision.Error{
			Kind: provision.Unavailable, Say: because("no node answers", cluster.Reason(err)), Try: "bot doctor looks at each of them, and says how to mend it", Err: err,
		}
	}
	var online []string
	for _, member := range m.Members {
		if member.Online {
			online = append(online, member.Name)
		}
	}
	if !m.Quorate {
		return "", provision.Errorf(provision.Unavailable, "the cluster has no quorum; online: %s", strings.Join(online, ", "))
	}
	if len(m.Members) == 0 {
		return "a single node, which answers", nil
	}
	return fmt.Sprintf("%d of %d online, with quorum", len(online), len(m.Members)), nil
}

// because is what happened, with its reason where that is known.
func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// askBot reports whether another bot works for a cluster.
func (h *house) askBot(ctx context.Context, cluster string) (string, error) {
	until, now, err := h.store.Attended(ctx, cluster)
	if err == nil && !until.After(now) {
		err = &provision.Error{Kind: provision.Unavailable, Say: "no bot works for it", Try: "bot serve --cluster " + cluster}
	}
	return "another bot works for it", err
}

func sayLink(name string, l bot.Link, now time.Time) (string, error) {
	switch {
	case l.Up:
		return "connected for " + now.Sub(l.Since).Truncate(time.Second).String(), nil
	case l.Standby:
		return "another bot is connected", nil
	case l.Deaf:
		return "", &provision.Error{
			Kind: provision.Unavailable, Say: name + " is deaf: it takes connections and says nothing on them, so nobody there is heard",
			Try: "nothing to do here but wait, I keep trying; if it lasts, look at the platform's status page. " + l.Problem,
		}
	}
	return "", &provision.Error{Kind: provision.Unavailable, Say: "not connected", Try: cmp.Or(l.Problem, "look at the bot's log")}
}

func (p *program) healthCommand() *cobra.Command {
	var live bool
	var url, cluster string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the bot on this machine how it is",
		Long: "Asks the bot that serves at LISTEN and PORT whether it can do its work, and prints\n" +
			"how each of its checks went. The exit status is 0 when all is well. A bot that works\n" +
			"for one cluster only is asked with --cluster, or where the settings are about that one.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readVars(p.env, p.dotenv)
			if err != nil {
				return err
			}
			if cluster != "" {
				if err := c.worker(cluster); err != nil {
					return err
				}
				if !c.port && url == "" {
					return fmt.Errorf("the bot that works for %s has no port: set %s", cluster, c.portSetting())
				}
			}
			client := http.DefaultClient
			if url == "" {
				if client, err = c.Web.client(); err != nil {
					return err
				}
			}
			return p.health(cmd.Context(), client, cmp.Or(url, c.self()), live)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process and its store work, as a container's health check should")
	cmd.Flags().StringVar(&cluster, "cluster", "", "ask the bot that only works, for the cluster called `NAME`")
	cmd.Flags().StringVar(&url, "url", "", "ask the bot at this `address` instead, http://host:port")
	return cmd
}

// portSetting is where a worker's port is set.
func (c *config) portSetting() string {
	if len(c.Clusters) == 0 {
		return "PORT"
	}
	return prefixOf(c.Clusters[0]) + "PORT"
}

// self is where a bot on this machine answers.
func (c *config) self() string {
	host := c.Listen
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if c.Web.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, fmt.Sprint(c.Port))
}

// healthTime is a little more than the bot gives its checks.
const healthTime = 5 * time.Second

func (p *program) health(ctx context.Context, client *http.Client, base string, live bool) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	path := "/readyz"
	if live {
		path = "/healthz"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no bot answers at %s; is it running?", base)
	}
	defer resp.Body.Close()
	if live {
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the bot at %s is not well: %s", base, resp.Status)
		}
		fmt.Fprintln(p.out, "ok")
		return nil
	}
	var h web.Health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return fmt.Errorf("what answers at %s is no bot: %s", base, resp.Status)
	}
	for _, c := range h.Checks {
		mark := "ok   "
		if !c.OK {
			mark = "FAIL "
		}
		line := mark + c.Name + ": " + c.Say
		if c.Try != "" {
			line += " (" + c.Try + ")"
		}
		fmt.Fprintln(p.out, line)
	}
	if !h.Ready {
		return fmt.Errorf("the bot at %s is not ready", base)
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pvebot/cluster"
	"pvebot/provision"
)

func (p *program) imagesCommand() *cobra.Command {
	images := &cobra.Command{
		Use:   "images",
		Short: "The systems that can be installed, and which nodes have their images",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.eachStock(func(s *site, stock *provision.Stock) error { return p.listImages(cmd.Context(), s, stock) })
		},
	}
	var nodes []string
	var template bool
	var storage string
	fetch := &cobra.Command{
		Use:   "fetch OS [VERSION]",
		Short: "Bring an image onto the nodes, so that nobody has to wait for it",
		Long: "Downloads the current image, unless the nodes have it. With --template a template is\n" +
			"made of it: new VMs on that storage are then linked clones, which takes seconds.",
		Example: "  bot images fetch ubuntu\n  bot images fetch debian 13 --node pve2 --template",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			version := strings.Join(args[1:], "")
			return p.eachStock(func(s *site, stock *provision.Stock) error {
				return p.fetchImage(s, nodes, func(node string, tell func(string)) (string, error) {
					if template {
						return stock.Template(cmd.Context(), node, args[0], version, storage, tell)
					}
					return stock.Fetch(cmd.Context(), node, args[0], version, tell)
				})
			})
		},
	}
	fetch.Flags().StringSliceVar(&nodes, "node", nil, "only onto this `node`")
	fetch.Flags().BoolVar(&template, "template", false, "make a template of it as well")
	fetch.Flags().StringVar(&storage, "storage", "", "the `storage` for the template; default: ASSIGN_STORAGE")
	var yes bool
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove older releases of images, and what broken downloads left",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.eachStock(func(_ *site, stock *provision.Stock) error { return p.pruneImages(cmd.Context(), stock, yes) })
		},
	}
	prune.Flags().BoolVar(&yes, "yes", false, "remove them; without it they are only listed")
	images.AddCommand(fetch, prune)
	return images
}

// eachStock calls do for each cluster that this bot works for. No store is
// opened: a bot may run meanwhile.
func (p *program) eachStock(do func(s *site, stock *provision.Stock) error) error {
	c, err := readConfig(p.env, p.dotenv)
	if err != nil {
		return err
	}
	for _, s := range c.offered() {
		if s.here == nil {
			continue
		}
		if err := p.withStock(&s, do); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) withStock(s *site, do func(s *site, stock *provision.Stock) error) (err error) {
	signers, err := cluster.LoadSigners(cmp.Or(s.here.SSHKey, home("id_ed25519")))
	if err != nil {
		return fmt.Errorf("SSH_KEY: %w", err)
	}
	settings, err := s.here.settings()
	if err != nil {
		return err
	}
	images, err := s.here.catalogue()
	if err != nil {
		return err
	}
	nodes, err := connect(*s.here, signers, cluster.SystemClock{}, func(skipped error) { fmt.Fprintln(p.err, skipped) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	where := s.here.where()
	pve := cluster.New(nodes, cluster.NewTasks(nodes, where), where)
	return do(s, provision.NewStock(provision.Config{Cluster: pve, Images: images, Settings: settings}))
}

func (p *program) listImages(ctx context.Context, s *site, stock *provision.Stock) error {
	images, err := s.here.catalogue()
	if err != nil {
		return err
	}
	have, listErr := stock.List(ctx)
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OS\tVERSION\tSYSTEM\tUPDATES UNTIL\tNODE\tIMAGE\tLOOKED AT")
	for _, img := range images.All() {
		row := fmt.Sprintf("%s\t%s\t%s\t%s", img.OS, img.Version, img.Title, "?")
		if !img.End.IsZero() {
			row = fmt.Sprintf("%s\t%s\t%s\t%s", img.OS, img.Version, img.Title, img.End.Format("2006-01"))
		}
		own := slices.DeleteFunc(slices.Clone(have), func(h provision.Stocked) bool { return h.OS != img.OS || h.Version != img.Version })
		if len(own) == 0 {
			fmt.Fprintf(t, "%s\t-\t-\t-\n", row)
		}
		for _, h := range own {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s ago\n", row, h.Node, h.Where, h.Age.Round(time.Second))
		}
	}
	return errors.Join(t.Flush(), listErr)
}

// fetchImage calls fetch for each of nodes, all when none is named, and prints
// what it tells.
func (p *program) fetchImage(s *site, nodes []string, fetch func(node string, tell func(string)) (string, error)) error {
	all := slices.Sorted(maps.Keys(s.here.Nodes))
	for _, n := range nodes {
		if !slices.Contains(all, n) {
			return fmt.Errorf("there is no NODE_%s; there are %s", n, strings.Join(all, ", "))
		}
	}
	if len(nodes) == 0 {
		nodes = all
	}
	for _, node := range nodes {
		said := ""
		result, err := fetch(node, func(text string) {
			if text != said {
				fmt.Fprintf(p.out, "%s: %s\n", node, text)
			}
			said = text
		})
		if err != nil {
			say, try := provision.Explain(err)
			return fmt.Errorf("%s: %s; %s", node, say, try)
		}
		fmt.Fprintln(p.out, result)
	}
	return nil
}

func (p *program) pruneImages(ctx context.Context, stock *provision.Stock, yes bool) error {
	rest, err := stock.Remains(ctx)
	if err != nil {
		return err
	}
	for _, r := range rest {
		word := "would remove"
		if yes {
			word = "removed"
			if err := stock.Remove(ctx, r); err != nil {
				return err
			}
		}
		fmt.Fprintf(p.out, "%s: %s %s, %d MiB\n", r.Node, word, r.Where, r.Size>>20)
	}
	switch {
	case len(rest) == 0:
		fmt.Fprintln(p.out, "Nothing to remove.")
	case !yes:
		fmt.Fprintln(p.out, "Nothing was removed: --yes does it.")
	}
	return nil
}

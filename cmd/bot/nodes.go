package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"pvebot/cluster"
)

func (p *program) nodesCommand() *cobra.Command {
	nodes := &cobra.Command{Use: "nodes", Short: "The cluster's nodes"}
	nodes.AddCommand(&cobra.Command{
		Use:   "trust [NODE...]",
		Short: "Pin the SSH host keys of nodes",
		Long: "Fetches the SSH host key of each node (of all that NODE_<name> sets when none\n" +
			"is named), shows its fingerprint and writes it to SSH_KNOWN_HOSTS. Compare the\n" +
			"fingerprints with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints\n" +
			"on the node: a wrong one now is trusted for ever.",
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := readConfig(p.env, p.dotenv)
			if err != nil {
				return err
			}
			return p.trust(cmd.Context(), c, names)
		},
	})
	return nodes
}

// trust pins the host keys of the nodes called names, in whatever cluster of
// ours they are; of all nodes when there are no names.
func (p *program) trust(ctx context.Context, c config, names []string) error {
	ours := map[string]bool{}
	for _, s := range c.offered() {
		if s.here == nil {
			continue
		}
		file := s.here.knownHostsFile()
		known, err := cluster.KnownHosts(file)
		if err != nil {
			return fmt.Errorf("SSH_KNOWN_HOSTS: %w", err)
		}
		for _, skipped := range known.Skipped() {
			fmt.Fprintln(p.err, skipped)
		}
		for _, name := range slices.Sorted(maps.Keys(s.here.Nodes)) {
			ours[name] = true
			if len(names) > 0 && !slices.Contains(names, name) {
				continue
			}
			addr := s.here.Nodes[name]
			trusted, err := cluster.TrustHost(ctx, file, addr)
			if wrong, ok := errors.AsType[*cluster.HostKeyError](err); ok {
				wrong.Name = name
				return wrong
			}
			if err != nil {
				return fmt.Errorf("node %s: %w", name, err)
			}
			how := "pinned in"
			if trusted.Certified {
				how = "certified by an authority in"
			}
			fmt.Fprintf(p.out, "%s (%s): %s, %s %s\n", name, addr, trusted.Fingerprint, how, file)
		}
	}
	for _, name := range names {
		if !ours[name] {
			return fmt.Errorf("there is no NODE_%s", name)
		}
	}
	return nil
}

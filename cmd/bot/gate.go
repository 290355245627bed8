package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"pvebot/alloc"
	"pvebot/cluster"
)

// gatePath is where the gate is installed on a node, unless told otherwise.
const gatePath = "/usr/local/sbin/pvebot-gate"

func (p *program) gateCommand() *cobra.Command {
	var path, name string
	gate := &cobra.Command{
		Use:   "gate",
		Short: "Print the program that holds the bot's SSH key to what the bot does",
		Long: "Prints a program for the nodes, in Perl, which they have. As the forced command\n" +
			"of the bot's SSH key it runs what the bot runs, and refuses everything else, also\n" +
			"to somebody who took the key. Install it on each node, give the key a file of its\n" +
			"own, since Proxmox VE rewrites root's, and check it from here:\n\n" +
			"  bot gate | ssh root@NODE 'install -m 0755 /dev/stdin " + gatePath + "'\n" +
			"  bot gate key | ssh root@NODE 'install -D -m 0600 /dev/stdin /etc/pvebot/authorized_keys'\n" +
			"  { echo AuthorizedKeysFile .ssh/authorized_keys /etc/pvebot/authorized_keys; echo " + cluster.GateServer + "; } |\n" +
			"    ssh root@NODE 'cat >/etc/ssh/sshd_config.d/pvebot.conf && sshd -t && systemctl reload ssh'\n" +
			"  bot doctor\n\n" +
			"Take the key out of root's own authorized_keys then. A new version of the bot, or\n" +
			"other PVE_ETC, RUN_DIR, IMAGE_DIR or addresses, need it to be installed anew.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.oneCluster(name)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(cluster.Gate(cluster.GateConfig{Config: c.where(), ImageDir: c.ImageDir}))
			return err
		},
	}
	key := &cobra.Command{
		Use:   "key",
		Short: "Print the authorized_keys line of the bot's key behind the gate",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.oneCluster(name)
			if err != nil {
				return err
			}
			line, err := c.gateKey(path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
			return err
		},
	}
	key.Flags().StringVar(&path, "path", gatePath, "where the gate is on the nodes")
	gate.PersistentFlags().StringVar(&name, "cluster", "", "of which cluster, where there are several")
	gate.AddCommand(key)
	return gate
}

// oneCluster are the settings of the cluster called name, or of the only one.
func (p *program) oneCluster(name string) (*config, error) {
	c, err := readConfig(p.env, p.dotenv)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range c.offered() {
		if s.here != nil && (name == s.name || name == "" && len(c.Clusters) < 2) {
			return s.here, nil
		}
		if s.here != nil {
			names = append(names, "--cluster "+s.name)
		}
	}
	return nil, errors.New("of which cluster? " + strings.Join(names, " or "))
}

// gateKey is the authorized_keys line of the bot's key: the gate, and the SSH
// ports of the addresses that it gives to guests, in all networks.
func (c *config) gateKey(path string) (string, error) {
	signers, err := cluster.LoadSigners(c.keyFile())
	if err != nil {
		return "", fmt.Errorf("SSH_KEY: %w", err)
	}
	var guests []netip.AddrPort
	if c.GuestVia == "node" {
		pool, err := c.pool()
		if err != nil {
			return "", err
		}
		more, err := c.networks(pool)
		if err != nil {
			return "", err
		}
		pools := []alloc.Pool{pool}
		for _, n := range more {
			pools = append(pools, n.Pool)
		}
		for _, pool := range pools {
			for vmid := pool.Start; vmid <= pool.End; vmid++ {
				if slot, err := pool.Slot(vmid); err == nil {
					guests = append(guests, netip.AddrPortFrom(slot.IP, 22)) // with DHCP no address is known
				}
			}
		}
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signers[0].PublicKey())))
	return cluster.GateOptions(path, guests) + " " + public + " pvebot", nil
}

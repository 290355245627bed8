package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pvebot/bot/discord"
	"pvebot/bot/slack"
	"pvebot/cluster"
	"pvebot/provision/doctor"
	"pvebot/provision/sqlstore"
)

func (p *program) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps the bot from working, and say how to mend it",
		Long: "Looks at the settings, the nodes, the cluster, storages, networks, addresses,\n" +
			"images, the policy, the store and the chats, and changes nothing. The exit status\n" +
			"is 1 when there is a problem; what is only a warning does not count.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r findings = &spoken{out: cmd.OutOrStdout()}
			if asJSON {
				r = &written{out: cmd.OutOrStdout()}
			}
			if err := p.examine(cmd.Context(), r.add); err != nil {
				return err
			}
			problems, err := r.close()
			if err == nil && problems > 0 {
				err = errTold
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the findings as JSON")
	return cmd
}

// examine reads the settings as `bot serve` does, but goes on with what can be
// read of them.
func (p *program) examine(ctx context.Context, tell func(doctor.Finding)) error {
	settings := func(status doctor.Status, say, fix string) {
		tell(doctor.Finding{Check: "settings", Status: status, Say: say, Fix: fix})
	}
	c, err := gather(p.env, p.dotenv)
	if err != nil {
		return err
	}
	switch incomplete, ok := errors.AsType[*incompleteError](c.check()); {
	case ok:
		for _, wrong := range incomplete.wrong {
			settings(doctor.Problem, wrong, "set it in the environment or in .env")
		}
	default:
		settings(doctor.Fine, "complete", "")
		for _, said := range c.misspelt {
			settings(doctor.Warning, said, "correct the name in the environment or in .env")
		}
	}
	for _, s := range c.offered() {
		about := tell
		if len(c.Clusters) > 0 {
			about = func(f doctor.Finding) {
				f.Check = s.name + ": " + f.Check
				tell(f)
			}
		}
		if err := s.examine(ctx, about); err != nil {
			return err
		}
	}
	return doctor.Probes(ctx, c.probes(), tell)
}

// examine looks at one cluster, as far as its settings lead there.
func (s site) examine(ctx context.Context, tell func(doctor.Finding)) error {
	if s.here == nil {
		tell(doctor.Finding{Check: "nodes", Status: doctor.Skipped, Say: "another bot works for this cluster: ask the doctor there"})
		return nil
	}
	nodes, fix, err := s.here.reach(func(skipped error) {
		tell(doctor.Finding{Check: "known hosts", Status: doctor.Warning, Say: skipped.Error(), Fix: "edit " + s.here.knownHostsFile()})
	})
	if err != nil {
		tell(doctor.Finding{Check: "nodes", Status: doctor.Problem, Say: err.Error(), Fix: fix})
		return nil
	}
	defer nodes.Close()
	patient, err := s.here.patient(nodes)
	if err != nil {
		return nil //nolint:nilerr // told with the settings
	}
	return doctor.Examine(ctx, patient, tell)
}

// keyFile is the file of the bot's SSH key.
func (c *config) keyFile() string { return cmp.Or(c.SSHKey, home("id_ed25519")) }

// knownHostsFile is where the nodes' host keys are pinned.
func (c *config) knownHostsFile() string { return cmp.Or(c.KnownHosts, home("known_hosts")) }

// reach connects to the nodes that the settings name, and says what helps where
// it can't. It reaches out to nobody yet.
func (c *config) reach(skipped func(error)) (nodes cluster.Nodes, fix string, err error) {
	signers, err := cluster.LoadSigners(c.keyFile())
	if err != nil {
		return nil, "give the bot a key of its own: ssh-keygen -t ed25519 -N '' -f " + c.keyFile(), fmt.Errorf("SSH_KEY: %w", err)
	}
	nodes, err = connect(*c, signers, cluster.SystemClock{}, skipped)
	return nodes, "set it in the environment or in .env", err
}

// patient is the cluster as the settings have it.
func (c *config) patient(nodes cluster.Nodes) (doctor.Patient, error) {
	pool, poolErr := c.pool()
	images, imagesErr := c.catalogue()
	networks, _ := c.networks(pool) // what is wrong with the file is told with the settings
	var others []doctor.Network
	for _, n := range networks {
		others = append(others, doctor.Network{Name: n.Name, Bridge: n.Bridge})
	}
	where := c.where()
	return doctor.Patient{
		Cluster: cluster.New(nodes, cluster.NewTasks(nodes, where), where),
		Addrs:   c.Nodes, MainNode: c.MainNode, User: c.SSHUser, KeyFile: c.keyFile(),
		Storage: c.Storage, Bridge: c.Bridge, Networks: others, ImageDir: c.ImageDir, Pool: pool, Images: images,
	}, errors.Join(poolErr, imagesErr)
}

// probes look at what the bot needs beside the cluster.
func (c *config) probes() []doctor.Probe {
	probes := []doctor.Probe{
		{Check: "policy", Fix: "ADMINS=slack:U0123456789 or POLICY_FILE=policy.yaml", Run: c.probePolicy},
		{Check: "store", Fix: "see STORE_URL", Run: c.probeStore},
		{Check: "files", Run: c.probeFiles},
	}
	quiet := slog.New(slog.DiscardHandler)
	if c.Chat.onSlack() {
		probes = append(probes, doctor.Probe{Check: "Slack", Fix: "see docs/chat.md; the tokens are at https://api.slack.com/apps", Run: func(ctx context.Context) (string, error) {
			cfg := c.Chat.slack()
			cfg.Clock, cfg.Log = cluster.SystemClock{}, quiet
			a, err := slack.New(cfg)
			if err != nil {
				return "", err
			}
			defer a.Close()
			return "the tokens are good, with the scopes that the bot needs", a.Check(ctx)
		}})
	}
	if c.Chat.onDiscord() {
		probes = append(probes, doctor.Probe{Check: "Discord", Fix: "see docs/chat.md; the token is at https://discord.com/developers/applications", Run: func(ctx context.Context) (string, error) {
			cfg := c.Chat.discord()
			cfg.Clock, cfg.Log = cluster.SystemClock{}, quiet
			a, err := discord.New(cfg)
			if err != nil {
				return "", err
			}
			defer a.Close()
			servers, err := a.CheckServers(ctx)
			if lack, ok := errors.AsType[*discord.ServerError](err); ok {
				err = &doctor.Trouble{Status: doctor.Problem, Say: lack.Say, Fix: lack.Invite}
				if lack.Partly {
					err = &doctor.Trouble{Status: doctor.Warning, Say: lack.Say, Fix: lack.Invite}
				}
			}
			return "the token is good, and the bot may do all it has to in " + strings.Join(servers, ", "), err
		}})
	}
	return probes
}

func (c *config) probePolicy(context.Context) (string, error) {
	policy, err := c.policy()
	if err != nil {
		return "", err
	}
	if len(policy.Roles) == 0 {
		return "", errors.New("nobody has a role, so nobody may do anything")
	}
	var names []string
	for _, r := range policy.Roles {
		names = append(names, r.Name)
	}
	return "roles: " + strings.Join(names, ", "), nil
}

// probeStore opens the store as one who only reads, beside a bot that may run.
func (c *config) probeStore(ctx context.Context) (string, error) {
	if dir, ok := strings.CutPrefix(c.StoreURL, "sqlite:"); ok {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return dir + " will be made at the first start", nil
		}
	}
	store, err := sqlstore.Open(ctx, c.StoreURL, sqlstore.Options{ReadOnly: true})
	if err != nil {
		return "", err
	}
	_, err = store.Position(ctx)
	return "answers, and its tables are up to date", errors.Join(err, store.Close())
}

// findings take what was found as it comes.
type findings interface {
	add(doctor.Finding)
	// close returns how many problems there are.
	close() (problems int, err error)
}

// spoken are findings for people.
type spoken struct {
	out                io.Writer
	check              string
	problems, warnings int
}

var marks = map[doctor.Status]string{doctor.Fine: "+", doctor.Skipped: " ", doctor.Warning: "!", doctor.Problem: "-"}

func (t *spoken) add(f doctor.Finding) {
	if f.Check != t.check {
		t.check = f.Check
		fmt.Fprintln(t.out, f.Check)
	}
	say := f.Say
	if f.About != "" {
		say = f.About + ": " + say
	}
	fmt.Fprintf(t.out, "  [%s] %s\n", marks[f.Status], say)
	if f.Fix != "" {
		fmt.Fprintf(t.out, "      %s\n", f.Fix)
	}
	switch f.Status {
	case doctor.Problem:
		t.problems++
	case doctor.Warning:
		t.warnings++
	}
}

func (t *spoken) close() (int, error) {
	if t.problems+t.warnings == 0 {
		_, err := fmt.Fprintln(t.out, "all is well")
		return 0, err
	}
	_, err := fmt.Fprintf(t.out, "problems: %d, warnings: %d\n", t.problems, t.warnings)
	return t.problems, err
}

// written are findings for programs.
type written struct {
	out io.Writer
	all []doctor.Finding
}

func (w *written) add(f doctor.Finding) { w.all = append(w.all, f) }

func (w *written) close() (int, error) {
	sum := struct {
		Problems int              `json:"problems"`
		Warnings int              `json:"warnings"`
		Findings []doctor.Finding `json:"findings"`
	}{Findings: w.all}
	for _, f := range w.all {
		switch f.Status {
		case doctor.Problem:
			sum.Problems++
		case doctor.Warning:
			sum.Warnings++
		}
	}
	enc := json.NewEncoder(w.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return sum.Problems, enc.Encode(sum)
}

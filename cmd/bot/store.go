package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pvebot/cluster"
	"pvebot/provision/sqlstore"
)

// keptSettings say how long the store keeps what.
type keptSettings struct {
	Lease time.Duration `env:"LEASE" envDefault:"30s"`           // a dead bot's jobs
	Days  int           `env:"KEEP_EVENTS_DAYS" envDefault:"90"` // events of jobs that are over; 0: for ever
}

// check lists what is wrong.
func (s keptSettings) check() (wrong []string) {
	if s.Days < 0 || s.Days > maxDays {
		wrong = append(wrong, fmt.Sprintf("KEEP_EVENTS_DAYS is %d: it is 0 (for ever) or more, up to %d", s.Days, maxDays))
	}
	if s.Lease < time.Second {
		wrong = append(wrong, fmt.Sprintf("LEASE is %v: it is a second at least, the same for all bots of a store", s.Lease))
	}
	return wrong
}

func (p *program) storeCommand() *cobra.Command {
	store := &cobra.Command{Use: "store", Short: "Move, back up and restore what the bot keeps"}
	store.AddCommand(p.storeCopyCommand(), p.storeBackupCommand(), p.storeRestoreCommand())
	return store
}

func (p *program) storeCopyCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "copy --to URL",
		Short: "Copy the store that STORE_URL names into an empty one",
		Long: "Copies all jobs and everything known about them, in one transaction, and compares\n" +
			"the counts. Stop the bots before it; start them with the new STORE_URL after it.\n" +
			"Jobs that were under way go on there.",
		Example: "  bot store copy --to postgres://pvebot@db.example.com/pvebot\n" +
			"  STORE_URL=postgres://pvebot@db.example.com/pvebot bot store copy --to sqlite:data",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, err := readVars(p.env, p.dotenv)
			if err != nil {
				return err
			}
			from, err := sqlstore.Open(cmd.Context(), c.StoreURL, sqlstore.Options{Existing: true})
			if err != nil {
				return fmt.Errorf("STORE_URL: %w", err)
			}
			defer func() { err = errors.Join(err, from.Close()) }()
			target, err := sqlstore.Open(cmd.Context(), to, sqlstore.Options{})
			if err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			defer func() { err = errors.Join(err, target.Close()) }()
			copied, err := from.CopyTo(cmd.Context(), target)
			if err != nil {
				return err
			}
			var counts []string
			for _, t := range copied {
				if t.Table != "feed" { // the counters
					counts = append(counts, fmt.Sprintf("%s %d", t.Table, t.Rows))
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "copied, and counted again: %s\n", strings.Join(counts, ", "))
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `URL` of an empty store, as STORE_URL has it")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

func (p *program) storeBackupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the SQLite store to a file, while the bot runs",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := readVars(p.env, p.dotenv)
			if err != nil {
				return err
			}
			store, err := sqlstore.Open(cmd.Context(), c.StoreURL, sqlstore.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			if err := store.Backup(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backed up to %s\n", args[0])
			return nil
		},
	}
}

func (p *program) storeRestoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a backup the SQLite store that STORE_URL names, where there is none",
		Long: "Checks the backup and makes it the store. Jobs that were under way when it was\n" +
			"made go on from there when the bot starts: look at them first if the backup is old.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readVars(p.env, p.dotenv)
			if err != nil {
				return err
			}
			if err := sqlstore.Restore(cmd.Context(), args[0], c.StoreURL, cluster.SystemClock{}.Now()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s to %s\n", args[0], c.StoreURL)
			return nil
		},
	}
}

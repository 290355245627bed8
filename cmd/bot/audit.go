package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

func (p *program) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit log of STORE_URL, also while the bot runs",
		Long: "The audit log has one row for everything that somebody ordered, approved, decided or\n" +
			"was refused, for every command that changed something, and for the end of every job.\n" +
			"Each row holds the hash of the one before it.",
	}
	cmd.AddCommand(p.auditExport(), p.auditVerify())
	return cmd
}

func (p *program) auditExport() *cobra.Command {
	var vmid int
	var job, after int64
	var by string
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "Print the rows as JSON, one a line",
		Example: "  bot audit export > audit.jsonl\n  bot audit export --vm 101\n  bot audit export --by slack/U012ABC --after 4200",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := provision.AuditFilter{VMID: vmid, Job: provision.JobID(job), After: after}
			if by != "" {
				who, err := commands.Identity(by)
				if err != nil {
					return fmt.Errorf("--by: %w", err)
				}
				f.By = &who
			}
			return p.readStore(cmd.Context(), func(s *sqlstore.Store) error {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetEscapeHTML(false)
				for row, err := range s.AuditRows(cmd.Context(), f) {
					if err == nil {
						err = out.Encode(row)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&vmid, "vm", 0, "only rows about the VM of this `VMID`")
	cmd.Flags().Int64Var(&job, "job", 0, "only rows about the job of this `number`")
	cmd.Flags().StringVar(&by, "by", "", "only rows of this person, `PLATFORM/ID`")
	cmd.Flags().Int64Var(&after, "after", 0, "only rows after the one of this `seq`")
	return cmd
}

// aHash is how verify prints the hash of a row.
var aHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (p *program) auditVerify() *cobra.Command {
	var kept string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that no row was changed, and none is missing",
		Long: "Reads all rows and follows their hashes. The exit status is 0 when the chain is whole.\n" +
			"Keep the hash that it prints somewhere else, and give it to --from the next time:\n" +
			"whoever can write to the store could cut the log off, or make a new chain, but not one\n" +
			"that goes through it.",
		Example: "  bot audit verify\n  bot audit verify --from 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kept != "" && !aHash.MatchString(kept) {
				return fmt.Errorf("--from is %q: it is the hash that an earlier verify printed, 64 digits from 0 to f", kept)
			}
			return p.readStore(cmd.Context(), func(s *sqlstore.Store) error {
				last, err := s.VerifyAudit(cmd.Context(), kept)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Where(), err)
				}
				if last.Seq == 0 {
					return fmt.Errorf("%s: its audit log is empty, there is nothing to verify; see whether STORE_URL is right, and this the right folder", s.Where())
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rows, none changed, none missing; the last is row %d, hash %s\n", s.Where(), last.Seq, last.Seq, last.Hash)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&kept, "from", "", "the `hash` that an earlier verify printed, which must be in the log still")
	return cmd
}

// readStore opens the store beside the bot that may run on it, to read.
func (p *program) readStore(ctx context.Context, read func(*sqlstore.Store) error) (err error) {
	c, err := readVars(p.env, p.dotenv)
	if err != nil {
		return err
	}
	s, err := sqlstore.Open(ctx, c.StoreURL, sqlstore.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	return read(s)
}

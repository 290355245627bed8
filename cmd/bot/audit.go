package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
				platform, id, ok := strings.Cut(by, "/")
				if !ok || platform == "" || id == "" {
					return fmt.Errorf("--by is %q: write PLATFORM/ID, like slack/U012ABC", by)
				}
				f.By = &provision.Actor{Platform: platform, ID: id}
			}
			return p.readStore(cmd.Context(), func(s provision.Store) error {
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

func (p *program) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that no row was changed, and none is missing",
		Long: "Reads all rows and follows their hashes. The exit status is 0 when the chain is whole.\n" +
			"Keep the hash that it prints somewhere else: whoever can write to the store could make\n" +
			"a new chain, but not one that goes through it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.readStore(cmd.Context(), func(s provision.Store) error {
				n, err := s.VerifyAudit(cmd.Context())
				if err != nil {
					return err
				}
				last := "nothing"
				for row, err := range s.AuditRows(cmd.Context(), provision.AuditFilter{Limit: 1}) {
					if err != nil {
						return err
					}
					last = fmt.Sprintf("row %d, hash %s", row.Seq, row.Hash)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d rows, none changed, none missing; the last is %s\n", n, last)
				return err
			})
		},
	}
}

// readStore opens the store beside the bot that may run on it, to read.
func (p *program) readStore(ctx context.Context, read func(provision.Store) error) (err error) {
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

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pvebot/commands"
)

func (p *program) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Look at who may do what",
	}
	cmd.AddCommand(p.policyCheck())
	return cmd
}

func (p *program) policyCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what each role may do, or what is wrong and where",
		Long: "Reads a policy file, by default that of POLICY_FILE, else ADMINS, and says what each\n" +
			"role may do, what needs approvals and what is limited. When something is wrong it\n" +
			"says what and in which line, and the exit status is 1. Nothing else is read, and the\n" +
			"running bot does not notice. docs/policy.md explains the words.",
		Example: "  bot policy check\n  bot policy check policy.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			policy, err := p.policyNamed(args)
			if err != nil {
				return err
			}
			for _, line := range policy.Summary() {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			}
			for _, doubt := range policy.Doubts() {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), "note:", doubt); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// policyNamed is the policy of a file that was named, or that of the settings.
func (p *program) policyNamed(args []string) (commands.Policy, error) {
	if len(args) == 1 {
		return readPolicy(args[0])
	}
	c, err := readVars(p.env, p.dotenv)
	if err != nil {
		return commands.Policy{}, err
	}
	if c.PolicyFile == "" && len(c.Admins) == 0 {
		return commands.Policy{}, errors.New("there is neither POLICY_FILE nor ADMINS: name a file, as in bot policy check policy.yaml")
	}
	return c.policy()
}

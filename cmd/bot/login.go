package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"pvebot/bot/web"
	"pvebot/cluster"
	"pvebot/provision"
)

// personRE is who may be logged in: what ADMINS and a policy can name.
var personRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// loginName is the name that is meant by alice, @alice, web/alice or web:alice.
func loginName(text string) (string, error) {
	name := text
	for _, prefix := range []string{web.Platform + "/", web.Platform + ":"} {
		name = strings.TrimPrefix(name, prefix)
	}
	name = strings.TrimPrefix(name, "@")
	if strings.ContainsAny(name, "/:<>") {
		return "", fmt.Errorf("%q is nobody of the page: a login is for a name, like alice, who is web/alice to ADMINS and POLICY_FILE", text)
	}
	if !personRE.MatchString(name) {
		return "", fmt.Errorf("%q can't be a name: letters, digits, dots, @, - and _", text)
	}
	return name, nil
}

func (p *program) loginCommand() *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use:   "login NAME",
		Short: "Print a link that lets a browser in, once",
		Long: "Prints a link to the page of the bot that runs with the same LOGIN_SECRET. Whoever\n" +
			"opens it within ten minutes is web:NAME there for twelve hours; it works once.\n" +
			"What web:NAME may do is up to ADMINS or POLICY_FILE.",
		Example: "  bot login alice\n  bot login alice --url https://bot.example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readVars(p.env, p.dotenv)
			if err != nil {
				return err
			}
			if c.Web.LoginSecret == "" {
				return fmt.Errorf("LOGIN_SECRET is not set: without it nobody needs a link, and the page is on this machine alone")
			}
			name, err := loginName(args[0])
			if err != nil {
				return err
			}
			if base == "" {
				base = c.self()
			}
			who := provision.Actor{Platform: web.Platform, ID: name, Name: name}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), web.LoginLink(base, []byte(c.Web.LoginSecret), who, cluster.SystemClock{}.Now()))
			return err
		},
	}
	cmd.Flags().StringVar(&base, "url", "", "what browsers call the page; default: where it listens")
	return cmd
}

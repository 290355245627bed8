package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"pvebot/bot/discord/discordfake"
	"pvebot/bot/door"
	"pvebot/bot/slack/slackfake"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

// simFlags are the flags of `bot sim`.
type simFlags struct {
	fast, slack, discord bool
	cluster              string
}

func (p *program) simCommand() *cobra.Command {
	var o simFlags
	cmd := &cobra.Command{
		Use:   "sim [-- COMMAND...]",
		Short: "Run a simulated Proxmox VE cluster, and simulated chats",
		Long: "Runs a simulated cluster of three nodes until it is interrupted, and prints the\n" +
			"environment with which `bot serve` drives it:\n\n" +
			"  bot sim --slack > sim.env &\n" +
			"  env $(cat sim.env) bot serve\n\n" +
			"With --slack and --discord simulated chats run beside it. Their doors, SIM_SLACK and\n" +
			"SIM_DISCORD, are pages to type on; scripts use them by HTTP:\n\n" +
			"  curl -d 'line=/vm install ubuntu' $SIM_SLACK/type\n" +
			"  curl $SIM_SLACK/look\n\n" +
			"With --cluster the cluster has a name, and its settings begin with it: for a bot with\n" +
			"several, whose CLUSTERS names them.\n\n" +
			"With COMMAND it runs that in this environment instead, and ends when it does:\n\n" +
			"  bot sim -- bot doctor",
		RunE: func(cmd *cobra.Command, command []string) error {
			return p.sim(cmd.Context(), o, command)
		},
	}
	cmd.Flags().BoolVar(&o.fast, "fast", false, "let nothing take time")
	cmd.Flags().BoolVar(&o.slack, "slack", false, "simulate Slack, too")
	cmd.Flags().BoolVar(&o.discord, "discord", false, "simulate Discord, too")
	cmd.Flags().StringVar(&o.cluster, "cluster", "", "what the cluster is called, where there are several")
	return cmd
}

func (p *program) sim(ctx context.Context, o simFlags, command []string) (err error) {
	sim, err := pvesim.New(simOptions(o.fast))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	env, admins := sim.Env(), []string{"web:local"}
	if o.cluster != "" {
		for i := range env {
			env[i] = prefixOf(o.cluster) + env[i]
		}
	}
	doors, ctx := errgroup.WithContext(ctx)
	if o.slack {
		fake := slackfake.New(slackfake.Config{})
		defer fake.Close()
		page, err := openChat(ctx, doors, fake.Start, fake.Place())
		if err != nil {
			return err
		}
		env = append(env, "SLACK_BOT_TOKEN="+slackfake.BotToken, "SLACK_APP_TOKEN="+slackfake.AppToken, "SLACK_API_URL="+fake.URL(), "SIM_SLACK="+page)
		admins = append(admins, "slack:"+slackfake.Alice, "slack:"+slackfake.Bob)
	}
	if o.discord {
		fake := discordfake.New(discordfake.Config{})
		defer fake.Close()
		page, err := openChat(ctx, doors, fake.Start, fake.Place())
		if err != nil {
			return err
		}
		env = append(env, "DISCORD_TOKEN="+discordfake.Token, "DISCORD_API_URL="+fake.URL(), "DISCORD_GUILD_ID="+discordfake.Guild, "SIM_DISCORD="+page)
		admins = append(admins, "discord:"+discordfake.Alice, "discord:"+discordfake.Bob)
	}
	env = append(env, "ADMINS="+strings.Join(admins, ","))
	if len(command) == 0 {
		fmt.Fprintln(p.out, strings.Join(env, "\n"))
		<-ctx.Done()
		return doors.Wait()
	}
	return p.within(ctx, env, command)
}

// within runs a command with an environment on top of ours, and fails when it
// does.
func (p *program) within(ctx context.Context, env, command []string) error {
	_, err := cluster.NewLocal().Run(ctx, cluster.Cmd{
		Argv: slices.Concat([]string{"env"}, env, command),
		Line: func(line string) { fmt.Fprintln(p.out, line) },
	})
	if _, failed := errors.AsType[*cluster.ExitError](err); failed {
		return errTold
	}
	return err
}

// openChat starts a simulated chat, and its door, which is open until ctx ends.
// It returns where the door is.
func openChat(ctx context.Context, doors *errgroup.Group, start func(net.Listener), place door.Place) (string, error) {
	chat, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	start(chat)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: door.New(place)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	doors.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return "http://" + l.Addr().String(), nil
}

// simOptions are those of the demo's cluster.
func simOptions(fast bool) pvesim.Options {
	if fast {
		return pvesim.Options{Statd: -1}
	}
	return pvesim.Options{Latency: pvesim.RealisticLatency()}
}

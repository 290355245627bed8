package main

import (
	"cmp"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"pvebot/bot/discord"
	"pvebot/bot/slack"
)

func (p *program) manifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print what a chat platform wants to know of the bot",
	}
	cmd.AddCommand(slackManifest(), p.discordManifest())
	return cmd
}

func slackManifest() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "slack",
		Short: "Print the app's manifest, for \"Create New App, From a manifest\"",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := slack.Manifest()
			if address != "" {
				var err error
				if text, err = slack.ManifestAt(address); err != nil {
					return err
				}
			}
			_, err := cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&address, "url", "", "have Slack call the bot at this `ADDRESS`, https://.../slack, in place of Socket Mode")
	return cmd
}

func (p *program) discordManifest() *cobra.Command {
	var app, guild string
	cmd := &cobra.Command{
		Use:   "discord",
		Short: "Print the link that invites the bot, with the permissions it needs, and its commands",
		Long: "Prints JSON: the link that invites the bot to a server with the least permissions,\n" +
			"their names, and the commands that the bot registers by itself.\n\n" +
			"The application is --app or DISCORD_APP_ID; with DISCORD_TOKEN, Discord is asked.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.chatSettings()
			if err != nil {
				return err
			}
			c.DiscordAppID = cmp.Or(app, c.DiscordAppID)
			c.DiscordGuildID = cmp.Or(guild, c.DiscordGuildID)
			if c.DiscordAppID == "" {
				if c.DiscordToken == "" {
					return errors.New("which application? Give --app ID (the number under General Information), or set DISCORD_TOKEN")
				}
				cfg := c.discord()
				cfg.Log = slog.New(slog.DiscardHandler)
				d, err := discord.New(cfg)
				if err != nil {
					return err
				}
				defer d.Close()
				if c.DiscordAppID, err = d.App(cmd.Context()); err != nil {
					return err
				}
			}
			text, err := discord.Manifest(c.DiscordAppID, c.DiscordGuildID)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "the application's `ID`")
	cmd.Flags().StringVar(&guild, "server", "", "the `ID` of the one server that it is for")
	return cmd
}

// chatSettings are those of the environment and .env, whether the rest is
// complete or not.
func (p *program) chatSettings() (chatSettings, error) {
	c, err := readVars(p.env, p.dotenv)
	return c.Chat, err
}

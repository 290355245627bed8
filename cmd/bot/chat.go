package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"pvebot/bot"
	"pvebot/bot/discord"
	"pvebot/bot/slack"
)

// chatSettings connect the bot to chat platforms. A platform of which nothing
// is set is left out.
type chatSettings struct {
	SlackBotToken bot.Token `env:"SLACK_BOT_TOKEN"`
	SlackAppToken bot.Token `env:"SLACK_APP_TOKEN"`
	SlackSecret   bot.Token `env:"SLACK_SIGNING_SECRET"`
	SlackAPIURL   string    `env:"SLACK_API_URL"`
	SlackTeams    []string  `env:"SLACK_TEAMS"`

	DiscordToken      bot.Token `env:"DISCORD_TOKEN"`
	DiscordAPIURL     string    `env:"DISCORD_API_URL"`
	DiscordGatewayURL string    `env:"DISCORD_GATEWAY_URL"`
	DiscordAppID      string    `env:"DISCORD_APP_ID"`
	DiscordGuildID    string    `env:"DISCORD_GUILD_ID"`
}

func (s chatSettings) onSlack() bool {
	return cmp.Or(string(s.SlackBotToken), string(s.SlackAppToken), string(s.SlackSecret), s.SlackAPIURL) != ""
}

func (s chatSettings) slack() slack.Config {
	return slack.Config{BotToken: s.SlackBotToken, AppToken: s.SlackAppToken, SigningSecret: s.SlackSecret, APIURL: s.SlackAPIURL, Teams: s.teams()}
}

// teams are the foreign workspaces, without what stands around commas.
func (s chatSettings) teams() []string {
	var all []string
	for _, t := range s.SlackTeams {
		if t = strings.TrimSpace(t); t != "" {
			all = append(all, t)
		}
	}
	return all
}

func (s chatSettings) onDiscord() bool {
	return cmp.Or(string(s.DiscordToken), s.DiscordAPIURL, s.DiscordGatewayURL, s.DiscordAppID, s.DiscordGuildID) != ""
}

func (s chatSettings) discord() discord.Config {
	return discord.Config{
		Token: s.DiscordToken, APIURL: s.DiscordAPIURL, GatewayURL: s.DiscordGatewayURL,
		AppID: s.DiscordAppID, GuildID: s.DiscordGuildID,
	}
}

// check lists what is missing or wrong.
func (s chatSettings) check() []string {
	var errs []error
	if s.onSlack() {
		errs = append(errs, s.slack().Validate())
	}
	if s.onDiscord() {
		errs = append(errs, s.discord().Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

// chat is a platform that the bot is on beside its own page.
type chat interface {
	bot.Adapter
	Close()
}

// moreChats are platforms of tests.
var moreChats = func() []chat { return nil }

// join puts the house on the platforms that the settings connect it to. It
// calls none of them yet.
func (h *house) join(s chatSettings) error {
	if s.onSlack() {
		cfg := s.slack()
		cfg.Groups = h.policy.Groups(slack.Platform)
		cfg.Clock, cfg.Log = h.clock, h.log
		a, err := slack.New(cfg)
		if err != nil {
			return err
		}
		h.chats = append(h.chats, a)
	}
	if s.onDiscord() {
		cfg := s.discord()
		cfg.Clusters, cfg.Leader, cfg.Owner = h.sites.Names(), h.store, h.owner
		cfg.Clock, cfg.Log = h.clock, h.log
		a, err := discord.New(cfg)
		if err != nil {
			return err
		}
		h.chats = append(h.chats, a)
	}
	h.chats = append(h.chats, moreChats()...)
	return nil
}

// slackHook is where Slack calls the bot, if it does.
const slackHook = "/slack"

// hooks are what the chats that call the bot call, by path.
func (h *house) hooks(s chatSettings) map[string]http.Handler {
	hooks := map[string]http.Handler{}
	for _, c := range h.chats {
		if called, ok := c.(http.Handler); ok && s.SlackSecret != "" {
			hooks[slackHook] = called
		}
	}
	return hooks
}

// reviveTime is after how long a chat that only a person can mend is tried
// again. Chats have been wrong about tokens that were good.
const reviveTime = 10 * time.Minute

// attend is on a platform until ctx ends. One that only a person can mend is
// left alone for a while, with a word in the log each time: neither the others
// nor any job wait for it.
func (h *house) attend(ctx context.Context, c chat, desk bot.Handler) error {
	for {
		err := c.Run(ctx, desk)
		if err == nil || ctx.Err() != nil {
			return err
		}
		h.log.ErrorContext(ctx, "a chat is out of order until somebody mends it; all else goes on",
			"platform", c.Name(), "again", reviveTime, "err", err)
		if h.clock.Sleep(ctx, reviveTime) != nil {
			return nil
		}
	}
}

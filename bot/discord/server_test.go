package discord_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// What an invitation lacked is said before anybody misses it, with the link that
// mends it.
func TestCheckServers(t *testing.T) {
	for name, tt := range map[string]struct {
		guild  string
		invite func(*discordfake.Fake)
		say    string // "": all is well
		partly bool
	}{
		"one of all":  {},
		"the one":     {guild: discordfake.Guild},
		"another":     {guild: "1000000000000000003", say: "the bot is not in the server 1000000000000000003, which DISCORD_GUILD_ID names"},
		"an older":    {guild: "999", say: "the bot is not in the server 999, which DISCORD_GUILD_ID names"},
		"not invited": {guild: discordfake.Guild, invite: func(f *discordfake.Fake) { f.Invite(false, false) }, say: "the bot is not in the server " + discordfake.Guild},
		"nowhere":     {invite: func(f *discordfake.Fake) { f.Invite(false, false) }, say: "the bot is in no server"},
		"no commands": {invite: func(f *discordfake.Fake) { f.Invite(true, false) }, say: "there is no /vm in the server the team: the invitation lacked the scope applications.commands"},
		"may not write": {
			guild: discordfake.Guild, partly: true,
			invite: func(f *discordfake.Fake) { f.Invite(true, true, discordfake.SendMessages, discordfake.CreateThreads) },
			say:    "in the server the team the bot's role lacks Send Messages, Create Public Threads: it works in channels that allow it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, fake := inMemory(t, discordfake.Config{}, discord.Config{GuildID: tt.guild})
				if tt.invite != nil {
					tt.invite(fake)
				}
				names, err := d.CheckServers(t.Context())
				lack, ok := errors.AsType[*discord.ServerError](err)
				if tt.say == "" {
					if err != nil || !slices.Equal(names, []string{"the team"}) {
						t.Errorf("%v, %v", names, err)
					}
					return
				}
				if !ok || !strings.HasPrefix(lack.Say, tt.say) || lack.Partly != tt.partly {
					t.Fatalf("%+v, want %s", err, tt.say)
				}
				for _, want := range []string{"https://discord.com/oauth2/authorize?", "client_id=" + discordfake.App, "applications.commands"} {
					if !strings.Contains(lack.Invite, want) {
						t.Errorf("the link %s has no %s", lack.Invite, want)
					}
				}
				if tt.guild != "" && !strings.Contains(lack.Invite, "guild_id="+tt.guild) {
					t.Errorf("the link %s is for any server", lack.Invite)
				}
			})
		})
	}
}

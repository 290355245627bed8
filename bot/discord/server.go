package discord

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ServerError says what keeps the bot from its work in a server.
type ServerError struct {
	Say string
	// Invite is the link by which somebody who manages the server mends it.
	Invite string
	// Partly: channels may allow what the server does not.
	Partly bool
}

func (e *ServerError) Error() string { return e.Say }

// server is one that the bot is in.
type server struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Permissions string `json:"permissions"` // of the bot, before the channels' own
}

// maxServers is how many servers Discord tells in one answer.
const maxServers = 200

// CheckServers asks Discord, as Check does, and then whether the bot is in its
// server, has its command there, and may do what it has to. Without a GuildID
// that is so of every server that it is in. It returns their names. Its errors
// are those of Check, and *ServerError.
func (d *Discord) CheckServers(ctx context.Context) ([]string, error) {
	app, err := d.App(ctx)
	if err != nil {
		return nil, err
	}
	servers, err := d.servers(ctx)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 {
		say := "the bot is in no server"
		if d.cfg.GuildID != "" {
			say = "the bot is not in the server " + d.cfg.GuildID + ", which DISCORD_GUILD_ID names"
		}
		return nil, d.serverError(app, d.cfg.GuildID, say)
	}
	var names []string
	var partly error
	for _, s := range servers {
		names = append(names, s.Name)
		var none []struct{}
		err := d.call(ctx, request{
			what: "ask for the commands", method: http.MethodGet,
			path: "/applications/" + app + "/guilds/" + url.PathEscape(s.ID) + "/commands", again: true,
		}, &none)
		switch lacking := s.lacks(); {
		case code(err) == codeNoAccess:
			return nil, d.serverError(app, s.ID, fmt.Sprintf("there is no /vm in the server %s: the invitation lacked the scope applications.commands", s.Name))
		case err != nil:
			return nil, err
		case len(lacking) > 0 && partly == nil:
			e := d.serverError(app, s.ID, fmt.Sprintf("in the server %s the bot's role lacks %s: it works in channels that allow it", s.Name, strings.Join(lacking, ", ")))
			e.Partly = true
			partly = e
		}
	}
	return names, partly
}

// servers are those that matter: the one of the settings, if the bot is in it,
// or all.
func (d *Discord) servers(ctx context.Context) ([]server, error) {
	q := url.Values{"limit": {strconv.Itoa(maxServers)}}
	if id, err := strconv.ParseUint(d.cfg.GuildID, 10, 64); err == nil && id > 0 { // those after an id begin with the next one
		q = url.Values{"limit": {"1"}, "after": {strconv.FormatUint(id-1, 10)}}
	}
	var servers []server
	err := d.call(ctx, request{what: "ask for the servers", method: http.MethodGet, path: "/users/@me/guilds?" + q.Encode(), again: true}, &servers)
	if err == nil && d.cfg.GuildID != "" && (len(servers) == 0 || servers[0].ID != d.cfg.GuildID) {
		return nil, nil
	}
	return servers, err
}

// lacks are the permissions that the bot needs and does not have, by the names
// of Discord's settings.
func (s server) lacks() []string {
	has, err := strconv.ParseInt(s.Permissions, 10, 64)
	if err != nil || has&administrator != 0 {
		return nil
	}
	var lacking []string
	for _, p := range permissions {
		if has&p.bit == 0 {
			lacking = append(lacking, p.name)
		}
	}
	return lacking
}

func (d *Discord) serverError(app, guild, say string) *ServerError {
	invite, err := InviteURL(app, guild)
	if err != nil { // Discord's own number
		invite = "bot manifest discord"
	}
	return &ServerError{Say: say, Invite: invite}
}

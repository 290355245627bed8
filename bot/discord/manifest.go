package discord

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// permissions are the least with which everything works.
var permissions = []struct {
	bit  int64
	name string
}{
	{viewChannel, "View Channels"},
	{sendMessages, "Send Messages"},
	{createThreads, "Create Public Threads"},
	{sendInThreads, "Send Messages in Threads"},
	{embedLinks, "Embed Links"},
	{attachFiles, "Attach Files"},
	{readHistory, "Read Message History"},
}

// Permissions are the least with which everything works, by the names that
// Discord's settings have for them.
func Permissions() []string {
	var out []string
	for _, p := range permissions {
		out = append(out, p.name)
	}
	return out
}

// InviteURL is where somebody who manages a server adds the bot to it, with the
// least permissions. An empty guild lets them choose.
func InviteURL(appID, guildID string) (string, error) {
	if _, err := strconv.ParseUint(appID, 10, 64); err != nil {
		return "", fmt.Errorf("%q is no application id: it is the number under General Information", appID)
	}
	var bits int64
	for _, p := range permissions {
		bits |= p.bit
	}
	q := url.Values{
		"client_id": {appID}, "scope": {"bot applications.commands"},
		"permissions": {strconv.FormatInt(bits, 10)}, "integration_type": {"0"},
	}
	if guildID != "" {
		q.Set("guild_id", guildID)
		q.Set("disable_guild_select", "true")
	}
	return "https://discord.com/oauth2/authorize?" + q.Encode(), nil
}

// Manifest is, as JSON, what somebody has to know who adds the bot to a server:
// the link that does it, the permissions that it asks for, and the commands
// that the bot registers there by itself.
func Manifest(appID, guildID string) ([]byte, error) {
	invite, err := InviteURL(appID, guildID)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the link is copied by hand
	e.SetIndent("", "  ")
	err = e.Encode(struct {
		Invite      string   `json:"invite"`
		Permissions []string `json:"permissions"`
		Commands    []wire   `json:"commands"`
	}{invite, Permissions(), wireOf(Commands())})
	return b.Bytes(), err
}

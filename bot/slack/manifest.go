package slack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
)

// scopes are what the bot token may do, and nothing that it does not need:
// hear /vm, write messages, write them in public channels without an
// invitation, put long logs into threads, and ask who is in a user group.
var scopes = []string{"commands", "chat:write", "chat:write.public", "files:write", "usergroups:read"}

// Manifest is the app as Slack's "create an app from a manifest" takes it, in
// JSON. The app-level token can't be in it: it is made by hand.
func Manifest() []byte { return manifest("") }

// ManifestAt is the same for an app that calls the bot at an address, which is
// ServeHTTP's.
func ManifestAt(address string) ([]byte, error) {
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address that Slack calls: it begins with https://", address)
	}
	return manifest(address), nil
}

func manifest(address string) []byte {
	type object = map[string]any
	command := object{
		"command": "/vm", "description": "Make, watch and end VMs",
		"usage_hint":    "install ubuntu | list | help",
		"should_escape": true, // names of people and channels come as ids
	}
	interactivity := object{"is_enabled": true}
	if address != "" {
		command["url"] = address
		interactivity["request_url"], interactivity["message_menu_options_url"] = address, address
	}
	app := struct {
		Metadata object `json:"_metadata"`
		Display  object `json:"display_information"`
		Features object `json:"features"`
		OAuth    object `json:"oauth_config"`
		Settings object `json:"settings"`
	}{
		Metadata: object{"major_version": 1, "minor_version": 1},
		Display: object{
			"name": "pvebot", "description": "VMs on Proxmox VE, from a line of chat", "background_color": "#1d2733",
		},
		Features: object{
			"bot_user": object{"display_name": "pvebot", "always_online": true},
			// Without the Messages tab Slack refuses messages to people.
			"app_home":       object{"home_tab_enabled": false, "messages_tab_enabled": true, "messages_tab_read_only_enabled": true},
			"slash_commands": []object{command},
		},
		OAuth: object{"scopes": object{"bot": scopes}},
		Settings: object{
			"interactivity":       interactivity,
			"socket_mode_enabled": address == "", "org_deploy_enabled": false, "token_rotation_enabled": false,
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(app); err != nil {
		panic(err) // it is a constant
	}
	return b.Bytes()
}

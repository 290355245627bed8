package slackfake

import "encoding/json"

// manifestRules are the parts of an app's manifest that a bot in Socket Mode
// has use for.
var manifestRules = object(map[string]rule{
	"_metadata": object(map[string]rule{"major_version": number(1, 2), "minor_version": number(0, 9)}),
	"display_information!": object(map[string]rule{
		"name!": id(1, 35), "description": id(1, 140), "long_description": id(175, 4000), "background_color": id(4, 7),
	}),
	"features": object(map[string]rule{
		"bot_user": object(map[string]rule{"display_name!": id(1, 80), "always_online": boolean}),
		"app_home": object(map[string]rule{
			"home_tab_enabled": boolean, "messages_tab_enabled": boolean, "messages_tab_read_only_enabled": boolean,
		}),
		"slash_commands": list(1, 50, object(map[string]rule{
			"command!": id(2, 32), "description!": id(1, 2000), "usage_hint": id(0, 1000), "should_escape": boolean, "url": id(1, 3000),
		})),
	}),
	"oauth_config": object(map[string]rule{
		"scopes": object(map[string]rule{"bot": list(1, 255, id(1, 255)), "user": list(1, 255, id(1, 255))}),
	}),
	"settings": object(map[string]rule{
		"interactivity":       object(map[string]rule{"is_enabled!": boolean, "request_url": id(1, 3000), "message_menu_options_url": id(1, 3000)}),
		"socket_mode_enabled": boolean, "org_deploy_enabled": boolean, "token_rotation_enabled": boolean,
	}),
})

// CheckManifest is what Slack would find wrong with an app's manifest.
func CheckManifest(raw []byte) []string {
	c := &checker{}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return []string{err.Error()}
	}
	manifestRules(c, "", v)
	for _, s := range c.strangers {
		c.wrong = append(c.wrong, "unknown field "+s)
	}
	return c.wrong
}

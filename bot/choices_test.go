package bot_test

import (
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/provision"
)

// Who has no role is offered the words of the grammar and nothing that is there.
func TestChoicesShowWhatOneMaySee(t *testing.T) {
	stranger := provision.Actor{Platform: "memory", ID: "stranger"}
	inHouse(t, func(h *house) {
		h.say(alice, "/vm install ubuntu")
		for _, line := range []string{"/vm show ", "/vm show we", "/vm cancel ", "/vm migrate web-1 ", "/vm install ubuntu --node ", "/vm install ubuntu --storage ", "/vm list --cluster "} {
			for _, c := range h.send(bot.Inbound{Kind: bot.Complete, By: stranger, Text: line}).Choices {
				for _, there := range []string{"web-1", "101", "pve1", "local-lvm", " 1"} {
					if strings.Contains(c.Value+" "+c.Label, there) {
						t.Errorf("%q offers a stranger %+v", line, c)
					}
				}
			}
		}
	}, onlyFor(t, "memory:U1"))
}

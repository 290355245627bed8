package slack

import (
	"cmp"
	"fmt"
	"slices"

	"pvebot/bot"
)

// home is where the bot belongs: the workspace that its token is of, or, where
// it is installed in a whole organisation, that. With Slack Connect people of
// other workspaces sit in the same channels, and press the same buttons.
type home struct {
	team       string // T...; "" where the token is an organisation's
	enterprise string // E..., "" for none
}

// origin is where somebody comes from.
type origin struct{ team, enterprise string }

// welcomes says whether the bot listens to who comes from there: its own, and
// those of Config.Teams. An organisation's id vouches for its workspaces only
// where the bot is the organisation's, too.
func (s *Slack) welcomes(from origin) bool {
	s.mu.Lock()
	h := s.home
	s.mu.Unlock()
	switch {
	case from.team == "" && from.enterprise == "":
		return false
	case from.team != "" && (from.team == h.team || from.team == h.enterprise || slices.Contains(s.cfg.Teams, from.team)):
		return true
	case from.enterprise != "" && slices.Contains(s.cfg.Teams, from.enterprise):
		return true
	}
	return h.team == "" && h.enterprise != "" && from.enterprise == h.enterprise
}

// unwelcome is the answer to somebody of a foreign workspace.
func unwelcome(from origin) bot.Ack {
	return bot.Ack{Whisper: &bot.Card{
		Title: "Not for your workspace", Tone: bot.Bad,
		Text: fmt.Sprintf("I work for another Slack workspace than yours, so nothing was done. "+
			"Whoever runs me can let yours in: they add its id, %s, to SLACK_TEAMS.", cmp.Or(from.team, from.enterprise, "which Slack does not tell")),
	}}
}

package commands

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pvebot/cluster/textfile"
	"pvebot/provision"
)

// Human is somebody who is known by several identities: on Slack, on the page,
// as a program's token. They are one person where it matters how many people
// there are and whose something is: votes, quotas, ownership. What they may do
// is up to the roles of the identity that they use.
type Human struct {
	Name string
	As   []provision.Actor
}

// Others are the other identities of the person that a is; none is known of
// most.
func (p Policy) Others(a provision.Actor) []provision.Actor {
	for _, h := range p.People {
		if slices.ContainsFunc(h.As, a.Same) {
			return slices.DeleteFunc(slices.Clone(h.As), a.Same)
		}
	}
	return nil
}

// Same reports whether a and b are one person.
func (p Policy) Same(a, b provision.Actor) bool {
	return a.Same(b) || slices.ContainsFunc(p.Others(a), b.Same)
}

// platformWords are the platforms that people come from, to guess what was
// meant.
var platformWords = []string{"slack", "discord", "web", "http", "console"}

// The ids of platforms that have their own.
var (
	slackIDRE    = regexp.MustCompile(`^[UW][A-Z0-9]+$`)
	slackLowRE   = regexp.MustCompile(`^[uw][0-9][a-z0-9]{5,}$`) // nobody's name, but an id that lost its capitals
	slackBareRE  = regexp.MustCompile(`^[UW][0-9][A-Z0-9]{5,}$`)
	slackRoomRE  = regexp.MustCompile(`^[CDG][A-Z0-9]+$`)
	snowflakeRE  = regexp.MustCompile(`^[0-9]{15,20}$`)
	mentionRE    = regexp.MustCompile(`^<@!?([A-Za-z0-9]+)(?:\|[^<>]*)?>$`)
	roleMarkupRE = regexp.MustCompile(`^<(?:@&|!subteam\^)([A-Za-z0-9]+)(?:\|[^<>]*)?>$`)
	roomMarkupRE = regexp.MustCompile(`^<#([A-Za-z0-9]+)(?:\|[^<>]*)?>$`)
)

// Where people find the ids.
const (
	slackHint   = "write the id, like slack/U012ABC: in Slack open their profile, then \u22ee, then Copy member ID"
	discordHint = "write the id, like discord/80351110224678912: in Discord switch on Developer Mode, then right-click them, then Copy User ID"
	memberHint  = "write PLATFORM/ID like slack/U012ABC, slack/* or everyone"
)

// Identity reads who is meant: slack/U1, slack:U1, a mention as the platforms
// write it (<@U1|alice>, discord:<@80351110224678912>), or an id that only one
// platform has. A name where a platform wants an id is an *textfile.Error with where
// to find it.
func Identity(text string) (provision.Actor, error) {
	m, wrong := identity(text)
	if wrong == nil && m.ID == "" {
		wrong = &textfile.Error{Say: clip(text) + " is nobody", Try: "write PLATFORM/ID like slack/U012ABC"}
	}
	if wrong != nil {
		return provision.Actor{}, wrong
	}
	return provision.Actor{Platform: m.Platform, ID: m.ID}, nil
}

// PersonOf is who a request names, as the platform where it was made knows
// people; see Person.
func PersonOf(platform, who string) (provision.Actor, error) {
	a := Person(platform, who)
	id, wrong := idOf(a.Platform, a.ID, who)
	if wrong != nil {
		return a, &provision.Error{Kind: provision.Invalid, Say: wrong.Say, Try: "mention them, or " + wrong.Try}
	}
	a.ID = id
	return a, nil
}

// identity is Identity, which takes all of a platform and everyone too.
func identity(text string) (Member, *textfile.Error) {
	text = strings.TrimSpace(text)
	if text == "everyone" {
		return Member{}, nil
	}
	platform, id, named := cutPlatform(text)
	if !named {
		platform, id = guess(text)
	}
	switch {
	case roleMarkupRE.MatchString(id):
		g := roleMarkupRE.FindStringSubmatch(id)[1]
		return Member{}, &textfile.Error{Say: clip(text) + " is a group, not a person", Try: "list it under groups, as discord:" + g + " or slack:" + g}
	case platform == "" || id == "":
		return Member{}, nobody(text)
	case id == "*":
		return Member{Platform: platform}, nil
	}
	if near := Nearest(platform, platformWords); near != "" && near != platform {
		return Member{}, &textfile.Error{Say: "there is no platform " + clip(platform), Try: "did you mean " + near + "?"}
	}
	id, wrong := idOf(platform, id, text)
	if wrong != nil {
		return Member{}, wrong
	}
	if strings.ContainsAny(id, ":/, <>") {
		return Member{}, nobody(text)
	}
	return Member{Platform: platform, ID: id}, nil
}

// nobody is the answer to a text that is no identity.
func nobody(text string) *textfile.Error {
	hint := memberHint
	if strings.HasPrefix(text, "@") {
		hint = slackHint + "; " + discordHint
	}
	return &textfile.Error{Say: clip(text) + " is nobody", Try: hint}
}

// cutPlatform cuts slack:U1 and slack/U1; false when text names no platform.
func cutPlatform(text string) (platform, id string, ok bool) {
	i := strings.IndexAny(text, ":/")
	if i < 0 || strings.HasPrefix(text, "<") {
		return "", "", false
	}
	platform = strings.ToLower(text[:i])
	if !roleRE.MatchString(platform) {
		return "", "", true
	}
	return platform, text[i+1:], true
}

// guess finds the platform of an id that only one has.
func guess(text string) (platform, id string) {
	if m := mentionRE.FindStringSubmatch(text); m != nil {
		id = m[1]
	} else {
		id = strings.TrimPrefix(text, "@")
	}
	switch {
	case slackBareRE.MatchString(id), slackLowRE.MatchString(id) && id != text, mentionRE.MatchString(text) && slackIDRE.MatchString(id):
		return "slack", id
	case snowflakeRE.MatchString(id):
		return "discord", id
	case roleMarkupRE.MatchString(text):
		return "", text
	}
	return "", ""
}

// idOf is the id that text means on a platform; shown is what was written in all.
func idOf(platform, text, shown string) (string, *textfile.Error) {
	id := text
	if m := mentionRE.FindStringSubmatch(text); m != nil {
		id = m[1]
	}
	id = strings.TrimPrefix(id, "@")
	switch platform {
	case "slack":
		if slackLowRE.MatchString(id) {
			id = strings.ToUpper(id)
		}
		if !slackIDRE.MatchString(id) {
			return "", &textfile.Error{Say: fmt.Sprintf("%s is no id of a person on Slack", clip(shown)), Try: slackHint}
		}
	case "discord":
		if !digitsRE.MatchString(id) {
			return "", &textfile.Error{Say: fmt.Sprintf("%s is no id of a person on Discord", clip(shown)), Try: discordHint}
		}
	}
	return id, nil
}

// channelOf is the conversation that text means: slack/C012ABC,
// slack/<#C012ABC|general>.
func channelOf(text string) (provision.Conversation, *textfile.Error) {
	const hint = "write PLATFORM/ID like slack/C012ABC"
	platform, id, _ := cutPlatform(strings.TrimSpace(text))
	if m := roomMarkupRE.FindStringSubmatch(id); m != nil {
		id = m[1]
	}
	wrong := &textfile.Error{Say: clip(text) + " is no channel", Try: hint}
	switch {
	case platform == "" || id == "" || id == "*" || strings.ContainsAny(id, ":/, <>"):
		return provision.Conversation{}, wrong
	case platform == "slack" && !slackRoomRE.MatchString(id):
		wrong.Try = hint + ": in Slack click the channel's name; its id is at the end of About"
		return provision.Conversation{}, wrong
	case platform == "discord" && !digitsRE.MatchString(id):
		wrong.Try = "write the id, like discord/175928847299117063: in Discord switch on Developer Mode, then right-click the channel, then Copy Channel ID"
		return provision.Conversation{}, wrong
	}
	return provision.Conversation{Platform: platform, Channel: id}, nil
}

// groupOf is the group that text means, PLATFORM:ID: as it is, or as a platform
// mentions it (discord:<@&900>, slack:<!subteam^S012ABC>).
func groupOf(text string) (string, bool) {
	platform, id, _ := cutPlatform(strings.TrimSpace(text))
	switch m := roleMarkupRE.FindStringSubmatch(text); {
	case m != nil && strings.HasPrefix(text, "<@&"):
		platform, id = "discord", m[1]
	case m != nil:
		platform, id = "slack", m[1]
	}
	if m := roleMarkupRE.FindStringSubmatch(id); m != nil {
		id = m[1]
	}
	g := platform + ":" + id
	switch {
	case !groupRE.MatchString(g), platform == "discord" && !digitsRE.MatchString(id):
		return "", false
	}
	return g, true
}

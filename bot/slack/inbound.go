package slack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"pvebot/bot"
	"pvebot/provision"
)

// event is an interaction: what the desk sees of it, and what only this
// package needs to answer it.
type event struct {
	in      bot.Inbound
	back    reply
	trigger string // opens a form, within three seconds
	from    origin
	clicked place // the message whose button was pressed
	view    api.View
	before  string // the line before what is being completed
}

// parse reads an envelope; nil when nobody here cares about it.
func (s *Slack) parse(req socketmode.Request) (*event, error) {
	switch req.Type {
	case socketmode.RequestTypeSlashCommands:
		var c api.SlashCommand
		if err := json.Unmarshal(req.Payload, &c); err != nil {
			return nil, fmt.Errorf("slash command: %w", err)
		}
		return s.command(c)
	case socketmode.RequestTypeInteractive:
		var c api.InteractionCallback
		if err := json.Unmarshal(req.Payload, &c); err != nil {
			return nil, fmt.Errorf("interaction: %w", err)
		}
		return s.interaction(c, req.EnvelopeID)
	default:
		return nil, nil
	}
}

func (s *Slack) command(c api.SlashCommand) (*event, error) {
	e := s.event(c.UserID, c.UserName, reply{URL: c.ResponseURL, Channel: c.ChannelID})
	e.in.Kind, e.in.ID, e.in.Text, e.trigger = bot.Command, c.TriggerID, c.Text, c.TriggerID
	e.from = origin{c.TeamID, c.EnterpriseID}
	return e.sealed()
}

// event begins an event by somebody, to be answered there.
func (s *Slack) event(user, name string, back reply) *event {
	back.At, back.User = s.clock.Now().UTC(), user
	return &event{
		in: bot.Inbound{
			Platform: Platform,
			By:       provision.Actor{Platform: Platform, ID: user, Name: name},
			Roles:    s.groups.of(user),
			Where:    provision.Conversation{Platform: Platform, Channel: back.Channel},
			At:       s.clock.Now(),
		},
		back: back,
	}
}

// sealed puts the way to answer into the inbound, and checks it.
func (e *event) sealed() (*event, error) {
	if e.in.ID == "" || e.in.By.ID == "" {
		return nil, fmt.Errorf("a %s without an id or a person", e.in.Kind)
	}
	raw, err := json.Marshal(e.back)
	e.in.Reply = raw
	return e, err
}

func (s *Slack) interaction(c api.InteractionCallback, envelope string) (*event, error) {
	e, err := s.interacted(c, envelope)
	if e != nil {
		// The person's own workspace counts, not the one that the channel is of.
		e.from = origin{cmp.Or(c.User.TeamID, c.Team.ID), c.Enterprise.ID}
	}
	return e, err
}

func (s *Slack) interacted(c api.InteractionCallback, envelope string) (*event, error) {
	switch c.Type {
	case api.InteractionTypeBlockActions:
		if len(c.ActionCallback.BlockActions) == 0 || c.View.ID != "" {
			return nil, nil // selects in a form are read when it is sent
		}
		at := place{Channel: c.Container.ChannelID, TS: c.Container.MessageTs}
		if at.Channel == "" {
			at.Channel = c.Channel.ID
		}
		own := c.Container.IsEphemeral || strings.HasPrefix(at.Channel, "D") // a conversation with the bot
		e := s.event(c.User.ID, c.User.Name, reply{URL: c.ResponseURL, Channel: at.Channel, Own: own})
		e.in.Kind, e.in.ID, e.in.Button = bot.Click, c.TriggerID, c.ActionCallback.BlockActions[0].ActionID
		e.trigger, e.clicked = c.TriggerID, at
		return e.sealed()

	case api.InteractionTypeViewSubmission:
		// The form remembers the command that it came from: a submission has
		// neither a channel nor a response URL.
		back := formBack(c.View)
		at := back.At
		e := s.event(c.User.ID, c.User.Name, back)
		e.back.At = at
		e.in.Kind, e.in.ID, e.in.Form, e.in.Fields = bot.Submit, c.TriggerID, c.View.CallbackID, valuesOf(c.View.State)
		if e.in.ID == "" {
			e.in.ID = c.View.ID + "/" + c.View.Hash
		}
		e.trigger, e.view = c.TriggerID, c.View
		return e.sealed()

	case api.InteractionTypeBlockSuggestion:
		e := s.event(c.User.ID, c.User.Name, formBack(c.View))
		given := valuesOf(c.View.State)
		before, ok := lineBefore(c.View.CallbackID, c.BlockID, given)
		if !ok {
			return nil, nil
		}
		e.in.Kind, e.in.ID, e.in.Form, e.in.Fields = bot.Complete, envelope, c.View.CallbackID, given
		e.in.Text, e.before = before+c.Value, before
		return e.sealed()

	default:
		return nil, nil
	}
}

// formBack is how a form's sender is answered.
func formBack(v api.View) reply {
	var back reply
	_ = json.Unmarshal([]byte(v.PrivateMetadata), &back) // an unreadable one answers in private
	return back
}

package discord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"pvebot/bot"
	"pvebot/provision"
)

// Whisper implements [bot.Adapter]: through the interaction's token for 15
// minutes; then in the person's conversation with the bot.
func (d *Discord) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	var r reply
	if len(to.Reply) > 0 {
		if err := json.Unmarshal(to.Reply, &r); err != nil {
			d.log.WarnContext(ctx, "an inbound's reply can't be read", "id", to.ID, "err", err)
		}
	}
	var tried error
	if r.Token != "" && d.clock.Now().Sub(r.At) < replyTime {
		a := d.seen.answer(to.ID)
		if a == nil { // of an earlier process, which had deferred it
			a = &answer{reply: r, state: deferredPrivate}
			if r.Public {
				a.state = deferredPublic
			} else if to.Kind == bot.Click {
				a.state = deferredUpdate
			}
		}
		if tried = d.whisperBy(ctx, a, c, c.Instead && r.Own); tried == nil {
			return nil
		}
	}
	err := d.direct(ctx, to.By, c)
	if err == nil {
		return nil
	}
	return fmt.Errorf("whisper: %w", errors.Join(tried, err))
}

// whisperBy answers by the interaction's token: in place of the message that was
// clicked, or as a new one.
func (d *Discord) whisperBy(ctx context.Context, a *answer, c bot.Card, instead bool) error {
	state := a.claim()
	if state == deferredUpdate && instead {
		state = deferredPrivate // the message is the answer
	}
	switch state {
	case deferredPrivate:
		return d.written(ctx, c, func(m message) error {
			return d.call(ctx, request{what: "answer", method: http.MethodPatch, path: a.reply.original(), body: m, token: true, again: true}, nil)
		})
	case deferredPublic:
		// All see that the bot is thinking. That must go first, or Discord
		// would make it the answer.
		err := d.call(ctx, request{what: "take back", method: http.MethodDelete, path: a.reply.original(), token: true, again: true}, nil)
		if err != nil && !pastCodes[code(err)] {
			a.set(deferredPublic)
			return err
		}
	}
	return d.written(ctx, c, func(m message) error {
		m.Flags = ephemeral
		return d.call(ctx, request{what: "answer", method: http.MethodPost, path: a.reply.webhook(), body: m, token: true}, nil)
	})
}

// direct writes to a person.
func (d *Discord) direct(ctx context.Context, who provision.Actor, c bot.Card) error {
	where, err := d.Private(ctx, who)
	if err == nil {
		_, err = d.create(ctx, where.Channel, c)
	}
	return mapped(err)
}

// Private implements [bot.Confidant].
func (d *Discord) Private(ctx context.Context, with provision.Actor) (provision.Conversation, error) {
	var dm struct {
		ID string `json:"id"`
	}
	err := d.call(ctx, request{what: "open a conversation", method: http.MethodPost, path: "/users/@me/channels", body: map[string]string{"recipient_id": with.ID}, again: true}, &dm)
	return provision.Conversation{Platform: Platform, Channel: dm.ID}, mapped(err)
}

package discord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/bwmarrin/discordgo"
	"github.com/google/uuid"

	"pvebot/bot"
	"pvebot/provision"
)

// place is a message's address, and what a bot.Ref of this package says. Its
// thread has the message's own id.
type place struct {
	Channel string `json:"channel_id"`
	Message string `json:"id"`
}

func placeOf(ref bot.Ref) (place, error) {
	var at place
	if err := json.Unmarshal(ref, &at); err != nil || at.Channel == "" || at.Message == "" {
		return place{}, fmt.Errorf("ref %q is not one of Discord's: %w", ref, errors.Join(bot.ErrGone, err))
	}
	return at, nil
}

func (at place) ref() (bot.Ref, error) {
	raw, err := json.Marshal(at)
	return bot.Ref(raw), err
}

// message is what every post, edit and answer sends: all of it, since an edit
// that leaves out a part may keep the old one.
type message struct {
	Content    string                       `json:"content"`
	Embeds     []*discordgo.MessageEmbed    `json:"embeds"`
	Components []discordgo.MessageComponent `json:"components"`
	Mentions   mentions                     `json:"allowed_mentions"`
	Flags      int                          `json:"flags,omitempty"`
	Nonce      string                       `json:"nonce,omitempty"`
	Once       bool                         `json:"enforce_nonce,omitempty"` // equal nonces are one message
}

// mentions is who a message may ping: nobody. Discord wants to be told with each
// create and each edit.
type mentions struct{}

// MarshalJSON implements json.Marshaler.
func (mentions) MarshalJSON() ([]byte, error) { return []byte(`{"parse":[]}`), nil }

// rendered renders a card that is going to be shown.
func (d *Discord) rendered(c bot.Card) message {
	d.confirms.note(c.Buttons)
	return render(c)
}

// written sends a card, and once more without anything that Discord may refuse
// when it does. Words that a server forbids are nobody's mistake.
func (d *Discord) written(ctx context.Context, c bot.Card, send func(message) error) error {
	err := send(d.rendered(c))
	if !refusedCodes[code(err)] {
		return err
	}
	d.log.WarnContext(ctx, "Discord refuses a card; sending the least of it", "job", c.Job, "err", err)
	return send(least(c))
}

// Post implements [bot.Adapter]. The first card that an interaction leads to
// becomes its answer, as the contexts of handlers tell; from then on it is a
// message like others, which outlives the interaction.
func (d *Discord) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	if a, ok := ctx.Value(answerKey{}).(*answer); ok && a.claimCard(where.Channel) {
		var at place
		err := d.written(ctx, c, func(m message) error {
			return d.call(ctx, request{what: "post", method: http.MethodPatch, path: a.reply.original(), body: m, token: true, again: true}, &at)
		})
		if err == nil && at.Message != "" {
			d.threads.change(at.Message, func(t *thread) { t.fresh = true })
			return at.ref()
		}
		d.log.InfoContext(ctx, "the answer can't be filled; posting a message", "job", c.Job, "err", err)
	}
	at, err := d.create(ctx, where.Channel, c)
	if err != nil {
		return nil, mapped(err)
	}
	d.threads.change(at.Message, func(t *thread) { t.fresh = true })
	return at.ref()
}

// create posts a card to a channel. When its answer is lost, the next try of
// the same job within minutes finds what this one made: they have one nonce.
func (d *Discord) create(ctx context.Context, channel string, c bot.Card) (place, error) {
	key, nonce := fmt.Sprintf("%s/%d", channel, c.Job), newNonce()
	if c.Job != 0 {
		nonce = d.nonces.of(key)
	}
	var at place
	err := d.written(ctx, c, func(m message) error {
		m.Nonce, m.Once = nonce, true
		return d.call(ctx, request{
			what: "post", method: http.MethodPost, path: "/channels/" + channel + "/messages",
			body: m, bucket: "/channels/" + channel + "/messages", again: true,
		}, &at)
	})
	if !unsure(err) {
		d.nonces.forget(key)
	}
	return at, err
}

// Edit implements [bot.Adapter].
func (d *Discord) Edit(ctx context.Context, ref bot.Ref, c bot.Card) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	old := ""
	if born, ok := bornAt(at.Message); ok && d.clock.Now().Sub(born) > oldAge {
		old = at.Channel
	}
	send := func(m message) error {
		return d.call(ctx, request{
			what: "edit", method: http.MethodPatch, path: "/channels/" + at.Channel + "/messages/" + at.Message,
			body: m, bucket: "/channels/" + at.Channel + "/messages/*", again: true, old: old,
		}, nil)
	}
	err = d.written(ctx, c, send)
	if code(err) == codeArchived {
		// The card stands in a thread that nobody wrote to for long.
		if err = d.unarchive(ctx, at.Channel); err == nil {
			err = d.written(ctx, c, send)
		}
	}
	if err == nil {
		d.ended(ctx, at, c.Final)
	}
	return mapped(err)
}

// nonces are those of posts that may or may not have been made.
type nonces struct {
	mu    sync.Mutex
	known map[string]string
}

func newNonces() *nonces { return &nonces{known: map[string]string{}} }

// maxNonces: lost posts are few; when they are many, Discord has forgotten the
// first ones too.
const maxNonces = 1000

// newNonce is one of at most 25 characters: Discord's limit.
func newNonce() string { return uuid.NewString()[:23] }

func (n *nonces) of(key string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[key] == "" {
		if len(n.known) >= maxNonces {
			clear(n.known)
		}
		n.known[key] = newNonce()
	}
	return n.known[key]
}

func (n *nonces) forget(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, key)
}

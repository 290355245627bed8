package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	api "github.com/slack-go/slack"

	"pvebot/bot"
	"pvebot/provision"
)

// place is a message's address, and what a bot.Ref of this package says.
type place struct {
	Channel string `json:"channel"`
	TS      string `json:"ts"`
}

func placeOf(ref bot.Ref) (place, error) {
	var at place
	if err := json.Unmarshal(ref, &at); err != nil || at.Channel == "" || at.TS == "" {
		return place{}, fmt.Errorf("ref %q is not one of Slack's: %w", ref, errors.Join(bot.ErrGone, err))
	}
	return at, nil
}

func (at place) ref() (bot.Ref, error) {
	raw, err := json.Marshal(at)
	return bot.Ref(raw), err
}

// options are how every message is sent: blocks with a text beside them, and
// nothing that Slack finds in either.
func (r rendering) options(more ...api.MsgOption) []api.MsgOption {
	return append([]api.MsgOption{
		api.MsgOptionText(r.text, false), api.MsgOptionBlocks(r.blocks...), api.MsgOptionParse(false),
	}, more...)
}

// unfurl options exist for posts only.
func quiet() []api.MsgOption {
	return []api.MsgOption{api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl()}
}

// plainer is what is sent when Slack refuses a rendering, which is a mistake of
// ours: the card's words alone, in the one form that is sure to be taken.
func plainer(c bot.Card) rendering {
	p := page{left: maxPiece}
	lines := []string{clean(c.Title, maxTitle), clean(c.Text, maxPiece/2)}
	for _, f := range c.Fields[:min(len(c.Fields), maxFields)] {
		lines = append(lines, clean(f.Name, maxFieldName)+"  "+clean(f.Value, maxFieldValue))
	}
	var b rich
	b.fixed(p.lines(lines, maxPiece))
	return rendering{text: fallback(c), blocks: []api.Block{api.NewRichTextBlock("", b.elements...)}}
}

// written sends a card, and once more in plain when Slack refuses its form.
func (s *Slack) written(ctx context.Context, c bot.Card, send func(rendering) error) error {
	err := send(render(c))
	if !refusedCodes[code(err)] {
		return err
	}
	s.log.ErrorContext(ctx, "Slack refuses our blocks; sending plain ones", "job", c.Job, "err", err, "details", details(err))
	return send(plainer(c))
}

// Post implements [bot.Adapter]. There is no idempotent post at Slack: when an
// answer was lost, the next Post of the same job looks for the message first,
// provided that the token may read the channel's history.
func (s *Slack) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	if at, ok := s.findLost(ctx, where.Channel, c.Job); ok {
		ref, err := at.ref()
		if err == nil {
			err = s.Edit(ctx, ref, c)
		}
		if err == nil || errors.Is(err, bot.ErrGone) { // else the next try finds it again
			s.lost.forget(where.Channel, c.Job)
		}
		return ref, err
	}
	mark := uuid.NewString()
	began := s.clock.Now()
	var at place
	var m api.Message
	err := s.written(ctx, c, func(r rendering) (err error) {
		at.Channel, at.TS, m, err = s.client.PostMessageWithResponseContext(ctx, where.Channel, r.options(append(quiet(),
			api.MsgOptionMetadata(api.SlackMetadata{EventType: markType, EventPayload: map[string]any{"mark": mark}}))...)...)
		return err
	})
	if err != nil {
		if unsure(err) {
			s.lost.add(where.Channel, c.Job, mark, began)
		}
		return nil, mapped("post", err)
	}
	if m.BotProfile != nil {
		if err := s.sameApp(m.BotProfile.AppID, ""); err != nil {
			s.note(func(h *Health) { h.Problem = err.Error() })
			s.log.ErrorContext(ctx, "clicks on messages of this bot go to another one", "err", err)
		}
	}
	return at.ref()
}

// Private implements [bot.Confidant]: what is posted to a person's id is in their
// conversation with the bot.
func (s *Slack) Private(_ context.Context, with provision.Actor) (provision.Conversation, error) {
	return provision.Conversation{Platform: Platform, Channel: with.ID}, nil
}

// Edit implements [bot.Adapter].
func (s *Slack) Edit(ctx context.Context, ref bot.Ref, c bot.Card) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	return mapped("edit", s.written(ctx, c, func(r rendering) error {
		_, _, _, err := s.client.UpdateMessageContext(ctx, at.Channel, at.TS, r.options()...)
		return err
	}))
}

// Say implements [bot.Adapter]. Slack posts a reply to a deleted message into
// the channel and calls that a success; such a stray is taken back.
func (s *Slack) Say(ctx context.Context, ref bot.Ref, lines []string) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	for _, r := range spoken(lines) {
		channel, ts, m, err := s.client.PostMessageWithResponseContext(ctx, at.Channel, r.options(append(quiet(), api.MsgOptionTS(at.TS))...)...)
		if err != nil {
			return mapped("say", err)
		}
		if m.ThreadTimestamp == "" {
			if _, _, err := s.client.DeleteMessageContext(ctx, channel, ts); err != nil {
				s.log.WarnContext(ctx, "a reply to a deleted message stays in the channel", "channel", channel, "ts", ts, "err", err)
			}
			return fmt.Errorf("say: %w: the message was deleted", bot.ErrGone)
		}
	}
	return nil
}

// reply is what an inbound carries of how to answer it: Inbound.Reply. It is
// stored, and lives in the private metadata of forms.
type reply struct {
	URL     string    `json:"url,omitempty"` // good for 5 answers in 30 minutes
	At      time.Time `json:"at,omitzero"`   // since then
	Channel string    `json:"channel,omitempty"`
	User    string    `json:"user,omitempty"`
	Own     bool      `json:"own,omitempty"` // a message was clicked that only User sees
}

// replyTime is how long a response URL is used; Slack closes it after 30
// minutes.
const replyTime = 29 * time.Minute

// Whisper implements [bot.Adapter]: through the interaction's response URL,
// which works everywhere; when that is used up, as an ephemeral message where
// the bot can write; else in the person's conversation with the bot.
func (s *Slack) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	var r reply
	if len(to.Reply) > 0 {
		if err := json.Unmarshal(to.Reply, &r); err != nil {
			s.log.WarnContext(ctx, "an inbound's reply can't be read", "id", to.ID, "err", err)
		}
	}
	var tried []error
	if r.URL != "" && s.clock.Now().Sub(r.At) < replyTime {
		err := s.written(ctx, c, func(x rendering) error { return s.answer(ctx, r.URL, x, c.Instead && r.Own) })
		if err == nil {
			return nil
		}
		tried = append(tried, fmt.Errorf("by response URL: %w", err))
	}
	if to.Where.Channel != "" {
		err := s.written(ctx, c, func(x rendering) error {
			_, err := s.client.PostEphemeralContext(ctx, to.Where.Channel, to.By.ID, x.options()...)
			return err
		})
		if err == nil {
			return nil
		}
		tried = append(tried, mapped("in the channel", err))
	}
	err := s.written(ctx, c, func(x rendering) error {
		_, _, err := s.client.PostMessageContext(ctx, to.By.ID, x.options(quiet()...)...)
		return err
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("whisper: %w", errors.Join(append(tried, mapped("in private", err))...))
}

// answer posts to a response URL, in place of the message that was clicked or
// as a new one.
func (s *Slack) answer(ctx context.Context, to string, r rendering, instead bool) error {
	if !s.trusts(to) {
		return errors.New("it is no address of Slack's")
	}
	no := false
	err := api.PostWebhookCustomHTTPContext(ctx, to, s.http, &api.WebhookMessage{
		Text: r.text, Blocks: &api.Blocks{BlockSet: r.blocks}, ResponseType: api.ResponseTypeEphemeral,
		ReplaceOriginal: instead, Parse: "none", UnfurlLinks: &no, UnfurlMedia: &no,
	})
	// Whoever has a response URL can answer in our name: it stays out of logs.
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}

// trusts reports whether a URL from a payload is one to talk to: Slack's own,
// or where SLACK_API_URL points.
func (s *Slack) trusts(to string) bool {
	u, err := url.Parse(to)
	if err != nil || u.User != nil {
		return false
	}
	if ours, err := url.Parse(s.cfg.APIURL); err == nil && u.Scheme == ours.Scheme && u.Host == ours.Host {
		return true
	}
	host := u.Hostname()
	return u.Scheme == "https" && u.Port() == "" &&
		(strings.HasSuffix(host, ".slack.com") || strings.HasSuffix(host, ".slack-gov.com"))
}

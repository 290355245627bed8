package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"pvebot/bot"
)

// Slack waits three seconds for an ack.
const (
	ackBy      = 2 * time.Second // then it is sent, whatever the answer will be
	triageTime = 5 * time.Second
	afterTime  = 15 * time.Second // for an answer that did not fit into the ack
)

// take takes an envelope off the socket; it never waits. The ack is due: every
// way from here leads to k.end.
func (r *run) take(k *socket, req socketmode.Request) {
	s := r.s
	s.note(func(h *Health) { h.LastEnvelope = s.clock.Now() })
	e, err := s.parse(req)
	if err != nil {
		s.log.WarnContext(r.ctx, "dropped an interaction that can't be read", "type", req.Type, "err", err)
	}
	r.work.Go(func() {
		ack := func(payload any) { r.ack(k, req.EnvelopeID, payload) }
		if e == nil {
			ack(nil)
			return
		}
		r.answer(ack, e)
	})
}

// ack writes an ack and ends the envelope.
func (r *run) ack(k *socket, envelope string, payload any) {
	defer k.end()
	raw, err := json.Marshal(socketmode.Response{EnvelopeID: envelope, Payload: payload})
	if err == nil {
		err = k.ack(raw)
	}
	if err != nil {
		r.s.note(func(h *Health) { h.LostAcks++ })
		r.s.log.WarnContext(r.ctx, "an ack was lost; Slack shows a failure although the order may stand", "err", err)
	}
}

// answer triages an interaction, acknowledges it and has it handled. What
// Slack delivers twice is acknowledged twice and handled once.
func (r *run) answer(acknowledge func(payload any), e *event) {
	s := r.s
	known, fresh := s.seen.take(e.in.ID)
	over, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	deadline := after(over, s.clock, ackBy)
	if !fresh {
		select {
		case <-known.ready:
		case <-deadline:
			acknowledge(nil)
			return
		}
		acknowledge(known.payload)
		return
	}

	if !s.welcomes(e.from) {
		s.log.WarnContext(r.ctx, "refused somebody of another workspace; SLACK_TEAMS lets some in", "team", e.from.team, "by", e.in.By.Key(), "kind", e.in.Kind)
		var rest bot.Ack
		known.payload, rest = s.inAck(e, unwelcome(e.from))
		close(known.ready)
		acknowledge(known.payload)
		r.afterAck(e, rest)
		return
	}

	// The answer of a stopping bot is still an answer.
	ctx, done := context.WithTimeout(context.WithoutCancel(r.ctx), triageTime)
	defer done()
	triaged := make(chan bot.Ack, 1)
	go func() { triaged <- r.handler.Triage(ctx, e.in) }()
	var ack bot.Ack
	late := false
	select {
	case ack = <-triaged:
	case <-deadline:
		late = true
	}
	var rest bot.Ack
	if !late {
		known.payload, rest = s.inAck(e, ack)
	}
	close(known.ready)
	acknowledge(known.payload)
	if late {
		s.note(func(h *Health) { h.LateAcks++ })
		rest = <-triaged
	}
	r.afterAck(e, rest)
	r.handler.Handle(r.ctx, e.in)
}

// inAck is the payload of an ack, and what has to be said in other ways.
func (s *Slack) inAck(e *event, ack bot.Ack) (payload any, rest bot.Ack) {
	switch e.in.Kind {
	case bot.Command:
		if ack.Whisper == nil {
			return nil, ack
		}
		r := render(*ack.Whisper)
		payload = map[string]any{"response_type": api.ResponseTypeEphemeral, "text": r.text, "blocks": r.blocks}
	case bot.Submit:
		switch {
		case len(ack.Errors) > 0:
			payload = api.NewErrorsViewSubmissionResponse(fieldErrors(e.view, ack.Errors))
		case ack.Form != nil:
			v, err := modal(*ack.Form, e.back)
			if err != nil {
				return nil, ack
			}
			payload = api.NewUpdateViewSubmissionResponse(&v)
		default:
			return nil, ack
		}
	case bot.Complete:
		options := suggestions(e.before, e.in.Text[len(e.before):], ack.Choices)
		for ; ; options = options[:len(options)/2] {
			payload = map[string]any{"options": options}
			if fits(payload) {
				return payload, bot.Ack{}
			}
		}
	case bot.Click:
		return nil, ack
	}
	if !fits(payload) {
		return nil, ack
	}
	return payload, bot.Ack{}
}

// fits reports whether Slack would read an ack with this payload; it drops
// bigger ones without a word.
func fits(payload any) bool {
	raw, err := json.Marshal(payload)
	const envelope = 200 // around it
	return err == nil && len(raw)+envelope < maxAck
}

// afterAck gives the answers that an ack can't hold.
func (r *run) afterAck(e *event, ack bot.Ack) {
	s := r.s
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), afterTime)
	defer cancel()
	var err error
	switch {
	case ack.Form != nil:
		if err = s.openForm(ctx, e, *ack.Form); err != nil {
			s.log.WarnContext(ctx, "can't open a form", "form", ack.Form.ID, "err", err)
			err = s.Whisper(ctx, e.in, formless(*ack.Form))
		}
	case ack.Update != nil && e.clicked.TS != "":
		var ref bot.Ref
		if ref, err = e.clicked.ref(); err == nil {
			err = s.Edit(ctx, ref, *ack.Update)
		}
	case ack.Whisper != nil:
		err = s.Whisper(ctx, e.in, *ack.Whisper)
	case len(ack.Errors) > 0:
		err = s.Whisper(ctx, e.in, errorsCard(ack.Errors))
	}
	if err != nil {
		s.log.WarnContext(ctx, "can't answer", "kind", e.in.Kind, "by", e.in.By.Key(), "err", err)
	}
}

func (s *Slack) openForm(ctx context.Context, e *event, f bot.Form) error {
	v, err := modal(f, e.back)
	if err != nil {
		return err
	}
	if _, err = s.client.OpenViewContext(ctx, e.trigger, v); err != nil {
		if why := details(err); len(why) > 0 {
			return fmt.Errorf("%w: %v", err, why)
		}
	}
	return err
}

// formless is for who gets no form.
func formless(f bot.Form) bot.Card {
	return bot.Card{
		Title: "That did not work", Tone: bot.Bad, Text: "I could not open the form. Try again, or write it as a line.",
		Fields: []bot.Field{{Name: "help", Value: "/vm help " + f.ID, Code: true}},
	}
}

// errorsCard are errors whose form is closed already.
func errorsCard(errs map[string]string) bot.Card {
	c := bot.Card{Title: "That did not work", Tone: bot.Bad, Text: "I was too slow to say it in the form."}
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		c.Fields = append(c.Fields, bot.Field{Name: name, Value: errs[name]})
	}
	return c
}

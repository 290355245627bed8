package discord

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/bwmarrin/discordgo"

	"pvebot/bot"
	"pvebot/cluster"
)

// Discord waits three seconds for the first answer, counted from when the
// person acted.
const (
	ackBy      = 1500 * time.Millisecond // then it is deferred, whatever the answer will be
	triageTime = 5 * time.Second
	ackTime    = 3 * time.Second // of the call
	deadAfter  = 5 * time.Second // leaves room for clocks that are not exact
)

// ephemeral messages are seen by one person.
const ephemeral = 1 << 6

// interaction answers an interaction and has it handled.
func (r *run) interaction(raw json.RawMessage) {
	d := r.d
	e, err := d.parse(raw)
	if err != nil {
		d.log.WarnContext(r.ctx, "dropped an interaction that can't be read", "err", err)
	}
	if e == nil || err != nil || !d.seen.take(e.in.ID, e.answer) {
		return
	}
	if d.tooOld(e.in.ID) {
		// Its sender was told that it failed; to do it all the same would
		// surprise who tries again.
		d.note(func(h *Health) { h.Dead++ })
		d.log.WarnContext(r.ctx, "dropped an interaction that came too late", "id", e.in.ID)
		return
	}
	if own, ok := d.ownAnswer(e); ok {
		if _, err := d.respond(r.ctx, e, own); err != nil {
			d.log.WarnContext(r.ctx, "can't answer", "kind", e.in.Kind, "err", err)
		}
		return
	}
	r.answer(e)
}

// tooOld reports whether Discord does not wait for the answer any more. Our
// clock and Discord's must both say so: either may be wrong.
func (d *Discord) tooOld(id string) bool {
	born, ok := bornAt(id)
	theirs, known := d.limits.theirs()
	return ok && known && theirs.Sub(born) > deadAfter && d.clock.Now().Sub(born) > deadAfter
}

// ownAnswer answers what is no business of the desk's.
func (d *Discord) ownAnswer(e *event) (response, bool) {
	switch {
	case e.foreign && e.in.Kind == bot.Complete:
		return response{Type: discordgo.InteractionApplicationCommandAutocompleteResult, Data: choicesOf(e.complete, nil)}, true
	case e.foreign:
		d.log.Warn("refused somebody of another server than DISCORD_GUILD_ID", "by", e.in.By.Key(), "kind", e.in.Kind)
		return d.private(bot.Card{
			Title: "Not for this server", Tone: bot.Bad,
			Text: "I work for another Discord server, the one in DISCORD_GUILD_ID, so nothing was done. Order there.",
		}), true
	case e.asks != "":
		return d.areYouSure(e.asks), true
	case e.lacks != "":
		c := bot.Card{
			Title: "I can't write here", Tone: bot.Bad,
			Text: "Nothing was started: I could not show how it goes. Give my role " + e.lacks + " in this channel, or use another one.",
		}
		return d.private(c), true
	}
	return response{}, false
}

// answer triages an interaction, answers it in time and has it handled.
func (r *run) answer(e *event) {
	d := r.d
	// The answer of a stopping bot is still an answer.
	over, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	ctx, done := context.WithTimeout(over, triageTime)
	defer done()
	triaged := make(chan bot.Ack, 1)
	go func() { triaged <- r.handler.Triage(ctx, e.in) }()
	var ack, rest bot.Ack
	late := false
	select {
	case ack = <-triaged:
	case <-after(over, d.clock, ackBy):
		late = true
	}
	if e.in.Kind == bot.Complete {
		r.complete(e, ack)
		return
	}
	res, rest := d.first(e, ack)
	taken, err := d.respond(over, e, res)
	switch {
	case err != nil && code(err) == codeUnknownInteraction:
		d.note(func(h *Health) { h.LostAcks++ })
		d.log.WarnContext(ctx, "an interaction died before its answer; nothing is done for it", "id", e.in.ID)
		if late {
			<-triaged // until it is stored there is nothing to drop
		}
		if h, ok := r.handler.(bot.Dropper); ok {
			h.Drop(ctx, e.in)
		}
		return
	case err != nil:
		d.note(func(h *Health) { h.LostAcks++ })
		d.log.WarnContext(ctx, "an answer was lost; Discord shows a failure although the order may stand", "id", e.in.ID, "err", err)
	case !taken:
		rest = ack // somebody has deferred it
	}
	if late {
		d.note(func(h *Health) { h.LateAcks++ })
		rest = <-triaged
	}
	r.afterAck(e, rest)
	// What is deferred and not answered here is left alone: another bot may be
	// about to answer it.
	r.handler.Handle(context.WithValue(r.ctx, answerKey{}, e.answer), e.in)
}

// complete answers with choices, none at the worst: a late answer is worse.
func (r *run) complete(e *event, ack bot.Ack) {
	res := response{Type: discordgo.InteractionApplicationCommandAutocompleteResult, Data: choicesOf(e.complete, ack.Choices)}
	if _, err := r.d.respond(r.ctx, e, res); err != nil {
		r.d.log.DebugContext(r.ctx, "can't complete", "err", err)
	}
}

// response is a first answer.
type response struct {
	Type discordgo.InteractionResponseType `json:"type"`
	Data any                               `json:"data,omitempty"`
	kind answerState
}

// private is a card that only the asker sees.
func (d *Discord) private(c bot.Card) response {
	m := d.rendered(c)
	m.Flags = ephemeral
	return response{Type: discordgo.InteractionResponseChannelMessageWithSource, Data: m, kind: answered}
}

// first is the first answer of an ack, and what has to be said in other ways.
func (d *Discord) first(e *event, ack bot.Ack) (res response, rest bot.Ack) {
	if ack.Form != nil && e.in.Kind != bot.Submit {
		if f, err := modal(*ack.Form); err == nil {
			return response{Type: discordgo.InteractionResponseModal, Data: f, kind: answered}, bot.Ack{}
		}
		c := formless(*ack.Form)
		ack = bot.Ack{Whisper: &c}
	}
	if len(ack.Errors) > 0 {
		c := errorsCard(ack.Errors)
		ack = bot.Ack{Whisper: &c}
	}
	switch {
	case ack.Whisper != nil && e.sure:
		// In place of the question.
		return response{Type: discordgo.InteractionResponseUpdateMessage, Data: d.rendered(*ack.Whisper), kind: answered}, bot.Ack{}
	case ack.Whisper != nil:
		return d.private(*ack.Whisper), bot.Ack{}
	case ack.Update != nil && e.clicked.Message != "" && !e.sure:
		return response{Type: discordgo.InteractionResponseUpdateMessage, Data: d.rendered(*ack.Update), kind: answered}, bot.Ack{}
	case e.sure:
		m := render(bot.Card{Title: "Taken"})
		return response{Type: discordgo.InteractionResponseUpdateMessage, Data: m, kind: deferredPrivate}, ack
	case e.in.Kind == bot.Click:
		return response{Type: discordgo.InteractionResponseDeferredMessageUpdate, kind: deferredUpdate}, ack
	}
	res = response{Type: discordgo.InteractionResponseDeferredChannelMessageWithSource, kind: deferredPublic}
	if !e.answer.reply.Public {
		res.kind, res.Data = deferredPrivate, map[string]any{"flags": ephemeral}
	}
	return res, ack
}

// respond sends the first answer. Not taken means that there was one already:
// another bot's, or ours that we did not hear of.
func (d *Discord) respond(ctx context.Context, e *event, res response) (taken bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTime)
	defer cancel()
	r := e.answer.reply
	err = d.call(ctx, request{
		what: "answer", method: http.MethodPost, path: "/interactions/" + r.ID + "/" + r.Token + "/callback",
		body: res, token: true, again: true,
	}, nil)
	if refusedCodes[code(err)] && e.in.Kind != bot.Complete {
		d.log.ErrorContext(ctx, "Discord refuses our answer; deferring it", "err", err)
		return false, d.deferInstead(ctx, e)
	}
	e.answer.set(res.kind)
	if code(err) == codeAcknowledged {
		return false, nil
	}
	return err == nil, err
}

// deferInstead defers what Discord refuses the first answer of.
func (d *Discord) deferInstead(ctx context.Context, e *event) error {
	res := response{Type: discordgo.InteractionResponseDeferredChannelMessageWithSource, Data: map[string]any{"flags": ephemeral}, kind: deferredPrivate}
	if e.in.Kind == bot.Click {
		res = response{Type: discordgo.InteractionResponseDeferredMessageUpdate, kind: deferredUpdate}
	}
	r := e.answer.reply
	err := d.call(ctx, request{
		what: "defer", method: http.MethodPost, path: "/interactions/" + r.ID + "/" + r.Token + "/callback",
		body: res, token: true, again: true,
	}, nil)
	e.answer.set(res.kind)
	return err
}

// afterAck gives the answers that the first one could not hold.
func (r *run) afterAck(e *event, ack bot.Ack) {
	d := r.d
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 15*time.Second)
	defer cancel()
	var err error
	switch {
	case ack.Form != nil:
		err = d.Whisper(ctx, e.in, formless(*ack.Form))
	case ack.Update != nil && e.clicked.Message != "":
		var ref bot.Ref
		if ref, err = e.clicked.ref(); err == nil {
			err = d.Edit(ctx, ref, *ack.Update)
		}
	case ack.Whisper != nil:
		err = d.Whisper(ctx, e.in, *ack.Whisper)
	case len(ack.Errors) > 0:
		err = d.Whisper(ctx, e.in, errorsCard(ack.Errors))
	}
	if err != nil {
		d.log.WarnContext(ctx, "can't answer", "kind", e.in.Kind, "by", e.in.By.Key(), "err", err)
	}
}

// formless is for who gets no form.
func formless(f bot.Form) bot.Card {
	return bot.Card{
		Title: "That did not work", Tone: bot.Bad, Text: "I could not open the form. Try again, with all that is needed in the command.",
		Fields: []bot.Field{{Name: "help", Value: "/vm help verb:" + f.ID, Code: true}},
	}
}

// errorsCard are the errors of a form: Discord has closed it already.
func errorsCard(errs map[string]string) bot.Card {
	c := bot.Card{Title: "That did not work", Tone: bot.Bad, Text: "Nothing was started. Send the command again with this put right:"}
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		c.Fields = append(c.Fields, bot.Field{Name: name, Value: errs[name]})
	}
	return c
}

// after closes its channel when d is over, or ctx.
func after(ctx context.Context, clock cluster.Clock, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = clock.Sleep(ctx, d)
	}()
	return over
}

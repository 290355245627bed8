package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pvebot/bot"
	"pvebot/bot/web/feed"
	"pvebot/commands"
	"pvebot/provision"
)

const (
	maxLine   = 4000 // bytes of a typed line
	maxFields = 40
)

// pageView is what the page template shows.
type pageView struct {
	Who      string
	Version  string
	Cursor   string
	Now      string
	Messages []template.HTML
	Panels   []template.HTML
	Clusters []string // to choose among; none where there is only one
}

func (w *Web) servePage(rw http.ResponseWriter, r *http.Request) {
	who := actorOf(r)
	v := pageView{Who: who.String(), Version: w.cfg.Version, Now: millis(w.cfg.Clock.Now()), Clusters: w.cfg.Sites.Names()}
	var shown map[string]template.HTML
	viewer := w.sightOf(r)
	v.Messages, shown, v.Cursor = w.room.snapshot(viewer)
	for _, p := range w.panels() {
		html, ok := shown[p.Key()]
		if no := viewer.blind[p.Key()]; no != nil {
			p.Loading = false
			p.Err, _ = provision.Explain(no)
		}
		if !ok {
			html = render("panel", p)
		}
		v.Panels = append(v.Panels, html)
	}
	writeHTML(rw, http.StatusOK, []byte(render("page", v)))
}

// serveChat streams the page's changes: "message" is a message as HTML, to be
// put in the place of the one with its id or where its id sorts; "lines" are
// new lines of a thread; "panel" is a panel; "beat" carries the bot's time, in
// milliseconds. The last event of a batch carries the cursor to go on from.
func (w *Web) serveChat(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := w.living(r)
	defer cancel()
	viewer := w.sightOf(r)
	after := w.room.resume(cursorOf(r))
	s, err := openStream(rw)
	if err != nil {
		return
	}
	defer w.room.enter()()
	beat := func() error { return s.Send("", "beat", []byte(millis(w.cfg.Clock.Now()))) }
	if beat() != nil {
		return
	}
	defer feed.KeepAlive(ctx, cancel, w.cfg.Clock, beat)()
	for {
		n := w.room.since(after, viewer)
		for i, u := range n.updates {
			id := ""
			if i == len(n.updates)-1 {
				id = w.room.cursor(n.version)
			}
			if s.Send(id, u.event, []byte(u.html)) != nil {
				return
			}
		}
		after = n.version
		select {
		case <-n.changed:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Web) serveThread(rw http.ResponseWriter, r *http.Request) {
	html, ok := w.room.thread(r.PathValue("id"), w.sightOf(r))
	if !ok {
		w.refuse(rw, r, provision.Errorf(provision.NotFound, "this thread is not there any more"))
		return
	}
	writeHTML(rw, http.StatusOK, []byte(html))
}

// jobOf is the job that the path names, if it is the sender's or they may see
// all.
func (w *Web) jobOf(r *http.Request) (provision.Job, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return provision.Job{}, provision.Errorf(provision.Invalid, "%q is no job's number", clean(40, r.PathValue("id")))
	}
	who := actorOf(r)
	no := w.maySee(who, "jobs", "")
	job, err := w.cfg.Store.Job(r.Context(), provision.JobID(id))
	if no != nil && (err != nil || !job.Order.By.Same(who)) {
		return provision.Job{}, no
	}
	return job, err
}

// serveCard shows the card of a job whose message is not on the page: it was
// ordered elsewhere, or long ago.
func (w *Web) serveCard(rw http.ResponseWriter, r *http.Request) {
	job, err := w.jobOf(r)
	if err != nil {
		w.refuse(rw, r, err)
		return
	}
	now := w.cfg.Clock.Now()
	c := bot.Show(job, now)
	writeHTML(rw, http.StatusOK, []byte(renderMessage(&message{id: "job-" + job.ID.String(), at: now, only: actorOf(r).Key(), card: &c})))
}

// interactionID is the form of the ids that browsers make for what they send.
var interactionID = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

// said is the body of what a browser sends.
type said struct {
	ID      string            `json:"id"` // made by the browser; a second try has the same
	Text    string            `json:"text"`
	Message string            `json:"message"` // whose button was pressed; "": one beside the chat
	Button  string            `json:"button"`
	Form    string            `json:"form"`
	Fields  map[string]string `json:"fields"`
}

// answer is what it gets back at once; messages travel by the stream.
type answer struct {
	Form   template.HTML     `json:"form,omitempty"`
	Errors map[string]string `json:"errors,omitempty"`
}

// read takes the body of a write. Only JSON is taken: no form of another
// page can send that.
func (w *Web) read(rw http.ResponseWriter, r *http.Request) (said, bool) {
	var b said
	if mime, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); mime != "application/json" {
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "JSON is wanted"))
		return b, false
	}
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		w.refuse(rw, r, &provision.Error{Kind: provision.Invalid, Say: "this is not understood", Err: err})
		return b, false
	}
	if !interactionID.MatchString(b.ID) {
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "an id of 8 to 64 letters, digits, - and _ is wanted"))
		return b, false
	}
	return b, true
}

func (w *Web) takeCommand(rw http.ResponseWriter, r *http.Request) {
	b, ok := w.read(rw, r)
	if !ok {
		return
	}
	text := strings.TrimSpace(b.Text)
	switch {
	case text == "":
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "there is nothing to do in an empty line"))
	case len(text) > maxLine || !utf8.ValidString(text):
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "a line has at most %d bytes of text", maxLine))
	default:
		w.take(rw, r, bot.Inbound{Kind: bot.Command, ID: b.ID, Text: text})
	}
}

func (w *Web) takeClick(rw http.ResponseWriter, r *http.Request) {
	b, ok := w.read(rw, r)
	if !ok {
		return
	}
	if b.Button == "" || len(b.Button) > maxLine || b.Message != "" && !wellFormed(b.Message) {
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "there is no such button"))
		return
	}
	in := bot.Inbound{Kind: bot.Click, ID: b.ID, Button: b.Button}
	if b.Message != "" {
		in.Reply = json.RawMessage(refTo(b.Message))
	}
	w.take(rw, r, in)
}

func (w *Web) takeForm(rw http.ResponseWriter, r *http.Request) {
	b, ok := w.read(rw, r)
	if !ok {
		return
	}
	if b.Form == "" || len(b.Form) > maxLine || len(b.Fields) > maxFields {
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "there is no such form"))
		return
	}
	w.take(rw, r, bot.Inbound{Kind: bot.Submit, ID: b.ID, Form: b.Form, Fields: b.Fields})
}

// take brings an inbound to the handler: triage, answer, and the rest in a
// goroutine of its own that outlives the request.
func (w *Web) take(rw http.ResponseWriter, r *http.Request, in bot.Inbound) {
	ctx, h, done, ok := w.begin()
	if !ok {
		w.refuse(rw, r, provision.Errorf(provision.Unavailable, "the bot is going down"))
		return
	}
	w.sign(&in, actorOf(r))
	if in.Kind == bot.Command {
		text := in.Text
		if commands.HoldsSecret(text) {
			text = "(a line with a secret in it, which I did not keep)"
		}
		w.room.hear(in.ID, in.By, text)
	}
	ack := w.triage(ctx, h, in)
	w.apply(in, ack)
	v := answer{Errors: ack.Errors}
	if ack.Form != nil {
		v.Form = render("form", formView(ack.Form))
	}
	writeJSON(rw, http.StatusOK, v)
	go func() {
		defer done()
		h.Handle(ctx, in)
	}()
}

// sign says who sent in, and from where. The ids of two people never meet.
func (w *Web) sign(in *bot.Inbound, who provision.Actor) {
	in.Platform, in.By = Platform, who
	in.ID = who.ID + "/" + in.ID
	in.Where = provision.Conversation{Platform: Platform, Channel: Channel}
	in.At = w.cfg.Clock.Now().UTC()
}

// triage asks h, which may not think for ever.
func (w *Web) triage(ctx context.Context, h bot.Handler, in bot.Inbound) bot.Ack {
	ctx, cancel := context.WithTimeout(ctx, triageTime)
	defer cancel()
	return h.Triage(ctx, in)
}

// apply shows the parts of an ack that are messages.
func (w *Web) apply(in bot.Inbound, ack bot.Ack) {
	if ack.Whisper != nil {
		w.room.post(*ack.Whisper, in.By.Key())
	}
	if ack.Update != nil && in.Kind == bot.Click {
		if id, err := locate(bot.Ref(in.Reply)); err == nil {
			w.room.edit(id, *ack.Update)
		}
	}
}

// serveCompletions answers with what could follow ?text=.
func (w *Web) serveCompletions(rw http.ResponseWriter, r *http.Request) {
	ctx, h, done, ok := w.begin()
	if !ok {
		w.refuse(rw, r, provision.Errorf(provision.Unavailable, "the bot is going down"))
		return
	}
	defer done()
	text := r.URL.Query().Get("text")
	if len(text) > maxLine || !utf8.ValidString(text) {
		w.refuse(rw, r, provision.Errorf(provision.Invalid, "a line has at most %d bytes of text", maxLine))
		return
	}
	in := bot.Inbound{Kind: bot.Complete, ID: rand.Text(), Text: text}
	w.sign(&in, actorOf(r))
	choices := w.triage(ctx, h, in).Choices
	choices = choices[:min(len(choices), 12)]
	writeHTML(rw, http.StatusOK, []byte(render("choices", choices)))
}

// formField is a field with the id that ties its label to it.
type formField struct {
	bot.FormField
	Key string
}

// formView is what the form template shows.
func formView(f *bot.Form) any {
	v := struct {
		ID, Title string
		Fields    []formField
	}{f.ID, f.Title, nil}
	for i, field := range f.Fields[:min(len(f.Fields), maxFields)] {
		chosen := func(c bot.Choice) bool { return c.Value == field.Value }
		if field.Value != "" && len(field.Options) > 0 && !slices.ContainsFunc(field.Options, chosen) {
			own := bot.Choice{Label: field.Value, Value: field.Value}
			field.Options = append([]bot.Choice{own}, field.Options...)
		}
		v.Fields = append(v.Fields, formField{field, "field-" + strconv.Itoa(i)})
	}
	return v
}

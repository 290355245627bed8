package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	api "github.com/slack-go/slack"
)

// byHTTP: Slack calls us.
func (s *Slack) byHTTP() bool { return s.cfg.SigningSecret != "" }

// open has r take what Slack sends from here on; nil takes nothing.
func (s *Slack) open(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hearing = r; r != nil {
		s.health.Since, s.health.Problem = s.clock.Now(), ""
	}
}

// answered answers e in a goroutine of the run that hears, and returns where its
// ack comes; false when nobody hears.
func (s *Slack) answered(e *event) (<-chan any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.hearing
	if r == nil {
		return nil, false
	}
	acked := make(chan any, 1)
	r.work.Go(func() { r.answer(func(payload any) { acked <- payload }, e) })
	return acked, true
}

// ServeHTTP takes what Slack sends where it is told to call: commands, clicks,
// forms and completions, all at one address. It needs Config.SigningSecret, and
// answers 503 unless Run is going on. A request counts when its signature is
// Slack's, at most five minutes old, and was not seen before.
func (s *Slack) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Slack posts", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxFrame))
	if err != nil {
		http.Error(w, "the request can't be read", http.StatusBadRequest)
		return
	}
	if err := s.genuine(req.Header, body); err != nil {
		s.log.WarnContext(req.Context(), "refused a request that is not Slack's", "peer", req.RemoteAddr, "err", err)
		http.Error(w, "this is not from Slack", http.StatusUnauthorized)
		return
	}
	s.note(func(h *Health) { h.LastEnvelope = s.clock.Now() })
	e, err := s.parseForm(body, req.Header.Get(signatureHeader))
	if err != nil {
		s.log.WarnContext(req.Context(), "dropped an interaction that can't be read", "err", err)
		http.Error(w, "the request can't be understood", http.StatusBadRequest)
		return
	}
	if e == nil {
		return // nobody here cares, which is fine
	}
	acked, ok := s.answered(e)
	if !ok {
		http.Error(w, "the bot is not running", http.StatusServiceUnavailable)
		return
	}
	payload := <-acked // in time: see ackBy
	if payload == nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(payload); err != nil {
		s.note(func(h *Health) { h.LostAcks++ })
		s.log.WarnContext(req.Context(), "an ack was lost; Slack shows a failure although the order may stand", "err", err)
	}
}

// signatureHeader holds a request's signature.
const signatureHeader = "X-Slack-Signature"

// genuine reports why a request is not one that Slack sends, now and for the
// first time.
func (s *Slack) genuine(header http.Header, body []byte) error {
	if !s.byHTTP() {
		return errors.New("the bot has no SLACK_SIGNING_SECRET")
	}
	v, err := api.NewSecretsVerifier(header, string(s.cfg.SigningSecret))
	if err != nil {
		return err
	}
	if _, err := v.Write(body); err != nil {
		return err
	}
	if err := v.Ensure(); err != nil {
		return err
	}
	if _, fresh := s.signatures.take(header.Get(signatureHeader)); !fresh {
		return errors.New("it was taken before")
	}
	return nil
}

// parseForm reads the body of a request; nil when nobody here cares about it.
// Only the body counts: the signature says nothing of the address.
func (s *Slack) parseForm(body []byte, id string) (*event, error) {
	form, err := url.ParseQuery(string(body))
	switch {
	case err != nil:
		return nil, err
	case form.Get("ssl_check") == "1":
		return nil, nil
	case form.Has("payload"):
		var c api.InteractionCallback
		if err := json.Unmarshal([]byte(form.Get("payload")), &c); err != nil {
			return nil, fmt.Errorf("interaction: %w", err)
		}
		return s.interaction(c, id)
	case form.Has("command"):
		return s.command(api.SlashCommand{
			TeamID: form.Get("team_id"), EnterpriseID: form.Get("enterprise_id"), UserID: form.Get("user_id"), UserName: form.Get("user_name"), ChannelID: form.Get("channel_id"),
			Text: form.Get("text"), TriggerID: form.Get("trigger_id"), ResponseURL: form.Get("response_url"),
		})
	}
	return nil, errors.New("neither a command nor an interaction")
}

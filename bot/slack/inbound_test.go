package slack

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/slack-go/slack/socketmode"

	"pvebot/bot"
)

// Whatever comes down the socket, nothing breaks: what is read has an id, a
// person and a way to be answered, and every answer fits into its ack or is
// given in another way.
func FuzzEnvelope(f *testing.F) {
	f.Add("slash_commands", `{"command":"/vm","text":"show web-1","user_id":"U1","user_name":"alice","channel_id":"C1","trigger_id":"1.2.x","response_url":"https://hooks.slack.com/x"}`)
	const someone = `"user":{"id":"U1","name":"alice"},"trigger_id":"1.2.x"`
	for _, payload := range []string{
		`{"type":"block_actions",` + someone + `,"container":{"channel_id":"C1","message_ts":"1.2"},"actions":[{"action_id":"v1.cancel.1.","block_id":"b"}]}`,
		`{"type":"block_actions",` + someone + `,"view":{"id":"V1"},"actions":[{"action_id":"os","selected_option":{"value":"x"}}]}`,
		`{"type":"view_submission",` + someone + `,"view":{"id":"V1","hash":"h","callback_id":"install","private_metadata":"{\"u\":\"https://x\"}",
			"blocks":[{"type":"input","block_id":"os"}],"state":{"values":{"os":{"os":{"type":"static_select","selected_option":{"value":"ubuntu"}}},"name":{"x":{"value":"w"}}}}}}`,
		`{"type":"block_suggestion",` + someone + `,"block_id":"node","action_id":"node","value":"pv","view":{"callback_id":"migrate","state":{"values":{"vm":{"vm":{"value":"web-1"}}}}}}`,
		`{"type":"shortcut"}`, `{"type":"view_submission","view":{"state":{"values":7}}}`, `null`, `[]`, `{"view":{"private_metadata":"{"}}`,
	} {
		f.Add("interactive", payload)
	}
	f.Add("events_api", "{}")
	s, err := New(Config{BotToken: "xoxb-fake", AppToken: "xapp-fake"})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	acks := []bot.Ack{
		{},
		{Whisper: &bot.Card{Title: strings.Repeat("long ", maxAck)}},
		{Form: &bot.Form{ID: "install", Title: "t", Fields: []bot.FormField{{Name: "os", Label: "OS"}}}},
		{Choices: []bot.Choice{{Label: "pve1", Value: "migrate web-1 pve1"}}},
		{Errors: map[string]string{"os": "no", "elsewhere": "no"}},
	}
	f.Fuzz(func(t *testing.T, kind, payload string) {
		e, err := s.parse(socketmode.Request{Type: kind, EnvelopeID: "e1", Payload: json.RawMessage(payload)})
		if e == nil || err != nil {
			return
		}
		if e.in.ID == "" || e.in.By.ID == "" || e.in.By.Platform != Platform || e.in.Kind == "" || !json.Valid(e.in.Reply) {
			t.Fatalf("%s is read as %+v", payload, e.in)
		}
		if _, err := json.Marshal(e.in); err != nil {
			t.Errorf("%s can't be stored: %v", payload, err)
		}
		for _, ack := range acks {
			if inside, _ := s.inAck(e, ack); inside != nil && !fits(inside) {
				t.Errorf("%s: an ack that Slack would not read", payload)
			}
		}
	})
}

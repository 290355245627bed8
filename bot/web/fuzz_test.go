package web

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"pvebot/bot"
)

// FuzzPost: whatever a browser sends, it is refused, or reaches the desk as
// something that the browser's own user did, once and within the limits.
func FuzzPost(f *testing.F) {
	for _, body := range []string{
		`{"id":"12345678","text":"/vm list"}`, `{"id":"12345678","button":"v1.cancel.1.","message":"0001"}`,
		`{"id":"12345678","form":"install","fields":{"os":"ubuntu","name":""}}`, `{"id":"../../x","text":"a"}`, `null`, `[]`, `{"id":"12345678","text":"\u0000\n"}`,
		`{"id":"12345678","form":"x","fields":{"a":{}}}`,
	} {
		for door := range 3 {
			f.Add(uint8(door), "application/json", body)
		}
	}
	f.Add(uint8(0), "text/plain", `{"id":"12345678","text":"/vm list"}`)
	desk := make(chan bot.Inbound, 1)
	w := start(f, Config{}, script{triage: func(_ context.Context, in bot.Inbound) bot.Ack {
		desk <- in
		return bot.Ack{}
	}})
	f.Fuzz(func(t *testing.T, door uint8, kind, body string) {
		r := request("POST", "http://localhost/chat/"+[]string{"command", "click", "submit"}[door%3], strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%q: %s", body, rec.Body)
		}
		if rec.Code != 200 {
			if rec.Code >= 500 || len(desk) > 0 {
				t.Errorf("%q: %d", body, rec.Code)
			}
			return
		}
		in := <-desk
		if in.By.Key() != "web/local" || in.Platform != Platform || in.Where.Channel != Channel || !strings.HasPrefix(in.ID, "local/") || len(in.ID) > 80 {
			t.Errorf("%q is taken for %+v", body, in)
		}
		if _, err := json.Marshal(in); err != nil || len(in.Text) > maxLine || len(in.Fields) > maxFields {
			t.Errorf("%q: %v", body, err)
		}
	})
}

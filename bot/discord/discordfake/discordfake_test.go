package discordfake_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot/discord/discordfake"
)

// hand makes calls without a client.
type hand struct {
	t    *testing.T
	fake *discordfake.Fake
}

func (h hand) call(method, path, body string) (status, code int, answer map[string]any, header http.Header) {
	h.t.Helper()
	r := httptest.NewRequest(method, "http://discord.invalid/api/v10"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bot fake-token")
	w := httptest.NewRecorder()
	h.fake.ServeHTTP(w, r)
	if w.Body.Len() > 0 {
		_ = json.Unmarshal(w.Body.Bytes(), &answer)
	}
	n, _ := answer["code"].(float64)
	return w.Code, int(n), answer, w.Header()
}

// want makes a call and wants this answer.
func (h hand) want(status, code int, method, path, body string) map[string]any {
	h.t.Helper()
	got, gotCode, answer, _ := h.call(method, path, body)
	if got != status || gotCode != code {
		h.t.Errorf("%s %s %.80s: %d, code %d, want %d, code %d: %v", method, path, body, got, gotCode, status, code, answer)
	}
	return answer
}

const quiet = `"allowed_mentions":{"parse":[]}`

func text(s string) string { return `{` + quiet + `,"content":"` + s + `"}` }

func withHand(t *testing.T, cfg discordfake.Config, test func(h hand)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
		fake := discordfake.New(cfg)
		defer fake.Close()
		test(hand{t, fake})
	})
}

func TestRefusesWhatDiscordRefuses(t *testing.T) {
	withHand(t, discordfake.Config{Unlimited: true}, func(h hand) {
		messages := "/channels/" + discordfake.Ops + "/messages"
		h.want(200, 0, "POST", messages, text(strings.Repeat("x", 2000)))
		field := `{"name":"n","value":"v"}`
		button := func(id string) string { return `{"type":2,"style":1,"label":"l","custom_id":"` + id + `"}` }
		row := func(parts ...string) string { return `{"type":1,"components":[` + strings.Join(parts, ",") + `]}` }
		var many []string
		for i := range 6 {
			many = append(many, button(fmt.Sprint(i)))
		}
		for name, body := range map[string]string{
			"content":           text(strings.Repeat("x", 2001)),
			"description":       `{` + quiet + `,"embeds":[{"description":"` + strings.Repeat("x", 4097) + `"}]}`,
			"embed":             `{` + quiet + `,"embeds":[{}]}`,
			"embeds together":   `{` + quiet + `,"embeds":[{"description":"` + strings.Repeat("x", 4000) + `"},{"description":"` + strings.Repeat("x", 2001) + `"}]}`,
			"fields":            `{` + quiet + `,"embeds":[{"fields":[` + strings.TrimSuffix(strings.Repeat(field+",", 26), ",") + `]}]}`,
			"field without end": `{` + quiet + `,"embeds":[{"fields":[{"name":"n","value":""}]}]}`,
			"row of six":        `{` + quiet + `,"content":"x","components":[` + row(many...) + `]}`,
			"six rows":          `{` + quiet + `,"content":"x","components":[` + row(many[0]) + `,` + row(many[1]) + `,` + row(many[2]) + `,` + row(many[3]) + `,` + row(many[4]) + `,` + row(many[5]) + `]}`,
			"two of an id":      `{` + quiet + `,"content":"x","components":[` + row(button("a"), button("a")) + `]}`,
			"no id":             `{` + quiet + `,"content":"x","components":[` + row(button("")) + `]}`,
			"long id":           `{` + quiet + `,"content":"x","components":[` + row(button(strings.Repeat("x", 101))) + `]}`,
			"nonce":             `{` + quiet + `,"content":"x","nonce":"` + strings.Repeat("x", 26) + `"}`,
		} {
			if status, code, _, _ := h.call("POST", messages, body); status != 400 || code != 50035 {
				t.Errorf("%s is taken: %d, %d", name, status, code)
			}
		}
		h.want(400, 50006, "POST", messages, `{`+quiet+`}`)
		h.want(404, 10003, "POST", "/channels/5/messages", text("x"))
		h.want(403, 50001, "POST", "/channels/"+discordfake.Private+"/messages", text("x"))
		h.want(404, 10008, "PATCH", messages+"/5", text("x"))
		if c := h.fake.Complaints(); len(c) != 0 {
			t.Errorf("complaints about what is right: %q", c)
		}
		h.want(200, 0, "POST", messages, `{"content":"@everyone"}`)
		h.want(200, 0, "POST", messages, `{`+quiet+`,"content":"x","colour":1}`)
		h.want(404, 0, "GET", "/no/such/thing", "")
		if c := h.fake.Complaints(); len(c) != 3 {
			t.Errorf("complaints: %q", c)
		}
		option := func(s string) string {
			return `[{"name":"vm","description":"d","options":[` + s + `]}]`
		}
		for _, body := range []string{
			`[{"name":"VM","description":"d"}]`, `[{"name":"vm","description":""}]`,
			option(`{"type":3,"name":"a","description":"d"},{"type":3,"name":"b","description":"d","required":true}`),
			option(`{"type":3,"name":"a","description":"d"},{"type":3,"name":"a","description":"d"}`),
			option(`{"type":3,"name":"a","description":"d","autocomplete":true,"choices":[{"name":"x","value":"x"}]}`),
		} {
			h.want(400, 50035, "PUT", "/applications/"+discordfake.App+"/commands", body)
		}
	})
}

func TestThreadsAreDiscords(t *testing.T) {
	withHand(t, discordfake.Config{Unlimited: true}, func(h hand) {
		messages := "/channels/" + discordfake.Ops + "/messages"
		id, _ := h.want(200, 0, "POST", messages, text("the card"))["id"].(string)
		thread := `{"name":"details","auto_archive_duration":1440}`
		if got := h.want(201, 0, "POST", messages+"/"+id+"/threads", thread)["id"]; got != id {
			t.Errorf("the thread is %v, the message %s", got, id)
		}
		h.want(400, 160004, "POST", messages+"/"+id+"/threads", thread)
		h.want(400, 50035, "POST", messages+"/"+id+"/threads", `{"name":"x","auto_archive_duration":5}`)
		inner, _ := h.want(200, 0, "POST", "/channels/"+id+"/messages", text("a line"))["id"].(string)
		h.want(400, 50024, "POST", "/channels/"+id+"/messages/"+inner+"/threads", thread)
		h.want(200, 0, "PATCH", "/channels/"+id, `{"archived":true}`)
		h.want(400, 50083, "PATCH", "/channels/"+id+"/messages/"+inner, text("x"))
		h.want(200, 0, "POST", "/channels/"+id+"/messages", text("wakes it"))
		h.want(200, 0, "PATCH", "/channels/"+id+"/messages/"+inner, text("x"))
		h.fake.Lock(id, true)
		h.want(400, 160005, "POST", "/channels/"+id+"/messages", text("x"))
		h.want(403, 50013, "PATCH", "/channels/"+id, `{"archived":false}`)
	})
}

func TestLimitsAreDiscords(t *testing.T) {
	withHand(t, discordfake.Config{}, func(h hand) {
		messages := "/channels/" + discordfake.Ops + "/messages"
		nonce := `{` + quiet + `,"content":"x","nonce":"n","enforce_nonce":true}`
		first := h.want(200, 0, "POST", messages, nonce)["id"]
		if again := h.want(200, 0, "POST", messages, nonce)["id"]; again != first {
			t.Error("one nonce made two messages")
		}
		for range 3 {
			h.want(200, 0, "POST", messages, text("x"))
		}
		status, _, answer, header := h.call("POST", messages, text("too fast"))
		if status != 429 || answer["retry_after"].(float64) != 5 || header.Get("X-RateLimit-Remaining") != "0" || header.Get("X-RateLimit-Bucket") == "" {
			t.Errorf("%d %v %v", status, answer, header)
		}
		h.want(200, 0, "POST", "/channels/"+discordfake.General+"/messages", text("elsewhere"))
		time.Sleep(2 * time.Hour)
		for range 3 {
			h.want(200, 0, "PATCH", messages+"/"+first.(string), text("late"))
		}
		h.want(429, 30046, "PATCH", messages+"/"+first.(string), text("late"))
		global := 0
		for i := range 60 {
			if _, _, answer, _ := h.call("GET", fmt.Sprintf("/guilds/%s/members/%d", discordfake.Guild, i), ""); answer["global"] == true {
				global++
			}
		}
		if global == 0 {
			t.Error("60 calls in a moment are not too many")
		}
	})
}

func TestMarkup(t *testing.T) {
	for sent, want := range map[string]string{
		`**bold** \*not\* ` + "`code*`": "bold *not* code*", "```\nblock <@1>\n```": "block <@1>", `a\\b`: `a\b`, "a\u200bb": "ab",
	} {
		if got := discordfake.Plain(sent); got != want {
			t.Errorf("%q is read as %q, want %q", sent, got, want)
		}
	}
	for sent, n := range map[string]int{
		"plain text, web-1 (ok): 5": 0, `\<@1> \*x\* http\://x @` + "\u200beveryone": 0, "`<@1>` ```\n# x\n```": 0,
		"<@1>": 1, "*x*": 1, "http://x": 1, "@everyone": 1, "# x": 1, "a\n> b": 1, "[a](b)": 1, ":x:": 1, "`": 1,
	} {
		if got := discordfake.Acts(sent); len(got) != n {
			t.Errorf("in %q %q act, want %d", sent, got, n)
		}
	}
}

package slackfake_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"pvebot/bot/bottest"
	"pvebot/bot/slack/slackfake"
)

// client is a client with no sense of its own.
type client struct {
	t    *testing.T
	http *http.Client
	dial *websocket.Dialer
	fake *slackfake.Fake
}

func bubble(t *testing.T, cfg slackfake.Config, f func(t *testing.T, c client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, dial := bottest.Pipe()
		fake := slackfake.New(cfg)
		fake.Start(l)
		transport := &http.Transport{DialContext: dial}
		t.Cleanup(func() {
			transport.CloseIdleConnections()
			_ = l.Close()
			fake.Close()
		})
		f(t, client{t: t, http: &http.Client{Transport: transport}, dial: &websocket.Dialer{NetDialContext: dial}, fake: fake})
	})
}

// call posts a form and returns the answer, or {"error": "status 503"}.
func (c client) call(method, token string, args ...string) map[string]any {
	c.t.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i+1 < len(args); i += 2 {
		form.Set(args[i], args[i+1])
	}
	return c.send(http.MethodPost, c.fake.URL()+method, "application/x-www-form-urlencoded", form.Encode())
}

func (c client) send(method, to, kind, body string) map[string]any {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := c.http.Do(req)
	if err != nil {
		return map[string]any{"error": "no answer"}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return map[string]any{"error": "no answer"}
	}
	var answer map[string]any
	if json.Unmarshal(raw, &answer) != nil {
		return map[string]any{"error": fmt.Sprint("status ", resp.StatusCode)}
	}
	if after := resp.Header.Get("Retry-After"); after != "" {
		answer["after"] = after
	}
	return answer
}

func (c client) bot(method string, args ...string) map[string]any {
	c.t.Helper()
	return c.call(method, "xoxb-fake", args...)
}

func (c client) wants(answer map[string]any, code string) {
	c.t.Helper()
	got, _ := answer["error"].(string)
	if got != code || (code == "") != (answer["ok"] == true) {
		c.t.Errorf("the answer is %v, want %q", answer, code)
	}
}

const rich = `[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"hello"}]}]}]`

func button(id string) string {
	return fmt.Sprintf(`{"type":"button","action_id":%q,"text":{"type":"plain_text","text":"Go"}}`, id)
}

func TestBlocksAreHeldToTheLimits(t *testing.T) {
	text := func(n int) string { return fmt.Sprintf(`{"type":"plain_text","text":%q}`, strings.Repeat("\u00e4", n)) }
	section := func(n int) string { return `{"type":"section","text":` + text(n) + `}` }
	many := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	confirm := func(n int) string {
		return strings.TrimSuffix(button("a"), "}") + fmt.Sprintf(`,"confirm":{"title":%s,"text":%s,"confirm":%s,"deny":%s}}`, text(3), text(n), text(3), text(3))
	}
	for name, tc := range map[string]struct{ good, bad string }{
		"blocks":        {many(50, `{"type":"divider"}`), many(51, `{"type":"divider"}`)},
		"section":       {section(3000), section(3001)},
		"empty text":    {section(1), section(0)},
		"header":        {`{"type":"header","text":` + text(150) + `}`, `{"type":"header","text":` + text(151) + `}`},
		"plain header":  {`{"type":"header","text":` + text(1) + `}`, `{"type":"header","text":{"type":"mrkdwn","text":"x"}}`},
		"fields":        {`{"type":"section","fields":[` + many(10, text(1)) + `]}`, `{"type":"section","fields":[` + many(11, text(1)) + `]}`},
		"context":       {`{"type":"context","elements":[` + many(10, text(1)) + `]}`, `{"type":"context","elements":[` + many(11, text(1)) + `]}`},
		"same actions":  {`{"type":"actions","elements":[` + button("a") + `,` + button("b") + `]}`, `{"type":"actions","elements":[` + button("a") + `,` + button("a") + `]}`},
		"action id":     {`{"type":"actions","elements":[` + button(strings.Repeat("a", 255)) + `]}`, `{"type":"actions","elements":[` + button(strings.Repeat("a", 256)) + `]}`},
		"confirm":       {`{"type":"actions","elements":[` + confirm(300) + `]}`, `{"type":"actions","elements":[` + confirm(301) + `]}`},
		"same blocks":   {`{"type":"divider","block_id":"a"},{"type":"divider","block_id":"b"}`, `{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}`},
		"type":          {`{"type":"divider"}`, `{"type":"dividers"}`},
		"inputs":        {section(1), `{"type":"input","block_id":"a","label":` + text(1) + `,"element":{"type":"plain_text_input","action_id":"a"}}`},
		"button style":  {`{"type":"actions","elements":[` + button("a") + `]}`, `{"type":"actions","elements":[` + strings.TrimSuffix(button("a"), "}") + `,"style":"default"}]}`},
		"needed fields": {section(1), `{"type":"header"}`},
		"all together":  {many(4, section(3000)), many(5, section(3000))},
		"fields of it":  {section(1), `{"type":"section","text":` + text(1) + `,"colour":"red"}`},
		"rich text":     {rich[1 : len(rich)-1], `{"type":"rich_text","elements":[{"type":"text","text":"x"}]}`},
		"rich leaf":     {rich[1 : len(rich)-1], strings.Replace(rich[1:len(rich)-1], "hello", "", 1)},
	} {
		if wrong := slackfake.CheckMessage([]byte("[" + tc.good + "]")); wrong != nil {
			t.Errorf("%s: the good one is refused: %q", name, wrong)
		}
		if wrong := slackfake.CheckMessage([]byte("[" + tc.bad + "]")); wrong == nil {
			t.Errorf("%s: the bad one is taken", name)
		}
	}
}

func TestActs(t *testing.T) {
	mrkdwn := func(s string) slackfake.Version {
		raw, _ := json.Marshal([]any{map[string]any{"type": "section", "text": map[string]any{"type": "mrkdwn", "text": s}}})
		return slackfake.Version{Blocks: raw}
	}
	for _, s := range []string{"<!channel>", "<@U1>", "*bold*", "a _b_ c", "`code`", "> quote", ":tada:", "https://evil.example"} {
		if mrkdwn(s).Acts() == nil {
			t.Errorf("%q acts in mrkdwn, and is not seen", s)
		}
	}
	for _, v := range []slackfake.Version{
		{Text: "<!here>"}, {Text: "*bold*"},
		{Blocks: json.RawMessage(`[{"type":"header","text":{"type":"plain_text","text":":tada:"}}]`)},
		{Blocks: json.RawMessage(`[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"user","user_id":"U1"}]}]}]`)},
	} {
		if v.Acts() == nil {
			t.Errorf("%s%s acts, and is not seen", v.Text, v.Blocks)
		}
	}
	if acts := (mrkdwn("2 * 3 &lt;!channel&gt; a_b_c")).Acts(); acts != nil {
		t.Errorf("harmless text acts: %q", acts)
	}
}

func TestTokensAndScopes(t *testing.T) {
	bubble(t, slackfake.Config{Scopes: []string{"commands"}}, func(_ *testing.T, c client) {
		c.wants(c.call("auth.test", ""), "not_authed")
		c.wants(c.call("auth.test", "xoxb-other"), "invalid_auth")
		c.wants(c.call("auth.test", "xapp-fake"), "not_allowed_token_type")
		c.wants(c.bot("auth.test"), "")
		answer := c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x")
		c.wants(answer, "missing_scope")
		if answer["needed"] != "chat:write" {
			t.Errorf("%v", answer)
		}
	})
}

func TestMessages(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		post := func(args ...string) map[string]any {
			return c.bot("chat.postMessage", append([]string{"channel", slackfake.Ops, "text", "x"}, args...)...)
		}
		first, second := post("blocks", rich), post()
		c.wants(first, "")
		if first["ts"] == second["ts"] {
			t.Error("two messages have one ts")
		}
		ts := first["ts"].(string)
		update := func(args ...string) map[string]any {
			return c.bot("chat.update", append([]string{"channel", slackfake.Ops, "ts", ts}, args...)...)
		}
		c.wants(update("text", "y", "blocks", rich), "")
		c.wants(update("text", strings.Repeat("y", 4001), "blocks", rich), "msg_too_long")
		c.wants(update("text", "y"), "block_mismatch")
		c.wants(update(), "no_text")
		c.wants(update("blocks", "[{}]"), "invalid_blocks")
		c.wants(c.bot("chat.update", "channel", slackfake.Ops, "ts", "1.000001", "text", "x"), "message_not_found")
		c.wants(c.bot("chat.update", "channel", "ops", "ts", ts, "text", "x"), "channel_not_found")
		if n := len(c.fake.Shown(slackfake.Ops, ts)); n != 2 {
			t.Errorf("the message showed %d things", n)
		}

		c.wants(post("thread_ts", ts), "")
		c.fake.Delete(slackfake.Ops, ts)
		stray := post("thread_ts", ts)
		if _, threaded := stray["message"].(map[string]any)["thread_ts"]; threaded {
			t.Error("a reply to a deleted message says that it has a thread")
		}
		c.wants(update("text", "y", "blocks", rich), "message_not_found")
		if got := c.fake.Messages(slackfake.Ops); len(got) != 2 {
			t.Errorf("%d messages are seen, want the second one and the stray", len(got))
		}

		c.wants(c.bot("chat.postMessage", "channel", slackfake.Private, "text", "x"), "channel_not_found")
		c.wants(c.bot("chat.postEphemeral", "channel", slackfake.Ops, "user", "U9", "text", "x"), "user_not_in_channel")
		c.fake.Archive(slackfake.Ops)
		c.wants(post(), "is_archived")
		c.wants(c.bot("chat.update", "channel", slackfake.Ops, "ts", second["ts"].(string), "text", "x"), "is_inactive")
		if got := c.fake.Complaints(); got != nil {
			t.Errorf("complaints about a sound client: %q", got)
		}
		c.wants(c.bot("chat.postMassage"), "unknown_method")
		c.bot("chat.postMessage", "channel", slackfake.Ops, "txt", "x")
		if n := len(c.fake.Complaints()); n != 2 {
			t.Errorf("%d complaints, want 2", n)
		}
	})
}

func TestRates(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		ts := c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x")["ts"].(string)
		edit := func() map[string]any {
			return c.bot("chat.update", "channel", slackfake.Ops, "ts", ts, "text", "x")
		}
		for range 50 {
			c.wants(edit(), "")
		}
		time.Sleep(20 * time.Second)
		refused := edit()
		c.wants(refused, "ratelimited")
		if refused["after"] != "40" {
			t.Errorf("Retry-After is %v, want 40", refused["after"])
		}
		c.wants(c.bot("auth.test"), "") // other methods go on
		time.Sleep(40 * time.Second)
		c.wants(edit(), "")
		for range 19 {
			c.wants(c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x"), "")
		}
		for range 2 {
			c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x")
		}
		c.wants(c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x"), "ratelimited")
		c.wants(c.bot("chat.postMessage", "channel", slackfake.General, "text", "x"), "")
	})
}

func TestFaults(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		post := func() map[string]any { return c.bot("chat.postMessage", "channel", slackfake.Ops, "text", "x") }
		c.fake.Break(slackfake.Fault{Method: "chat.postMessage", Lose: true})
		c.wants(post(), "no answer")
		if len(c.fake.Messages(slackfake.Ops)) != 1 {
			t.Error("a post whose answer was lost did not happen")
		}
		c.fake.Break(slackfake.Fault{Status: 502})
		c.wants(post(), "status 502")
		c.fake.Break(slackfake.Fault{RetryAfter: 1500 * time.Millisecond})
		if answer := post(); answer["after"] != "2" {
			t.Errorf("%v", answer)
		}
		c.fake.Break(slackfake.Fault{Method: "chat.update", Code: "fatal_error", Times: 2})
		c.wants(post(), "")
		c.fake.Outage(true)
		c.wants(post(), "status 503")
		c.fake.Outage(false)
		c.wants(post(), "")
	})
}

// dials dials the address that apps.connections.open gave.
func (c client) dials(answer map[string]any) (*websocket.Conn, error) {
	conn, resp, err := c.dial.DialContext(c.t.Context(), answer["url"].(string), nil)
	if resp != nil {
		_ = resp.Body.Close()
	}
	return conn, err
}

// connect opens a socket and reads its hello.
func (c client) connect() *websocket.Conn {
	c.t.Helper()
	answer := c.call("apps.connections.open", "xapp-fake")
	c.wants(answer, "")
	conn, err := c.dials(answer)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	if _, err := c.dials(answer); err == nil {
		c.t.Error("a socket's address works twice")
	}
	var hello map[string]any
	if err := conn.ReadJSON(&hello); err != nil || hello["type"] != "hello" {
		c.t.Fatalf("%v, %v", hello, err)
	}
	return conn
}

func TestAcks(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		command := func() (slackfake.Outcome, error) {
			return c.fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "list", "")
		}
		if _, err := command(); !errors.Is(err, slackfake.ErrNobody) {
			t.Errorf("nobody is there: %v", err)
		}
		conn := c.connect()
		var wait atomic.Int64
		go func() {
			for {
				var e map[string]any
				if conn.ReadJSON(&e) != nil {
					return
				}
				late := time.Duration(wait.Load())
				time.Sleep(late)
				size := 10
				if late == time.Second {
					size = 30000
				}
				_ = conn.WriteJSON(map[string]any{"envelope_id": e["envelope_id"], "payload": map[string]any{"text": strings.Repeat("x", size)}})
			}
		}()
		out, err := command()
		if err != nil || !strings.Contains(string(out.Payload), "xxx") {
			t.Errorf("%s, %v", out.Payload, err)
		}
		if got := c.fake.Ephemerals(slackfake.Alice); len(got) != 1 {
			t.Errorf("%d answers are seen", len(got))
		}
		wait.Store(int64(4 * time.Second))
		if _, err := command(); !errors.Is(err, slackfake.ErrTimeout) {
			t.Errorf("an ack after four seconds: %v", err)
		}
		time.Sleep(5 * time.Second)
		wait.Store(int64(time.Second))
		if _, err := command(); !errors.Is(err, slackfake.ErrTimeout) {
			t.Errorf("an ack that is too big: %v", err)
		}
	})
}

func TestTriggersWorkOnceForThreeSeconds(t *testing.T) {
	const form = `{"type":"modal","title":{"type":"plain_text","text":"x"},"submit":{"type":"plain_text","text":"ok"},"blocks":[` +
		`{"type":"input","block_id":"a","label":{"type":"plain_text","text":"a"},"element":{"type":"plain_text_input","action_id":"a"}}]}`
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		var ids []string
		for range 2 {
			out, _ := c.fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install", "")
			ids = append(ids, out.ID)
		}
		slices.Sort(ids)
		open := func(id, view string) map[string]any { return c.bot("views.open", "trigger_id", id, "view", view) }
		c.wants(open("nonsense", form), "invalid_trigger_id")
		c.wants(open(ids[0], strings.Replace(form, `"submit":{"type":"plain_text","text":"ok"},`, "", 1)), "invalid_arguments")
		c.wants(open(ids[0], strings.Replace(form, `"text":"x"`, `"text":"`+strings.Repeat("x", 25)+`"`, 1)), "invalid_arguments")
		c.wants(open(ids[0], form), "")
		c.wants(open(ids[0], form), "exchanged_trigger_id")
		time.Sleep(4 * time.Second)
		c.wants(open(ids[1], form), "expired_trigger_id")
		if n := len(c.fake.Views(slackfake.Alice)); n != 1 {
			t.Errorf("%d forms are open", n)
		}
	})
}

func TestResponseURLs(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		conn := c.connect()
		go func() { _, _ = c.fake.Command(t.Context(), slackfake.Alice, slackfake.Private, "list", "") }()
		var e struct {
			Payload struct {
				URL string `json:"response_url"`
			} `json:"payload"`
		}
		if err := conn.ReadJSON(&e); err != nil {
			t.Fatal(err)
		}
		answer := func() map[string]any {
			return c.send(http.MethodPost, e.Payload.URL, "application/json", `{"text":"x"}`)
		}
		for range 5 {
			c.wants(answer(), "")
		}
		c.wants(answer(), "used_url")
		time.Sleep(31 * time.Minute)
		c.wants(answer(), "expired_url")
		if got := c.fake.Ephemerals(slackfake.Alice); len(got) != 5 || c.fake.Messages(slackfake.Private) != nil {
			t.Errorf("%d answers are seen", len(got))
		}
	})
}

func TestAtMostTenSockets(t *testing.T) {
	bubble(t, slackfake.Config{}, func(t *testing.T, c client) {
		for range 10 {
			c.connect()
		}
		answer := c.call("apps.connections.open", "xapp-fake")
		conn, err := c.dials(answer)
		if err != nil {
			t.Fatal(err)
		}
		var frame map[string]any
		if err := conn.ReadJSON(&frame); err != nil || frame["reason"] != "too_many_websockets" {
			t.Errorf("%v, %v", frame, err)
		}
		_ = conn.Close()
	})
}

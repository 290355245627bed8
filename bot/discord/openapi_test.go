package discord_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// spec is Discord's own description of its API, trimmed to the calls we make.
type spec struct {
	compiler *jsonschema.Compiler
	paths    map[string]any
	known    map[string]*jsonschema.Schema
}

func openSpec(t *testing.T) *spec {
	t.Helper()
	f, err := os.Open(filepath.Join("discordfake", "testdata", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	paths, _ := doc.(map[string]any)["paths"].(map[string]any)
	return &spec{compiler: c, paths: paths, known: map[string]*jsonschema.Schema{}}
}

// schema finds what stands at a place in the document; nil: nothing does.
func (s *spec) schema(t *testing.T, at ...string) *jsonschema.Schema {
	t.Helper()
	for i := range at {
		at[i] = strings.NewReplacer("~", "~0", "/", "~1").Replace(at[i])
	}
	where := "openapi.json#/" + strings.Join(at, "/")
	if got, ok := s.known[where]; ok {
		return got
	}
	got, err := s.compiler.Compile(where)
	if err != nil {
		t.Fatal(err)
	}
	s.known[where] = got
	return got
}

// route is the document's path of a call.
func (s *spec) route(path string) string {
	for _, p := range []string{path, regexp.MustCompile(`\d{5,}|token-of-\w+`).ReplaceAllString(path, "*")} {
		for known := range s.paths {
			if regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(known, "*") == p {
				return known
			}
		}
	}
	return ""
}

func (s *spec) has(route, method, what string) bool {
	methods, _ := s.paths[route].(map[string]any)
	op, _ := methods[method].(map[string]any)
	return op[what] != nil
}

// callbacks are the schemas of first answers by their type: the document says
// that a body is any of them, which checks little.
var callbacks = map[string]string{
	"4": "CreateMessageInteractionCallbackRequest", "5": "CreateMessageInteractionCallbackRequest",
	"6": "UpdateMessageInteractionCallbackRequest", "7": "UpdateMessageInteractionCallbackRequest",
	"8": "ApplicationCommandAutocompleteCallbackRequest", "9": "ModalInteractionCallbackRequest",
}

// Every body that we send, and every answer of the fake, is what Discord's own
// document says.
func TestBodiesAreDiscords(t *testing.T) {
	s := openSpec(t)
	var journal []discordfake.Call
	synctest.Test(t, func(t *testing.T) { journal = tour(t) })
	checked := map[string]int{}
	check := func(what string, schema *jsonschema.Schema, body []byte) {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", what, err, body)
		}
		checked[what]++
	}
	for _, c := range journal {
		method, route := strings.ToLower(c.Method), s.route(c.Path)
		what := c.Method + " " + route
		switch {
		case strings.HasSuffix(route, "/callback"):
			kind := regexp.MustCompile(`^\{"type":(\d)`).FindSubmatch(c.Body)
			if kind == nil {
				t.Fatalf("%s", c.Body)
			}
			check(what+" "+string(kind[1]), s.schema(t, "components", "schemas", callbacks[string(kind[1])]), c.Body)
		case s.has(route, method, "requestBody"):
			check(what, s.schema(t, "paths", route, method, "requestBody", "content", "application/json", "schema"), c.Body)
		}
		switch {
		case c.Status == 429:
			check("429", s.schema(t, "components", "schemas", "RatelimitedResponse"), c.Answer)
		case c.Status >= 400:
			check("error", s.schema(t, "components", "schemas", "ErrorResponse"), c.Answer)
		case s.has(route, method, "responses"):
			check("answer to "+what, s.schema(t, "paths", route, method, "responses", strconv.Itoa(c.Status), "content", "application/json", "schema"), c.Answer)
		}
	}
	for _, what := range []string{
		"POST /channels/{channel_id}/messages", "answer to POST /channels/{channel_id}/messages",
		"PATCH /channels/{channel_id}/messages/{message_id}", "answer to PATCH /channels/{channel_id}/messages/{message_id}",
		"POST /channels/{channel_id}/messages/{message_id}/threads", "answer to POST /channels/{channel_id}/messages/{message_id}/threads",
		"PATCH /channels/{channel_id}", "PUT /applications/{application_id}/commands", "answer to PUT /applications/{application_id}/commands",
		"PATCH /webhooks/{webhook_id}/{webhook_token}/messages/@original", "POST /webhooks/{webhook_id}/{webhook_token}",
		"answer to GET /gateway/bot", "answer to GET /users/@me/guilds", "answer to GET /guilds/{guild_id}/members/{user_id}", "POST /users/@me/channels", "429", "error",
		"POST /interactions/{interaction_id}/{interaction_token}/callback 4", "POST /interactions/{interaction_id}/{interaction_token}/callback 5",
		"POST /interactions/{interaction_id}/{interaction_token}/callback 6", "POST /interactions/{interaction_id}/{interaction_token}/callback 7",
		"POST /interactions/{interaction_id}/{interaction_token}/callback 8", "POST /interactions/{interaction_id}/{interaction_token}/callback 9",
	} {
		if checked[what] == 0 {
			t.Errorf("the tour has no %s", what)
		}
	}
	// The document is able to refuse.
	bad, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"content":7,"embeds":[{"fields":"x"}]}`))
	if err != nil || s.schema(t, "paths", "/channels/{channel_id}/messages", "post", "requestBody", "content", "application/json", "schema").Validate(bad) == nil {
		t.Error("the document takes anything")
	}
}

// tour makes every call there is.
func tour(t *testing.T) []discordfake.Call {
	d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
	h := &bottest.Script{
		OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			switch {
			case in.Kind == bot.Complete:
				return bot.Ack{Choices: []bot.Choice{{Label: "web-1", Value: in.Text + "eb-1"}}}
			case in.Text == "install":
				return bot.Ack{Form: &bot.Form{ID: "install", Title: "New VM", Fields: []bot.FormField{{Name: "os", Label: "Os", Hint: "which", Required: true}}}}
			case in.Text == "help":
				return bot.Ack{Whisper: &bot.Card{Title: "Help"}}
			case in.Button == "v1.b.1.":
				return bot.Ack{Update: &bot.Card{Job: 1, Title: "updated"}}
			}
			return bot.Ack{}
		},
		OnHandle: func(ctx context.Context, in bot.Inbound) {
			if strings.HasPrefix(in.Text, "install ") {
				_, _ = d.Post(ctx, in.Where, cards["running"])
				return
			}
			_ = d.Whisper(ctx, in, bot.Card{Title: "whispered"})
			_ = d.Whisper(ctx, in, bot.Card{Title: "and once more"})
		},
	}
	running(t, d, fake, h)
	command := func(verb string, options ...discordfake.Option) discordfake.Outcome {
		out, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, verb, options...)
		if err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		return out
	}
	if _, err := d.CheckServers(t.Context()); err != nil {
		t.Error(err)
	}
	command("help")
	command("list")
	command("start", opt("vm", "web-1"))
	command("install", opt("os", "ubuntu"))
	if form := command("install"); form.Modal == nil {
		t.Error("no form")
	} else if _, err := fake.Submit(t.Context(), discordfake.Alice, discordfake.Ops, *form.Modal, map[string]string{"os": "ubuntu"}); err != nil {
		t.Error(err)
	}
	if _, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "w", Focused: true}); err != nil {
		t.Error(err)
	}
	for _, c := range cards {
		time.Sleep(10 * time.Second)
		ref, err := d.Post(t.Context(), ops, c)
		if err != nil {
			t.Fatal(err)
		}
		c.Final = true
		for _, err := range []error{d.Say(t.Context(), ref, []string{bottest.Nasty}), d.Edit(t.Context(), ref, c)} {
			if err != nil {
				t.Error(err)
			}
		}
	}
	c := card(1, "buttons")
	c.Buttons = []bot.Button{{ID: "v1.a.1.", Label: "A"}, {ID: "v1.b.1.", Label: "B", Style: bot.Primary}, {ID: "v1.c.1.", Label: "C", Style: bot.Danger, Confirm: "Sure?"}}
	ref, err := d.Post(t.Context(), ops, c)
	if err == nil {
		err = errors.Join(d.Say(t.Context(), ref, []string{"a line"}), d.File(t.Context(), ref, "job-1.log", []byte("the log")))
	}
	if err != nil {
		t.Fatal(err)
	}
	all := fake.Messages(discordfake.Ops)
	for _, label := range []string{"A", "C", "B"} {
		if _, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, all[len(all)-1].ID, label); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
	}
	_, _ = d.RolesOf(t.Context(), bob, ops)
	in := h.Last(t)
	time.Sleep(20 * time.Minute)
	_ = d.Whisper(t.Context(), in, bot.Card{Title: "by direct message"})
	fake.Break(discordfake.Fault{Method: "POST", Path: "/messages", Times: 1, Status: 429, After: 1}, discordfake.Fault{Method: "POST", Path: "/messages", Times: 1, Status: 403, Code: 50013})
	_, _ = d.Post(t.Context(), ops, c)
	return fake.Journal("")
}

package v1_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pvebot/bot/web/access"
	"pvebot/bot/web/apitest"
	v1 "pvebot/bot/web/v1"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/commands"
	"pvebot/provision"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	os.Exit(simtest.Main{M: m}.Run())
}

// The tokens of the tests' callers.
const (
	opsToken   = "ops-ops-ops-ops-ops-ops"
	aliceToken = "alice-alice-alice-alice"
	guestToken = "guest-guest-guest-guest"
)

// callers gives ops everything, alice what is hers, and a guest nothing but a
// look; moving a VM always needs a yes from ops.
func callers() apitest.Options {
	return apitest.Options{
		Sim: pvesim.Options{Statd: -1},
		Access: access.Config{Tokens: []access.Token{
			access.NewToken("ops", "ops", opsToken), access.NewToken("alice", "dev", aliceToken), access.NewToken("guest", "guest", guestToken),
		}},
		Policy: commands.Policy{
			Roles: []commands.Role{
				{Name: "ops", Allow: []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}}},
				{Name: "dev", Allow: []commands.Rule{
					{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeOwn},
					{Verbs: []string{commands.ReadVerbs, "stop", "start"}, Scope: commands.ScopeAll},
				}},
				{Name: "guest", Allow: []commands.Rule{{Verbs: []string{"list"}, Scope: commands.ScopeAll}}},
			},
			Approvals: []commands.Approval{{Verbs: []string{"stop"}, Scope: commands.ScopeOthers, Need: 1, Of: []string{"ops"}}},
		},
	}
}

// contract is the API's own description, to hold answers against.
type contract struct {
	doc      map[string]any
	compiler *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool // METHOD path status
}

func describe(t *testing.T, h http.Handler) *contract {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/openapi.json", nil))
	doc, err := jsonschema.UnmarshalJSON(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("api.json", doc); err != nil {
		t.Fatal(err)
	}
	return &contract{doc: doc.(map[string]any), compiler: c, seen: map[string]bool{}}
}

// dig follows keys and references into the description, and returns the
// pointer to what is there.
func (c *contract) dig(at string, keys ...string) (string, map[string]any) {
	here := any(c.doc)
	walk := func(key string) bool {
		m, ok := here.(map[string]any)
		here = m[key]
		return ok && here != nil
	}
	for part := range strings.SplitSeq(strings.Trim(at, "/"), "/") {
		if part != "" && !walk(unescape(part)) {
			return "", nil
		}
	}
	for _, key := range keys {
		if !walk(key) {
			return "", nil
		}
		at += "/" + escape(key)
		if m, ok := here.(map[string]any); ok && m["$ref"] != nil {
			at = strings.TrimPrefix(m["$ref"].(string), "#")
			_, here = c.dig(at)
		}
	}
	m, _ := here.(map[string]any)
	return at, m
}

func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func unescape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}

// operation finds the path of the description that a request is about.
func (c *contract) operation(method, path string) (string, bool) {
	have := strings.Split(path, "/")
	best := ""
	for template, item := range c.doc["paths"].(map[string]any) {
		want := strings.Split(template, "/")
		fits := len(want) == len(have) && item.(map[string]any)[strings.ToLower(method)] != nil
		for i := range want {
			fits = fits && (want[i] == have[i] || strings.HasPrefix(want[i], "{"))
		}
		if fits && (best == "" || strings.Contains(best, "{")) {
			best = template
		}
	}
	return best, best != ""
}

// hold checks an answer against the description.
func (c *contract) hold(t *testing.T, method, path string, status int, mime string, body []byte) {
	t.Helper()
	op, ok := c.operation(method, path)
	if !ok {
		t.Errorf("%s %s is not described", method, path)
		return
	}
	c.mu.Lock()
	c.seen[method+" "+op+" "+http.StatusText(status)] = true
	c.mu.Unlock()
	at, response := c.dig("", "paths", op, strings.ToLower(method), "responses", itoa(status))
	if response == nil {
		at, response = c.dig("", "paths", op, strings.ToLower(method), "responses", "default")
	}
	mime, _, _ = strings.Cut(mime, ";")
	if response == nil || status != http.StatusNoContent && response["content"] == nil {
		t.Errorf("%s %s: the answer %d is not described", method, path, status)
		return
	}
	if status == http.StatusNoContent {
		return
	}
	pointer, schema := c.dig(at, "content", mime, "schema")
	if schema == nil {
		t.Errorf("%s %s: %d with %s is not described", method, path, status, mime)
		return
	}
	var docs [][]byte
	if mime == "text/event-stream" {
		for _, e := range eventsOf(t, body) {
			if e.event != "close" && e.event != "reset" {
				docs = append(docs, []byte(e.data))
			}
		}
	} else {
		docs = [][]byte{body}
	}
	compiled, err := c.compiler.Compile("api.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		if err == nil {
			err = compiled.Validate(v)
		}
		if err != nil {
			t.Errorf("%s %s: %d\n%s\nis not as described: %v", method, path, status, doc, err)
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// event is one server-sent event.
type event struct{ id, event, data string }

func eventsOf(t *testing.T, body []byte) []event {
	t.Helper()
	var all []event
	var e event
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data += value
		case "":
			if e != (event{}) && lines.Text() == "" {
				all = append(all, e)
			}
			e = event{}
		default:
			t.Errorf("line %q in a stream", lines.Text())
		}
	}
	return all
}

// caller is a client whose every answer is held against the description.
type caller struct {
	t     *testing.T
	base  string
	token string
	spec  *contract
}

func newCallers(t *testing.T, s *apitest.Site) (ops, alice, guest *caller) {
	t.Helper()
	api := v1.New(v1.Config{Engine: s.Engine, Clusters: []string{"sim"}, Store: s.Store, Clerk: s.Clerk, Gate: s.Gate})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	spec := describe(t, api)
	as := func(token string) *caller { return &caller{t, server.URL + "/api/v1", token, spec} }
	return as(opsToken), as(aliceToken), as(guestToken)
}

func (c *caller) do(method, path, body string, header ...string) (int, []byte, http.Header) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 90*time.Second) // a stream that never ends shows where
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	plain, _, _ := strings.Cut(path, "?")
	c.spec.hold(c.t, method, plain, resp.StatusCode, resp.Header.Get("Content-Type"), text)
	return resp.StatusCode, text, resp.Header
}

type job struct {
	ID    provision.JobID    `json:"id"`
	Kind  string             `json:"kind"`
	State provision.State    `json:"state"`
	Gate  *provision.Gate    `json:"gate"`
	Facts provision.Facts    `json:"facts"`
	By    provision.Actor    `json:"by"`
	Spec  json.RawMessage    `json:"spec"`
	Err   *provision.Problem `json:"problem"`
}

// ask wants a status, and decodes the answer.
func ask[T any](c *caller, want int, method, path, body string, header ...string) (v T) {
	c.t.Helper()
	status, text, _ := c.do(method, path, body, header...)
	if status != want {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, status, text, want)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return v
}

type jobList struct {
	Jobs    []job              `json:"jobs"`
	Refused *provision.Problem `json:"refused"`
}

func (c *caller) order(body string, header ...string) job {
	c.t.Helper()
	return ask[jobList](c, http.StatusAccepted, "POST", "/jobs", body, header...).Jobs[0]
}

// await reads a job's stream to its end.
func (c *caller) await(id provision.JobID) (job, []event) {
	c.t.Helper()
	status, text, _ := c.do("GET", "/jobs/"+id.String()+"/events", "")
	events := eventsOf(c.t, text)
	if status != http.StatusOK || len(events) == 0 || events[len(events)-1] != (event{event: "close", data: "{}"}) {
		c.t.Fatalf("the events of job %d: %d %s", id, status, text)
	}
	return ask[job](c, http.StatusOK, "GET", "/jobs/"+id.String(), ""), events
}

func kinds(events []event) []string {
	var all []string
	for _, e := range events {
		if !slices.Contains(all, e.event) {
			all = append(all, e.event)
		}
	}
	return all
}

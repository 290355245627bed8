package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// hall is a place that notes what is done there.
type hall struct{ did []string }

func (*hall) Name() string    { return "Hall" }
func (*hall) People() []Named { return []Named{{"1", "alice"}, {"2", "bob"}} }
func (*hall) Rooms() []Named  { return []Named{{"10", "ops"}, {"11", "den"}} }

func (*hall) Look(person, room string) []Message {
	return []Message{
		{ID: "m1", By: "bot", Text: "<b>old</b>\n", Buttons: []string{"Go"}},
		{ID: "m2", By: "bot", Text: "for " + person + " in " + room, Private: true, Buttons: []string{"Go"}, Thread: []string{"a line"}},
	}
}

func (*hall) Forms(string) []Form {
	return []Form{{ID: "f1", Title: "Old"}, {ID: "f2", Title: "Make", Fields: []Field{{Name: "os", Value: "ubuntu"}, {Name: "cpu", Value: "2"}}}}
}

func (h *hall) Type(_ context.Context, person, room, line string) error {
	if line == "" {
		return errors.New("nothing was typed")
	}
	h.did = append(h.did, fmt.Sprintln("type", person, room, line))
	return nil
}

func (h *hall) Press(_ context.Context, person, room, message, label string) error {
	h.did = append(h.did, fmt.Sprintln("press", person, room, message, label))
	return nil
}

func (h *hall) Send(_ context.Context, person, form string, values map[string]string) (map[string]string, error) {
	h.did = append(h.did, fmt.Sprintln("send", person, form, values))
	if values["cpu"] == "lots" {
		return map[string]string{"cpu": "wants a number", "os": "is old"}, nil
	}
	return nil, nil
}

func TestDoor(t *testing.T) {
	h := &hall{}
	server := httptest.NewServer(New(h))
	t.Cleanup(server.Close)
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	post := func(path string, form url.Values) (int, string) {
		t.Helper()
		resp, err := http.PostForm(server.URL+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	_, seen := get("/look?as=bob&in=den")
	for _, want := range []string{"-- bot, m1\n", "-- bot, only for bob, m2\nfor 2 in 11\n   (Go)\n   | a line\n", "-- form f2: Make\n   os=ubuntu"} {
		if !strings.Contains(seen, want) {
			t.Errorf("bob sees no %q in\n%s", want, seen)
		}
	}
	if _, page := get("/"); strings.Contains(page, "<b>old") || !strings.Contains(page, "for 1 in 10") {
		t.Errorf("the page is\n%s", page)
	}
	if status, said := get("/look?as=carol"); status != 404 || !strings.Contains(said, `there is no person "carol"; there are alice, bob`) {
		t.Errorf("carol is told %d %s", status, said)
	}
	for _, tt := range []struct {
		path   string
		form   url.Values
		status int
		said   string
		did    string
	}{
		{"/type", url.Values{"line": {"/vm list"}}, 200, "", "type 1 10 /vm list"},
		{"/type", url.Values{}, 502, "nothing was typed", ""},
		{"/press", url.Values{"label": {"Go"}, "as": {"bob"}}, 200, "", "press 2 10 m2 Go"},
		{"/press", url.Values{"label": {"Go"}, "message": {"m1"}}, 200, "", "press 1 10 m1 Go"},
		{"/press", url.Values{"label": {"Stop"}}, 502, `no message has a button "Stop"`, ""},
		{"/send", url.Values{"os": {""}}, 200, "", "send 1 f2 map[cpu:2 os:]"},
		{"/send", url.Values{"cpu": {"lots"}}, 422, "cpu: wants a number\nos: is old", "send 1 f2 map[cpu:lots os:ubuntu]"},
		{"/send", url.Values{"form": {"f9"}}, 502, "alice has no such form open", ""},
	} {
		h.did = nil
		status, said := post(tt.path, tt.form)
		if did := strings.TrimSpace(strings.Join(h.did, "")); status != tt.status || said != tt.said || did != tt.did {
			t.Errorf("%s %v: %d %q, did %q", tt.path, tt.form, status, said, did)
		}
	}
}

// Pages of other sites can't act.
func TestNoOtherSites(t *testing.T) {
	h := &hall{}
	r := httptest.NewRequest(http.MethodPost, "/type", strings.NewReader("line=/vm list"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	New(h).ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || len(h.did) != 0 {
		t.Errorf("%d, %q", w.Code, h.did)
	}
}

// Package door is a way into a simulated chat platform, for people and for
// scripts: a page to type, click and fill in forms on, and the same as plain
// HTTP.
//
//	curl -d 'line=/vm install ubuntu' $DOOR/type
//	curl $DOOR/look
//	curl -d 'label=Approve' -d as=bob $DOOR/press
//	curl -d os=ubuntu $DOOR/send
//
// as is who does it, and in is the room; by default the first ones there are.
// What a platform shows in place of an answer (a time-out) comes as status 502.
// Whoever can reach a door can be anybody: it belongs on a loopback address.
package door

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Place is a simulated chat platform. Its methods may be called concurrently.
type Place interface {
	Name() string
	People() []Named
	Rooms() []Named
	// Look is what a person sees in a room, oldest first.
	Look(person, room string) []Message
	// Forms are what a person has open, oldest first.
	Forms(person string) []Form
	// Type types a line, Press presses the button of a message, Send sends a
	// form. Their errors are what the person is shown in place of an answer.
	Type(ctx context.Context, person, room, line string) error
	Press(ctx context.Context, person, room, message, label string) error
	// Send returns what is wrong, by field, while the form stays open.
	Send(ctx context.Context, person, form string, values map[string]string) (map[string]string, error)
}

// Named is a person or a room.
type Named struct{ ID, Name string }

// Message is a message as it is read.
type Message struct {
	ID, By, Text string
	Private      bool // only the reader sees it
	Buttons      []string
	Thread       []string
}

// Form is an open form.
type Form struct {
	ID, Title string
	Fields    []Field
}

// Field is an input of a form. With Options it is one of them.
type Field struct {
	Name, Label, Value string
	Options            []string
	Required           bool
}

// New makes the door to a place.
func New(p Place) http.Handler {
	d := &door{place: p}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.page)
	mux.HandleFunc("GET /view", d.view)
	mux.HandleFunc("GET /look", d.look)
	mux.HandleFunc("POST /type", d.post(func(r *http.Request, v visit) (string, error) {
		return "", p.Type(r.Context(), v.Person.ID, v.Room.ID, r.PostFormValue("line"))
	}))
	mux.HandleFunc("POST /press", d.post(d.press))
	mux.HandleFunc("POST /send", d.post(d.send))
	return http.NewCrossOriginProtection().Handler(mux)
}

type door struct{ place Place }

// visit is who is there, where, and what they see.
type visit struct {
	Title        string
	Person, Room Named
	People       []Named
	Rooms        []Named
	Messages     []Message
	Forms        []Form
	Wrong        string // of what was done last
}

func (d *door) visit(r *http.Request) (visit, error) {
	v := visit{Title: d.place.Name(), People: d.place.People(), Rooms: d.place.Rooms(), Wrong: r.FormValue("wrong")}
	var err error
	if v.Person, err = find("person", v.People, r.FormValue("as")); err != nil {
		return v, err
	}
	if v.Room, err = find("room", v.Rooms, r.FormValue("in")); err != nil {
		return v, err
	}
	v.Messages, v.Forms = d.place.Look(v.Person.ID, v.Room.ID), d.place.Forms(v.Person.ID)
	return v, nil
}

// find finds one of all by its name or id, the first one by default.
func find(what string, all []Named, word string) (Named, error) {
	var names []string
	for _, n := range all {
		if word == "" || n.Name == word || n.ID == word {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return Named{}, fmt.Errorf("there is no %s %q; there are %s", what, word, strings.Join(names, ", "))
}

//go:embed page.html
var pageText string

var templates = template.Must(template.New("page").Parse(pageText))

func (d *door) page(w http.ResponseWriter, r *http.Request) { d.show(w, r, "page") }
func (d *door) view(w http.ResponseWriter, r *http.Request) { d.show(w, r, "view") }

func (d *door) show(w http.ResponseWriter, r *http.Request, name string) {
	v, err := d.visit(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// look is what a person sees, as text.
func (d *door) look(w http.ResponseWriter, r *http.Request) {
	v, err := d.visit(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, m := range v.Messages {
		private := ""
		if m.Private {
			private = ", only for " + v.Person.Name
		}
		fmt.Fprintf(w, "-- %s%s, %s\n%s\n", m.By, private, m.ID, strings.TrimRight(m.Text, "\n"))
		for _, b := range m.Buttons {
			fmt.Fprintf(w, "   (%s)\n", b)
		}
		for _, line := range m.Thread {
			fmt.Fprintf(w, "   | %s\n", line)
		}
	}
	for _, f := range v.Forms {
		fmt.Fprintf(w, "-- form %s: %s\n", f.ID, f.Title)
		for _, in := range f.Fields {
			fmt.Fprintf(w, "   %s=%s  %s\n", in.Name, in.Value, in.Label)
		}
	}
}

// post answers what somebody does: browsers are led back to the page, others
// are told what is wrong, if anything.
func (d *door) post(do func(*http.Request, visit) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := d.visit(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		wrong, err := do(r, v)
		status := http.StatusOK
		if err != nil {
			wrong, status = err.Error(), http.StatusBadGateway
		} else if wrong != "" {
			status = http.StatusUnprocessableEntity
		}
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			back := r.URL.Query()
			back.Set("as", v.Person.Name)
			back.Set("in", v.Room.Name)
			back.Set("wrong", wrong)
			http.Redirect(w, r, "/?"+back.Encode(), http.StatusSeeOther)
			return
		}
		if wrong != "" {
			http.Error(w, wrong, status)
		}
	}
}

// press presses a button: of a message, or of the newest one that has it.
func (d *door) press(r *http.Request, v visit) (string, error) {
	message, label := r.PostFormValue("message"), r.PostFormValue("label")
	for _, m := range slices.Backward(v.Messages) {
		if message == "" && slices.Contains(m.Buttons, label) {
			message = m.ID
		}
	}
	if message == "" {
		return "", fmt.Errorf("no message has a button %q", label)
	}
	return "", d.place.Press(r.Context(), v.Person.ID, v.Room.ID, message, label)
}

// send fills in a form, the newest one by default, and sends it. What it is
// not told of stays as it is.
func (d *door) send(r *http.Request, v visit) (string, error) {
	for _, f := range slices.Backward(v.Forms) {
		if id := r.PostFormValue("form"); id != "" && id != f.ID {
			continue
		}
		values := map[string]string{}
		for _, in := range f.Fields {
			values[in.Name] = in.Value
			if r.PostForm.Has(in.Name) {
				values[in.Name] = r.PostFormValue(in.Name)
			}
		}
		wrong, err := d.place.Send(r.Context(), v.Person.ID, f.ID, values)
		var said []string
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			said = append(said, name+": "+wrong[name])
		}
		return strings.Join(said, "\n"), err
	}
	return "", fmt.Errorf("%s has no such form open", v.Person.Name)
}

package web

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

const (
	keepMessages = 300  // the oldest go first
	keepLines    = 2000 // of one thread
)

// room holds what the page shows, as state with versions: each change gets the
// next version, and a reader asks for everything newer than what it has.
// HTML is rendered once per change, whoever reads it.
type room struct {
	clock cluster.Clock
	epoch string // of this process: versions of another one mean nothing here

	mu       sync.Mutex
	version  uint64
	lastID   int64
	messages map[string]*message
	panels   map[string]*fragment
	changed  chan struct{} // closed by the next change
	readers  int
	arrived  chan struct{} // has an element after a reader came
}

// message is a line that somebody typed (said), or a card.
type message struct {
	id     string
	key    string // of the inbound that said it; "" for cards
	only   string // Actor.Key of the only one who sees it; "": everybody
	by     provision.Actor
	said   string
	card   *bot.Card
	at     time.Time
	lines  []line
	missed int // lines that were dropped

	html    template.HTML
	version uint64 // of html
	touched uint64 // of html or the newest line
}

type line struct {
	n       int // from 1
	text    string
	version uint64
}

// fragment is a piece of the page with the version of its last change.
type fragment struct {
	html    template.HTML
	version uint64
}

// update is one change as a reader gets it.
type update struct {
	version uint64
	event   string // message, lines or panel
	html    template.HTML
}

// news are updates, oldest first, and how to go on after all of them.
type news struct {
	updates []update
	version uint64
	changed <-chan struct{} // closed by the next change
}

func newRoom(clock cluster.Clock) *room {
	return &room{
		clock: clock, epoch: strings.ToLower(rand.Text()[:8]),
		messages: map[string]*message{}, panels: map[string]*fragment{},
		changed: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
}

// newID makes ids that sort by time, also across restarts, so that a message
// that is made anew finds its old place. r.mu is held.
func (r *room) newID() string {
	r.lastID = max(r.lastID+1, r.clock.Now().UnixMicro())
	return fmt.Sprintf("m%014x", r.lastID)
}

// wellFormed reports whether id could have come from newID.
func wellFormed(id string) bool {
	if len(id) != 15 || id[0] != 'm' {
		return false
	}
	for _, c := range id[1:] {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}

// timeOf is when newID made the well-formed id.
func timeOf(id string) time.Time {
	micro, err := strconv.ParseInt(id[1:], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// bump starts a change; r.mu is held.
func (r *room) bump() uint64 {
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
	return r.version
}

// hear adds a line that somebody typed, for their own eyes: what comes of it
// says who asked, and a line can hold what is nobody else's business. A key
// that was heard before is the same line again.
func (r *room) hear(key string, by provision.Actor, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if m.key == key {
			return
		}
	}
	r.add(&message{id: r.newID(), key: key, only: by.Key(), by: by, said: text})
}

// post adds a card and returns its id.
func (r *room) post(c bot.Card, only string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.newID()
	r.add(&message{id: id, only: only, card: &c})
	return id
}

// edit shows c at id, which may be new here.
func (r *room) edit(id string, c bot.Card) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	if m == nil {
		r.add(&message{id: id, card: &c})
		return
	}
	m.card = &c
	if html := renderMessage(m); html != m.html {
		m.html, m.version = html, r.bump()
		m.touched = m.version
	}
}

// say adds lines to the thread of id, which may be new here.
func (r *room) say(id string, lines []string) {
	if len(lines) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	if m == nil {
		m = &message{id: id, card: &bot.Card{Title: "Job", Text: "Its card comes with the next news."}}
		r.add(m)
	}
	v := r.bump()
	for _, text := range lines {
		m.lines = append(m.lines, line{n: m.missed + len(m.lines) + 1, text: text, version: v})
	}
	if over := len(m.lines) - keepLines; over > 0 {
		m.missed += over
		m.lines = slices.Clone(m.lines[over:])
	}
	m.touched = v
	m.html = renderMessage(m) // it carries the number of lines; readers of lines know it
}

// add puts m in; r.mu is held.
func (r *room) add(m *message) {
	m.at = timeOf(m.id)
	m.html, m.version = renderMessage(m), r.bump()
	m.touched = m.version
	r.messages[m.id] = m
	if len(r.messages) > keepMessages {
		oldest := m.id
		for id := range r.messages {
			oldest = min(oldest, id)
		}
		delete(r.messages, oldest)
	}
}

// setPanel shows html as the panel called name.
func (r *room) setPanel(name string, html template.HTML) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.panels[name]; p == nil || p.html != html {
		r.panels[name] = &fragment{html: html, version: r.bump()}
	}
}

// since returns what viewer may see of the changes after a version. A change
// that was overtaken by a newer one of the same thing is left out, so that
// only the end of the news is a version to go on from, none in between.
func (r *room) since(after uint64, viewer sight) news {
	r.mu.Lock()
	defer r.mu.Unlock()
	var us []update
	for _, m := range r.messages {
		if m.touched <= after || !viewer.message(m) {
			continue
		}
		if m.version > after {
			us = append(us, update{m.version, "message", m.html})
		}
		if fresh := m.linesAfter(after); len(fresh) > 0 {
			us = append(us, update{m.touched, "lines", renderLines(m, fresh)})
		}
	}
	for key, p := range r.panels {
		if p.version > after && viewer.panel(key) {
			us = append(us, update{p.version, "panel", p.html})
		}
	}
	slices.SortStableFunc(us, func(a, b update) int { return cmp.Compare(a.version, b.version) })
	return news{us, r.version, r.changed}
}

// linesAfter are the lines newer than a version.
func (m *message) linesAfter(version uint64) []line {
	from, _ := slices.BinarySearchFunc(m.lines, version+1, func(l line, v uint64) int {
		return cmp.Compare(l.version, v)
	})
	return m.lines[from:]
}

// snapshot is everything viewer may see: the messages in order, the panels by
// name, and the cursor at which a stream goes on.
func (r *room) snapshot(viewer sight) (messages []template.HTML, panels map[string]template.HTML, cursor string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.messages))
	for id, m := range r.messages {
		if viewer.message(m) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		messages = append(messages, r.messages[id].html)
	}
	panels = map[string]template.HTML{}
	for key, p := range r.panels {
		if viewer.panel(key) {
			panels[key] = p.html
		}
	}
	return messages, panels, r.cursor(r.version)
}

// thread renders the whole thread of id; false when viewer can't see it.
func (r *room) thread(id string, viewer sight) (template.HTML, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	if m == nil || !viewer.message(m) {
		return "", false
	}
	return renderThread(m), true
}

// cursor is a version as a stream's id.
func (r *room) cursor(version uint64) string {
	return r.epoch + "." + strconv.FormatUint(version, 10)
}

// resume is the version at which a stream goes on after cursor: 0, everything,
// when it is none of this process's.
func (r *room) resume(cursor string) uint64 {
	epoch, n, _ := strings.Cut(cursor, ".")
	version, err := strconv.ParseUint(n, 10, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || epoch != r.epoch || version > r.version {
		return 0
	}
	return version
}

// enter counts a reader of the stream; the result ends its stay.
func (r *room) enter() (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers++
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.readers--
	}
}

// watched reports whether anybody reads.
func (r *room) watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readers > 0
}

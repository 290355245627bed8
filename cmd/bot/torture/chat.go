// Package torture ill-treats bots: a chat platform outside of their processes
// that forgets nothing, a store that kills the process at the borders of steps,
// and the look at what is left when all is over. Tests of cmd/bot start the
// processes; `.ci/torture` says how to run them for long.
package torture

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// Platform is the name of the chat platform.
const Platform = "torture"

// Room is where everything is said.
var Room = provision.Conversation{Platform: Platform, Channel: "room"}

// Chat is a chat platform that lives in the test's process, while the bots on
// it come and go. An interaction that no bot acknowledged is delivered again,
// as Slack and Discord do it.
type Chat struct {
	URL string

	mu       sync.Mutex
	messages []bot.Card // as they are shown now
	editors  []string   // the bots that edited, in turn
	waiting  []*delivery
	answers  []Answer
	changed  chan struct{} // closed, and replaced, by each change
}

// delivery is an interaction on its way.
type delivery struct {
	in        bot.Inbound
	delivered time.Time // to a bot that has not acknowledged it yet
	acked     chan struct{}
}

// Answer is a card that only the asker saw.
type Answer struct {
	To   string // the interaction's id
	Card bot.Card
}

// patience is how long a bot has to acknowledge an interaction.
const patience = time.Second

// NewChat opens a platform that goes with the test.
func NewChat(t testing.TB) *Chat {
	c := &Chat{changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /next", c.next)
	handle(mux, "/ack", c, (*Chat).ack)
	handle(mux, "/post", c, (*Chat).post)
	handle(mux, "/edit", c, (*Chat).edit)
	handle(mux, "/whisper", c, (*Chat).whisper)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// call is what a bot sends.
type call struct {
	Bot  string
	ID   string // of an interaction
	Ref  int
	Card *bot.Card
}

// handle answers one kind of call; one at a time, and the changes that calls
// make are seen at once.
func handle(mux *http.ServeMux, path string, c *Chat, do func(*Chat, call) (any, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in call
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return // its sender died in the middle of a word
		}
		c.mu.Lock()
		out, err := do(c, in)
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			http.Error(w, err.Error(), http.StatusGone)
			return
		}
		_ = json.NewEncoder(w).Encode(out)
	})
}

// next hands out an interaction that waits for a bot.
func (c *Chat) next(w http.ResponseWriter, r *http.Request) {
	wait, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for {
		c.mu.Lock()
		changed := c.changed
		now := time.Now()
		i := slices.IndexFunc(c.waiting, func(d *delivery) bool { return now.Sub(d.delivered) > patience })
		if i >= 0 {
			c.waiting[i].delivered = now
			in := c.waiting[i].in
			c.mu.Unlock()
			_ = json.NewEncoder(w).Encode(in)
			return
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(patience / 10):
		case <-wait.Done():
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}

func (c *Chat) ack(in call) (any, error) {
	if in.Card != nil {
		c.answers = append(c.answers, Answer{To: in.ID, Card: *in.Card})
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(d *delivery) bool {
		if d.in.ID == in.ID {
			close(d.acked)
		}
		return d.in.ID == in.ID
	})
	return nil, nil
}

func (c *Chat) post(in call) (any, error) {
	c.messages = append(c.messages, *in.Card)
	return len(c.messages) - 1, nil
}

func (c *Chat) edit(in call) (any, error) {
	if in.Ref < 0 || in.Ref >= len(c.messages) {
		return nil, fmt.Errorf("there is no message %d", in.Ref)
	}
	c.messages[in.Ref] = *in.Card
	if n := len(c.editors); n == 0 || c.editors[n-1] != in.Bot {
		c.editors = append(c.editors, in.Bot)
	}
	return nil, nil
}

func (c *Chat) whisper(in call) (any, error) {
	c.answers = append(c.answers, Answer{To: in.ID, Card: *in.Card})
	return nil, nil
}

// Deliver brings an interaction to a bot, as often as it takes, and returns
// when one has acknowledged it.
func (c *Chat) Deliver(ctx context.Context, in bot.Inbound) error {
	in.Platform, in.Where, in.At = Platform, cmp.Or(in.Where, Room), time.Now()
	d := &delivery{in: in, acked: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, d)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	select {
	case <-d.acked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Cards are the cards of jobs as they are shown now, in the order in which
// they were posted, and what is closed when one changes.
func (c *Chat) Cards() (cards []bot.Card, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, card := range c.messages {
		if card.Job != 0 {
			cards = append(cards, card)
		}
	}
	return cards, c.changed
}

// Lively is a context that ends when nothing has changed on the platform for a
// while, or with cancel.
func (c *Chat) Lively(parent context.Context, while time.Duration) (ctx context.Context, cancel func()) {
	ctx, end := context.WithCancelCause(parent)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			_, changed := c.Cards()
			select {
			case <-changed:
			case <-time.After(while):
				end(fmt.Errorf("nothing has changed for %v", while))
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, func() { end(nil); wg.Wait() }
}

// Answers are what only askers saw.
func (c *Chat) Answers() []Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.answers)
}

// Editors are the bots that edited cards, in turn.
func (c *Chat) Editors() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.editors)
}

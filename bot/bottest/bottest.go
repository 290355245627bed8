// Package bottest is the conformance suite of [bot.Adapter], and a chat
// platform in memory. An adapter's test makes a [Rig] of the adapter and a
// fake of its platform, and runs the suite:
//
//	func TestConformance(t *testing.T) {
//		bottest.Run(t, bottest.Harness{New: newRig})
//	}
package bottest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// Harness makes what the suite works with.
type Harness struct {
	// New returns a fresh adapter on a fresh platform; it cleans up by itself.
	New func(t testing.TB) Rig
	// Patience is how long something may take to be seen; default 10 s.
	Patience time.Duration
}

func (h Harness) rig(t testing.TB) Rig {
	r := h.New(t)
	r.patience = cmp.Or(h.Patience, 10*time.Second)
	return r
}

// Rig is an adapter, its platform, and hands and eyes on that platform.
type Rig struct {
	Adapter bot.Adapter
	Screen  Screen
	Where   provision.Conversation // where a card can be posted
	// Type makes by type a line, as the interaction id. Only called while
	// Adapter.Run is going on. It may return before the line was delivered.
	Type func(by provision.Actor, id, line string)
	// Press makes by press the button of the newest message that has this
	// label; nil: the platform has no buttons.
	Press func(by provision.Actor, id, label string)
	// Delete removes the newest message; nil: that can't happen on the
	// platform.
	Delete func()
	// People are two who can type; nil: the platform knows only one person,
	// Only.
	People []provision.Actor
	Only   provision.Actor
	// Forever says that what was shown stays on the screen, so that edits add
	// to it, as on a printer.
	Forever bool

	patience time.Duration
}

// Screen is what people see.
type Screen interface {
	// Messages are those of a conversation, oldest first.
	Messages(where provision.Conversation) []Message
	// Whispers are what to has seen that others have not.
	Whispers(to provision.Actor) []string
}

// Message is a message as it stands now, as people read it: formatting is
// gone, text is left.
type Message struct {
	Text   string
	Thread []string // the lines of its thread
}

// check is one promise of the contract.
type check struct {
	name string
	run  func(t testing.TB, h Harness)
}

var checks = []check{
	{"post", checkPost},
	{"edit", checkEdit},
	{"edit twice", checkEditTwice},
	{"edit of a message that is gone", checkGone},
	{"say in order", checkSay},
	{"whisper in private", checkWhisper},
	{"delivery", checkDelivery},
	{"ack before handle", checkAckFirst},
	{"press", checkPress},
	{"untrusted text", checkInert},
	{"long text", checkLong},
	{"concurrent edits", checkConcurrent},
	{"end of run", checkEnd},
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range checks {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) { c.run(t, h) })
	}
}

// until polls ok until it holds.
func (r Rig) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	for !ok() {
		if (cluster.SystemClock{}).Sleep(ctx, time.Millisecond) != nil {
			t.Fatalf("%s: not seen within %v", what, r.patience)
		}
	}
}

func card(job provision.JobID, title, text string) bot.Card {
	return bot.Card{
		Job: job, Seq: 1, Title: title, Tone: bot.Busy, Text: text,
		Steps: []bot.CardStep{
			{Phase: "VM creation", Title: "creating VM", Status: provision.StepRunning, Elapsed: time.Second},
			{Phase: "VM creation", Title: "importing disk image"},
		},
		Buttons: []bot.Button{{ID: "v1.cancel.1.", Label: "Cancel", Style: bot.Danger}},
	}
}

func (r Rig) post(t testing.TB, c bot.Card) bot.Ref {
	t.Helper()
	ref, err := r.Adapter.Post(t.Context(), r.Where, c)
	if err != nil {
		t.Fatalf("Post: %v", err)
	}
	return ref
}

// sees waits until the newest message has all of words.
func (r Rig) sees(t testing.TB, words ...string) {
	t.Helper()
	r.until(t, fmt.Sprintf("a message with %q", words), func() bool {
		all := r.Screen.Messages(r.Where)
		return len(all) > 0 && hasAll(all[len(all)-1].Text, words...)
	})
}

func hasAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// running runs the adapter until the test ends, or stop is called.
func (r Rig) running(t testing.TB, h bot.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Adapter.Run(ctx, h); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// handler records what comes in, and answers as its functions say.
type handler struct {
	triage func(context.Context, bot.Inbound) bot.Ack
	handle func(context.Context, bot.Inbound)

	mu  sync.Mutex
	log map[string][]bot.Inbound
}

func (h *handler) note(what string, in bot.Inbound) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.log == nil {
		h.log = map[string][]bot.Inbound{}
	}
	h.log[what] = append(h.log[what], in)
}

func (h *handler) seen(what string) []bot.Inbound {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]bot.Inbound(nil), h.log[what]...)
}

// Triage implements bot.Handler.
func (h *handler) Triage(ctx context.Context, in bot.Inbound) bot.Ack {
	h.note("triage", in)
	if h.triage == nil {
		return bot.Ack{}
	}
	return h.triage(ctx, in)
}

// Handle implements bot.Handler.
func (h *handler) Handle(ctx context.Context, in bot.Inbound) {
	h.note("handle", in)
	if h.handle != nil {
		h.handle(ctx, in)
	}
}

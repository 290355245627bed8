package bottest

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

func newMemoryRig(t testing.TB) Rig { return rigOf(t, NewMemory("memory", bot.Pace{})) }

func rigOf(t testing.TB, m *Memory) Rig {
	where := provision.Conversation{Platform: "memory", Channel: "ops"}
	send := func(in bot.Inbound) {
		in.Platform, in.Where, in.At = "memory", where, cluster.SystemClock{}.Now()
		if _, err := m.Send(t.Context(), in); err != nil {
			t.Errorf("Send: %v", err)
		}
	}
	return Rig{
		Adapter: m, Screen: m, Where: where,
		Type: func(by provision.Actor, id, line string) {
			send(bot.Inbound{ID: id, Kind: bot.Command, By: by, Text: line})
		},
		Press: func(by provision.Actor, id, label string) {
			cards := m.Cards()
			for _, b := range cards[len(cards)-1].Buttons {
				if b.Label == label {
					send(bot.Inbound{ID: id, Kind: bot.Click, By: by, Button: b.ID})
				}
			}
		},
		Delete: func() { m.Remove(len(m.Cards()) - 1) },
		People: []provision.Actor{{Platform: "memory", ID: "alice"}, {Platform: "memory", ID: "bob"}},
	}
}

func TestMemory(t *testing.T) { Run(t, Harness{New: newMemoryRig}) }

// The ways in which an adapter can be broken, each caught by one check.
type (
	postsAgain   struct{ *Memory } // an edit is a new message
	neverGone    struct{ *Memory } // a deleted message is edited without complaint
	shuffles     struct{ *Memory } // thread lines come backwards
	shouts       struct{ *Memory } // whispers are posted
	actsFirst    struct{ *Memory } // Handle comes before the ack
	doesNotWait  struct{ *Memory } // Run leaves handlers behind
	handlesTwice struct{ *Memory } // an inbound is handled two times
	losesOne     struct {          // one edit in ten goes nowhere
		*Memory
		n *atomic.Int64
	}
	mixesUp struct { // concurrent edits land on each other's message
		*Memory
		other *sync.Map
	}
)

func (a postsAgain) Edit(ctx context.Context, _ bot.Ref, c bot.Card) error {
	_, err := a.Post(ctx, provision.Conversation{Platform: "memory", Channel: "ops"}, c)
	return err
}

func (a neverGone) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	_ = a.Memory.Edit(ctx, at, c)
	return nil
}

func (a shuffles) Say(ctx context.Context, at bot.Ref, lines []string) error {
	for i := len(lines) - 1; i >= 0; i-- {
		if err := a.Memory.Say(ctx, at, lines[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (a shouts) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	_, err := a.Post(ctx, to.Where, c)
	return err
}

func (a actsFirst) Run(ctx context.Context, h bot.Handler) error {
	return a.Memory.Run(ctx, hooked{h, func(ctx context.Context, in bot.Inbound) bot.Ack {
		h.Handle(ctx, in)
		return h.Triage(ctx, in)
	}, func(context.Context, bot.Inbound) {}})
}

func (a doesNotWait) Run(ctx context.Context, h bot.Handler) error {
	return a.Memory.Run(ctx, hooked{h, h.Triage, func(ctx context.Context, in bot.Inbound) {
		go h.Handle(ctx, in)
		runtime.Gosched()
	}})
}

func (a handlesTwice) Run(ctx context.Context, h bot.Handler) error {
	return a.Memory.Run(ctx, hooked{h, h.Triage, func(ctx context.Context, in bot.Inbound) {
		h.Handle(ctx, in)
		h.Handle(ctx, in)
	}})
}

func (a losesOne) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	if a.n.Add(1)%10 == 0 {
		return nil
	}
	return a.Memory.Edit(ctx, at, c)
}

func (a mixesUp) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	i, _ := strconv.Atoi(string(at))
	if i > 0 {
		at = refOf(i - 1)
	}
	return a.Memory.Edit(ctx, at, c)
}

type hooked struct {
	bot.Handler
	triage func(context.Context, bot.Inbound) bot.Ack
	handle func(context.Context, bot.Inbound)
}

func (h hooked) Triage(ctx context.Context, in bot.Inbound) bot.Ack { return h.triage(ctx, in) }
func (h hooked) Handle(ctx context.Context, in bot.Inbound)         { h.handle(ctx, in) }

// rawScreen shows text as it came.
type rawScreen struct{ *Memory }

func (s rawScreen) Messages(provision.Conversation) []Message {
	var out []Message
	for _, c := range s.Cards() {
		out = append(out, Message{Text: strings.Join([]string{c.Title, c.Text, strings.Join(c.Lines, "\n")}, "\n")})
	}
	return out
}

// impatient is for what never comes.
const impatient = 200 * time.Millisecond

func TestBrokenAdaptersFail(t *testing.T) {
	for check, broken := range map[string]func(*Memory, *Rig){
		"edit":                           func(m *Memory, r *Rig) { r.Adapter = postsAgain{m} },
		"edit of a message that is gone": func(m *Memory, r *Rig) { r.Adapter = neverGone{m} },
		"say in order":                   func(m *Memory, r *Rig) { r.Adapter = shuffles{m} },
		"whisper in private":             func(m *Memory, r *Rig) { r.Adapter = shouts{m} },
		"ack before handle":              func(m *Memory, r *Rig) { r.Adapter = actsFirst{m} },
		"end of run":                     func(m *Memory, r *Rig) { r.Adapter = doesNotWait{m} },
		"delivery":                       func(m *Memory, r *Rig) { r.Adapter = handlesTwice{m} },
		"untrusted text":                 func(m *Memory, r *Rig) { r.Screen = rawScreen{m} },
		"long text":                      func(m *Memory, r *Rig) { r.Screen = rawScreen{m} },
		"edit twice":                     func(m *Memory, r *Rig) { r.Adapter = postsAgain{m} },
		"press": func(m *Memory, r *Rig) {
			press := r.Press
			r.Press = func(by provision.Actor, id, label string) {
				press(provision.Actor{Platform: by.Platform, ID: "somebody else"}, id, label)
			}
		},
		"post":             func(m *Memory, r *Rig) { r.Screen = rawScreen{NewMemory("memory", bot.Pace{})} },
		"concurrent edits": func(m *Memory, r *Rig) { r.Adapter = losesOne{m, new(atomic.Int64)} },
	} {
		t.Run(strings.ReplaceAll(check, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if !fails(t, check, Harness{Patience: impatient, New: func(t testing.TB) Rig {
				m := NewMemory("memory", bot.Pace{})
				r := rigOf(t, m)
				broken(m, &r)
				return r
			}}) {
				t.Errorf("a broken adapter passed %q", check)
			}
		})
	}
	if fails(t, "concurrent edits", Harness{New: newMemoryRig}) {
		t.Error("a sound adapter failed")
	}
	if !fails(t, "concurrent edits", Harness{Patience: impatient, New: func(t testing.TB) Rig {
		m := NewMemory("memory", bot.Pace{})
		r := rigOf(t, m)
		r.Adapter = mixesUp{m, new(sync.Map)}
		return r
	}}) {
		t.Error("an adapter that mixes messages up passed")
	}
}

// fails runs one check on a recorder and reports whether it failed.
func fails(t *testing.T, name string, h Harness) bool {
	t.Helper()
	for _, c := range checks {
		if c.name != name {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		rec := &recorder{TB: t, ctx: ctx, cancel: cancel}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer rec.cleanUp()
			c.run(rec, h)
		}()
		<-done
		return rec.failed.Load()
	}
	t.Fatalf("no check is called %q", name)
	return false
}

// recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB
	ctx      context.Context
	cancel   context.CancelFunc
	failed   atomic.Bool
	mu       sync.Mutex
	cleanups []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Error(...any)             { r.failed.Store(true) }
func (r *recorder) Errorf(string, ...any)    { r.failed.Store(true) }
func (r *recorder) Fatal(...any)             { r.failed.Store(true); runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any)    { r.failed.Store(true); runtime.Goexit() }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) cleanUp() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

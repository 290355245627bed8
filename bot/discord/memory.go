package discord

import (
	"sync"
	"time"

	"pvebot/cluster"
)

// answerState is how far the answer to an interaction is.
type answerState int

const (
	unanswered      answerState = iota
	deferredPublic              // all see that the bot is thinking: a card goes there
	deferredPrivate             // the asker sees it
	deferredUpdate              // of a click: there is nothing to fill
	answered
)

// reply is what an inbound carries of how to answer it: Inbound.Reply. It is
// stored.
type reply struct {
	ID      string    `json:"id"`
	App     string    `json:"app"`
	Token   string    `json:"token"`
	At      time.Time `json:"at"`
	Channel string    `json:"channel"`
	User    string    `json:"user"`
	Public  bool      `json:"public,omitempty"` // a deferred answer is seen by all
	Own     bool      `json:"own,omitempty"`    // a message was clicked that only User sees
}

// replyTime is how long an interaction's token is used; Discord takes it for 15
// minutes.
const replyTime = 14*time.Minute + 30*time.Second

func (r reply) webhook() string  { return "/webhooks/" + r.App + "/" + r.Token }
func (r reply) original() string { return r.webhook() + "/messages/@original" }

// answer is the answer to an interaction.
type answer struct {
	reply reply

	mu    sync.Mutex
	state answerState
}

type answerKey struct{} // of an *answer in a context

func (a *answer) set(s answerState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = s
}

// claim returns the state, and makes it answered.
func (a *answer) claim() answerState {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state
	a.state = answered
	return s
}

// claimCard claims an answer that a card may fill, for a channel.
func (a *answer) claimCard(channel string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != deferredPublic || a.reply.Channel != channel {
		return false
	}
	a.state = answered
	return true
}

// memory knows the interactions that this process has taken, so that one which
// Discord delivers twice is done once. Across processes the desk's store does
// the same.
type memory struct {
	clock  cluster.Clock
	mu     sync.Mutex
	known  map[string]*answer
	pruned time.Time
}

// memoryTime is how long an interaction is remembered: longer than its token
// lives.
const memoryTime = 20 * time.Minute

func newMemory(clock cluster.Clock) *memory {
	return &memory{clock: clock, known: map[string]*answer{}}
}

// take remembers an interaction; false when it is known.
func (m *memory) take(id string, a *answer) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if now.Sub(m.pruned) > time.Minute {
		m.pruned = now
		for k, a := range m.known {
			if now.Sub(a.reply.At) > memoryTime {
				delete(m.known, k)
			}
		}
	}
	if m.known[id] != nil {
		return false
	}
	m.known[id] = a
	return true
}

// answer is that of an interaction, nil when this process did not take it.
func (m *memory) answer(id string) *answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[id]
}

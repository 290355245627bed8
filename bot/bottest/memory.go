package bottest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"pvebot/bot"
	"pvebot/provision"
)

// Memory is a chat platform in memory: an [bot.Adapter] for tests of what
// stands above adapters, and the proof that the suite can be passed. It needs
// no sockets and no time, so that it works within testing/synctest.
// Make one with [NewMemory]. All methods may be called concurrently.
type Memory struct {
	name string
	pace bot.Pace

	mu       sync.Mutex
	messages []*message
	whispers map[string][]bot.Card // by Actor.Key
	deny     func(Call) error
	inbox    chan delivery
}

// Call is a call of an adapter that is about to happen.
type Call struct {
	Op   string // post, edit, say or whisper
	Job  provision.JobID
	Card bot.Card // of post, edit and whisper
}

type message struct {
	where provision.Conversation
	shown []bot.Card // every card that was shown, the newest last
	said  [][]string // one entry for each Say
	gone  bool
}

type delivery struct {
	in    bot.Inbound
	acked chan bot.Ack
}

// NewMemory makes an empty platform.
func NewMemory(name string, pace bot.Pace) *Memory {
	return &Memory{name: name, pace: pace, whispers: map[string][]bot.Card{}, inbox: make(chan delivery)}
}

// Name implements bot.Adapter.
func (m *Memory) Name() string { return m.name }

// Pace implements bot.Adapter.
func (m *Memory) Pace() bot.Pace { return m.pace }

// Run implements bot.Adapter.
func (m *Memory) Run(ctx context.Context, h bot.Handler) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-m.inbox:
			ack := h.Triage(ctx, d.in)
			if ack.Whisper != nil {
				m.whisper(d.in, *ack.Whisper)
			}
			d.acked <- ack
			wg.Go(func() { h.Handle(ctx, d.in) })
		}
	}
}

// Send delivers what a person did to the Run that is going on, and returns how
// it was acknowledged.
func (m *Memory) Send(ctx context.Context, in bot.Inbound) (bot.Ack, error) {
	d := delivery{in: in, acked: make(chan bot.Ack, 1)}
	select {
	case m.inbox <- d:
	case <-ctx.Done():
		return bot.Ack{}, context.Cause(ctx)
	}
	select {
	case ack := <-d.acked:
		return ack, nil
	case <-ctx.Done():
		return bot.Ack{}, context.Cause(ctx)
	}
}

// Deny makes calls fail with what f returns; nil lets them through. A nil f
// ends it.
func (m *Memory) Deny(f func(Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deny = f
}

func (m *Memory) denied(c Call) error {
	m.mu.Lock()
	deny := m.deny
	m.mu.Unlock()
	if deny == nil {
		return nil
	}
	return deny(c)
}

// Post implements bot.Adapter.
func (m *Memory) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	if err := m.denied(Call{Op: "post", Job: c.Job, Card: c}); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, &message{where: where, shown: []bot.Card{c}})
	return refOf(len(m.messages) - 1), nil
}

// Edit implements bot.Adapter.
func (m *Memory) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	if err := m.denied(Call{Op: "edit", Job: c.Job, Card: c}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	msg, err := m.at(ctx, at)
	if err != nil {
		return err
	}
	msg.shown = append(msg.shown, c)
	return nil
}

// Say implements bot.Adapter.
func (m *Memory) Say(ctx context.Context, at bot.Ref, lines []string) error {
	if err := m.denied(Call{Op: "say"}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	msg, err := m.at(ctx, at)
	if err != nil {
		return err
	}
	msg.said = append(msg.said, slices.Clone(lines))
	return nil
}

// Whisper implements bot.Adapter.
func (m *Memory) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	if err := m.denied(Call{Op: "whisper", Card: c}); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.whisper(to, c)
	return nil
}

func (m *Memory) whisper(to bot.Inbound, c bot.Card) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whispers[to.By.Key()] = append(m.whispers[to.By.Key()], c)
}

// at finds a message; m.mu is held.
func (m *Memory) at(ctx context.Context, ref bot.Ref) (*message, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var i int
	if err := json.Unmarshal(ref, &i); err != nil || i < 0 || i >= len(m.messages) {
		return nil, fmt.Errorf("ref %q is not ours: %w", ref, errors.Join(bot.ErrGone, err))
	}
	if m.messages[i].gone {
		return nil, bot.ErrGone
	}
	return m.messages[i], nil
}

func refOf(i int) bot.Ref { return bot.Ref(fmt.Sprint(i)) }

// Cards are the cards of all messages that are still there, as they are now,
// oldest message first.
func (m *Memory) Cards() []bot.Card {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []bot.Card
	for _, msg := range m.messages {
		if !msg.gone {
			out = append(out, msg.shown[len(msg.shown)-1])
		}
	}
	return out
}

// Shown is the history of message i: every card it showed.
func (m *Memory) Shown(i int) []bot.Card {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages[i].shown)
}

// Said is the thread of message i: the lines of each Say.
func (m *Memory) Said(i int) [][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages[i].said)
}

// Whispered are the cards that only by could see.
func (m *Memory) Whispered(by provision.Actor) []bot.Card {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.whispers[by.Key()])
}

// Remove deletes message i, as a moderator would.
func (m *Memory) Remove(i int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages[i].gone = true
}

// Messages implements Screen.
func (m *Memory) Messages(where provision.Conversation) []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Message
	for _, msg := range m.messages {
		if msg.where != where || msg.gone {
			continue
		}
		seen := Message{Text: plain(msg.shown[len(msg.shown)-1])}
		for _, lines := range msg.said {
			for _, line := range lines {
				seen.Thread = append(seen.Thread, bot.Cut(bot.Inert(line), memoryLimit))
			}
		}
		out = append(out, seen)
	}
	return out
}

// Whispers implements Screen.
func (m *Memory) Whispers(to provision.Actor) []string {
	var out []string
	for _, c := range m.Whispered(to) {
		out = append(out, plain(c))
	}
	return out
}

// memoryLimit is how many runes a line on this platform may have.
const memoryLimit = 2000

func plain(c bot.Card) string {
	var lines []string
	for _, l := range bot.Text(c) {
		lines = append(lines, bot.Cut(l.Text, memoryLimit))
	}
	return strings.Join(lines, "\n")
}

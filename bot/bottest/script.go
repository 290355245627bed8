package bottest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"pvebot/bot"
)

// Script is a handler that counts, and answers as its functions say. Its methods
// may be called concurrently.
type Script struct {
	OnTriage func(context.Context, bot.Inbound) bot.Ack
	OnHandle func(context.Context, bot.Inbound)

	mu      sync.Mutex
	triaged []bot.Inbound
	handled []bot.Inbound
}

// Triage implements bot.Handler.
func (h *Script) Triage(ctx context.Context, in bot.Inbound) bot.Ack {
	h.mu.Lock()
	h.triaged = append(h.triaged, in)
	h.mu.Unlock()
	if h.OnTriage == nil {
		return bot.Ack{}
	}
	return h.OnTriage(ctx, in)
}

// Handle implements bot.Handler.
func (h *Script) Handle(ctx context.Context, in bot.Inbound) {
	h.mu.Lock()
	h.handled = append(h.handled, in)
	h.mu.Unlock()
	if h.OnHandle != nil {
		h.OnHandle(ctx, in)
	}
}

// Triaged are what it was asked to triage, oldest first.
func (h *Script) Triaged() []bot.Inbound {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.triaged)
}

// Handled are what it was given to handle, oldest first.
func (h *Script) Handled() []bot.Inbound {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.handled)
}

// Counts says how often each text was handled.
func (h *Script) Counts() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for _, in := range h.handled {
		out[in.Text]++
	}
	return out
}

// Last is what was triaged last.
func (h *Script) Last(t testing.TB) bot.Inbound {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.triaged) == 0 {
		t.Fatal("nothing was triaged")
	}
	return h.triaged[len(h.triaged)-1]
}

package slackfake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"pvebot/cluster"
)

// socket is one connection of Socket Mode.
type socket struct {
	id      string
	ws      *websocket.Conn
	clock   cluster.Clock
	writing sync.Mutex
	ghost   bool // half open: nothing is written any more; guarded by Fake.mu
	going   bool // nothing new is delivered there; guarded by Fake.mu
}

// delivery is an envelope on its way.
type delivery struct {
	id    string
	sent  time.Time
	acked chan struct{}
	shows func(json.RawMessage) // what the payload makes visible; nil: nothing

	// Below: guarded by Fake.mu.
	payload json.RawMessage
	done    bool
	at      time.Time
	acks    int
}

func (f *Fake) openSocket(map[string]string) (map[string]any, string) {
	ticket := f.id("ticket-")
	f.tickets[ticket] = f.clock.Now()
	return map[string]any{"url": strings.Replace(f.base, "http://", "ws://", 1) + "/socket?ticket=" + ticket}, ""
}

// takeTicket spends an address of apps.connections.open: it works once.
func (f *Fake) takeTicket(ticket string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.tickets[ticket]
	delete(f.tickets, ticket)
	return ok && !f.down && f.clock.Now().Sub(at) < socketURL
}

func (f *Fake) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !f.takeTicket(r.URL.Query().Get("ticket")) {
		http.Error(w, "void ticket", http.StatusForbidden)
		return
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	f.mu.Lock()
	s := &socket{id: f.id("S"), ws: ws, clock: f.clock}
	n := len(f.sockets) + 1
	if n <= maxSockets {
		f.sockets = append(f.sockets, s)
	}
	f.mu.Unlock()
	defer s.cut()
	if n > maxSockets {
		s.send(map[string]any{"type": "disconnect", "reason": "too_many_websockets"})
		return
	}
	defer f.forget(s)
	s.send(map[string]any{
		"type": "hello", "num_connections": n,
		"connection_info": map[string]any{"app_id": App},
		"debug_info":      map[string]any{"host": "applink-fake", "approximate_connection_time": 18060},
	})
	ctx, cancel := context.WithCancel(r.Context())
	pinging := make(chan struct{})
	go func() { defer close(pinging); f.ping(ctx, s) }()
	f.read(s)
	cancel()
	<-pinging
}

func (f *Fake) forget(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sockets = slices.DeleteFunc(f.sockets, func(x *socket) bool { return x == s })
}

func (f *Fake) ping(ctx context.Context, s *socket) {
	for f.clock.Sleep(ctx, f.cfg.Ping) == nil {
		f.mu.Lock()
		ok := !s.ghost
		f.mu.Unlock()
		if ok {
			_ = s.ws.WriteControl(websocket.PingMessage, []byte("ping"), f.clock.Now().Add(time.Second))
		}
	}
}

// read takes acks until the socket ends.
func (f *Fake) read(s *socket) {
	for {
		_, raw, err := s.ws.ReadMessage()
		if err != nil {
			return
		}
		if len(raw) >= maxAckBytes {
			continue // Slack drops it without a word
		}
		var ack struct {
			EnvelopeID string          `json:"envelope_id"`
			Payload    json.RawMessage `json:"payload"`
		}
		if err := json.Unmarshal(raw, &ack); err != nil {
			f.mu.Lock()
			f.complain("ack is not JSON: %s", raw)
			f.mu.Unlock()
			continue
		}
		f.acked(ack.EnvelopeID, ack.Payload)
	}
}

func (f *Fake) acked(id string, payload json.RawMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.pending[id]
	if d == nil {
		f.complain("ack of an unknown envelope %q", id)
		return
	}
	d.acks++
	if d.done {
		return
	}
	d.done, d.at, d.payload = true, f.clock.Now(), payload
	if d.shows != nil && d.at.Sub(d.sent) <= ackTime {
		d.shows(payload)
	}
	close(d.acked)
}

func (s *socket) send(v any) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.ws.SetWriteDeadline(s.clock.Now().Add(time.Second))
	_ = s.ws.WriteJSON(v)
}

func (s *socket) cut() { _ = s.ws.Close() }

var (
	// ErrNobody: no socket was there to deliver to; people read
	// dispatch_failed.
	ErrNobody = errors.New("dispatch_failed")
	// ErrTimeout: no ack within three seconds; people read operation_timeout,
	// or see a warning sign.
	ErrTimeout = errors.New("operation_timeout")
)

// envelope is how Slack wraps an interaction.
func envelope(kind, id string, payload any, accepts bool) map[string]any {
	return map[string]any{"type": kind, "envelope_id": id, "payload": payload, "accepts_response_payload": accepts}
}

// deliver sends an interaction down one of the sockets and waits for its ack.
func (f *Fake) deliver(ctx context.Context, kind string, payload any, shows func(json.RawMessage)) (json.RawMessage, time.Duration, error) {
	f.mu.Lock()
	d := &delivery{id: f.id("E"), sent: f.clock.Now(), acked: make(chan struct{}), shows: shows}
	f.pending[d.id] = d
	again, delay := f.twice > 0, f.delay
	if again {
		f.twice--
	}
	sameEnvelope := f.random.IntN(2) == 0
	f.mu.Unlock()

	if delay > 0 {
		if err := f.clock.Sleep(ctx, delay); err != nil {
			return nil, 0, err
		}
	}
	if f.cfg.RequestURL != "" {
		return f.post(ctx, d, payload, again)
	}
	to := f.pick()
	if to == nil {
		return nil, 0, ErrNobody
	}
	to.send(envelope(kind, d.id, payload, true))
	if again {
		id := d.id
		if !sameEnvelope {
			f.mu.Lock()
			copied := &delivery{id: f.id("E"), sent: d.sent, acked: make(chan struct{})}
			f.pending[copied.id] = copied
			id = copied.id
			f.mu.Unlock()
		}
		if to := f.pick(); to != nil {
			to.send(envelope(kind, id, payload, true))
		}
	}
	return f.await(ctx, d)
}

// pick chooses a socket as Slack does: nobody knows how.
func (f *Fake) pick() *socket {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil
	}
	var open []*socket
	for _, s := range f.sockets {
		if !s.ghost && !s.going {
			open = append(open, s)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return open[f.random.IntN(len(open))]
}

func (f *Fake) await(ctx context.Context, d *delivery) (json.RawMessage, time.Duration, error) {
	left, cancel := context.WithCancel(ctx)
	defer cancel()
	late := make(chan struct{})
	go func() {
		defer close(late)
		_ = f.clock.Sleep(left, d.sent.Add(ackTime).Sub(f.clock.Now()))
	}()
	defer func() { cancel(); <-late }()
	select {
	case <-d.acked:
	case <-late:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case d.done && d.at.Sub(d.sent) <= ackTime:
		return d.payload, d.at.Sub(d.sent), nil
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	}
	return nil, 0, ErrTimeout
}

// Sockets is how many connections are open.
func (f *Fake) Sockets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sockets)
}

// Refresh makes Slack replace the oldest socket (all sockets, when told so): a
// warning, ten seconds in which things are still delivered there, the request,
// a moment for the last acks, and the cut. It returns when that is done.
func (f *Fake) Refresh(ctx context.Context, all bool) {
	f.mu.Lock()
	old := slices.Clone(f.sockets)
	if !all && len(old) > 1 {
		old = old[:1]
	}
	f.mu.Unlock()
	for _, s := range old {
		s.send(map[string]any{"type": "disconnect", "reason": "warning", "debug_info": map[string]any{"host": "applink-fake"}})
	}
	_ = f.clock.Sleep(ctx, warnTime)
	f.mu.Lock()
	for _, s := range old {
		s.going = true
	}
	f.mu.Unlock()
	for _, s := range old {
		s.send(map[string]any{"type": "disconnect", "reason": "refresh_requested"})
	}
	_ = f.clock.Sleep(ctx, time.Second)
	for _, s := range old {
		_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), f.clock.Now().Add(time.Second))
		s.cut()
	}
}

// Disconnect sends every socket a disconnect with this reason, and cuts them.
func (f *Fake) Disconnect(reason string) {
	f.mu.Lock()
	old := slices.Clone(f.sockets)
	f.mu.Unlock()
	for _, s := range old {
		s.send(map[string]any{"type": "disconnect", "reason": reason})
		s.cut()
	}
}

// Haunt makes the oldest socket a ghost: open, but Slack neither pings nor
// delivers there.
func (f *Fake) Haunt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sockets) > 0 {
		f.sockets[0].ghost = true
	}
}

// Cut drops every connection without a word.
func (f *Fake) Cut() {
	f.mu.Lock()
	old := slices.Clone(f.sockets)
	f.mu.Unlock()
	for _, s := range old {
		s.cut()
	}
}

// Acks are how often each envelope was acknowledged, and those that never
// were.
func (f *Fake) Acks() (more []string, missing int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.pending {
		switch {
		case d.acks == 0:
			missing++
		case d.acks > 1:
			more = append(more, fmt.Sprintf("%s: %d", d.id, d.acks))
		}
	}
	return more, missing
}

// Settle waits until every envelope that was delivered is acknowledged, or for
// so long.
func (f *Fake) Settle(most time.Duration) {
	ctx, cancel := context.WithTimeout(f.life, most)
	defer cancel()
	for {
		if _, missing := f.Acks(); missing == 0 || f.clock.Sleep(ctx, time.Millisecond) != nil {
			return
		}
	}
}

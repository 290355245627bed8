package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack/socketmode"

	"pvebot/cluster"
)

// The timings of a socket.
const (
	helloTime  = 10 * time.Second // from dialling to hello
	retireTime = 15 * time.Second // after Slack's warning; it cuts after 10 s
	writeTime  = 2 * time.Second  // of an ack
	drainTime  = 3 * time.Second  // for acks that are due when the bot stops
	closeTime  = time.Second      // for Slack's answer to our goodbye

	maxFrame = 4 << 20 // bytes; a click carries its whole message
	maxAck   = 20 << 10
)

// socket is one connection of Socket Mode, from its hello on.
type socket struct {
	conn    *websocket.Conn
	clock   cluster.Clock
	silence time.Duration
	heard   func() // a frame or a ping came

	// leaving is closed when another socket must take over: Slack asked for
	// it, or this one has ended. reason is Slack's word, set before.
	leaving chan struct{}
	once    sync.Once
	reason  string

	writing sync.Mutex

	mu       sync.Mutex
	due      int           // acks that are due
	draining bool          // once nothing is due, nothing is taken any more
	closing  bool          // nothing is taken: it could not be acknowledged
	drained  chan struct{} // closed with closing
	retired  bool          // Slack will cut it; its time does not get longer
}

// openSocket connects and waits for hello.
func (s *Slack) openSocket(ctx context.Context) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	_, address, err := s.client.StartSocketModeContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("apps.connections.open: %w", err)
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "wss" && !s.trusts("http://"+u.Host) {
		return nil, errors.New("apps.connections.open: the address is not wss")
	}
	conn, resp, err := s.dialer.DialContext(ctx, address, nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("dial the socket: %w", err)
	}
	conn.SetReadLimit(maxFrame)
	k := &socket{
		conn: conn, clock: s.clock, silence: s.cfg.Silence, heard: s.heard,
		leaving: make(chan struct{}), drained: make(chan struct{}),
	}
	_ = conn.SetReadDeadline(s.clock.Now().Add(helloTime))
	var hello socketmode.Request
	if err := conn.ReadJSON(&hello); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", errMute, err)
	}
	if hello.Type != socketmode.RequestTypeHello {
		_ = conn.Close()
		return nil, &turnedAway{reason: hello.Reason}
	}
	if err := s.sameApp("", hello.ConnectionInfo.AppID); err != nil {
		_ = conn.Close()
		return nil, err
	}
	conn.SetPingHandler(func(data string) error {
		k.extend()
		return conn.WriteControl(websocket.PongMessage, []byte(data), k.clock.Now().Add(writeTime))
	})
	k.extend()
	s.connected(hello.NumConnections)
	return k, nil
}

// errMute: Slack took the socket and did not say hello.
var errMute = errors.New("Slack takes the socket and does not say hello")

// turnedAway: Slack closed a socket instead of saying hello.
type turnedAway struct{ reason string }

func (e *turnedAway) Error() string { return "Slack refused the socket: " + e.reason }

// serve reads until the connection ends, which it does soon after ctx: acks
// that are due are written first, and Slack is told goodbye.
func (k *socket) serve(ctx context.Context, take func(*socket, socketmode.Request), bad func(error)) {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(stopped); k.finish(context.WithoutCancel(ctx)) })
	for {
		_, raw, err := k.conn.ReadMessage()
		if err != nil {
			k.leave("")
			break
		}
		k.extend()
		var req socketmode.Request
		switch err := json.Unmarshal(raw, &req); {
		case err != nil:
			bad(fmt.Errorf("a frame is not JSON: %w", err))
		case req.Type == socketmode.RequestTypeDisconnect:
			k.retire(req.Reason)
		case req.EnvelopeID != "" && k.begin():
			take(k, req)
		}
	}
	if !stop() {
		<-stopped
	}
	_ = k.conn.Close()
}

// extend is the watchdog: whoever says nothing for too long is given up.
func (k *socket) extend() {
	k.heard()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.retired && !k.closing {
		k.until(k.silence)
	}
}

// until sets the time at which reading ends; k.mu is held.
func (k *socket) until(d time.Duration) {
	_ = k.conn.NetConn().SetReadDeadline(k.clock.Now().Add(d))
}

// retire has another socket opened, and reads on: Slack may deliver here until
// it cuts the connection.
func (k *socket) retire(reason string) {
	k.mu.Lock()
	if !k.retired && !k.closing {
		k.retired = true
		k.until(retireTime)
	}
	k.mu.Unlock()
	k.leave(reason)
}

func (k *socket) leave(reason string) {
	k.once.Do(func() { k.reason = reason; close(k.leaving) })
}

// begin reports whether an envelope may be taken; end follows its ack.
func (k *socket) begin() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closing {
		return false
	}
	k.due++
	return true
}

func (k *socket) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.due--
	k.seal()
}

// seal stops the taking once nothing is due; k.mu is held.
func (k *socket) seal() {
	if k.draining && k.due == 0 && !k.closing {
		k.closing = true
		close(k.drained)
	}
}

// finish ends the socket without losing an ack.
func (k *socket) finish(ctx context.Context) {
	k.mu.Lock()
	k.draining = true
	k.seal()
	k.mu.Unlock()
	patience, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-k.drained:
	case <-after(patience, k.clock, drainTime):
	}
	k.mu.Lock()
	if !k.closing {
		k.closing = true
		close(k.drained)
	}
	k.mu.Unlock()
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = k.conn.WriteControl(websocket.CloseMessage, goodbye, k.clock.Now().Add(closeTime))
	k.mu.Lock()
	k.until(closeTime)
	k.mu.Unlock()
}

// ack acknowledges an envelope. When it returns nil, the ack was written.
func (k *socket) ack(raw []byte) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	if err := k.conn.SetWriteDeadline(k.clock.Now().Add(writeTime)); err != nil {
		return err
	}
	return k.conn.WriteMessage(websocket.TextMessage, raw)
}

// after closes its channel when d is over, or ctx.
func after(ctx context.Context, clock cluster.Clock, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = clock.Sleep(ctx, d)
	}()
	return over
}

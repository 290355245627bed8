package discord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/cluster"
)

// Discord: the gateway's opcodes.
const (
	opEvent        = 0
	opHeartbeat    = 1
	opIdentify     = 2
	opResume       = 6
	opReconnect    = 7
	opInvalid      = 9
	opHello        = 10
	opHeartbeatAck = 11
)

// The timings of a connection.
const (
	helloTime = 10 * time.Second // from dialling to hello
	readyTime = 30 * time.Second // from hello to READY or RESUMED
	slack     = 20 * time.Second // beyond a heartbeat's interval, in which something must be heard
	writeTime = 5 * time.Second
	closeTime = time.Second // for Discord's answer to our goodbye
)

const maxFrame = 4 << 20 // bytes

// leaveCode closes a connection whose session goes on; 1000 and 1001 would end
// it.
const leaveCode = 4900

// session is what survives a connection.
type session struct {
	id  string
	url string // where it is resumed
	seq int64
	up  time.Time // when the newest connection heard READY or RESUMED; zero when it has not
}

// frame is a message of the gateway.
type frame struct {
	Op   int             `json:"op"`
	Data json.RawMessage `json:"d,omitempty"`
	Seq  *int64          `json:"s,omitempty"`
	Type string          `json:"t,omitempty"`
}

// Why a connection ended.
var (
	errReconnect = errors.New("Discord asks for a new connection") // op 7
	errInvalid   = errors.New("Discord does not know the session") // op 9
	errResumable = errors.New("Discord asks to resume")            // op 9 with true
	errZombie    = errors.New("a heartbeat got no answer")
	errHello     = errors.New("the gateway did not begin with hello")
	// errMute: Discord takes the connection, maybe its heartbeats, too, and does
	// not answer the first thing that was said.
	errMute = errors.New("Discord takes the connection and does not answer")
)

// link is one connection to the gateway.
type link struct {
	conn    *websocket.Conn
	clock   cluster.Clock
	session *session // read and written by serve's goroutine, but for seq: see last
	event   func(kind string, data json.RawMessage)
	heard   func()
	silence time.Duration

	writing sync.Mutex

	mu    sync.Mutex
	last  int64 // the newest sequence number
	acked bool  // the last heartbeat
	why   error // this side ended it
}

// connect makes a connection and serves it until it ends; the error says why.
// Sess is resumed when it has an id, and holds what the next one needs.
func (d *Discord) connect(ctx context.Context, address string, sess *session, event func(string, json.RawMessage)) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the gateway's address can't be read")
	}
	u.RawQuery = "v=10&encoding=json"
	if u.Path == "" {
		u.Path = "/"
	}
	dialing, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	conn, resp, err := d.dialer.DialContext(dialing, u.String(), nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("dial the gateway: %w", err)
	}
	defer func() { _ = conn.Close() }()
	d.note(func(h *Health) { h.Connections++ })
	conn.SetReadLimit(maxFrame)
	l := &link{
		conn: conn, clock: d.clock, session: sess, event: event, acked: true, last: sess.seq,
		heard: func() { d.note(func(h *Health) { h.LastFrame = d.clock.Now() }) },
	}
	return l.serve(ctx, d.cfg.Token, func() { d.note(func(h *Health) { h.Identifies++ }) })
}

// serve speaks the protocol until the connection or ctx ends.
func (l *link) serve(ctx context.Context, token bot.Token, identified func()) error {
	_ = l.conn.SetReadDeadline(l.clock.Now().Add(helloTime))
	_, raw, err := l.conn.ReadMessage()
	if err != nil {
		return fmt.Errorf("%w: it did not say hello: %w", errMute, err)
	}
	interval, err := heartbeatOf(raw)
	if err != nil {
		return err
	}
	l.session.up = time.Time{}
	l.silence = readyTime
	l.extend()

	if l.session.id == "" {
		identified()
		if err := l.send(opIdentify, identify(token)); err != nil {
			return err
		}
	} else if err := l.send(opResume, map[string]any{"token": string(token), "session_id": l.session.id, "seq": l.session.seq}); err != nil {
		return err
	}

	// The heartbeat ends with the reading, and the goodbye with ctx.
	beats, end := context.WithCancel(context.WithoutCancel(ctx))
	g := errgroup.Group{}
	g.Go(func() error { l.beat(beats, interval); return nil })
	stop := context.AfterFunc(ctx, func() { l.close(websocket.CloseNormalClosure, context.Cause(ctx)) })
	err = l.read(interval)
	stop()
	end()
	_ = l.conn.Close()
	_ = g.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.session.seq = l.last
	if l.why != nil {
		err = l.why
	}
	timeout, ok := errors.AsType[net.Error](err)
	if silent := ok && timeout.Timeout() || errors.Is(err, errZombie); silent && l.session.up.IsZero() {
		return fmt.Errorf("%w: %w", errMute, err)
	}
	return err
}

// maxInterval is longer than Discord ever waits for a heartbeat: 41.25 s.
const maxInterval = time.Hour

// heartbeatOf reads the interval of heartbeats from the gateway's first frame.
func heartbeatOf(raw []byte) (time.Duration, error) {
	var f frame
	var hello struct {
		Interval int64 `json:"heartbeat_interval"` // milliseconds
	}
	if json.Unmarshal(raw, &f) != nil || f.Op != opHello || json.Unmarshal(f.Data, &hello) != nil {
		return 0, errHello
	}
	if hello.Interval <= 0 || hello.Interval > maxInterval.Milliseconds() {
		return 0, errHello
	}
	return time.Duration(hello.Interval) * time.Millisecond, nil
}

// identify asks for a new session. Interactions need no intent.
func identify(token bot.Token) any {
	return map[string]any{
		"token": string(token), "intents": 0, "compress": false,
		"properties": map[string]any{"os": "linux", "browser": "pvebot", "device": "pvebot"},
	}
}

// read reads until the connection ends.
func (l *link) read(interval time.Duration) error {
	for {
		_, raw, err := l.conn.ReadMessage()
		if err != nil {
			return err
		}
		l.heard()
		var f frame
		bad := json.Unmarshal(raw, &f) != nil
		// Before READY or RESUMED only events say that an answer is coming. That
		// heartbeats are acknowledged is no proof of hearing.
		if f.Op == opEvent && !bad || !l.session.up.IsZero() {
			l.extend()
		}
		if bad {
			continue // the next one may be better
		}
		switch f.Op {
		case opEvent:
			l.take(f, interval)
		case opHeartbeat:
			if err := l.heartbeat(); err != nil {
				return err
			}
		case opHeartbeatAck:
			l.mu.Lock()
			l.acked = true
			l.mu.Unlock()
		case opReconnect:
			l.close(leaveCode, errReconnect)
			return errReconnect
		case opInvalid:
			var resumable bool
			_ = json.Unmarshal(f.Data, &resumable)
			err := errInvalid
			if resumable {
				err = errResumable
			}
			l.close(leaveCode, err)
			return err
		}
	}
}

// take takes in an event.
func (l *link) take(f frame, interval time.Duration) {
	if f.Seq != nil {
		l.mu.Lock()
		l.last = *f.Seq
		l.mu.Unlock()
	}
	switch f.Type {
	case "READY":
		var ready struct {
			SessionID string `json:"session_id"`
			ResumeURL string `json:"resume_gateway_url"`
		}
		if json.Unmarshal(f.Data, &ready) == nil {
			l.session.id, l.session.url = ready.SessionID, ready.ResumeURL
		}
		l.ready(interval)
	case "RESUMED":
		l.ready(interval)
	}
	l.event(f.Type, f.Data)
}

// ready: from here on, heartbeats are answered.
func (l *link) ready(interval time.Duration) {
	l.session.up = l.clock.Now()
	l.silence = interval + slack
	l.extend()
}

// extend is the watchdog: whoever says nothing for too long is given up.
func (l *link) extend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		_ = l.conn.SetReadDeadline(l.clock.Now().Add(l.silence))
	}
}

// beat sends a heartbeat each interval, the first one a random part of it
// earlier. One that got no answer by the next ends the connection.
func (l *link) beat(ctx context.Context, interval time.Duration) {
	wait := time.Duration(rand.Int64N(int64(interval)))
	for l.clock.Sleep(ctx, wait) == nil {
		wait = interval
		l.mu.Lock()
		acked := l.acked
		l.acked = false
		l.mu.Unlock()
		if !acked {
			l.close(leaveCode, errZombie)
			return
		}
		if l.heartbeat() != nil {
			return // reading fails as well
		}
	}
}

func (l *link) heartbeat() error {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	if last == 0 {
		return l.send(opHeartbeat, nil)
	}
	return l.send(opHeartbeat, last)
}

func (l *link) send(op int, data any) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	_ = l.conn.SetWriteDeadline(l.clock.Now().Add(writeTime))
	if err := l.conn.WriteJSON(map[string]any{"op": op, "d": data}); err != nil {
		return fmt.Errorf("write to the gateway: %w", err)
	}
	return nil
}

// close says goodbye; reading ends soon after.
func (l *link) close(code int, why error) {
	l.mu.Lock()
	if l.why == nil {
		l.why = why
	}
	now := l.clock.Now()
	_ = l.conn.SetReadDeadline(now.Add(closeTime))
	l.mu.Unlock()
	_ = l.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), now.Add(closeTime))
}

// fatalCloses: connecting again is pointless.
var fatalCloses = map[int]FatalError{
	4004: {Setting: "DISCORD_TOKEN", Why: tokenIsBad},
	4010: {Setting: "DISCORD_TOKEN", Why: "Discord refuses the shard"},
	4011: {Setting: "DISCORD_TOKEN", Why: "the bot is in too many servers for one connection"},
	4012: {Setting: "DISCORD_GATEWAY_URL", Why: "Discord does not speak this version any more; pvebot must be updated"},
	4013: {Setting: "DISCORD_TOKEN", Why: "Discord refuses the intents"},
	4014: {Setting: "DISCORD_TOKEN", Why: "Discord does not allow the intents"},
}

// afterClose says what becomes of the session when its connection ended like this:
// fatal ends all, lost begins a new one.
func afterClose(err error) (fatal *FatalError, lost bool) {
	if errors.Is(err, errInvalid) {
		return nil, true
	}
	c, ok := errors.AsType[*websocket.CloseError](err)
	if !ok {
		return nil, false
	}
	if f, ok := fatalCloses[c.Code]; ok {
		f.Err = fmt.Errorf("the gateway closed with %d", c.Code)
		return &f, false
	}
	switch c.Code {
	case websocket.CloseNormalClosure, websocket.CloseGoingAway, 4003, 4007, 4009:
		return nil, true
	}
	return nil, false
}

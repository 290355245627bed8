package discordfake

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

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

// session outlives its connections.
type session struct {
	id     string
	seq    int64
	events [][]byte // all that was sent, for a resume
	link   *link    // nil: not connected
}

// maxEvents of a session are kept for a resume.
const maxEvents = 1000

// link is one connection.
type link struct {
	ws      *websocket.Conn
	clock   cluster.Clock
	session *session // guarded by Fake.mu
	plan    Plan

	out  chan []byte // ends when the connection does
	gone chan struct{}
	once sync.Once
}

func (f *Fake) gatewayURL() string {
	return strings.Replace(f.base, "http://", "ws://", 1) + "/gateway"
}

func (f *Fake) serveGateway(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	f.mu.Lock()
	l := &link{ws: ws, clock: f.clock, out: make(chan []byte, 4096), gone: make(chan struct{})}
	if len(f.plans) > 0 {
		l.plan, f.plans = f.plans[0], f.plans[1:]
	}
	if f.life.Err() != nil {
		f.mu.Unlock()
		_ = ws.Close()
		return
	}
	f.links = append(f.links, l)
	f.dials = append(f.dials, Dial{At: f.clock.Now(), Path: r.URL.Path})
	f.mu.Unlock()
	defer f.forget(l)

	writing := make(chan struct{})
	go func() { defer close(writing); l.write() }()
	defer func() { <-writing }()
	defer l.cut()
	if !l.plan.NoHello {
		l.send(map[string]any{"op": opHello, "d": map[string]any{"heartbeat_interval": f.cfg.Heartbeat.Milliseconds()}})
	}
	f.read(l)
}

// write sends what is queued, so that nobody waits for a slow reader.
func (l *link) write() {
	for {
		select {
		case raw := <-l.out:
			_ = l.ws.SetWriteDeadline(l.clock.Now().Add(10 * time.Second))
			if l.ws.WriteMessage(websocket.TextMessage, raw) != nil {
				return
			}
		case <-l.gone:
			return
		}
	}
}

func (l *link) send(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		return
	}
	l.queue(raw)
}

func (l *link) queue(raw []byte) {
	select {
	case l.out <- raw:
	case <-l.gone:
	}
}

func (l *link) cut() { l.once.Do(func() { close(l.gone); _ = l.ws.Close() }) }

// close closes with a code; the client's answer ends the reading.
func (l *link) close(code int) {
	_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), l.clock.Now().Add(time.Second))
}

func (f *Fake) forget(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = slices.DeleteFunc(f.links, func(x *link) bool { return x == l })
	if l.session != nil && l.session.link == l {
		l.session.link = nil
	}
}

// read speaks the protocol until the connection ends.
func (f *Fake) read(l *link) {
	for {
		_, raw, err := l.ws.ReadMessage()
		if err != nil {
			// 1000 and 1001 end a session; other codes keep it.
			if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) {
				f.mu.Lock()
				if l.session != nil {
					delete(f.sessions, l.session.id)
				}
				f.mu.Unlock()
			}
			return
		}
		var m struct {
			Op   int             `json:"op"`
			Data json.RawMessage `json:"d"`
		}
		if len(raw) > 4096 || json.Unmarshal(raw, &m) != nil {
			l.close(4002)
			return
		}
		switch m.Op {
		case opHeartbeat:
			if !l.plan.Deaf {
				l.send(map[string]any{"op": opHeartbeatAck})
			}
		case opIdentify, opResume:
			if !f.begin(l, m.Op, m.Data) {
				return
			}
		default:
			l.close(4001)
			return
		}
	}
}

// begin answers op 2 and op 6; false when the connection is over.
func (f *Fake) begin(l *link, op int, data json.RawMessage) bool {
	var d struct {
		Token   string          `json:"token"`
		Intents *int            `json:"intents"`
		Props   json.RawMessage `json:"properties"`
		Session string          `json:"session_id"`
		Seq     int64           `json:"seq"`
	}
	if json.Unmarshal(data, &d) != nil || op == opIdentify && (d.Intents == nil || d.Props == nil) {
		l.close(4002)
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if op == opIdentify {
		f.identified++
	}
	switch p := l.plan; {
	case strings.TrimPrefix(d.Token, "Bot ") != f.cfg.Token:
		l.close(4004)
		return false
	case l.session != nil:
		l.close(4005)
		return false
	case p.Reconnect:
		l.send(map[string]any{"op": opReconnect, "d": nil})
		return true
	case p.Invalid:
		l.send(map[string]any{"op": opInvalid, "d": p.Resumable})
		return true
	case p.Close != 0:
		l.close(p.Close)
		return false
	case p.Drop:
		l.cut()
		return false
	case p.NoReady || f.mute[op]:
		return true
	case f.identified > f.cfg.Sessions:
		l.close(4004) // and the token is reset
		return false
	}
	if op == opResume {
		s := f.sessions[d.Session]
		if s == nil || d.Seq > s.seq {
			l.send(map[string]any{"op": opInvalid, "d": false})
			return true
		}
		if s.link != nil {
			s.link.cut()
		}
		s.link, l.session = l, s
		for i, raw := range s.events {
			if seq := s.seq - int64(len(s.events)-1-i); seq > d.Seq {
				l.queue(raw)
			}
		}
		f.event(s, "RESUMED", json.RawMessage(`{}`))
		return true
	}
	s := &session{id: f.id(), link: l}
	f.sessions[s.id], l.session = s, s
	ready, _ := json.Marshal(map[string]any{
		"v": 10, "session_id": s.id, "resume_gateway_url": f.gatewayURL() + "/resume", "guilds": []any{map[string]any{"id": Guild, "unavailable": true}},
		"user":        map[string]any{"id": botUser, "username": "pvebot", "discriminator": "0", "bot": true},
		"application": map[string]any{"id": App, "flags": 0},
	})
	f.event(s, "READY", ready)
	if *d.Intents&1 != 0 {
		f.event(s, "GUILD_CREATE", f.guild())
	}
	return true
}

// guild is the server, as those see it who have the intent of servers.
func (f *Fake) guild() json.RawMessage {
	none := []any{}
	channels := []any{}
	for id, c := range f.channels {
		if c.kind == textRoom {
			channels = append(channels, map[string]any{"id": id, "type": textRoom, "name": "channel-" + id, "position": 0, "permission_overwrites": none})
		}
	}
	raw, _ := json.Marshal(map[string]any{
		"id": Guild, "name": "fake", "owner_id": Alice, "unavailable": false, "large": false, "member_count": 3, "joined_at": "2024-01-01T00:00:00Z",
		"channels": channels, "threads": none, "members": none, "presences": none, "voice_states": none, "stage_instances": none,
		"guild_scheduled_events": none, "soundboard_sounds": none, "emojis": none, "stickers": none, "features": none,
		"roles":       []any{map[string]any{"id": Guild, "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "colors": map[string]any{"primary_color": 0}, "hoist": false, "managed": false, "mentionable": false, "flags": 0}},
		"afk_timeout": 300, "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
		"system_channel_flags": 0, "premium_tier": 0, "preferred_locale": "en-US", "nsfw_level": 0, "premium_progress_bar_enabled": false,
	})
	return raw
}

// event sends an event to a session, and keeps it; f.mu is held.
func (f *Fake) event(s *session, kind string, data json.RawMessage) {
	s.seq++
	raw, err := json.Marshal(map[string]any{"op": opEvent, "t": kind, "s": s.seq, "d": data})
	if err != nil {
		return
	}
	if s.events = append(s.events, raw); len(s.events) > maxEvents {
		s.events = s.events[1:]
	}
	if s.link != nil {
		s.link.queue(raw)
	}
}

// dispatch sends an event to every session, false when there is none; f.mu is
// held.
func (f *Fake) dispatch(kind string, data json.RawMessage) bool {
	times := 1
	if f.twice > 0 {
		f.twice--
		times = 2
	}
	for _, s := range f.sessions {
		for range times {
			f.event(s, kind, data)
		}
	}
	return len(f.sessions) > 0
}

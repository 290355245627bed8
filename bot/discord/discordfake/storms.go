package discordfake

import (
	"slices"
	"time"
)

// Plan is how a connection goes wrong.
type Plan struct {
	NoHello   bool // nothing is ever said
	Reconnect bool // op 7 in place of READY or RESUMED
	Invalid   bool // op 9 in place of READY or RESUMED
	Resumable bool // of Invalid
	Close     int  // closes with this code in place of READY or RESUMED
	Drop      bool // cuts the connection in place of READY or RESUMED
	NoReady   bool // identifying and resuming are not answered
	Deaf      bool // heartbeats are not answered
}

// Next plans the next connections, the first one first; those after are well.
func (f *Fake) Next(plans ...Plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = append(f.plans, plans...)
}

// Calm forgets what was planned.
func (f *Fake) Calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = nil
}

// Mute makes the gateway silent from now on for those who resume, for those who
// identify, or both: connections stay, and heartbeats are acknowledged.
func (f *Fake) Mute(resumes, identifies bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mute = map[int]bool{opResume: resumes, opIdentify: identifies}
}

// Twice delivers the next n interactions two times.
func (f *Fake) Twice(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice = n
}

// Ready is how many connections have a session.
func (f *Fake) Ready() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.links {
		if l.session != nil {
			n++
		}
	}
	return n
}

// Links is how many connections there are.
func (f *Fake) Links() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.links)
}

// Dial is a connection that was made.
type Dial struct {
	At   time.Time
	Path string // /gateway, or /gateway/resume as READY says
}

// Dials are all connections that were made, oldest first.
func (f *Fake) Dials() []Dial {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dials)
}

// Identified is how many new sessions were asked for.
func (f *Fake) Identified() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.identified
}

func (f *Fake) all(do func(*link)) {
	f.mu.Lock()
	links := slices.Clone(f.links)
	f.mu.Unlock()
	for _, l := range links {
		do(l)
	}
}

// Reconnect asks every connection to make room for a new one (op 7).
func (f *Fake) Reconnect() {
	f.all(func(l *link) { l.send(map[string]any{"op": opReconnect, "d": nil}) })
}

// Invalidate says op 9 to every connection. Unless the sessions are resumable,
// they are gone.
func (f *Fake) Invalidate(resumable bool) {
	f.mu.Lock()
	if !resumable {
		clear(f.sessions)
	}
	f.mu.Unlock()
	f.all(func(l *link) { l.send(map[string]any{"op": opInvalid, "d": resumable}) })
}

// CloseAll closes every connection with a code. 4003, 4007 and 4009 end the
// sessions as well.
func (f *Fake) CloseAll(code int) {
	if slices.Contains([]int{1000, 1001, 4003, 4007, 4009}, code) {
		f.mu.Lock()
		clear(f.sessions)
		f.mu.Unlock()
	}
	f.all(func(l *link) { l.close(code) })
}

// Cut cuts every connection, without a word.
func (f *Fake) Cut() { f.all((*link).cut) }

// Send sends raw bytes to every connection.
func (f *Fake) Send(raw string) { f.all(func(l *link) { l.queue([]byte(raw)) }) }

// Beat asks every connection for a heartbeat (op 1).
func (f *Fake) Beat() { f.all(func(l *link) { l.send(map[string]any{"op": opHeartbeat, "d": nil}) }) }

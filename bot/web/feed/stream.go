// Package feed brings events to readers over HTTP: a [Stream] writes
// server-sent events, [Job] reads what happens to a job and misses nothing.
package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"pvebot/cluster"
)

// Heartbeat is how often a silent stream should show that it lives: less than
// what proxies wait for.
const Heartbeat = 15 * time.Second

// WriteTime is how long one write to one reader may take.
const WriteTime = 10 * time.Second

// Stream writes server-sent events to one reader. A reader that does not take
// them is let go; it comes back with its last id. It may be used by many
// goroutines at once: each event is written as a whole.
type Stream struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	rc    *http.ResponseController
	spare time.Duration
	limit time.Time // of the next write, as the socket knows it
}

// Open answers with the head of a stream. A write may take spare longer than
// WriteTime: then the limit need not be set anew for each, which costs where
// there are thousands of readers.
func Open(w http.ResponseWriter, spare time.Duration) (*Stream, error) {
	s := &Stream{w: w, rc: http.NewResponseController(w), spare: spare}
	// The server's limit on reading a request must not end the stream.
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not collect
	if err := s.extend(); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusOK)
	return s, s.rc.Flush()
}

// Send writes an event; id and event may be "". Data may have any bytes: it
// ends up as one event in any case.
func (s *Stream) Send(id, event string, data []byte) error {
	return s.Put(Frame(id, event, data), false)
}

// Comment writes a line that readers skip.
func (s *Stream) Comment(text string) error {
	return s.Put([]byte(": "+oneLine(text)+"\n\n"), false)
}

// Retry tells a browser how long to wait before it comes back.
func (s *Stream) Retry(wait time.Duration) error {
	return s.Put(fmt.Appendf(nil, "retry: %d\n\n", wait.Milliseconds()), false)
}

// Frame is an event as Send writes it.
func Frame(id, event string, data []byte) []byte {
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + oneLine(id) + "\n")
	}
	if event != "" {
		b.WriteString("event: " + oneLine(event) + "\n")
	}
	// CR, LF and CRLF all end a line of a stream: none may pass inside data.
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for part := range bytes.SplitSeq(data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(part)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return -1
		}
		return r
	}, s)
}

// Put writes a Frame; with more to come at once, it may wait for that.
func (s *Stream) Put(frame []byte, more bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.extend(); err != nil {
		return err
	}
	if _, err := s.w.Write(frame); err != nil || more {
		return err
	}
	return s.rc.Flush()
}

// extend sets the limit of the next write. Sockets keep the machine's time,
// whatever clock the bot goes by. One that is far enough away stays.
func (s *Stream) extend() error {
	now := (cluster.SystemClock{}).Now()
	if s.limit.Sub(now) >= WriteTime {
		return nil
	}
	s.limit = now.Add(WriteTime + s.spare)
	if err := s.rc.SetWriteDeadline(s.limit); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// KeepAlive calls beat each Heartbeat until ctx ends or beat fails; then it
// calls cancel. wait ends it, and returns after it has ended.
func KeepAlive(ctx context.Context, cancel context.CancelFunc, clock cluster.Clock, beat func() error) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for clock.Sleep(ctx, Heartbeat) == nil {
			if beat() != nil {
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

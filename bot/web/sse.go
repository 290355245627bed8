package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"pvebot/cluster"
)

// heartbeat is how often a silent stream shows that it lives.
const heartbeat = 15 * time.Second

// stream writes server-sent events to one reader. A reader that takes longer
// than writeTime and a half for one write is let go; it comes back with its last id.
// It may be used by many goroutines at once.
type stream struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	rc    *http.ResponseController
	limit time.Time // of the next write, as the socket knows it
}

// openStream answers with the head of a stream.
func openStream(w http.ResponseWriter) (*stream, error) {
	s := &stream{w: w, rc: http.NewResponseController(w)}
	// The server's limit on reading a request must not end the stream.
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not collect
	w.WriteHeader(http.StatusOK)
	return s, s.write([]byte("retry: 1000\n\n"))
}

// send writes an event; id and event may be "".
func (s *stream) send(id, event string, data []byte) error { return s.write(frame(id, event, data)) }

// frame is an event as a stream has it.
func frame(id, event string, data []byte) []byte {
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

func (s *stream) write(b []byte) error { return s.put(b, false) }

// put writes b; with more to come at once, it may wait for that.
func (s *stream) put(b []byte, more bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Sockets keep the machine's time, whatever clock the bot goes by. A limit
	// that is far enough away stays.
	if now := (cluster.SystemClock{}).Now(); s.limit.Sub(now) < writeTime {
		s.limit = now.Add(writeTime + writeTime/2)
		if err := s.rc.SetWriteDeadline(s.limit); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	if _, err := s.w.Write(b); err != nil || more {
		return err
	}
	return s.rc.Flush()
}

// keepAlive calls beat each heartbeat until ctx ends or beat fails; then it
// calls cancel. wait returns after it has ended.
func keepAlive(ctx context.Context, cancel context.CancelFunc, clock cluster.Clock, beat func() error) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for clock.Sleep(ctx, heartbeat) == nil {
			if beat() != nil {
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// hb is the heartbeat of streams that programs read.
func (s *stream) hb() error { return s.write([]byte(": hb\n\n")) }

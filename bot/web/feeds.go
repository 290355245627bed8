package web

import (
	"net/http"
	"time"

	"pvebot/bot/web/feed"
)

// cursorOf reads where a reader wants to go on: the Last-Event-ID header of a
// returning one, else ?after=.
func cursorOf(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("after")
}

// openStream answers with the head of a stream, for many readers.
func openStream(w http.ResponseWriter) (*feed.Stream, error) {
	s, err := feed.Open(w, feed.WriteTime/2)
	if err != nil {
		return nil, err
	}
	return s, s.Retry(time.Second)
}

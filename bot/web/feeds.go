package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"pvebot/bot/web/feed"
	"pvebot/provision"
)

// cursorOf reads where a reader wants to go on: the Last-Event-ID header of a
// returning one, else ?after=. given is false when it says neither.
func cursorOf(r *http.Request) (cursor string, given bool) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id, true
	}
	q := r.URL.Query()
	return q.Get("after"), q.Has("after")
}

// serveFirehose streams the events of all jobs in commit order: id is the
// Position, event the kind, data the Event. Without a cursor it begins now.
// "event: reset" says that what was asked for is not kept any more; the stream
// then goes on from now.
func (w *Web) serveFirehose(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := w.living(r)
	defer cancel()
	var after provision.Position
	if cursor, given := cursorOf(r); given {
		n, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || n < 0 {
			w.refuse(rw, r, provision.Errorf(provision.Invalid, "%q is no position", clean(40, cursor)))
			return
		}
		after = provision.Position(n)
	} else {
		var err error
		if after, err = w.cfg.Store.Position(ctx); err != nil {
			w.refuse(rw, r, err)
			return
		}
	}
	s, err := openStream(rw)
	if err != nil {
		return
	}
	defer feed.KeepAlive(ctx, cancel, w.cfg.Clock, hb(s))()
	for {
		err := w.firehose(ctx, s, after)
		if !errors.Is(err, provision.ErrPruned) {
			return // the reader comes back with its last id
		}
		if after, err = w.cfg.Store.Position(ctx); err != nil {
			return
		}
		pos := strconv.FormatInt(int64(after), 10)
		if s.Send(pos, "reset", []byte(`{"pos":`+pos+`}`)) != nil {
			return
		}
	}
}

func (w *Web) firehose(ctx context.Context, s *feed.Stream, after provision.Position) error {
	for ev, err := range w.cfg.Store.Follow(ctx, after) {
		if err != nil {
			return err
		}
		text, err := w.frames.of(ev)
		if err != nil {
			return err
		}
		// What came together leaves together: that a packet goes to each
		// watcher is most of what watching costs.
		if err := s.Put(text, ev.More); err != nil {
			return err
		}
	}
	return nil
}

// serveJobEvents streams one job: id is the Seq, event the kind, data the
// Event. It begins after the cursor, at the first event without one, and ends
// with "event: close" once the job has come to rest and everything was sent.
// A browser that comes back after that gets 204, which stops its trying.
func (w *Web) serveJobEvents(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := w.living(r)
	defer cancel()
	job, ok := w.jobOf(ctx, rw, r)
	if !ok {
		return
	}
	var after uint64
	if cursor, given := cursorOf(r); given {
		var err error
		if after, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			w.refuse(rw, r, provision.Errorf(provision.Invalid, "%q is no event's number", clean(40, cursor)))
			return
		}
	}
	if r.Header.Get("Last-Event-ID") != "" && job.State.Final() && after >= job.Seq {
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	s, err := openStream(rw)
	if err != nil {
		return
	}
	defer feed.KeepAlive(ctx, cancel, w.cfg.Clock, hb(s))()
	for ev, err := range feed.Job(ctx, w.cfg.Store, job.ID, after) {
		if err != nil {
			return // the reader comes back with its last id
		}
		data, err := json.Marshal(ev.Public())
		if err != nil || s.Send(strconv.FormatUint(ev.Seq, 10), string(ev.Kind), data) != nil {
			return
		}
	}
	_ = s.Send("", "close", []byte("{}"))
}

// openStream answers with the head of a stream, for many readers.
func openStream(w http.ResponseWriter) (*feed.Stream, error) {
	s, err := feed.Open(w, feed.WriteTime/2)
	if err != nil {
		return nil, err
	}
	return s, s.Retry(time.Second)
}

// hb shows programs that a stream lives.
func hb(s *feed.Stream) func() error { return func() error { return s.Comment("hb") } }

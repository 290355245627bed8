package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

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
	defer keepAlive(ctx, cancel, w.cfg.Clock, s.hb)()
	for {
		err := w.firehose(ctx, s, after)
		if !errors.Is(err, provision.ErrPruned) {
			return // the reader comes back with its last id
		}
		if after, err = w.cfg.Store.Position(ctx); err != nil {
			return
		}
		pos := strconv.FormatInt(int64(after), 10)
		if s.send(pos, "reset", []byte(`{"pos":`+pos+`}`)) != nil {
			return
		}
	}
}

func (w *Web) firehose(ctx context.Context, s *stream, after provision.Position) error {
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
		if err := s.put(text, ev.More); err != nil {
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
	defer keepAlive(ctx, cancel, w.cfg.Clock, s.hb)()
	t := jobTail{web: w, s: s, id: job.ID, after: after}
	if t.run(ctx) == nil {
		_ = s.send("", "close", []byte("{}"))
	}
}

// jobTail sends the events of one job after a sequence number.
type jobTail struct {
	web   *Web
	s     *stream
	id    provision.JobID
	after uint64
}

// run returns nil once the job rests and all was sent.
func (t *jobTail) run(ctx context.Context) error {
	store := t.web.cfg.Store
	for {
		// The position is taken before the stored events are read: what comes
		// in between is in both, and send tells by Seq.
		pos, err := store.Position(ctx)
		if err != nil {
			return err
		}
		for ev, err := range store.Events(ctx, t.id, t.after) {
			if err == nil {
				err = t.send(ev)
			}
			if err != nil {
				return err
			}
		}
		job, err := store.Job(ctx, t.id)
		if err != nil {
			return err
		}
		if job.State.Final() && t.after >= job.Seq {
			return nil
		}
		if err := t.live(ctx, pos); !errors.Is(err, provision.ErrPruned) && !errors.Is(err, errGap) {
			return err
		}
	}
}

// errGap: the feed went past events of the job that were not sent yet.
var errGap = errors.New("gap in the feed")

func (t *jobTail) live(ctx context.Context, pos provision.Position) error {
	for ev, err := range t.web.cfg.Store.Follow(ctx, pos) {
		switch {
		case err != nil:
			return err
		case ev.Job != t.id || ev.Seq <= t.after:
			continue
		case ev.Seq > t.after+1:
			return errGap
		}
		if err := t.send(ev); err != nil {
			return err
		}
		if ev.Kind == provision.JobState && ev.State.Final() {
			return nil
		}
	}
	return context.Cause(ctx)
}

func (t *jobTail) send(ev provision.Event) error {
	if ev.Seq <= t.after {
		return nil
	}
	data, err := json.Marshal(ev.Public())
	if err != nil {
		return err
	}
	t.after = ev.Seq
	return t.s.send(strconv.FormatUint(ev.Seq, 10), string(ev.Kind), data)
}

package v1

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"pvebot/bot/web/feed"
	"pvebot/provision"
)

// cursorOf reads where a reader wants to go on: the Last-Event-ID header of a
// returning one, else ?after=. given is false when it says neither.
func cursorOf(r *http.Request) (after uint64, given bool, err error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		if !r.URL.Query().Has("after") {
			return 0, false, nil
		}
		text = r.URL.Query().Get("after")
	}
	if after, err = strconv.ParseUint(text, 10, 63); err != nil {
		return 0, false, provision.Errorf(provision.Invalid, "%.40q is no event's number", text)
	}
	return after, true, nil
}

// openStream begins a stream that is kept alive until the end of the request,
// which end must be called at.
func (a *API) openStream(w http.ResponseWriter, r *http.Request) (ctx context.Context, s *feed.Stream, end func(), err error) {
	if s, err = feed.Open(w, feed.WriteTime/2); err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	end = feed.KeepAlive(ctx, cancel, a.Clock, func() error { return s.Comment("hb") })
	return ctx, s, end, nil
}

// jobEvents streams one job: id is the event's seq, event its kind, data the
// event. It ends with "event: close" when the job rests and all was sent. Who
// comes back after that gets 204, which stops a browser's trying.
func (a *API) jobEvents(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	job, err := a.jobFor(r, by)
	if err != nil {
		return err
	}
	after, _, err := cursorOf(r)
	if err != nil {
		return err
	}
	if r.Header.Get("Last-Event-ID") != "" && job.State.Final() && after >= job.Seq {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	ctx, s, end, err := a.openStream(w, r)
	if err != nil {
		return err
	}
	defer end()
	for ev, err := range feed.Job(ctx, a.Store, job.ID, after) {
		if err != nil || send(s, strconv.FormatUint(ev.Seq, 10), ev) != nil {
			return nil //nolint:nilerr // the reader comes back with its last id
		}
	}
	end() // no word after the last
	_ = s.Send("", "close", []byte("{}"))
	return nil
}

func send(s *feed.Stream, id string, ev provision.Event) error {
	data, err := wireEvent(ev)
	if err != nil {
		return err
	}
	return s.Send(id, string(ev.Kind), data)
}

// events streams the events of all jobs, where the API is about one cluster of
// the jobs there, in commit order: id is the position.
// Without a cursor it begins now. "event: reset" says that what was asked for
// is not kept any more; the stream then goes on from now.
func (a *API) events(w http.ResponseWriter, r *http.Request, by provision.Actor) error {
	if err := a.Clerk.MaySee(by, "jobs", nil); err != nil {
		return err
	}
	cursor, given, err := cursorOf(r)
	if err != nil {
		return err
	}
	after := provision.Position(cursor)
	if !given {
		if after, err = a.Store.Position(r.Context()); err != nil {
			return err
		}
	}
	ctx, s, end, err := a.openStream(w, r)
	if err != nil {
		return err
	}
	defer end()
	for {
		err := a.follow(ctx, s, after)
		if !errors.Is(err, provision.ErrPruned) {
			return nil // the reader comes back with its last id
		}
		if after, err = a.Store.Position(ctx); err != nil {
			return nil //nolint:nilerr // as above
		}
		pos := strconv.FormatInt(int64(after), 10)
		if s.Send(pos, "reset", []byte(`{"pos":`+pos+`}`)) != nil {
			return nil
		}
	}
}

func (a *API) follow(ctx context.Context, s *feed.Stream, after provision.Position) error {
	here := a.jobsHere()
	for ev, err := range a.Store.Follow(ctx, after) {
		if err != nil {
			return err
		}
		mine, err := here(ctx, ev)
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		frame, err := a.frames.of(ev)
		if err != nil {
			return err
		}
		// What came together leaves together: that a packet goes to each
		// watcher is most of what watching costs.
		if err := s.Put(frame, ev.More && a.Cluster == ""); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// jobsHere tells of one event after the other whether its job is about the
// API's cluster.
func (a *API) jobsHere() func(context.Context, provision.Event) (bool, error) {
	if a.Cluster == "" {
		return func(context.Context, provision.Event) (bool, error) { return true, nil }
	}
	live := map[provision.JobID]bool{}
	return func(ctx context.Context, ev provision.Event) (bool, error) {
		mine, known := live[ev.Job]
		if !known {
			job, err := a.Store.Job(ctx, ev.Job)
			if err != nil && provision.KindOf(err) != provision.NotFound { // one that was pruned is nobody's
				return false, err
			}
			mine = job.Order.Cluster == a.Cluster
			live[ev.Job] = mine
		}
		if ev.Kind == provision.JobState && ev.State.Final() {
			delete(live, ev.Job)
		}
		return mine, nil
	}
}

package bot

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"pvebot/provision"
)

// result is what became of a write.
type result struct {
	live    *live
	lane    *lane
	ref     provision.CardRef
	card    *Card // that is shown now; nil: none was shown
	told    partial
	more    bool // the thread has more to say
	wrote   bool // the platform was called
	settled bool // nothing more is to be written
	gone    bool // the message was deleted and posted anew
	dead    bool // the message was deleted again, or can't be posted: nobody wants it
	muted   bool // the thread can't be written to
	filed   bool // a long log is in the thread as a file, if it can be
	err     error
}

// begin starts a write in a goroutine of its own.
func (w *writer) begin(hold context.Context, l *live, lane *lane, now time.Time) {
	l.busy, lane.due, lane.served = true, false, now
	if lane == &l.card {
		l.urgent = false
	}
	w.inFlight++
	r := result{live: l, lane: lane, ref: l.ref, card: l.last, told: l.told, filed: l.filed}
	repost := !l.reposted
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(hold, writeTimeout)
		defer cancel()
		if lane == &l.card {
			w.show(ctx, &r, repost)
		} else {
			w.say(ctx, &r)
		}
		w.results <- r
	})
}

// show writes the card as the job stands now.
func (w *writer) show(ctx context.Context, r *result, repost bool) {
	job, err := w.store.Job(ctx, r.ref.Job)
	if err != nil {
		r.err = err
		return
	}
	card := Show(job, w.clock.Now())
	switch {
	case !hasRef(r.ref):
		w.post(ctx, r, job, card)
	case r.card == nil || !looksLike(*r.card, card):
		r.wrote = true
		r.err = w.adapter.Edit(ctx, Ref(r.ref.Ref), card)
		if errors.Is(r.err, ErrGone) && repost {
			r.gone = true
			r.ref.Ref = noRef // whatever comes, the old one is no use
			w.post(ctx, r, job, card)
		}
	}
	if errors.Is(r.err, ErrGone) {
		// Nobody can see it, and nobody will.
		w.log.WarnContext(ctx, "gave up a card: its message is gone", "job", job.ID)
		r.dead, r.err = true, nil
		r.ref.Ref, r.ref.Settled = noRef, true
	} else if r.err == nil {
		r.card = &card
		r.ref.Shown = job.Seq
		r.ref.Settled = r.filed && isSettled(job, r.ref)
	}
	if r.err == nil {
		w.record(ctx, r)
	}
}

// post shows the card in a new message, whose ref is stored before anything
// else happens to it.
func (w *writer) post(ctx context.Context, r *result, job provision.Job, card Card) {
	r.wrote = true
	ref, _, err := postCard(ctx, w.adapter, job, card)
	if r.err = err; err == nil {
		r.ref.Ref = json.RawMessage(ref)
	}
}

// postCard posts a card where its job was ordered or, where nothing can be
// written, to who ordered it alone. Its errors are those of Adapter.Post.
func postCard(ctx context.Context, a Adapter, job provision.Job, card Card) (ref Ref, private bool, err error) {
	ref, err = a.Post(ctx, job.Order.Where, card)
	c, ok := a.(Confidant)
	if !ok || !errors.Is(err, ErrGone) || job.Order.By.Platform != a.Name() {
		return ref, false, err
	}
	where, err := c.Private(ctx, job.Order.By)
	if err == nil {
		ref, err = a.Post(ctx, where, card)
	}
	return ref, err == nil, err
}

// say writes the next lines of the job's thread.
func (w *writer) say(ctx context.Context, r *result) {
	job, err := w.store.Job(ctx, r.ref.Job)
	if err != nil {
		r.err = err
		return
	}
	most := 0
	if _, ok := w.adapter.(Filer); ok {
		most = saidLog
	}
	b, err := nextBatch(w.store.Events(ctx, job.ID, r.ref.Said), job, r.told, most)
	if errors.Is(err, provision.ErrPruned) { // what is not kept can't be said
		w.log.WarnContext(ctx, "a job's events are not kept any more; its thread goes on without them", "job", job.ID)
		b, err = batch{upTo: job.Seq}, nil
	}
	if err != nil {
		r.err = err
		return
	}
	if len(b.lines) > 0 && !r.live.mute {
		r.wrote = true
		err = w.adapter.Say(ctx, Ref(r.ref.Ref), b.lines)
		if errors.Is(err, ErrGone) {
			r.muted = true
			return
		}
		if err != nil {
			r.err = err
			return
		}
	}
	r.ref.Said = max(r.ref.Said, b.upTo)
	r.told, r.more = b.told, b.more
	if r.filed = r.filed && job.State.Final(); !r.filed && !b.more && job.State.Final() {
		r.err = w.file(ctx, r, job)
		r.filed = r.err == nil
	}
	r.ref.Settled = !b.more && r.filed && isSettled(job, r.ref)
	w.record(ctx, r)
}

// record records what was written. When that fails, the write itself stands:
// the worst that follows is that a restart writes it again.
func (w *writer) record(ctx context.Context, r *result) {
	r.settled = r.ref.Settled
	if err := w.store.SetCard(ctx, r.ref); err != nil {
		w.log.WarnContext(ctx, "can't record what a card shows", "job", r.ref.Job, "err", err)
		r.settled = false
		r.ref.Settled = false
	}
}

// isSettled: the job's last word is shown and all is said.
func isSettled(job provision.Job, ref provision.CardRef) bool {
	return job.State.Final() && ref.Shown >= job.Seq && ref.Said >= job.Seq
}

// apply takes in what became of a write.
func (w *writer) apply(ctx context.Context, r result) {
	w.inFlight--
	l, now := r.live, w.clock.Now()
	l.busy = false
	l.ref, l.last, l.told, l.filed = r.ref, r.card, r.told, r.filed
	l.reposted = l.reposted || r.gone
	if r.muted {
		w.silence(ctx, l, now)
	}
	if !r.wrote {
		w.budget.back()
	}
	if r.err != nil {
		w.failed(ctx, r, now)
		return
	}
	r.lane.failures, r.lane.alone = 0, 0
	if r.wrote {
		clear(w.failing)
		w.pause, w.doubt = time.Time{}, time.Time{}
		w.counts.landed++
	}
	if r.more {
		l.thread.want(now)
	}
	if !r.lane.due {
		r.lane.behind = time.Time{}
	}
	switch {
	case r.dead:
		delete(w.live, l.ref.Job)
	case r.settled:
		// What was heard meanwhile (a retry) keeps it alive.
		if !l.card.due && !l.thread.due {
			delete(w.live, l.ref.Job)
		} else {
			l.ref.Settled = false
		}
	case l.state.Final() && !l.card.due && !l.thread.due:
		// One of the two is behind, or could not be recorded.
		l.card.want(now)
		l.thread.want(now)
		l.card.notBefore, l.thread.notBefore = now.Add(backoffFirst), now.Add(backoffFirst)
	}
}

// silence deals with a thread that is gone: the first time its message may
// have gone with it, which writing the card tells, and there will be a new
// thread; the second time it stays silent.
func (w *writer) silence(ctx context.Context, l *live, now time.Time) {
	l.thread.want(now)
	if l.suspect {
		w.log.WarnContext(ctx, "a job's thread is gone; it stays silent", "job", l.ref.Job)
		l.mute = true
		return
	}
	l.suspect = true
	l.card.want(now)
	l.last = nil
	l.thread.notBefore = now.Add(backoffFirst)
}

// failed backs off: this lane, and the whole platform when one card after the
// other fails. What has not failed yet is tried soon even then: it may be the
// others' own fault.
func (w *writer) failed(ctx context.Context, r result, now time.Time) {
	l := r.live
	r.lane.want(now)
	if r.lane == &l.card && atRest(l.state) {
		l.urgent = true
	}
	if busy, ok := errors.AsType[*BusyError](r.err); ok {
		w.notBefore = now.Add(max(busy.After, 100*time.Millisecond))
		w.counts.refused++
		return
	}
	w.counts.failed++
	r.lane.failures++
	if w.counts.landed > r.lane.landed {
		r.lane.alone++
	}
	r.lane.landed = w.counts.landed
	r.lane.notBefore = now.Add(backoff(r.lane.failures))
	if r.wrote {
		if w.failing[l.ref.Job] = true; len(w.failing) > 1 {
			w.pause = now.Add(backoff(len(w.failing) - 1))
			w.doubt = earliest(w.pause, now.Add(doubtMost))
		}
	}
	w.log.WarnContext(ctx, "can't write to the platform; trying again", "job", l.ref.Job,
		"after", r.lane.notBefore.Sub(now), "err", r.err)
}

// backoff is how long to wait after the n-th failure in a row.
func backoff(n int) time.Duration {
	if n > 6 {
		return backoffMost
	}
	return min(backoffFirst<<(n-1), backoffMost)
}

// looksLike reports whether two cards of one job differ in nothing but clocks.
func looksLike(a, b Card) bool {
	return reflect.DeepEqual(still(a), still(b))
}

// still is c without what changes by itself.
func still(c Card) Card {
	c.Seq, c.Elapsed = 0, 0
	steps := make([]CardStep, len(c.Steps))
	copy(steps, c.Steps)
	for i := range steps {
		steps[i].Elapsed = 0
	}
	c.Steps = steps
	return c
}

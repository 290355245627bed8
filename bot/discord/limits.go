package discord

import (
	"context"
	"net/http"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
)

// limits keeps us within Discord's limits: what a bucket allows is assumed
// until headers tell it. Nobody holds a lock while waiting or calling, so that
// a slow channel slows nobody else.
type limits struct {
	clock cluster.Clock

	mu      sync.Mutex
	buckets map[string]*bucket
	global  time.Time // nothing goes out before
	wrong   int       // answers since wrongAt that count as invalid requests
	wrongAt time.Time
	dead    error     // the token is bad: nothing goes out
	deadAt  time.Time // since then
	skew    time.Duration
	skewed  bool
}

// bucket is one of Discord's windows.
type bucket struct {
	limit, left int
	window      time.Duration
	reset       time.Time // then left is limit again
}

// What is assumed of a bucket that we know nothing about. Discord's documents
// don't say; this is what people measure for messages and edits of a channel.
const (
	assumedLimit  = 5
	assumedWindow = 5 * time.Second
)

// Edits of messages older than oldAge have a limit of their own, which no header
// tells. Reports differ; this is the narrower one.
const (
	oldAge    = time.Hour
	oldLimit  = 3
	oldWindow = 20 * time.Second
)

// Discord shuts out for a while whoever sends 10,000 invalid requests in ten
// minutes. We stop long before, for the rest of the window.
const (
	maxInvalid    = 1000
	invalidWindow = 10 * time.Minute
)

const busyTime = 30 * time.Second // when Discord does not say how long

const maxBuckets = 1000 // then those that are full again are dropped

func newLimits(clock cluster.Clock) *limits {
	return &limits{clock: clock, buckets: map[string]*bucket{}}
}

// turn waits until name may be called, or says when to come again if that is
// after until.
func (l *limits) turn(ctx context.Context, name string, until time.Time) error {
	for {
		at, ok := l.take(name)
		if ok {
			return nil
		}
		if at.After(until) {
			return &bot.BusyError{After: at.Sub(l.clock.Now())}
		}
		if err := l.clock.Sleep(ctx, at.Sub(l.clock.Now())); err != nil {
			return err
		}
	}
}

func (l *limits) take(name string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	b := l.bucket(name, now)
	if !now.Before(b.reset) {
		b.left, b.reset = b.limit, now.Add(b.window)
	}
	if b.left == 0 {
		return b.reset, false
	}
	b.left--
	return now, true
}

// bucket finds or makes a bucket; l.mu is held.
func (l *limits) bucket(name string, now time.Time) *bucket {
	b := l.buckets[name]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			for n, b := range l.buckets {
				if now.After(b.reset) {
					delete(l.buckets, n)
				}
			}
		}
		b = &bucket{limit: assumedLimit, window: assumedWindow}
		if len(name) > 4 && name[:4] == "old/" {
			b.limit, b.window = oldLimit, oldWindow
		}
		l.buckets[name] = b
	}
	return b
}

// allowed says whether anything may go out now. Answers to interactions don't
// count for the global limit.
func (l *limits) allowed(token bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	switch {
	case token:
		return nil
	case l.dead != nil && now.Sub(l.deadAt) < deadTime:
		return l.dead
	case now.Before(l.global):
		return &bot.BusyError{After: l.global.Sub(now)}
	case l.wrong >= maxInvalid && now.Sub(l.wrongAt) < invalidWindow:
		return &bot.BusyError{After: l.wrongAt.Add(invalidWindow).Sub(now)}
	}
	return nil
}

// learn takes in what the headers of an answer say.
func (l *limits) learn(r request, h http.Header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		// The header has whole seconds: on average half of one is missing.
		l.skew, l.skewed = now.Sub(at.Add(500*time.Millisecond)), true
	}
	limit := int(number(h.Get("X-RateLimit-Limit")))
	if r.bucket == "" || limit <= 0 {
		return
	}
	b := l.bucket(r.method+r.bucket, now)
	b.left += limit - b.limit // what was assumed may be wrong
	b.limit = limit
	b.left = max(0, min(b.left, int(number(h.Get("X-RateLimit-Remaining")))))
	if reset := now.Add(seconds(number(h.Get("X-RateLimit-Reset-After")))); reset.After(b.reset) {
		b.reset = reset
	}
}

// busy takes in a 429.
func (l *limits) busy(r request, after time.Duration, global, old bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	switch {
	case global:
		l.global = now.Add(after)
	case old && r.old != "":
		b := l.bucket("old/"+r.old, now)
		b.left, b.reset = 0, now.Add(after)
	case r.bucket != "":
		b := l.bucket(r.method+r.bucket, now)
		b.left, b.reset = 0, now.Add(after)
	}
}

func (l *limits) invalid() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if now.Sub(l.wrongAt) >= invalidWindow {
		l.wrong, l.wrongAt = 0, now
	}
	l.wrong++
}

// deadTime is for how long a token that was refused is not used. Discord has
// been wrong about that, so it is not for ever.
const deadTime = 5 * time.Minute

// shut ends all calls for a while: with a bad token each would only bring us
// nearer to being shut out.
func (l *limits) shut(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead, l.deadAt = err, l.clock.Now()
}

// theirs is the time by Discord's clock; false while nothing is known of it.
func (l *limits) theirs() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock.Now().Add(-l.skew), l.skewed
}

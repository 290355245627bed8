package bot

import (
	"encoding/json"
	"time"

	"pvebot/provision"
)

// live is a card whose job may still change, or whose last word has not
// landed yet.
type live struct {
	ref      provision.CardRef
	state    provision.State // the newest that was heard of
	created  time.Time
	urgent   bool // its state changed since it was shown
	busy     bool // a write is on its way: one at a time per message
	reposted bool // its message was deleted once already
	suspect  bool // its thread was gone once
	mute     bool // its thread can't be written to
	filed    bool // its log is in the thread as a file, if it is long
	last     *Card
	told     partial

	card, thread lane
}

// lane is one of the two things that are written for a job.
type lane struct {
	due       bool
	behind    time.Time // since when it does not show all there is; zero when it does
	served    time.Time // the last write began then
	notBefore time.Time // backs off until then
	failures  int       // in a row
	alone     int       // of them, those before which another write had landed
	landed    int       // writes of all cards, when it failed last
}

// want makes the lane due at now.
func (l *lane) want(now time.Time) {
	l.due = true
	if l.behind.IsZero() {
		l.behind = now
	}
}

func (l *lane) readyAt(gap time.Duration) time.Time {
	return latest(l.served.Add(gap), l.notBefore)
}

// maxGap is how far apart the edits of an old job's card may get.
const maxGap = 15 * time.Second

// gap is how long a card rests between two edits: the older its job, the
// longer, since platforms slow down the edits of old messages and people look
// less often.
func (l *live) gap(p Pace, now time.Time) time.Duration {
	age := max(0, now.Sub(l.created))
	return min(p.MinGap*time.Duration(1+age/(2*time.Minute)), max(maxGap, p.MinGap))
}

// atRest: nothing happens until a person acts.
func atRest(s provision.State) bool {
	return s.Final() || s == provision.StateParked || s == provision.StateWaiting
}

// noRef is stored for a card that is not posted: one that still shall be, or,
// when it is settled, one that was given up.
var noRef = json.RawMessage("null")

func hasRef(r provision.CardRef) bool { return len(r.Ref) > 0 && string(r.Ref) != string(noRef) }

// bucket is a token bucket.
type bucket struct {
	pace   Pace
	tokens float64
	filled time.Time
}

func newBucket(p Pace, now time.Time) bucket {
	p.Burst = max(p.Burst, 1)
	return bucket{pace: p, tokens: float64(p.Burst), filled: now}
}

// take spends a token, or says when there will be one. A pace without a rate
// has no limit.
func (b *bucket) take(now time.Time) (time.Time, bool) {
	if b.pace.PerSecond <= 0 {
		return now, true
	}
	b.tokens, b.filled = b.now(now), now
	if b.tokens >= 1 {
		b.tokens--
		return now, true
	}
	// Rounded up, or the wake-up comes a hair too early and spins.
	return now.Add(time.Duration((1-b.tokens)/b.pace.PerSecond*float64(time.Second)) + time.Millisecond), false
}

// now is how many tokens there are. A pace without a rate has no limit, and no
// tokens.
func (b *bucket) now(now time.Time) float64 {
	if b.pace.PerSecond <= 0 {
		return 0
	}
	return min(float64(b.pace.Burst), b.tokens+now.Sub(b.filled).Seconds()*b.pace.PerSecond)
}

// back returns a token that was not used.
func (b *bucket) back() { b.tokens = min(float64(b.pace.Burst), b.tokens+1) }

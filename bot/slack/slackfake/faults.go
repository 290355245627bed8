package slackfake

import "time"

// Fault is a way in which a call can go wrong.
type Fault struct {
	Method string // chat.update; "" is any, hook is a response URL
	Times  int    // how many calls; 0 is one
	// One of these: answer this status, refuse with this error code, answer
	// 429 with this Retry-After, do it but drop the connection instead of the
	// answer.
	Status     int
	Code       string
	RetryAfter time.Duration
	Lose       bool
}

type fault struct {
	Fault
	left int
}

// Break makes the next calls go wrong.
func (f *Fake) Break(what Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault{Fault: what, left: max(1, what.Times)})
}

// Outage begins or ends a time in which every call is answered with 503 and
// nothing is delivered.
func (f *Fake) Outage(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = on
}

// Twice makes the next n deliveries come two times: again under the same
// envelope id, or the same interaction in a new envelope.
func (f *Fake) Twice(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice = n
}

// Delay makes deliveries late; the three seconds of the ack run all the same.
func (f *Fake) Delay(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// faultOf finds and spends a fault for a call; f.mu is held.
func (f *Fake) faultOf(method string) (Fault, bool) {
	if f.down {
		return Fault{Status: 503}, true
	}
	for _, x := range f.faults {
		if x.left > 0 && (x.Method == "" || x.Method == method) {
			x.left--
			return x.Fault, true
		}
	}
	return Fault{}, false
}

package legacy

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"sync"

	"pvebot/bot/web/feed"
	"pvebot/provision"
)

// stream tells what happens to a job until it is over. A client that goes away
// changes nothing about it.
func (a *API) stream(w http.ResponseWriter, r *http.Request, job provision.Job, err error, n narrator) error {
	if err != nil {
		return err
	}
	s, err := feed.Open(w, 0)
	if err != nil {
		return err
	}
	n.address = func(vmid int) netip.Addr {
		slot, err := a.Settings.Pool.Slot(vmid)
		if err != nil {
			return netip.Addr{}
		}
		return slot.IP
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t := teller{to: s}
	wait := feed.KeepAlive(ctx, cancel, a.Clock, func() error { return t.again(func(f frame) frame { return still(f, a.Clock.Now().Sub(job.Created)) }) })
	defer wait()
	for ev, err := range feed.Job(ctx, a.Source, job.ID, 0) {
		if err != nil {
			if ctx.Err() == nil {
				a.Log.ErrorContext(ctx, "old API: the events of a job can't be read", "job", job.ID, "err", err)
				n.say(n.first(), failure, "job "+job.ID.String()+" goes on, but I can't tell how (0.00s)")
				t.all(n.out[len(n.out)-1:])
				t.close()
			}
			return nil
		}
		frames, over := n.tell(ev)
		if t.all(frames) != nil {
			return nil // it went away
		}
		if over {
			break
		}
	}
	wait() // no word after the last
	t.close()
	return nil
}

// teller writes frames, and knows the last. It may be used by many goroutines.
type teller struct {
	to *feed.Stream

	mu   sync.Mutex
	last *frame
}

func (t *teller) all(frames []frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range frames {
		t.last = &f
		if err := t.to.Send("", "", encode(f)); err != nil {
			return err
		}
	}
	return nil
}

// again writes the last frame once more, as change makes it.
func (t *teller) again(change func(frame) frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		return nil
	}
	return t.to.Send("", "", encode(change(*t.last)))
}

func (t *teller) close() {
	_ = t.to.Send("", "close", []byte("{}")) // nobody left to tell
}

// encode writes f on one line. "preparation > checking VMID" stays as it is:
// there are clients that search the text for it.
func encode(f frame) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		panic(err) // strings and a number
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

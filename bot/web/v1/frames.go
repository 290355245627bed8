package v1

import (
	"strconv"
	"sync"

	"pvebot/bot/web/feed"
	"pvebot/provision"
)

// frames keeps the newest events as the streams of all watchers carry them:
// each is written out once, however many watch. It may be used by many
// goroutines at once.
type frames struct {
	mu   sync.Mutex
	ring [256]struct {
		pos  provision.Position
		data []byte
	}
}

// of is ev as a frame. It is shared: nobody changes it.
func (f *frames) of(ev provision.Event) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := &f.ring[uint64(ev.Pos)%uint64(len(f.ring))] //nolint:gosec // positions are not negative
	if kept.pos == ev.Pos && kept.data != nil {
		return kept.data, nil
	}
	data, err := wireEvent(ev)
	if err != nil {
		return nil, err
	}
	text := feed.Frame(strconv.FormatInt(int64(ev.Pos), 10), string(ev.Kind), data)
	if ev.Pos >= kept.pos { // who reads the past does not push out what is new
		kept.pos, kept.data = ev.Pos, text
	}
	return text, nil
}

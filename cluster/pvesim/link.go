package pvesim

import (
	"encoding/json"
	"errors"
	"net"
	"sync"

	"pvebot/cluster/pvesim/shim"
)

var (
	// errKilled: the tool's process is gone, or its node is.
	errKilled = errors.New("killed")
	// errGone: nobody reads the tool's output any more.
	errGone = errors.New("broken pipe")
	// errInterrupted: the tool, or its task, was told to stop.
	errInterrupted = errors.New("received interrupt")
)

// link is the simulator's end of a conversation. One order at a time.
type link struct {
	conn     net.Conn
	enc      *json.Encoder
	answers  chan shim.Answer
	onSignal func()
	onClose  func()
	mu       sync.Mutex
}

// listen reads answers until the shim is gone.
func (l *link) listen(dec *json.Decoder) {
	defer close(l.answers)
	defer l.onClose()
	for {
		var a shim.Answer
		if dec.Decode(&a) != nil {
			return
		}
		if a.Signal {
			l.onSignal()
			continue
		}
		l.answers <- a
	}
}

// ask sends one order and waits for its answer. errKilled: no shim any more.
func (l *link) ask(o shim.Order) (shim.Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.enc.Encode(o) != nil {
		return shim.Answer{}, errKilled
	}
	a, ok := <-l.answers
	if !ok {
		return shim.Answer{}, errKilled
	}
	return a, nil
}

// exit ends the shim.
func (l *link) exit(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.enc.Encode(shim.Order{Op: shim.Exit, Status: status}) // a dead shim needs no status
}

package cluster_test

import (
	"context"
	"errors"
	"net"
	"sync"
)

// cutter dials connections that can be cut, refused and frozen.
type cutter struct {
	mu     sync.Mutex
	conns  []*cuttable
	refuse bool
}

// cuttable is a connection from which, once frozen, nothing arrives.
type cuttable struct {
	net.Conn
	frozen chan struct{}
	closed chan struct{}
	freeze func()
	close  func()
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse {
		return nil, errors.New("refused by the test")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	f := &cuttable{Conn: conn, frozen: make(chan struct{}), closed: make(chan struct{})}
	f.freeze = sync.OnceFunc(func() { close(f.frozen) })
	f.close = sync.OnceFunc(func() { close(f.closed) })
	c.conns = append(c.conns, f)
	return f, nil
}

func (c *cutter) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.conns {
		f.Close()
	}
	c.conns = nil
}

func (c *cutter) Refuse(on bool) {
	c.mu.Lock()
	c.refuse = on
	c.mu.Unlock()
	if on {
		c.Drop()
	}
}

func (c *cutter) Freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.conns {
		f.freeze()
	}
}

func (f *cuttable) Close() error {
	f.close()
	return f.Conn.Close()
}

func (f *cuttable) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	select {
	case <-f.frozen:
		<-f.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

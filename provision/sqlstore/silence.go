package sqlstore

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// leastSilence is how long a database may at least take for its next word: it may
// be busy, or wait for a lock.
const leastSilence = 5 * time.Second

// impatient gives up connections of dial on which the server says nothing for
// limit while it is waited for. A host that lost its power, or a firewall its
// memory, tells nobody: TCP alone would wait for a quarter of an hour, and with it
// all calls that have no deadline. What it was asked may have been done.
func impatient(dial pgconn.DialFunc, limit time.Duration) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &impatientConn{conn, limit}, nil
	}
}

type impatientConn struct {
	net.Conn
	limit time.Duration
}

// Read implements net.Conn. pgx reads only what it has asked for, except where it
// listens.
func (c *impatientConn) Read(b []byte) (int, error) {
	var silent atomic.Bool
	timer := time.AfterFunc(c.limit, func() {
		silent.Store(true)
		c.Conn.Close()
	})
	defer timer.Stop()
	n, err := c.Conn.Read(b)
	if err != nil && silent.Load() {
		err = fmt.Errorf("the database has said nothing for %v: %w", c.limit, err)
	}
	return n, err
}

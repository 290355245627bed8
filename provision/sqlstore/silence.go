package sqlstore

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pvebot/cluster"
)

// leastSilence is how long a database may at least take for its next word: it may
// be busy, or wait for a lock.
const leastSilence = 5 * time.Second

// impatient gives up connections of dial on which the server says nothing for
// limit while it is waited for. A host that lost its power, or a firewall its
// memory, tells nobody: TCP alone would wait for a quarter of an hour, and with it
// all calls that have no deadline. What it was asked may have been done.
func impatient(dial pgconn.DialFunc, clock cluster.Clock, limit time.Duration) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &impatientConn{conn, clock, limit}, nil
	}
}

type impatientConn struct {
	net.Conn
	clock cluster.Clock
	limit time.Duration
}

// Read implements net.Conn. pgx reads only what it has asked for, except where it
// listens.
func (c *impatientConn) Read(b []byte) (int, error) {
	waiting, answered := context.WithCancel(context.Background())
	defer answered()
	silent := make(chan bool, 1)
	go func() {
		over := c.clock.Sleep(waiting, c.limit) == nil
		if over {
			c.Conn.Close()
		}
		silent <- over
	}()
	n, err := c.Conn.Read(b)
	answered()
	if <-silent && err != nil {
		err = fmt.Errorf("the database has said nothing for %v: %w", c.limit, err)
	}
	return n, err
}

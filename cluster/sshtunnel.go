package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// DialTCP opens a TCP connection to addr (host:port) as seen from the
// machine. The connection knows no deadlines; close it to end a read.
func (s *SSH) DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.wg.Done()
	for {
		conn, fresh, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		conn.enter()
		leave := sync.OnceFunc(conn.leave)
		tcp, err := conn.client.DialContext(ctx, "tcp", addr)
		if err == nil {
			return &tunnel{tcp, leave}, nil
		}
		leave()
		var refused *ssh.OpenChannelError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case fresh || errors.As(err, &refused):
			return nil, fmt.Errorf("%s can't reach %s: %w", s.cfg.Name, addr, err)
		}
		conn.client.Close() // it was dead already
		<-conn.dead
	}
}

// tunnel is a TCP connection through an SSH connection.
type tunnel struct {
	net.Conn
	leave func()
}

func (t *tunnel) Close() error {
	defer t.leave()
	return t.Conn.Close()
}

package sqlstore

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/cluster"
	"pvebot/provision/sqlstore/pgtest"
)

// A server that is asked and says nothing is given up; one that is not asked, or
// speaks slowly, is not.
func TestImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, server := net.Pipe()
		defer server.Close()
		dial := impatient(func(context.Context, string, string) (net.Conn, error) { return ours, nil }, cluster.SystemClock{}, 15*time.Second)
		conn, err := dial(t.Context(), "tcp", "db:5432")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // in the pool
		go func() {
			for range 3 {
				time.Sleep(10 * time.Second)
				_, _ = server.Write([]byte("x"))
			}
		}()
		began := time.Now()
		said, err := io.ReadAll(conn)
		if took := time.Since(began); string(said) != "xxx" || !errors.Is(err, io.ErrClosedPipe) || took != 45*time.Second {
			t.Errorf("%q, %v after %v; want all that it said, and the end 15 s after that", said, err, took)
		}
	})
}

// swallower is a way to a server that can fall silent for what is connected.
type swallower struct {
	net.Listener
	to     string
	silent atomic.Bool
	wg     sync.WaitGroup
}

func (s *swallower) serve(ctx context.Context) {
	for {
		client, err := s.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", s.to)
		if err != nil {
			client.Close()
			continue
		}
		context.AfterFunc(ctx, func() { client.Close(); server.Close() })
		old := func() bool { return false }
		if !s.silent.Load() {
			old = s.silent.Load
		}
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			s.wg.Go(func() {
				defer way[0].Close()
				buf := make([]byte, 32<<10)
				for {
					n, err := way[0].Read(buf)
					if err != nil {
						if !old() {
							way[1].Close()
						}
						return
					}
					if !old() {
						_, _ = way[1].Write(buf[:n])
					}
				}
			})
		}
	}
}

// When a way to the server swallows what is sent, what follows events goes on by
// a new one.
func TestSilentWayToPostgres(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way := &swallower{Listener: listener, to: u.Host}
	serving, stop := context.WithCancel(context.Background())
	way.wg.Go(func() { way.serve(serving) })
	t.Cleanup(func() { listener.Close(); stop(); way.wg.Wait() })
	u.Host = listener.Addr().String()
	s, other := openStore(t, u.String(), Options{Lease: time.Second}), openStore(t, direct, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	after, err := s.Position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	way.silent.Store(true)
	if _, err := other.Submit(ctx, order("a"), nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Follow(ctx, after) {
		if err != nil {
			t.Fatalf("the event did not come: %v", err)
		}
		break
	}
	if _, err := s.Submit(ctx, order("b"), nil); err != nil {
		t.Errorf("a new order: %v", err)
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

const (
	keptReady = "ready"
	// keptGrace is how long a cluster waits for the next bot when nobody holds it.
	keptGrace = 10 * time.Minute
)

// keepCommand is the process that is a demo's cluster. Only the demo calls it.
func (p *program) keepCommand() *cobra.Command {
	var run string
	var fast bool
	cmd := &cobra.Command{
		Use:    "keep-cluster DIR",
		Short:  "Be the simulated cluster of a demo, which outlives the bot",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.keepCluster(cmd.Context(), args[0], run, fast)
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "its own `directory`, which it removes at its end")
	cmd.Flags().BoolVar(&fast, "fast", false, "let nothing take time")
	return cmd
}

// keepCluster is a simulated cluster until a holder ends it, or until nobody has
// held it for keptGrace.
func (p *program) keepCluster(ctx context.Context, dir, run string, fast bool) (err error) {
	h := &holders{clock: cluster.SystemClock{}, grace: keptGrace}
	defer h.close() // last of all: who ends the cluster waits for it
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	sim, err := pvesim.New(simOptions(fast))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	l, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(run, "holders"))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, keptFile)
	info := keptInfo{Protocol: keptProtocol, PID: os.Getpid(), Socket: l.Addr().String(), Env: sim.Env()}
	switch err := writeKept(file, info); {
	case errors.Is(err, fs.ErrExist): // another demo was quicker, and ours finds that one
		fmt.Fprintln(p.out, keptReady)
		return l.Close()
	case err != nil:
		return errors.Join(err, l.Close())
	}
	fmt.Fprintln(p.out, keptReady)
	err = h.serve(ctx, l)
	return errors.Join(err, os.Remove(file))
}

// writeKept writes a file that is there whole or not at all; fs.ErrExist when
// there is one.
func writeKept(file string, info keptInfo) error {
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", file, info.PID)
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Link(part, file), os.Remove(part))
}

// holders are the connections of those who need a cluster. A bot that is killed
// lets go by its death.
type holders struct {
	clock cluster.Clock
	grace time.Duration

	mu    sync.Mutex
	conns map[net.Conn]bool  // whether it still holds
	idle  context.CancelFunc // ends the waiting for the next one; nil: somebody holds
}

// serve takes holders in until one of them ends it, until nobody has held for the
// grace, or until ctx ends. Their connections stay open; see close.
func (h *holders) serve(ctx context.Context, l net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	defer wg.Wait()
	h.conns = map[net.Conn]bool{}
	wait := func() {
		idle, stop := context.WithCancel(ctx)
		h.idle = stop
		wg.Go(func() {
			if h.clock.Sleep(idle, h.grace) != nil {
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.held() { // nobody came just now
				end()
			}
		})
	}
	h.mu.Lock()
	wait()
	h.mu.Unlock()
	wg.Go(func() {
		<-ctx.Done()
		_ = l.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		for c := range h.conns {
			_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes who listens to it
		}
	})
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.conns[c] = true
		h.idle()
		h.mu.Unlock()
		wg.Go(func() {
			if endedBy(c) {
				end()
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.conns[c] = false
			if !h.held() && ctx.Err() == nil {
				wait()
			}
		})
	}
}

// endedBy reports whether a holder ends the cluster; else it has let go.
func endedBy(c net.Conn) bool {
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if lines.Text() == endCluster {
			return true
		}
	}
	return false
}

func (h *holders) held() bool {
	for _, holds := range h.conns {
		if holds {
			return true
		}
	}
	return false
}

// close closes the connections.
func (h *holders) close() {
	for c := range h.conns {
		_ = c.Close()
	}
}

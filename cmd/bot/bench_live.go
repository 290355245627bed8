package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"pvebot/cluster/pvesim"
)

// live opens a simulated cluster and a bot in a process of its own on it, and
// calls do.
func (b *bench) live(ctx context.Context, o pvesim.Options, more []string, do func(sim *pvesim.Sim, data string, c *child) error) (err error) {
	sim, err := pvesim.New(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	data, err := os.MkdirTemp(b.dir, "data")
	if err != nil {
		return err
	}
	c, err := b.spawn(ctx, sim, data, more...)
	if err != nil {
		return err
	}
	defer c.end()
	return do(sim, data, c)
}

// answers measures what a person waits for after pressing Enter.
func (b *bench) answers(ctx context.Context) error {
	t := b.out.add("From a command to its first answer",
		"Typed on the bot's own page; the answer has arrived when the page's stream carries it. Other chats add their own way. "+
			"The jobs wait for their VMs to boot; memory and CPU are those of the whole process, the CPU over five seconds.",
		"live jobs", "`/vm jobs`, median", "slowest of 20", "memory", "CPU")
	// Nothing takes time but booting, which never ends here.
	waiting := pvesim.Options{Latency: pvesim.Latency{Boot: time.Hour}}
	return b.live(ctx, waiting, []string{"WORKERS=128"}, func(_ *pvesim.Sim, _ string, c *child) error {
		sizes := []int{0, 1, 10}
		if b.full {
			sizes = append(sizes, 100)
		}
		for _, n := range sizes {
			if err := b.fill(ctx, c, n); err != nil {
				return err
			}
			times, err := b.ask(ctx, c, n, 20)
			if err != nil {
				return err
			}
			cpu, memory, err := b.idle(ctx, c, 5*time.Second)
			if err != nil {
				return err
			}
			t.row(n, times.at(.5), times.at(1), mb(memory), fmt.Sprintf("%.1f %%", 100*cpu))
		}
		return nil
	})
}

// fill orders installs until n wait for their VMs to boot. A few are on their
// way at a time, and another is ordered for each that parks, because a machine
// that does other things had no time for its probes.
func (b *bench) fill(ctx context.Context, c *child, n int) error {
	const atOnce = 8
	return b.await(ctx, 10*time.Minute, 50*time.Millisecond, fmt.Sprintf("%d installs", n), func() (bool, error) {
		waiting, err := c.metric(ctx, `pvebot_step_duration_seconds_count{cluster="sim",result="done",step="starting VM",verb="install"}`)
		if err != nil {
			return false, err
		}
		parked, err := c.metric(ctx, `pvebot_jobs{cluster="sim",state="parked",verb="install"}`)
		if err != nil {
			return false, err
		}
		for ; c.installs < min(n, int(waiting)+atOnce)+int(parked); c.installs++ {
			if err := c.say(ctx, fmt.Sprintf("install-%04d", c.installs), "/vm install ubuntu --ram 1G"); err != nil { // so that all find room
				return false, err
			}
		}
		return int(waiting) >= n, nil
	})
}

// ask types a line n times and returns how long each answer took.
func (b *bench) ask(ctx context.Context, c *child, round, n int) (spread, error) {
	s, err := c.stream(ctx, "/chat/events")
	if err != nil {
		return nil, err
	}
	defer s.close()
	type heard struct {
		at  time.Time
		err error
	}
	answers := make(chan heard, 1000)
	go func() {
		for {
			line, err := s.ReadString('\n')
			if err != nil || strings.Contains(line, "only you can see this") {
				answers <- heard{b.clock.Now(), err}
			}
			if err != nil {
				return
			}
		}
	}()
	// The stream begins with what is there already.
	_ = b.clock.Sleep(ctx, time.Second)
	for len(answers) > 0 {
		<-answers
	}
	var times spread
	for i := range n {
		began := b.clock.Now()
		if err := c.say(ctx, fmt.Sprintf("ask-%d-%06d", round, i), "/vm jobs"); err != nil {
			return nil, err
		}
		select {
		case h := <-answers:
			if h.err != nil {
				return nil, h.err
			}
			times = append(times, h.at.Sub(began))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return times, nil
}

// idle measures the process over d: the part of a core that it uses, and its
// memory in bytes.
func (b *bench) idle(ctx context.Context, c *child, d time.Duration) (cpu, memory float64, err error) {
	before, err := c.metric(ctx, "process_cpu_seconds_total")
	if err != nil {
		return 0, 0, err
	}
	if err := b.clock.Sleep(ctx, d); err != nil {
		return 0, 0, err
	}
	after, err := c.metric(ctx, "process_cpu_seconds_total")
	if err != nil {
		return 0, 0, err
	}
	memory, err = c.metric(ctx, "process_resident_memory_bytes")
	return (after - before) / d.Seconds(), memory, err
}

func mb(bytes float64) string { return fmt.Sprintf("%.0f MB", bytes/1e6) }

// watchers measures the way of an event to those who watch.
func (b *bench) watchers(ctx context.Context) error {
	t := b.out.add("From an event to its watchers",
		"Watchers of `/api/v1/events`, each with a connection of its own, during an install that takes some seconds. The time is from the event's own, "+
			"before it is on disk, to its arrival; the watchers share the machine with the bot. The last row has a watcher beside the others that reads nothing.",
		"watchers", "events", "median", "p99", "slowest", "memory per watcher")
	sizes := []int{1, 100, 1000}
	if b.full {
		sizes = append(sizes, 5000)
	}
	slow := pvesim.Options{Latency: pvesim.Latency{QM: 300 * time.Millisecond, Boot: 2 * time.Second, Init: 2 * time.Second}}
	for _, n := range sizes {
		if err := b.live(ctx, slow, nil, func(_ *pvesim.Sim, _ string, c *child) error { return b.watch(ctx, t, c, n, false) }); err != nil {
			return err
		}
	}
	return b.live(ctx, slow, nil, func(_ *pvesim.Sim, _ string, c *child) error { return b.watch(ctx, t, c, 100, true) })
}

// watch lets n watch one install.
func (b *bench) watch(ctx context.Context, t *table, c *child, n int, stalled bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	memory, err := c.metric(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	// The default client would keep idle connections; each watcher has its own.
	watchers := make([]*stream, 0, n)
	defer func() {
		for _, w := range watchers {
			w.close()
		}
	}()
	for range n {
		w, err := c.stream(ctx, "/api/v1/events?after=0")
		if err != nil {
			return err
		}
		watchers = append(watchers, w)
	}
	label := fmt.Sprint(n)
	if stalled {
		label += " and one that stalls"
		conn, err := stall(ctx, c)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	after, err := c.metric(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}

	var mu sync.Mutex
	var times spread
	var reading sync.WaitGroup
	for _, w := range watchers {
		reading.Go(func() {
			mine := b.follow(w)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}
	if err := c.say(ctx, "watch-00000001", "/vm install ubuntu"); err != nil {
		return err
	}
	err = b.await(ctx, 3*time.Minute, 100*time.Millisecond, "the install", func() (bool, error) {
		done, err := c.metric(ctx, "pvebot_jobs_total")
		return done > 0, err
	})
	if err != nil {
		return err
	}
	_ = b.clock.Sleep(ctx, 2*time.Second) // for the last of them to arrive
	for _, w := range watchers {
		w.close()
	}
	reading.Wait()
	watchers = nil
	t.row(label, len(times)/n, times.at(.5), times.at(.99), times.at(1), perWatcher(after-memory, n))
	return nil
}

// perWatcher is each watcher's part of the bytes, where there are enough of
// them to tell.
func perWatcher(bytes float64, n int) string {
	if n < 100 {
		return ""
	}
	return fmt.Sprintf("%.0f KB", max(0, bytes)/float64(n)/1e3)
}

// follow reads a stream to its end and returns how old each event was.
func (b *bench) follow(s *stream) spread {
	const mark = `"at":"`
	var times spread
	for {
		line, err := s.ReadString('\n')
		if err != nil {
			return times
		}
		now := b.clock.Now()
		_, rest, ok := strings.Cut(line, mark)
		if !ok || !strings.HasPrefix(line, "data: ") {
			continue
		}
		text, _, _ := strings.Cut(rest, `"`)
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			times = append(times, now.Sub(at))
		}
	}
}

// stall opens a stream that nobody reads, and whose socket takes little.
func stall(ctx context.Context, c *child) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(1 << 10)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/v1/events?after=0", nil)
	if err == nil {
		err = req.Write(conn)
	}
	return conn, err
}

// restart measures how long jobs stand still when a bot is killed.
func (b *bench) restart(ctx context.Context) error {
	n := 10
	if b.full {
		n = 100
	}
	t := b.out.add("After kill -9",
		"The jobs wait for their VMs to boot when their bot is killed and started again on the same SQLite directory.",
		"what", "measured", "aim")
	o := pvesim.Options{Latency: pvesim.Latency{Boot: time.Hour}}
	return b.live(ctx, o, []string{"WORKERS=128"}, func(sim *pvesim.Sim, data string, c *child) error {
		if err := b.fill(ctx, c, n); err != nil {
			return err
		}
		if err := c.kill(); err != nil {
			return err
		}
		next, err := b.spawn(ctx, sim, data, "WORKERS=128")
		if err != nil {
			return err
		}
		defer next.end()
		up := b.clock.Now().Sub(next.began)
		err = b.await(ctx, time.Minute, 2*time.Millisecond, "taking over", func() (bool, error) {
			busy, err := next.metric(ctx, "pvebot_workers_busy")
			return int(busy) == n, err
		})
		if err != nil {
			return err
		}
		t.row("from the new process's start to its page", up, "")
		t.row(fmt.Sprintf("from there on, until all %d jobs were worked on again", n), b.clock.Now().Sub(next.began)-up, "< 2 s")
		return nil
	})
}

// process measures the program itself.
func (b *bench) process(ctx context.Context) error {
	var page, ready spread
	var cpu, memory float64
	const starts = 10
	for i := range starts {
		err := b.live(ctx, pvesim.Options{}, nil, func(_ *pvesim.Sim, _ string, c *child) error {
			page = append(page, b.clock.Now().Sub(c.began))
			err := b.await(ctx, time.Minute, time.Millisecond, "being ready", func() (bool, error) {
				status, _, err := c.get(ctx, "/readyz")
				return status == http.StatusOK, err
			})
			if err != nil {
				return err
			}
			ready = append(ready, b.clock.Now().Sub(c.began))
			if i == starts-1 {
				_ = b.clock.Sleep(ctx, 3*time.Second) // what a start leaves to do
				cpu, memory, err = b.idle(ctx, c, 20*time.Second)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	info, err := os.Stat(self)
	if err != nil {
		return err
	}
	t := b.out.add("The process", "Ten starts on an idle cluster of three nodes.", "what", "measured", "aim")
	t.row("from exec to a page, median / slowest", page.pair(.5, 1), "")
	t.row("from exec to ready, median / slowest: connected to a node over SSH, which answered", ready.pair(.5, 1), "100 ms")
	t.row("memory when idle (RSS)", mb(memory), "< 40 MB")
	t.row("CPU when idle, over 20 s", fmt.Sprintf("%.2f %% of a core", 100*cpu), "near 0")
	t.row("the program file", mb(float64(info.Size())), "")
	return nil
}

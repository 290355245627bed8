package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/cluster/pvesim"
)

// child is a bot in a process of its own.
type child struct {
	url   string
	pid   int
	began time.Time // just before it was started
	stop  func()
	ended chan struct{} // closed once it is over
	err   error         // then: how

	installs int // ordered so far, by fill
}

// spawn starts `bot serve` on a simulated cluster and returns when its page
// answers.
func (b *bench) spawn(ctx context.Context, sim *pvesim.Sim, data string, more ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	argv := []string{"env", "-i", "PATH=" + os.Getenv("PATH"), "HOME=" + data}
	argv = append(argv, sim.Env()...)
	argv = append(argv, "ADMINS=web:local", "STORE_URL=sqlite:"+filepath.Join(data, "d"), "PORT="+port, "LOG_LEVEL=error")
	argv = append(argv, more...)
	argv = append(argv, "sh", "-c", `echo pid $$; exec "$0" serve "$@"`, self)
	if b.profiles != "" {
		b.children++
		argv = append(argv, "--profile", filepath.Join(b.profiles, fmt.Sprintf("%s-%d", b.section, b.children)))
	}
	c := &child{url: "http://127.0.0.1:" + port, stop: stop, began: b.clock.Now(), ended: make(chan struct{})}
	pid := make(chan int, 1)
	line := func(text string) {
		if n, ok := strings.CutPrefix(text, "pid "); ok {
			id, _ := strconv.Atoi(n)
			pid <- id
		}
	}
	go func() {
		defer close(c.ended)
		_, c.err = cluster.NewLocal().Run(ctx, cluster.Cmd{Argv: argv, Line: line})
	}()
	select {
	case c.pid = <-pid:
	case <-c.ended:
		stop()
		return nil, fmt.Errorf("the bot did not come up: %w", c.err)
	}
	err = b.await(ctx, time.Minute, time.Millisecond, "the bot's start", func() (bool, error) {
		status, _, err := c.get(ctx, "/healthz")
		return status == http.StatusOK, err
	})
	if err != nil {
		c.end()
	}
	return c, err
}

// freePort is a port that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// end lets the child end and waits for it.
func (c *child) end() {
	c.stop()
	<-c.ended
}

// kill ends it as a power cut would.
func (c *child) kill() error {
	p, err := os.FindProcess(c.pid)
	if err == nil {
		err = p.Kill()
	}
	<-c.ended
	c.stop()
	return err
}

// get returns a page's status and body.
func (c *child) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// say types a line in the page's chat; id is unique.
func (c *child) say(ctx context.Context, id, line string) error {
	body, err := json.Marshal(map[string]string{"id": id, "text": line})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/chat/command", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s %s", line, resp.Status, text)
	}
	return nil
}

// metric is the sum of a metric's values, 0 for one that is not there yet;
// labels are part of its name's end.
func (c *child) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// await polls until ok, at most for limit.
func (b *bench) await(ctx context.Context, limit, pause time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New(what+" took more than "+limit.String()))
	defer cancel()
	for {
		done, err := ok()
		if done {
			return nil
		}
		if serr := b.clock.Sleep(ctx, pause); serr != nil {
			return errors.Join(serr, err)
		}
	}
}

// stream is an event stream of the child's, read line by line.
type stream struct {
	*bufio.Reader
	body io.Closer
}

func (c *child) stream(ctx context.Context, path string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return &stream{bufio.NewReader(resp.Body), resp.Body}, nil
}

func (s *stream) close() { _ = s.body.Close() }

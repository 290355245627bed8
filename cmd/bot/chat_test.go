package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack/slackfake"
	"pvebot/cluster"
)

// notes is a log that may be read while it is written.
type notes struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all.String()
}

// start runs a command of the program until the test ends.
func start(t *testing.T, p program, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.run(ctx, args) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("bot %s: %v", args[0], err)
		}
	})
}

// simEnv runs bot sim and returns the environment that it prints.
func simEnv(t *testing.T, args ...string) []string {
	t.Helper()
	out, in := io.Pipe()
	start(t, program{env: os.Environ(), out: in, err: io.Discard}, append([]string{"sim", "--fast"}, args...)...)
	env := []string{"HOME=" + t.TempDir(), "STORE_URL=sqlite:" + t.TempDir(), "PORT=0"}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		env = append(env, lines.Text())
		if strings.HasPrefix(lines.Text(), "ADMINS=") { // the last one
			return env
		}
	}
	t.Fatal("bot sim printed no ADMINS")
	return nil
}

// guest is somebody at the door of a simulated chat.
type guest struct {
	t    *testing.T
	door string
}

// do does something there; what is wrong is returned.
func (g guest) do(what string, values ...string) string {
	g.t.Helper()
	form := url.Values{}
	for i := 0; i < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	resp, err := http.PostForm(g.door+what, form)
	return body(g.t, resp, err)
}

func (g guest) look() string {
	g.t.Helper()
	resp, err := http.Get(g.door + "/look")
	return body(g.t, resp, err)
}

// until waits until ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not seen in time", what)
}

// The environment that bot sim prints is all that bot serve needs to answer in
// both chats.
func TestSimulatedChats(t *testing.T) {
	t.Parallel()
	env := simEnv(t, "--slack", "--discord")
	var log notes
	start(t, program{env: env, dotenv: os.DevNull, out: io.Discard, err: &log}, "serve")
	for _, door := range []string{"SIM_SLACK", "SIM_DISCORD"} {
		g := guest{t, lookup(env, door)}
		until(t, door+" takes an order", func() bool { return g.do("/type", "line", "/vm install ubuntu") == "" })
		for _, words := range []string{"is ready: VMID", "asked by alice", "   | [+] "} {
			until(t, door+" shows "+words, func() bool { return strings.Contains(g.look(), words) })
		}
		g.do("/type", "line", "/vm install")
		until(t, door+" opens a form", func() bool { return strings.Contains(g.look(), "-- form ") })
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log says\n%s", log.String())
	}
}

// A chat that only a person can mend stops neither the other ones nor a job.
func TestOneChatIsOutOfOrder(t *testing.T) {
	t.Parallel()
	env := simEnv(t, "--slack", "--discord")
	for i, v := range env {
		if strings.HasPrefix(v, "SLACK_BOT_TOKEN=") {
			env[i] += "-of-yesterday"
		}
	}
	var log notes
	start(t, program{env: env, dotenv: os.DevNull, out: io.Discard, err: &log}, "serve")
	until(t, "a word in the log", func() bool {
		return strings.Contains(log.String(), "level=ERROR") && strings.Contains(log.String(), "SLACK_BOT_TOKEN: Slack does not know the token")
	})
	if strings.Contains(log.String(), "of-yesterday") {
		t.Errorf("the log has the token:\n%s", log.String())
	}
	g := guest{t, lookup(env, "SIM_DISCORD")}
	until(t, "Discord takes an order", func() bool { return g.do("/type", "line", "/vm install ubuntu") == "" })
	until(t, "Discord shows the VM", func() bool { return strings.Contains(g.look(), "is ready: VMID") })
	if said := (guest{t, lookup(env, "SIM_SLACK")}).do("/type", "line", "/vm list"); !strings.Contains(said, "dispatch_failed") {
		t.Errorf("Slack says %q", said)
	}
}

// moody is a chat that gives up twice.
type moody struct {
	*bottest.Memory
	runs atomic.Int32
}

func (*moody) Close() {}

func (m *moody) Run(ctx context.Context, _ bot.Handler) error {
	if m.runs.Add(1) <= 2 {
		return errors.New("CHAT_TOKEN: nobody knows it")
	}
	<-ctx.Done()
	return nil
}

// What looked as if only a person could mend it may mend itself: a chat that
// gave up is tried again.
func TestChatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log notes
		h := &house{clock: cluster.SystemClock{}, log: slog.New(slog.NewTextHandler(&log, nil))}
		c := &moody{Memory: bottest.NewMemory("moody", bot.Pace{})}
		attend := func() (stop func() error) {
			ctx, end := context.WithCancel(t.Context())
			over := make(chan error, 1)
			go func() { over <- h.attend(ctx, c, nil) }()
			return func() error { end(); return <-over }
		}
		stop := attend()
		for try := range int32(3) {
			time.Sleep(time.Second)
			if n := c.runs.Load(); n != try+1 {
				t.Errorf("%d runs after %d times ten minutes", n, try)
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != int(min(try+1, 2)) || !strings.Contains(log.String(), "CHAT_TOKEN") {
				t.Errorf("%d errors in the log:\n%s", n, log.String())
			}
			time.Sleep(10 * time.Minute)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		c.runs.Store(0)
		stop = attend()
		time.Sleep(time.Minute)
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("%v, %v after it was to end", err, time.Since(began))
		}
	})
}

// With a signing secret Slack calls the bot, at its page.
func TestSlackCallsTheBot(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	fake := slackfake.New(slackfake.Config{RequestURL: "http://" + addr + "/slack", SigningSecret: "s3cret"})
	fake.Start(listen(t))
	t.Cleanup(fake.Close)
	env := append(simEnv(t), "PORT="+port, "SLACK_BOT_TOKEN="+slackfake.BotToken, "SLACK_SIGNING_SECRET=s3cret", "SLACK_API_URL="+fake.URL(), "ADMINS=slack:"+slackfake.Alice)
	start(t, program{env: env, dotenv: os.DevNull, out: io.Discard, err: io.Discard}, "serve")
	until(t, "the bot takes an order", func() bool {
		_, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install ubuntu", "")
		return err == nil
	})
	until(t, "Slack shows the VM", func() bool {
		all := fake.Messages(slackfake.Ops)
		return len(all) > 0 && strings.Contains(all[0].Plain(), "is ready: VMID")
	})
	resp, err := http.Post("http://"+addr+"/slack", "application/x-www-form-urlencoded", strings.NewReader("command=/vm&text=list"))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger is answered %v, %v", resp, err)
	}
}

package main

import (
	"bufio"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/cmd/bot/torture"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
	"pvebot/provision/sqlstore/pgtest"
)

// stillness is for how long nothing may change on the chat; nothing here depends
// on it.
const stillness = 3 * time.Minute

var (
	tortureOrders = flag.Int("torture.orders", 5, "how many orders the torture works on")
	tortureKills  = flag.Int("torture.kills", 6, "how often the torture kills a bot")
	tortureSeed   = flag.Uint64("torture.seed", 1, "of the torture's random kills")
)

// The environment of a bot that is a child of a test.
const (
	childServes  = "PVEBOT_TEST_SERVE"   // it is one
	childChat    = "PVEBOT_TEST_CHAT"    // URL of a torture.Chat
	childName    = "PVEBOT_TEST_NAME"    // its name there
	childBorders = "PVEBOT_TEST_BORDERS" // file of a torture.Deadly
	childAcked   = "PVEBOT_TEST_ACKED"   // file of a torture.Deadly
)

// furnish gives a child what its test wants.
func furnish() {
	if url := os.Getenv(childChat); url != "" {
		moreChats = func() []chat { return []chat{torture.Join(url, os.Getenv(childName))} }
	}
	if acked := os.Getenv(childAcked); acked != "" {
		open := openStore
		openStore = func(ctx context.Context, url string, o sqlstore.Options) (provision.Store, error) {
			s, err := open(ctx, url, o)
			if err != nil {
				return nil, err
			}
			return &torture.Deadly{Store: s, Borders: os.Getenv(childBorders), Acked: acked}, nil
		}
	}
}

// life is one bot process.
type life struct {
	cmd       *exec.Cmd
	gone      chan struct{}    // is closed when it has ended
	complaint *strings.Builder // may be read then
}

// kill ends it without a warning, and waits for that.
func (l life) kill() { _ = l.cmd.Process.Kill(); <-l.gone }

// explain ends it, and tells what it was doing.
func (l life) explain() string {
	_ = l.cmd.Process.Signal(syscall.SIGQUIT)
	<-l.gone
	return l.cmd.ProcessState.String() + "\n" + l.complaint.String()
}

// serve starts a bot with further environment, and waits until it serves, or
// has died at a border.
func serve(t *testing.T, env ...string) life {
	t.Helper()
	cmd := serveCommand(t, env)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l := life{cmd, make(chan struct{}), new(strings.Builder)}
	cmd.Stderr = l.complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	go func() {
		defer close(l.gone)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "the page is at") {
				close(up)
			}
		}
		_ = cmd.Wait()
	}()
	select {
	case <-up:
	case <-l.gone:
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
			t.Fatalf("the bot did not come up: %s", l.complaint.String())
		}
	}
	return l
}

// TestTorture works on mixed orders while the bot that does it is killed: once
// at every border of every step, and then at random. At the end everything is
// as if nothing had happened.
func TestTorture(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { testTorture(t, "sqlite:"+t.TempDir()) })
	t.Run("postgres", func(t *testing.T) { testTorture(t, pgtest.URL(t)) })
}

func testTorture(t *testing.T, url string) {
	began := time.Now()
	orders := ordersOf(*tortureOrders)
	sim := pvesim.Start(t, pvesim.Options{Guests: guestsOf(orders), Statd: -1, Latency: pvesim.Latency{Boot: 10 * time.Millisecond}})
	chat := torture.NewChat(t)
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(torturePolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	borders, acked := filepath.Join(dir, "borders"), filepath.Join(dir, "acked")
	env := append(sim.Env(), "STORE_URL="+url, "PORT=0", "POLICY_FILE="+policy, "LOG_LEVEL=error", "LEASE=2s", "WORKERS=8", "HOME="+dir,
		childChat+"="+chat.URL, childName+"=bot", childAcked+"="+acked)

	ctx, cancel := chat.Lively(t.Context(), stillness)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, o := range orders {
		wg.Go(func() { o.place(ctx, t, chat) })
	}
	over := make(chan struct{})
	wg.Go(func() { defer close(over); decide(ctx, t, chat, orders) })

	kills := ill(t, sim, over, append(env, childBorders+"="+borders))
	died, _ := os.ReadFile(borders)
	t.Logf("%d kills in %v, %d of them at borders", kills, time.Since(began).Round(time.Second), strings.Count(string(died), "\n"))
	healthy := serve(t, env...)
	defer func() {
		if t.Failed() {
			t.Log(healthy.explain())
		}
		healthy.kill()
	}()

	store, err := sqlstore.Open(t.Context(), url, sqlstore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	lost := torture.Settled(ctx, t, store, chat, len(orders))
	wg.Wait()
	report := torture.Look(t, store, acked)
	report.Cards, report.Twice = lost, torture.Changes(t, sim)
	for _, o := range orders {
		if o.kind == "start" {
			report.Twice-- // of a VM that its install started
		}
	}
	if report.Jobs != len(orders) {
		t.Errorf("%d orders became %d jobs", len(orders), report.Jobs)
	}
	leftover(t, sim, store, orders)
	for _, a := range chat.Answers() {
		if a.Card.Tone == bot.Bad {
			t.Logf("answer to %s: %s", a.To, a.Card.Text)
		}
	}
	t.Logf("%d kills in %v: %v", kills, time.Since(began).Round(time.Second), report)
}

// ill kills one bot after the other and returns how many there were: those
// that die at borders, and then some at random, after a few commands on nodes.
func ill(t *testing.T, sim *pvesim.Sim, over <-chan struct{}, env []string) (kills int) {
	random := rand.New(rand.NewPCG(*tortureSeed, 0))
	commands := make(chan struct{}, 1000)
	sim.OnCommand(func(pvesim.Ran) {
		select {
		case commands <- struct{}{}:
		default:
		}
	})
	for done := false; kills < *tortureKills && !done; {
		for len(commands) > 0 { // of a life that has ended
			<-commands
		}
		l := serve(t, env...)
		for n := 5 + random.IntN(40); n > 0; n-- {
			select {
			case <-commands:
			case <-l.gone:
				n = 0
			case <-over:
				n, done = 0, true
			case <-time.After(time.Minute): // it stands still: at the end it shows why
				n, done = 0, true
			}
		}
		l.kill()
		kills++
	}
	return kills
}

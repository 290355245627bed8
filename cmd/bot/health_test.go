package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// TestHealth asks a running bot how it is, and reads its metrics.
func TestHealth(t *testing.T) {
	addr := freeAddr(t)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		p := program{out: io.Discard, err: os.Stderr}
		over <- p.demo(ctx, demoOptions{listen: addr, fast: true}, "")
	}()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	await(t, addr)
	host, port, _ := strings.Cut(addr, ":")
	var out bytes.Buffer
	p := program{env: []string{"LISTEN=" + host, "PORT=" + port}, dotenv: os.DevNull, out: &out, err: &out}
	if err := p.run(t.Context(), []string{"health"}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if want := "ok   store: answers\nok   nodes: 3 of 3 online, with quorum\n"; out.String() != want {
		t.Errorf("said %q, want %q", out.String(), want)
	}
	out.Reset()
	if err := p.run(t.Context(), []string{"health", "--live", "--url", "http://" + addr}); err != nil || out.String() != "ok\n" {
		t.Errorf("alive: %v %s", err, &out)
	}

	resp, err := http.Get("http://" + addr + "/metrics")
	text := body(t, resp, err)
	for _, want := range []string{`pvebot_store_up 1`, `pvebot_workers{cluster="sim"} 64`, `pvebot_slots_size{cluster="sim"}`, `pvebot_cards_leader{platform="web"}`, `pvebot_pve_call_duration_seconds_count{cluster="sim",command="cat",node="pve1"}`, `pvebot_node_connected{cluster="sim",node="pve1"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not among the metrics", want)
		}
	}
}

func TestHealthWithoutBot(t *testing.T) {
	p := program{env: []string{"PORT=1"}, dotenv: os.DevNull, out: io.Discard, err: io.Discard}
	for _, args := range [][]string{{"health"}, {"health", "--live"}} {
		if err := p.run(t.Context(), args); err == nil || !strings.Contains(err.Error(), "no bot answers at http://127.0.0.1:1") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestSayLink(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		link bot.Link
		say  string
		ok   bool
	}{
		{bot.Link{Up: true, Since: now.Add(-90 * time.Second)}, "connected for 1m30s", true},
		{bot.Link{Standby: true}, "another bot is connected", true},
		{bot.Link{Problem: "no route"}, "", false},
	} {
		if say, err := sayLink("slack", c.link, now); say != c.say || (err == nil) != c.ok {
			t.Errorf("%+v: %q, %v", c.link, say, err)
		}
	}
}

// A chat that takes connections and says nothing on them is called deaf.
func TestHealthSaysThatAChatIsDeaf(t *testing.T) {
	_, err := sayLink("discord", bot.Link{Deaf: true, Problem: "Discord takes the connection and does not answer"}, time.Time{})
	if say, try := provision.Explain(err); !strings.HasPrefix(say, "discord is deaf") || !strings.Contains(try, "does not answer") {
		t.Errorf("%q, %q", say, try)
	}
}

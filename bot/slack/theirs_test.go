package slack_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"pvebot/bot/bottest"
	"pvebot/bot/slack/slackfake"
)

// Why this package has sockets of its own: two of slack-go's clients, one loop
// over their events, acks first. In a refresh they lose what Slack delivers
// on the old socket, and a stop right after the acks loses those. When this
// test fails, slack-go has learned it, and ours can go.
func TestTheirClientLosesInARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dial := bottest.Pipe()
		fake := slackfake.New(slackfake.Config{})
		fake.Start(l)
		transport := &http.Transport{DialContext: dial}
		ctx, cancel := context.WithCancel(t.Context())
		quiet := log.New(io.Discard, "", 0)
		var clients sync.WaitGroup
		for range 2 {
			client := socketmode.New(
				api.New("xoxb-fake", api.OptionAppLevelToken("xapp-fake"), api.OptionAPIURL(fake.URL()),
					api.OptionHTTPClient(&http.Client{Transport: transport}), api.OptionLog(quiet)),
				socketmode.OptionDialer(&websocket.Dialer{NetDialContext: dial, WriteBufferSize: 32 << 10}),
				socketmode.OptionLog(quiet))
			clients.Go(func() { _ = client.RunContext(ctx) })
			clients.Go(func() {
				for {
					select {
					case e := <-client.Events:
						if e.Request != nil && e.Request.EnvelopeID != "" {
							_ = client.AckCtx(ctx, e.Request.EnvelopeID, nil)
						}
					case <-ctx.Done():
						return
					}
				}
			})
		}
		time.Sleep(time.Minute)
		lost := int64(0)
		for refresh := 1; lost == 0; refresh++ {
			if refresh > 5 {
				t.Error("slack-go's client loses nothing any more")
				break
			}
			lost = lostInRefresh(t, fake)
			t.Logf("slack-go's client lost %d of 400 commands in refresh %d", lost, refresh)
		}
		cancel()
		clients.Wait()
		transport.CloseIdleConnections()
		_ = l.Close()
		fake.Close()
	})
}

// lostInRefresh is how many of 400 commands around a refresh fail. A slow machine
// may deliver all of them in time.
func lostInRefresh(t *testing.T, fake *slackfake.Fake) int64 {
	var typing sync.WaitGroup
	var lost atomic.Int64
	typing.Go(func() { fake.Refresh(t.Context(), true) })
	for i := range 400 {
		typing.Go(func() {
			if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, fmt.Sprint("show vm-", i), ""); err != nil {
				lost.Add(1)
			}
		})
		if i > 200 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	typing.Wait()
	return lost.Load()
}

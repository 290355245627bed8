package slack_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
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
		var typing sync.WaitGroup
		typing.Go(func() { fake.Refresh(t.Context(), true) })
		var mu sync.Mutex
		lost := 0
		for i := range 400 {
			typing.Go(func() {
				if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, fmt.Sprint("show vm-", i), ""); err != nil {
					mu.Lock()
					defer mu.Unlock()
					lost++
				}
			})
			if i > 200 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		typing.Wait()
		t.Logf("slack-go's client lost %d of 400 commands in a refresh", lost)
		if lost == 0 {
			t.Error("slack-go's client loses nothing any more")
		}
		cancel()
		clients.Wait()
		transport.CloseIdleConnections()
		_ = l.Close()
		fake.Close()
	})
}

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// Adapter is a bot's connection to a Chat.
type Adapter struct {
	url, bot string
	client   http.Client
}

// Join connects the bot of that name to the Chat at url.
func Join(url, bot string) *Adapter { return &Adapter{url: url, bot: bot} }

// Close ends the connection.
func (a *Adapter) Close() { a.client.CloseIdleConnections() }

// Name implements bot.Adapter.
func (a *Adapter) Name() string { return Platform }

// Pace implements bot.Adapter.
func (a *Adapter) Pace() bot.Pace { return bot.Pace{PerSecond: 1000, Burst: 1000} }

// Run implements bot.Adapter.
func (a *Adapter) Run(ctx context.Context, h bot.Handler) error {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for ctx.Err() == nil {
		in, ok := a.next(ctx)
		if !ok {
			continue
		}
		ack := h.Triage(ctx, in)
		if err := a.call(ctx, "/ack", call{ID: in.ID, Card: ack.Whisper}, nil); err != nil {
			continue // it comes again
		}
		handlers.Go(func() { h.Handle(ctx, in) })
	}
	return nil
}

func (a *Adapter) next(ctx context.Context) (in bot.Inbound, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/next", nil)
	if err != nil {
		return in, false
	}
	resp, err := a.client.Do(req)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return in, false
	}
	defer resp.Body.Close()
	return in, resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&in) == nil
}

func (a *Adapter) call(ctx context.Context, path string, c call, answer any) error {
	c.Bot = a.bot
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusGone:
		return bot.ErrGone
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", path, resp.Status)
	case answer == nil:
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// Post implements bot.Adapter.
func (a *Adapter) Post(ctx context.Context, _ provision.Conversation, c bot.Card) (bot.Ref, error) {
	var ref int
	if err := a.call(ctx, "/post", call{Card: &c}, &ref); err != nil {
		return nil, err
	}
	return bot.Ref(strconv.Itoa(ref)), nil
}

// Edit implements bot.Adapter.
func (a *Adapter) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	ref, err := strconv.Atoi(string(at))
	if err != nil {
		return bot.ErrGone
	}
	return a.call(ctx, "/edit", call{Ref: ref, Card: &c}, nil)
}

// Say implements bot.Adapter; threads are not looked at.
func (a *Adapter) Say(context.Context, bot.Ref, []string) error { return nil }

// Whisper implements bot.Adapter.
func (a *Adapter) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	return a.call(ctx, "/whisper", call{ID: to.ID, Card: &c}, nil)
}

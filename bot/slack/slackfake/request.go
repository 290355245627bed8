package slackfake

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Sign is the signature of a request's body at a time, as Slack makes it.
func Sign(secret string, at time.Time, body string) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + stamp + ":" + body))
	h := http.Header{}
	h.Set("X-Slack-Request-Timestamp", stamp)
	h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	return h
}

// body is a payload as Slack posts it: commands are forms, all else is JSON in a
// form.
func body(payload map[string]any) string {
	form := url.Values{}
	if payload["command"] == nil {
		raw, _ := json.Marshal(payload) // maps of what JSON has
		form.Set("payload", string(raw))
		return form.Encode()
	}
	for name, v := range payload {
		form.Set(name, fmt.Sprint(v))
	}
	return form.Encode()
}

// post delivers an interaction by HTTP, twice if told so. The answer is the ack.
func (f *Fake) post(ctx context.Context, d *delivery, payload any, again bool) (json.RawMessage, time.Duration, error) {
	p, _ := payload.(map[string]any)
	text := body(p)
	got, err := f.request(ctx, d.sent, text)
	if again {
		_, _ = f.request(ctx, d.sent.Add(-time.Second), text) // another signature
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d.acks, d.done, d.at = 1, true, f.clock.Now()
	took := d.at.Sub(d.sent)
	switch {
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	case err != nil:
		return nil, 0, ErrNobody
	case took > ackTime:
		return nil, 0, ErrTimeout
	}
	if d.shows != nil {
		d.shows(got)
	}
	return got, took, nil
}

func (f *Fake) request(ctx context.Context, at time.Time, body string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.cfg.RequestURL, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header = Sign(f.cfg.SigningSecret, at, body)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, got)
	}
	return got, err
}

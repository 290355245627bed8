package discord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pvebot/bot"
)

// request is one call of REST.
type request struct {
	what   string // in words, for errors
	method string
	path   string // below APIURL
	body   any    // JSON; nil: none
	file   *file  // goes with body
	bucket string // shares Discord's limit with others of the same bucket; "": has none that we keep
	again  bool   // may be carried out twice without harm
	token  bool   // the path holds an interaction's token, and that is enough
	old    string // the channel of a message that is edited late: another limit
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 20

// patience is how long a call waits for its turn before the caller is told to
// come again; the Follower gives a write 15 s.
const patience = 8 * time.Second

// retryAfter are the waits before a call is made again that may be.
var retryAfter = []time.Duration{300 * time.Millisecond, time.Second}

// call makes a call and decodes its answer into out, if not nil. It waits for
// its turn. Its errors are *apiError, *bot.BusyError or of the network; they hold
// neither the token nor an address.
func (d *Discord) call(ctx context.Context, r request, out any) error {
	body, kind, err := r.content()
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	// A busy answer asks for another turn, a broken one for another try.
	until := d.clock.Now().Add(patience)
	for tries := 0; ; {
		for _, bucket := range r.buckets() {
			if err := d.limits.turn(ctx, bucket, until); err != nil {
				return fmt.Errorf("%s: %w", r.what, err)
			}
		}
		err := d.once(ctx, r, body, kind, out)
		var busy *bot.BusyError
		switch {
		case err == nil, ctx.Err() != nil:
			return err
		case errors.As(err, &busy):
			if d.clock.Now().Add(busy.After).After(until) {
				return fmt.Errorf("%s: %w", r.what, err)
			}
			if d.clock.Sleep(ctx, busy.After) != nil {
				return fmt.Errorf("%s: %w", r.what, err)
			}
		case r.again && tries < len(retryAfter) && unsure(err):
			if d.clock.Sleep(ctx, retryAfter[tries]) != nil {
				return err
			}
			tries++
		default:
			return err
		}
	}
}

func (r request) buckets() []string {
	var out []string
	if r.old != "" {
		out = append(out, "old/"+r.old)
	}
	if r.bucket != "" {
		out = append(out, r.method+r.bucket)
	}
	return out
}

// content is what is sent, and its media type.
func (r request) content() (body []byte, kind string, err error) {
	if r.body == nil {
		return nil, "", nil
	}
	if body, err = json.Marshal(r.body); err != nil || r.file == nil {
		return body, "application/json", err
	}
	return r.file.with(body)
}

// once sends the request once.
func (d *Discord) once(ctx context.Context, r request, body []byte, kind string, out any) error {
	if err := d.limits.allowed(r.token); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, d.cfg.APIURL+r.path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: not an address", r.what) // err would show it
	}
	req.Header.Set("User-Agent", "DiscordBot (pvebot, 1.0)")
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if !r.token {
		req.Header.Set("Authorization", "Bot "+string(d.cfg.Token))
	}
	resp, err := d.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address: it may hold a token
		}
		return fmt.Errorf("%s: %w", r.what, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	d.limits.learn(r, resp.Header)
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	if resp.StatusCode < 300 {
		if out == nil || len(raw) == 0 {
			return nil
		}
		if err := json.Unmarshal(raw, out); err != nil {
			return fmt.Errorf("%s: the answer can't be read: %w", r.what, err)
		}
		return nil
	}
	return d.refused(r, resp, raw)
}

// refused makes an error of an answer that is one.
func (d *Discord) refused(r request, resp *http.Response, raw []byte) error {
	e := &apiError{What: r.what, Status: resp.StatusCode}
	var b struct {
		Code       int             `json:"code"`
		Message    string          `json:"message"`
		Errors     json.RawMessage `json:"errors"`
		RetryAfter float64         `json:"retry_after"`
		Global     bool            `json:"global"`
	}
	ours := json.Unmarshal(raw, &b) == nil // else it is a proxy's
	e.Code, e.Message, e.Details = b.Code, bot.Cut(bot.Inert(b.Message), 200), bot.Cut(bot.Inert(string(b.Errors)), 500)
	shared := resp.Header.Get("X-RateLimit-Scope") == "shared"
	if e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized || e.Status == http.StatusTooManyRequests && !shared {
		d.limits.invalid()
	}
	if badToken(e) && !r.token {
		d.limits.shut(e)
	}
	if e.Status != http.StatusTooManyRequests {
		return e
	}
	after := seconds(b.RetryAfter)
	if !ours || after <= 0 {
		after = seconds(number(resp.Header.Get("Retry-After")))
	}
	if after <= 0 {
		after = busyTime
	}
	d.limits.busy(r, after, b.Global || resp.Header.Get("X-RateLimit-Global") == "true", b.Code == codeOldEdit)
	return &bot.BusyError{After: after}
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

func number(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return f
}

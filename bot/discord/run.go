package discord

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
)

// The role of who listens, and its timings: kept for roleTTL, renewed every
// roleRenew, and given up at roleStop when it could not be renewed.
const (
	role      = "gateway/" + Platform
	roleTTL   = 10 * time.Second
	roleRenew = 3 * time.Second
	roleStop  = 7 * time.Second
)

// Run implements [bot.Adapter]. It ends by itself only when trying again is
// pointless, with a *FatalError.
func (d *Discord) Run(ctx context.Context, h bot.Handler) error {
	r := &run{d: d, ctx: ctx, handler: h}
	defer d.http.CloseIdleConnections()
	defer r.work.Wait()
	err := r.untilHopeless(ctx)
	if err != nil {
		d.note(func(h *Health) { h.Problem = err.Error() })
	}
	return err
}

// untilHopeless runs until ctx ends or trying again is pointless.
func (r *run) untilHopeless(ctx context.Context) error {
	d := r.d
	if err := r.check(ctx); err != nil {
		return err
	}
	d.note(func(h *Health) { h.Problem = "" })
	for ctx.Err() == nil {
		asked := d.clock.Now()
		if led, err := r.lead(ctx); !led || err != nil {
			_ = d.clock.Sleep(ctx, roleRenew)
			continue
		}
		if err := r.term(ctx, asked); err != nil {
			return err
		}
	}
	return nil
}

// run is one call of Run.
type run struct {
	d       *Discord
	ctx     context.Context // of handlers
	handler bot.Handler
	work    sync.WaitGroup // handlers
}

// check asks until Discord answers.
func (r *run) check(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		err := r.d.Check(ctx)
		var fatal *FatalError
		if err == nil || errors.As(err, &fatal) {
			return err
		}
		r.failed(ctx, err)
		_ = r.d.clock.Sleep(ctx, backoff(n, err))
	}
	return nil
}

func (r *run) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.d.note(func(h *Health) { h.Problem, h.Deaf = err.Error(), errors.Is(err, errMute) || errors.Is(err, errHello) })
	r.d.log.WarnContext(ctx, "no connection; trying again", "err", err)
}

// lead asks for the role.
func (r *run) lead(ctx context.Context) (bool, error) {
	if r.d.cfg.Leader == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, roleRenew)
	defer cancel()
	led, err := r.d.cfg.Leader.Lead(ctx, role, r.d.cfg.Owner, roleTTL)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.d.log.WarnContext(ctx, "can't ask who listens", "role", role, "err", err)
	}
	return led, err
}

// term is one time as the one that listens: since asked, until the role lapses
// or ctx ends.
func (r *run) term(ctx context.Context, asked time.Time) error {
	d := r.d
	ctx, end := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	d.note(func(h *Health) { h.Leading = true })
	if d.cfg.Leader != nil {
		keeping.Go(func() { defer end(); r.renew(ctx, asked) })
	}
	keeping.Go(func() { r.keepCommands(ctx) })
	err := r.listen(ctx)
	end()
	keeping.Wait()
	d.note(func(h *Health) { h.Leading, h.Connected = false, false })
	if d.cfg.Leader != nil {
		resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), roleRenew)
		defer cancel()
		if err := d.cfg.Leader.Resign(resign, role, d.cfg.Owner); err != nil {
			d.log.WarnContext(resign, "can't give up the role", "role", role, "err", err)
		}
	}
	return err
}

// renew keeps the role until it is another's, or may be.
func (r *run) renew(ctx context.Context, renewed time.Time) {
	for r.d.clock.Sleep(ctx, roleRenew) == nil {
		asked := r.d.clock.Now()
		led, err := r.lead(ctx)
		if led && err == nil {
			renewed = asked
			continue
		}
		// Not answered, another one can't have it before roleTTL.
		if err == nil || r.d.clock.Now().Sub(renewed)+roleRenew >= roleStop {
			r.d.log.WarnContext(ctx, "lost the role; another bot listens from here on", "role", role)
			return
		}
	}
}

// The waits between connections. One that lived for steady from READY or
// RESUMED on was a success; one that did not counts as another failure, or a
// gateway that accepts and drops, or accepts and says nothing, would be called
// without pause.
const (
	backoffFirst = time.Second
	backoffMost  = time.Minute
	steady       = 30 * time.Second
)

// backoff is how long to wait after n failures before this one, with jitter so
// that the bots of a whole world don't come back in one moment.
func backoff(n int, err error) time.Duration {
	d := min(backoffFirst<<min(n, 10), backoffMost)
	d += rand.N(d / 2)
	if busy, ok := errors.AsType[*bot.BusyError](err); ok {
		d = max(d, busy.After)
	}
	return d
}

// listen keeps a connection to the gateway, until ctx ends.
func (r *run) listen(ctx context.Context) error {
	d := r.d
	sess := &session{}
	mute := 0 // resumes in a row that nobody answered
	for n := 0; ctx.Err() == nil; {
		sess.up = time.Time{}
		address, err := r.gateway(ctx, sess)
		if err == nil {
			err = d.connect(ctx, address, sess, r.event)
			d.note(func(h *Health) { h.Connected = false })
		}
		if ctx.Err() != nil {
			break
		}
		closed, lost := afterClose(err)
		if closed != nil {
			return closed
		}
		if badToken(err) {
			return &FatalError{Setting: "DISCORD_TOKEN", Why: tokenIsBad, Err: err}
		}
		up := sess.up
		if mute++; !errors.Is(err, errMute) || sess.id == "" {
			mute = 0
		}
		if lost || mute >= muteTries {
			*sess, mute = session{}, 0
		}
		r.failed(ctx, err)
		if !up.IsZero() && d.clock.Now().Sub(up) >= steady {
			if n = 0; !lost {
				continue // people may be waiting for answers
			}
		}
		_ = d.clock.Sleep(ctx, backoff(n, err))
		n++
		if n%resumeTries == 0 {
			*sess = session{} // the place to resume at may be gone
		}
	}
	return nil
}

// After so many failures in a row, and resumes that were not answered, a session
// is given up.
const (
	resumeTries = 5
	muteTries   = 2
)

// gateway is where to connect. A new session waits for its turn in Discord's
// budget.
func (r *run) gateway(ctx context.Context, sess *session) (string, error) {
	if sess.id != "" && r.trusts(sess.url) {
		return sess.url, nil
	}
	d := r.d
	var g struct {
		URL   string `json:"url"`
		Limit struct {
			Total      int     `json:"total"`
			Remaining  int     `json:"remaining"`
			ResetAfter float64 `json:"reset_after"` // milliseconds
		} `json:"session_start_limit"`
	}
	err := d.call(ctx, request{what: "ask for the gateway", method: http.MethodGet, path: "/gateway/bot", again: true}, &g)
	if err != nil {
		return "", err
	}
	if sess.id == "" {
		wait := ration(g.Limit.Total, g.Limit.Remaining, time.Duration(g.Limit.ResetAfter)*time.Millisecond)
		if wait > 0 {
			d.log.WarnContext(ctx, "too many new sessions today; waiting", "left", g.Limit.Remaining, "wait", wait)
			if err := d.clock.Sleep(ctx, wait); err != nil {
				return "", err
			}
		}
	}
	if d.cfg.GatewayURL != "" {
		return d.cfg.GatewayURL, nil
	}
	if !r.trusts(g.URL) {
		return "", errors.New("the gateway's address is not Discord's")
	}
	return g.URL, nil
}

// ration is how long to wait before a new session. Discord allows 1000 a day
// and resets the token of who asks for more; it keeps the count, so that it
// outlives us: a bot that dies and starts in a loop gets slower and slower, and
// never to the end of it.
func ration(total, remaining int, reset time.Duration) time.Duration {
	switch {
	case total <= 0 || remaining > total/2:
		return 0
	case remaining <= reserve:
		return reset
	default:
		return reset / time.Duration(remaining-reserve+1)
	}
}

// reserve is how many sessions are left to people who look for the fault.
const reserve = 20

// trusts reports whether an address from a payload is one to give the token
// to: Discord's own, or on the host that settings name.
func (r *run) trusts(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	for _, ours := range []string{r.d.cfg.APIURL, r.d.cfg.GatewayURL} {
		if o, err := url.Parse(ours); err == nil && o.Host == u.Host && (u.Scheme == "wss" || u.Scheme == "ws" && o.Scheme != "https" && o.Scheme != "wss") {
			return true
		}
	}
	host := u.Hostname()
	return u.Scheme == "wss" && (host == "discord.gg" || strings.HasSuffix(host, ".discord.gg") || strings.HasSuffix(host, ".discord.com"))
}

// event takes an event off the gateway; it never waits.
func (r *run) event(kind string, data json.RawMessage) {
	switch kind {
	case "READY", "RESUMED":
		r.d.note(func(h *Health) { h.Connected, h.Since, h.Problem, h.Deaf = true, r.d.clock.Now(), "", false })
		r.d.log.InfoContext(r.ctx, "connected", "event", kind)
	case "INTERACTION_CREATE":
		r.work.Go(func() { r.interaction(data) })
	}
}

package slack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	api "github.com/slack-go/slack"
	"golang.org/x/sync/errgroup"

	"pvebot/bot"
)

// Health is how the connection to Slack is.
type Health struct {
	Sockets      int       // open, as far as we know
	Connections  int       // of the app, as Slack said last; more than ours: another bot uses the token
	Opened       int       // since the start
	Since        time.Time // when the first of the open sockets was opened
	LastFrame    time.Time // anything at all, pings too
	LastEnvelope time.Time
	Deaf         bool   // the last socket was taken and nothing was said on it
	LateAcks     int    // that were sent before their answer was ready
	LostAcks     int    // that could not be written
	Problem      string // of the last attempt to connect, "" when it worked
}

// Health returns how the connection is.
func (s *Slack) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// Link implements [bot.Linked].
func (s *Slack) Link() bot.Link {
	s.mu.Lock()
	h, hears := s.health, s.health.Sockets > 0 || s.hearing != nil
	s.mu.Unlock()
	if !hears {
		return bot.Link{Deaf: h.Deaf, Problem: h.Problem}
	}
	return bot.Link{Up: true, Since: h.Since, Problem: h.Problem}
}

func (s *Slack) note(f func(h *Health)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.health)
}

func (s *Slack) heard() { s.note(func(h *Health) { h.LastFrame = s.clock.Now() }) }

func (s *Slack) connected(connections int) {
	s.note(func(h *Health) {
		if h.Sockets == 0 {
			h.Since = s.clock.Now()
		}
		h.Opened++
		h.Sockets++
		h.Connections, h.Problem, h.Deaf = connections, "", false
	})
	s.log.Info("connected", "connections", connections)
}

// wantedScopes are those without which nothing works, and what they are for.
var wantedScopes = map[string]string{
	"commands":   "to hear /vm",
	"chat:write": "to write messages",
}

// groupsScope is needed when policy names user groups.
const groupsScope = "usergroups:read"

// usefulScopes are those without which something is missing.
var usefulScopes = map[string]string{
	"chat:write.public": "to write in public channels without an invitation",
	"files:write":       "to put long logs into threads",
	groupsScope:         "to know who is in the user groups of the policy",
}

// lacking are those of wanted that a token has not been granted. Where Slack
// does not say what was granted, none are.
func lacking(granted string, wanted map[string]string) []string {
	var missing []string
	if granted == "" {
		return nil
	}
	has := strings.FieldsFunc(granted, func(r rune) bool { return r == ',' || r == ' ' })
	for _, scope := range slices.Sorted(maps.Keys(wanted)) {
		if !slices.Contains(has, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}

// Check asks Slack whether the tokens are good. Its errors are *FatalError when
// only a person can help.
func (s *Slack) Check(ctx context.Context) error {
	who, err := s.client.AuthTestContext(ctx)
	if err != nil {
		if why, ok := fatal(err); ok {
			return &FatalError{Setting: "SLACK_BOT_TOKEN", Why: why, Err: err}
		}
		return mapped("auth.test", err)
	}
	s.mu.Lock()
	s.home = home{team: who.TeamID, enterprise: who.EnterpriseID}
	s.mu.Unlock()
	granted := who.Header.Get("X-Oauth-Scopes")
	if missing := lacking(granted, wantedScopes); len(missing) > 0 {
		return &FatalError{Setting: "SLACK_BOT_TOKEN", Why: "the token lacks " + strings.Join(missing, ", ") + "; add it under OAuth & Permissions and reinstall the app"}
	}
	for _, scope := range lacking(granted, usefulScopes) {
		if scope != groupsScope || len(s.cfg.Groups) > 0 {
			s.log.WarnContext(ctx, "the bot token lacks a scope; add it under OAuth & Permissions and reinstall the app", "scope", scope, "for", usefulScopes[scope])
		}
	}
	s.log.InfoContext(ctx, "the bot token is good", "team", who.TeamID, "user", who.UserID)
	// Whose bot it is, only a token that may read people is told.
	if bot, err := s.client.GetBotInfoContext(ctx, api.GetBotInfoParameters{Bot: who.BotID}); err == nil {
		return s.sameApp(bot.AppID, "")
	}
	return nil
}

// sameApp compares the application of the bot token with that of the app-level
// token, as far as they are known; "" is not. Of two applications one hears
// /vm and the other one answers, in a workspace that may not even be the same.
func (s *Slack) sameApp(bot, level string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.botApp, s.levelApp = cmp.Or(bot, s.botApp), cmp.Or(level, s.levelApp)
	if s.botApp == "" || s.levelApp == "" || s.botApp == s.levelApp {
		return nil
	}
	return &FatalError{Setting: "SLACK_APP_TOKEN", Why: fmt.Sprintf("it is of the app %s, but SLACK_BOT_TOKEN is of %s: take both from one app", s.levelApp, s.botApp)}
}

// Run implements [bot.Adapter]. It ends by itself only when trying again is
// pointless, with a *FatalError.
func (s *Slack) Run(ctx context.Context, h bot.Handler) error {
	err := s.untilHopeless(ctx, h)
	if err != nil {
		s.note(func(h *Health) { h.Problem = err.Error() })
	}
	return err
}

// untilHopeless runs until ctx ends or trying again is pointless.
func (s *Slack) untilHopeless(ctx context.Context, h bot.Handler) error {
	g, ctx := errgroup.WithContext(ctx)
	r := &run{s: s, ctx: ctx, handler: h}
	if err := r.check(ctx); err != nil {
		return err
	}
	if s.byHTTP() {
		s.open(r)
		g.Go(func() error { <-ctx.Done(); return nil })
	} else {
		for range s.cfg.Sockets {
			g.Go(func() error { return r.keep(ctx) })
		}
	}
	g.Go(func() error { s.keepGroups(ctx); return nil })
	err := g.Wait()
	s.open(nil)
	r.work.Wait()
	s.http.CloseIdleConnections()
	return err
}

// run is one call of Run.
type run struct {
	s       *Slack
	ctx     context.Context // of handlers
	handler bot.Handler
	work    sync.WaitGroup // handlers
}

// check asks until Slack answers.
func (r *run) check(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		err := r.s.Check(ctx)
		var fatal *FatalError
		if err == nil || errors.As(err, &fatal) {
			return err
		}
		r.failed(ctx, err)
		_ = r.s.clock.Sleep(ctx, backoff(n, err))
	}
	return nil
}

func (r *run) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.s.note(func(h *Health) { h.Problem, h.Deaf = err.Error(), errors.Is(err, errMute) })
	r.s.log.WarnContext(ctx, "can't connect; trying again", "err", err)
}

// The waits between attempts to connect. A socket that lived for steady was a
// success; one that did not counts as another failure, or a Slack that accepts
// and drops would be called without pause.
const (
	backoffFirst = time.Second
	backoffMost  = 30 * time.Second
	steady       = 30 * time.Second
)

// backoff is how long to wait after n failures before this one, with jitter so
// that the bots of a whole world don't come back in one moment.
func backoff(n int, err error) time.Duration {
	d := min(backoffFirst<<min(n, 10), backoffMost)
	d += rand.N(d / 2)
	if limited, ok := errors.AsType[*api.RateLimitedError](err); ok {
		d = max(d, limited.RetryAfter)
	}
	return d
}

// keep keeps one socket open, until ctx ends. A socket that Slack wants
// replaced is read until Slack cuts it, beside the new one.
func (r *run) keep(ctx context.Context) error {
	s := r.s
	var sockets sync.WaitGroup
	defer sockets.Wait()
	for n := 0; ctx.Err() == nil; {
		k, err := s.openSocket(ctx)
		if err != nil {
			if problem := hopeless(err); problem != nil {
				return problem
			}
			r.failed(ctx, err)
			_ = s.clock.Sleep(ctx, backoff(n, err))
			n++
			continue
		}
		began := s.clock.Now()
		sockets.Go(func() {
			defer s.note(func(h *Health) { h.Sockets-- })
			k.serve(ctx, r.take, func(err error) { s.log.WarnContext(ctx, "dropped a frame", "err", err) })
		})
		select {
		case <-k.leaving:
		case <-ctx.Done():
			continue
		}
		if problem := hopeless(&turnedAway{reason: k.reason}); problem != nil {
			return problem
		}
		s.log.InfoContext(ctx, "replacing a socket", "reason", k.reason)
		if s.clock.Now().Sub(began) >= steady {
			n = 0
			continue
		}
		_ = s.clock.Sleep(ctx, backoff(n, nil))
		n++
	}
	return nil
}

// hopeless is why connecting again is pointless; nil when it is not.
func hopeless(err error) error {
	if known, ok := errors.AsType[*FatalError](err); ok {
		return known
	}
	if away, ok := errors.AsType[*turnedAway](err); ok {
		if why, ok := fatalCodes[away.reason]; ok {
			return &FatalError{Setting: "SLACK_APP_TOKEN", Why: why, Err: err}
		}
		return nil
	}
	if why, ok := fatal(err); ok {
		return &FatalError{Setting: "SLACK_APP_TOKEN", Why: why, Err: err}
	}
	return nil
}

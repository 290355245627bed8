// Package discord is Discord as a [bot.Adapter]: /vm with typed options and
// completion, one living message per job with its thread, buttons, forms. It
// needs no address that Discord can reach: it listens on the gateway and writes
// by REST.
//
// Payloads are discordgo's types; the connection and the calls are our own.
// discordgo v0.29.0 locks itself up for good when the gateway says reconnect
// before READY (one goroutine and one Session lost each time), ignores close
// codes, loses a session by closing it with 1000, shares one bucket between the
// answers to all interactions, sleeps where a context can't wake it, and prints
// tokens in its errors. Here a connection is a value that is thrown away
// ([Discord.Run] keeps making new ones), every read has a deadline, every wait
// ends with its context, and an error names neither token nor address.
//
// Text from outside is escaped, or stands in code blocks; no message of ours
// can mention anybody.
//
// To test against it, run it on pvebot/bot/discord/discordfake.
package discord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// Platform is the adapter's name, in actors, conversations and policies.
const Platform = "discord"

// Leader says which of several bots on one store listens: to Discord each would
// be sent everything. A provision.Store is one.
type Leader interface {
	Lead(ctx context.Context, role, owner string, ttl time.Duration) (bool, error)
	Resign(ctx context.Context, role, owner string) error
}

// Config is what the adapter needs. Only Token is required.
type Config struct {
	Token bot.Token
	// APIURL is where REST is, with its version; default
	// https://discord.com/api/v10.
	APIURL string
	// GatewayURL is where the gateway is; by default Discord is asked.
	GatewayURL string
	// AppID is the application's id; by default Discord is asked.
	AppID string
	// GuildID is the one server that gets /vm, at once; by default it is
	// global, for every server that the bot is in.
	GuildID string

	// Clusters are those that people can order in; with several, /vm has an
	// option for them.
	Clusters []string

	Leader Leader // nil: this bot is the only one
	Owner  string // of this process's roles, with Leader

	// Dial makes connections; default: the machine's network, with the proxy
	// of the environment.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock cluster.Clock // default: the system's
	Log   *slog.Logger  // default: discards
}

// Discord is the adapter. Make one with [New].
type Discord struct {
	cfg    Config
	clock  cluster.Clock
	log    *slog.Logger
	http   *http.Client
	dialer *websocket.Dialer

	limits   *limits
	seen     *memory
	threads  *threads
	confirms *confirms
	nonces   *nonces

	mu     sync.Mutex
	health Health
	appID  string
}

var (
	_ bot.Adapter = (*Discord)(nil)
	_ bot.Linked  = (*Discord)(nil)
	_ bot.Roster  = (*Discord)(nil)
	_ bot.Pager   = (*Discord)(nil)
	_ bot.Filer   = (*Discord)(nil)

	_ bot.Confidant = (*Discord)(nil)
)

// maxIdle is how many connections are kept for the next calls: when many people
// ask at once, each new one costs an answer its handshake.
const maxIdle = 32

// callTime is how long one call may take. The callers' own deadlines are
// shorter where it matters.
const callTime = 10 * time.Second

// New makes the adapter. It does not call Discord; see Check and Run.
func New(cfg Config) (*Discord, error) {
	cfg.Token = bot.Token(strings.TrimPrefix(strings.TrimSpace(string(cfg.Token)), "Bot "))
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.APIURL = strings.TrimSuffix(cmp.Or(cfg.APIURL, "https://discord.com/api/v10"), "/")
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxIdle
	dialer := &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: callTime}
	if cfg.Dial != nil {
		transport.DialContext, dialer.NetDialContext = cfg.Dial, cfg.Dial
		transport.Proxy, dialer.Proxy = nil, nil
	}
	return &Discord{
		cfg: cfg, clock: cfg.Clock, log: cfg.Log.With("platform", Platform),
		http: &http.Client{
			Timeout: callTime, Transport: transport,
			// Discord does not redirect; whoever does, gets no token.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		dialer:   dialer,
		limits:   newLimits(cfg.Clock),
		seen:     newMemory(cfg.Clock),
		threads:  newThreads(),
		confirms: newConfirms(),
		nonces:   newNonces(),
		appID:    cfg.AppID,
	}, nil
}

// Validate lists all that is missing or wrong, a line each, with what to do. It
// asks nobody.
func (cfg Config) Validate() error {
	var wrong []error
	if cfg.Token == "" {
		wrong = append(wrong, errors.New("DISCORD_TOKEN is not set: it is a bot token; make an application, then Bot, Reset Token"))
	} else if strings.ContainsAny(string(cfg.Token), " \t\r\n") {
		wrong = append(wrong, errors.New("DISCORD_TOKEN is not a bot token: make an application, then Bot, Reset Token"))
	}
	if u, err := url.Parse(cfg.APIURL); err != nil || cfg.APIURL != "" && u.Host == "" {
		wrong = append(wrong, fmt.Errorf("DISCORD_API_URL: %q is no address", cfg.APIURL))
	}
	if u, err := url.Parse(cfg.GatewayURL); err != nil || cfg.GatewayURL != "" && (u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss") {
		wrong = append(wrong, fmt.Errorf("DISCORD_GATEWAY_URL: %q is no address of a gateway (wss://...)", cfg.GatewayURL))
	}
	for _, setting := range []struct{ name, id string }{{"DISCORD_APP_ID", cfg.AppID}, {"DISCORD_GUILD_ID", cfg.GuildID}} {
		if strings.Trim(setting.id, "0123456789") != "" {
			wrong = append(wrong, fmt.Errorf("%s: %q is no id; ids are numbers", setting.name, setting.id))
		}
	}
	if cfg.Leader != nil && cfg.Owner == "" {
		wrong = append(wrong, errors.New("discord: a Leader wants an Owner"))
	}
	return errors.Join(wrong...)
}

// Name implements [bot.Adapter].
func (d *Discord) Name() string { return Platform }

// Pace implements [bot.Adapter]. Discord's own limit is 5 edits in 5 seconds in
// each channel, and 5 messages; cards and threads are different channels. What
// is too fast for one of them waits here.
func (d *Discord) Pace() bot.Pace {
	return bot.Pace{PerSecond: 2, Burst: 5, MinGap: 2 * time.Second}
}

// PageRows implements [bot.Pager].
func (d *Discord) PageRows() int { return 15 }

// Close lets go of idle connections. It is called after Run, and after the
// last call of the other methods.
func (d *Discord) Close() { d.http.CloseIdleConnections() }

// Health is how the connection to Discord is.
type Health struct {
	Leading     bool      // this bot is the one that listens
	Connected   bool      // READY or RESUMED was heard on the connection there is
	Since       time.Time // when it was
	Deaf        bool      // the last connection was taken and nothing was said on it
	LastFrame   time.Time // of the gateway
	Connections int       // made since the start
	Identifies  int       // new sessions among them; Discord allows 1000 a day
	LateAcks    int       // answers that were deferred because they were not ready
	LostAcks    int       // answers that Discord did not take
	Dead        int       // interactions that came too late to be answered; nothing was done for them
	Problem     string    // of the last attempt to connect, "" when it worked
}

// Health returns how the connection is.
func (d *Discord) Health() Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.health
}

// Link implements [bot.Linked].
func (d *Discord) Link() bot.Link {
	h := d.Health()
	if !h.Connected {
		return bot.Link{Standby: !h.Leading && d.cfg.Leader != nil && h.Problem == "", Deaf: h.Deaf, Problem: h.Problem}
	}
	return bot.Link{Up: true, Since: h.Since}
}

func (d *Discord) note(f func(h *Health)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.health)
}

// app is the application's id, "" while it is not known.
func (d *Discord) app() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.appID
}

// App is the application's id, as Discord says. Its errors are those of Check.
func (d *Discord) App(ctx context.Context) (string, error) {
	if err := d.Check(ctx); err != nil {
		return "", err
	}
	return d.app(), nil
}

// Check asks Discord whether the token is good. Its errors are *FatalError when
// only a person can help.
func (d *Discord) Check(ctx context.Context) error {
	var app struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	err := d.call(ctx, request{what: "look up the application", method: http.MethodGet, path: "/applications/@me", again: true}, &app)
	e, refused := errors.AsType[*apiError](err)
	switch {
	case badToken(err):
		return &FatalError{Setting: "DISCORD_TOKEN", Why: tokenIsBad, Err: err}
	case refused && e.Status == http.StatusNotFound:
		return &FatalError{Setting: "DISCORD_API_URL", Why: "nothing of Discord's answers there", Err: err}
	case err != nil:
		return err
	}
	if d.cfg.AppID != "" && d.cfg.AppID != app.ID {
		return &FatalError{Setting: "DISCORD_APP_ID", Why: "the token is of application " + app.ID}
	}
	d.mu.Lock()
	d.appID = app.ID
	d.mu.Unlock()
	d.log.InfoContext(ctx, "the token is good", "application", app.ID, "name", app.Name)
	return nil
}

// RolesOf implements [bot.Roster]: the roles that a person has now in the server
// of a conversation.
func (d *Discord) RolesOf(ctx context.Context, who provision.Actor, where provision.Conversation) ([]string, error) {
	var c struct {
		Guild string `json:"guild_id"`
	}
	err := d.call(ctx, request{what: "look up a channel", method: http.MethodGet, path: "/channels/" + url.PathEscape(where.Channel), again: true}, &c)
	if err != nil || c.Guild == "" {
		return nil, err
	}
	var m member
	err = d.call(ctx, request{what: "look up a member", method: http.MethodGet, path: "/guilds/" + c.Guild + "/members/" + url.PathEscape(who.ID), again: true}, &m)
	switch {
	case code(err) == codeUnknownMember:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return rolesOf(c.Guild, m.Roles), nil
}

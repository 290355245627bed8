package slackfake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"pvebot/cluster"
)

// Config says what workspace there is. The zero Config is a workspace that
// Slack would call normal.
type Config struct {
	BotToken string // default: the constant
	AppToken string
	// BotApp is the app that the bot token is of; default App, which the app
	// token is of.
	BotApp string
	// RequestURL is where interactions are posted, in place of sockets, signed
	// with SigningSecret.
	RequestURL, SigningSecret string
	// Scopes are those of the bot token; default: commands, chat:write,
	// chat:write.public, files:write and usergroups:read.
	Scopes []string
	// Ping is how often sockets are pinged; default 5 s.
	Ping time.Duration
	// Unlimited switches the rate tiers off.
	Unlimited bool
	Seed      uint64        // of which socket gets what
	Clock     cluster.Clock // default: the system's
	Log       *slog.Logger  // default: discards
}

// Fake is a workspace. Make one with [New] and open it with Serve. All methods
// may be called concurrently.
type Fake struct {
	cfg   Config
	clock cluster.Clock
	log   *slog.Logger

	mu         sync.Mutex
	base       string // http://host, known when it is served
	random     *rand.Rand
	lastTS     int64 // microseconds
	serial     int
	channels   map[string]*channel
	users      map[string]bool
	groups     map[string][]string
	noGroups   bool
	ephemerals []Ephemeral
	triggers   map[string]*trigger
	hooks      map[string]*hook
	uploads    map[string]*upload
	views      map[string]*View
	calls      map[string][]time.Time // of a rate bucket, newest last
	faults     []*fault
	down       bool
	tickets    map[string]time.Time // socket addresses that were given out
	sockets    []*socket
	pending    map[string]*delivery
	teams      map[string]string // of those who are not of Team
	twice      int               // deliveries that are made twice
	delay      time.Duration
	complaints []string
	journal    []Call

	wg   sync.WaitGroup
	stop context.CancelFunc
	life context.Context
}

// Call is a request as it was answered.
type Call struct {
	At     time.Time
	Method string // chat.update, or hook for a response URL
	Args   map[string]string
	Error  string // "" when it worked
}

type channel struct {
	id       string
	private  bool
	archived bool
	locked   bool // only some may post
	members  map[string]bool
	messages []*message
}

// The tokens, unless said otherwise.
const (
	BotToken = "xoxb-fake"
	AppToken = "xapp-fake"
)

// The people and places that every workspace has.
const (
	Team    = "T0FAKE"
	App     = "A0FAKE"
	Bot     = "U0BOT"
	Alice   = "U0ALICE"
	Bob     = "U0BOB"
	General = "C0GENERAL" // public, without the bot in it
	Ops     = "C0OPS"     // public, with the bot
	Private = "C0PRIVATE" // private, without the bot

	botID = "B0BOT"
)

// New makes a workspace with two people and three channels.
func New(cfg Config) *Fake {
	cfg.BotToken, cfg.AppToken = cmp.Or(cfg.BotToken, BotToken), cmp.Or(cfg.AppToken, AppToken)
	cfg.BotApp = cmp.Or(cfg.BotApp, App)
	cfg.Ping = cmp.Or(cfg.Ping, 5*time.Second)
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"commands", "chat:write", "chat:write.public", "files:write", "usergroups:read"}
	}
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fake{
		cfg: cfg, clock: cfg.Clock, log: cfg.Log,
		random:   rand.New(rand.NewPCG(cfg.Seed, 1)),
		channels: map[string]*channel{}, users: map[string]bool{Alice: true, Bob: true, Bot: true},
		groups: map[string][]string{}, triggers: map[string]*trigger{}, hooks: map[string]*hook{}, uploads: map[string]*upload{},
		views: map[string]*View{}, calls: map[string][]time.Time{}, tickets: map[string]time.Time{},
		pending: map[string]*delivery{},
	}
	f.life, f.stop = context.WithCancel(context.Background())
	for _, c := range []*channel{
		{id: General, members: set(Alice, Bob)},
		{id: Ops, members: set(Alice, Bob, Bot)},
		{id: Private, private: true, members: set(Alice, Bob)},
	} {
		f.channels[c.id] = c
	}
	return f
}

func set(ids ...string) map[string]bool {
	m := map[string]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// Serve answers on l until Close.
func (f *Fake) Serve(l net.Listener) error {
	f.mu.Lock()
	f.base = "http://" + l.Addr().String()
	f.mu.Unlock()
	server := &http.Server{Handler: f, BaseContext: func(net.Listener) context.Context { return f.life }}
	stopped := context.AfterFunc(f.life, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Start serves on l in the background; Close ends it.
func (f *Fake) Start(l net.Listener) {
	f.mu.Lock()
	f.base = "http://" + l.Addr().String()
	f.mu.Unlock()
	f.wg.Go(func() { _ = f.Serve(l) })
}

// Close cuts all connections and waits for what it started.
func (f *Fake) Close() {
	f.stop()
	f.mu.Lock()
	sockets := slices.Clone(f.sockets)
	f.mu.Unlock()
	for _, s := range sockets {
		s.cut()
	}
	f.wg.Wait()
}

// URL is where the Web API is.
func (f *Fake) URL() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.base + "/api/"
}

// id makes an id that was not there before; f.mu is held.
func (f *Fake) id(prefix string) string {
	f.serial++
	return fmt.Sprintf("%s%08d", prefix, f.serial)
}

// ts makes a message's id; f.mu is held.
func (f *Fake) ts() string {
	f.lastTS = max(f.lastTS+1, f.clock.Now().UnixMicro())
	return fmt.Sprintf("%d.%06d", f.lastTS/1e6, f.lastTS%1e6)
}

func (f *Fake) complain(format string, args ...any) {
	f.complaints = append(f.complaints, fmt.Sprintf(format, args...))
}

// Complaints are what only a wrong client does: unknown methods, arguments and
// fields.
func (f *Fake) Complaints() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.complaints)
}

// Journal is every call that was made, oldest first; "" means all methods.
func (f *Fake) Journal(method string) []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Call
	for _, c := range f.journal {
		if method == "" || c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// Invite makes the bot a member of a channel.
func (f *Fake) Invite(channelID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels[channelID].members[Bot] = true
}

// Archive archives a channel.
func (f *Fake) Archive(channelID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels[channelID].archived = true
}

// Lock lets only some people post to a channel, the bot not among them.
func (f *Fake) Lock(channelID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels[channelID].locked = true
}

// Group makes a user group of people.
func (f *Fake) Group(id string, people ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.groups[id] = people
}

// NoGroups makes it a workspace on the free plan: user groups cost money.
func (f *Fake) NoGroups() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noGroups = true
}

package discordfake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"pvebot/cluster"
)

// Config says what server there is. The zero Config is one that Discord would
// call normal.
type Config struct {
	Token string // default: the constant
	// Heartbeat is the gateway's interval; default 41.25 s.
	Heartbeat time.Duration
	// Unlimited switches the rate limits off.
	Unlimited bool
	// Sessions is how many new sessions are left today; default 1000.
	Sessions int
	Clock    cluster.Clock // default: the system's
}

// Token is the bot's, unless said otherwise.
const Token = "fake-token"

// The people and places that every server has. Ids are what Discord calls
// snowflakes.
const (
	App      = "1000000000000000001"
	Guild    = "1000000000000000002"
	Ops      = "1000000000000000010" // a text channel where the bot may do all it needs
	General  = "1000000000000000011" // another one
	Private  = "1000000000000000012" // one that the bot can't see
	Alice    = "1000000000000000021"
	Bob      = "1000000000000000022"
	Admins   = "1000000000000000031" // a role, which Alice has
	botUser  = App
	textRoom = 0
	dmRoom   = 1
	thread   = 11
)

// Fake is a Discord. Make one with [New] and open it with Serve or Start. All
// methods may be called concurrently.
type Fake struct {
	cfg   Config
	clock cluster.Clock

	mu         sync.Mutex
	base       string // http://host, known when it is served
	serial     int64
	channels   map[string]*channel
	roles      map[string][]string // of people
	absent     bool                // the bot is not in the server
	scopeless  bool                // it was invited without applications.commands
	denied     Permission          // to it in the whole server
	commands   map[string][]map[string]any
	actions    map[string]*action // interactions by id
	buckets    map[string]*bucket
	faults     []*Fault
	sessions   map[string]*session
	links      []*link
	dials      []Dial
	plans      []Plan
	identified int
	twice      int
	guildID    string       // that interactions come from; "" is Guild
	mute       map[int]bool // opcodes that are not answered
	complaints []string
	journal    []Call

	wg   sync.WaitGroup
	life context.Context
	stop context.CancelFunc
}

// Call is a request as it was answered.
type Call struct {
	At           time.Time
	Method, Path string // below /api/vN
	Body         json.RawMessage
	Status, Code int
	Answer       json.RawMessage // nil: none, or not JSON
}

// New makes a server with two people and three channels.
func New(cfg Config) *Fake {
	cfg.Token = cmp.Or(cfg.Token, Token)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 41250*time.Millisecond)
	cfg.Sessions = cmp.Or(cfg.Sessions, 1000)
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	f := &Fake{
		cfg: cfg, clock: cfg.Clock, channels: map[string]*channel{},
		roles: map[string][]string{Alice: {Admins}, Bob: {}}, commands: map[string][]map[string]any{},
		actions: map[string]*action{}, buckets: map[string]*bucket{}, sessions: map[string]*session{},
	}
	f.life, f.stop = context.WithCancel(context.Background())
	for _, id := range []string{Ops, General, Private} {
		f.channels[id] = &channel{id: id, kind: textRoom, denied: map[Permission]bool{}}
	}
	f.channels[Private].denied[ViewChannel] = true
	return f
}

// Serve answers on l until Close.
func (f *Fake) Serve(l net.Listener) error {
	f.open(l)
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
	f.open(l)
	f.wg.Go(func() { _ = f.Serve(l) })
}

func (f *Fake) open(l net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base = "http://" + l.Addr().String()
}

// Close cuts all connections and waits for what it started.
func (f *Fake) Close() {
	f.stop()
	f.Cut()
	f.wg.Wait()
}

// URL is where REST is.
func (f *Fake) URL() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.base + "/api/v10"
}

// epoch is the first millisecond of ids, in Unix time.
const epoch = 1420070400000

// id makes an id of now; f.mu is held.
func (f *Fake) id() string {
	f.serial++
	return strconv.FormatInt((f.clock.Now().UnixMilli()-epoch)<<22|f.serial&(1<<22-1), 10)
}

func bornAt(id string) time.Time {
	n, _ := strconv.ParseInt(id, 10, 64)
	return time.UnixMilli(n>>22 + epoch)
}

// complain notes what only a wrong client does; f.mu is held.
func (f *Fake) complain(format string, args ...any) {
	f.complaints = append(f.complaints, fmt.Sprintf(format, args...))
}

// Complaints are what only a wrong client does.
func (f *Fake) Complaints() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.complaints)
}

// Journal is every call that was made with this method, oldest first; "" means
// all.
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

// Fault is something that goes wrong with calls.
type Fault struct {
	Method string // "": any
	Path   string // how it ends, or a part of it; "": any
	Times  int    // 0: always
	Status int
	Code   int
	Body   string        // instead of Discord's JSON
	After  float64       // retry_after of a 429, in seconds
	Global bool          // of a 429
	Hang   time.Duration // before the answer
	Lose   bool          // it is done, and the answer does not arrive
}

// Break makes calls fail from here on; the first fault that fits counts.
func (f *Fake) Break(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range faults {
		f.faults = append(f.faults, &x)
	}
}

// Mend ends all faults.
func (f *Fake) Mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Grant gives a person roles, in place of those they had.
func (f *Fake) Grant(person string, roles ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[person] = roles
}

// Permission is one of the bot's, in one channel.
type Permission int64

// The permissions that matter here.
const (
	ViewChannel   Permission = 1 << 10
	SendMessages  Permission = 1 << 11
	EmbedLinks    Permission = 1 << 14
	AttachFiles   Permission = 1 << 15
	ReadHistory   Permission = 1 << 16
	CreateThreads Permission = 1 << 35
	SendInThreads Permission = 1 << 38
)

// Invite makes the bot join the server, or leave it, as the link that somebody
// opens says: with the scope applications.commands, without some permissions.
func (f *Fake) Invite(bot, commands bool, denied ...Permission) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.absent, f.scopeless, f.denied = !bot, !commands, 0
	for _, p := range denied {
		f.denied |= p
	}
}

// guilds are the servers that the bot is in, after an id.
func (f *Fake) guilds(after string) []map[string]any {
	if f.absent || after >= Guild {
		return []map[string]any{}
	}
	all := ViewChannel | SendMessages | EmbedLinks | AttachFiles | ReadHistory | CreateThreads | SendInThreads
	return []map[string]any{{
		"id": Guild, "name": "the team", "icon": nil, "banner": nil, "owner": false, "features": []string{},
		"permissions": strconv.FormatInt(int64(all&^f.denied), 10),
	}}
}

// Deny takes permissions from the bot in a channel.
func (f *Fake) Deny(channelID string, permissions ...Permission) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range permissions {
		f.channels[channelID].denied[p] = true
	}
}

// may reports whether the bot has a permission in a channel; f.mu is held.
func (f *Fake) may(c *channel, p Permission) bool {
	if c.kind == dmRoom {
		return true
	}
	if f.absent || f.denied&p != 0 {
		return false
	}
	if c.parent != "" {
		if parent := f.channels[c.parent]; parent != nil && parent.denied[p] {
			return false
		}
	}
	return !c.denied[p]
}

func (f *Fake) appPermissions(c *channel) string {
	var all Permission
	for _, p := range []Permission{ViewChannel, SendMessages, EmbedLinks, AttachFiles, CreateThreads, SendInThreads} {
		if f.may(c, p) {
			all |= p
		}
	}
	return strconv.FormatInt(int64(all), 10)
}

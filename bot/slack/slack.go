// Package slack is Slack as a [bot.Adapter]: slash command, one living message
// per job with its thread, buttons, forms. It talks Socket Mode, so it needs no
// address that Slack can reach, and the Web API through slack-go. Where there is
// such an address, Slack may call it instead: see [Slack.ServeHTTP].
//
// The package has Socket Mode connections of its own. slack-go's client closes
// the old socket the moment Slack asks for a refresh, and what Slack still
// delivers there in the next ten seconds is gone, since interactions are never
// sent again; it queues acks without telling what became of them, so that a
// stop loses them; it keeps trying with tokens that will never work. Here a
// connection is replaced before it is given up, an ack is written or an error,
// and [Slack.Run] ends with a sentence when only a person can help.
//
// Text from outside is shown as rich_text and plain_text, which Slack does not
// parse; nothing in it can mention, format or link.
//
// To test against it, run it on pvebot/bot/slack/slackfake.
package slack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	api "github.com/slack-go/slack"

	"pvebot/bot"
	"pvebot/cluster"
)

// Platform is the adapter's name, in actors, conversations and policies.
const Platform = "slack"

// isNot begins to say what a token that is missing or wrong should be.
func isNot(t bot.Token) string {
	if t == "" {
		return "is not set: it is"
	}
	return "is not"
}

// Config is what the adapter needs: BotToken, and one of AppToken and
// SigningSecret.
type Config struct {
	BotToken bot.Token // xoxb-...: writes messages
	AppToken bot.Token // xapp-...: opens sockets
	// SigningSecret has Slack call us, at ServeHTTP, in place of sockets.
	SigningSecret bot.Token
	APIURL        string
	// Groups are the ids of user groups (S...) that policy knows; who is in
	// one has the role slack:S.... User groups need a paid plan.
	Groups []string
	// Teams are workspaces (T...) and organisations (E...) beside the bot's own
	// whose people it listens to.
	Teams []string
	// Sockets is how many connections are kept open; default 2, so that one is
	// there while Slack refreshes the other.
	Sockets int
	// Silence is how long a socket may say nothing, not even ping, before it
	// is given up; default 30 s.
	Silence time.Duration

	// Dial makes connections; default: the machine's network, with the proxy
	// of the environment.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock cluster.Clock // default: the system's
	Log   *slog.Logger  // default: discards
}

// Slack is the adapter. Make one with [New].
type Slack struct {
	cfg    Config
	clock  cluster.Clock
	log    *slog.Logger
	client *api.Client
	http   *http.Client
	dialer *websocket.Dialer

	seen   *memory
	groups *groups
	lost   *lostPosts

	mu     sync.Mutex
	health Health
	home   home
	// The applications of the two tokens, "" while they are not known.
	botApp, levelApp string
	hearing          *run // takes what Slack sends by HTTP; nil: nothing is taken

	signatures *memory // of requests that were taken
}

var (
	_ bot.Adapter = (*Slack)(nil)
	_ bot.Linked  = (*Slack)(nil)
	_ bot.Roster  = (*Slack)(nil)
	_ bot.Pager   = (*Slack)(nil)
	_ bot.Filer   = (*Slack)(nil)

	_ bot.Confidant = (*Slack)(nil)
)

// maxIdle is how many connections are kept for the next calls: when many people
// ask at once, each new one costs an answer its handshake.
const maxIdle = 32

// callTime is how long one call may take. The callers' own deadlines are
// shorter where it matters.
const callTime = 10 * time.Second

// New makes the adapter. It does not call Slack; see Check and Run.
func New(cfg Config) (*Slack, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.APIURL = strings.TrimSuffix(cmp.Or(cfg.APIURL, "https://slack.com/api"), "/") + "/"
	cfg.Sockets = cmp.Or(cfg.Sockets, 2)
	cfg.Silence = cmp.Or(cfg.Silence, 30*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxIdle
	dialer := &websocket.Dialer{
		Proxy:            http.ProxyFromEnvironment,
		HandshakeTimeout: callTime,
		// Slack drops messages that come in several frames: an ack must fit.
		WriteBufferSize: 32 << 10,
	}
	if cfg.Dial != nil {
		transport.DialContext, dialer.NetDialContext = cfg.Dial, cfg.Dial
		transport.Proxy, dialer.Proxy = nil, nil
	}
	s := &Slack{
		cfg: cfg, clock: cfg.Clock, log: cfg.Log.With("platform", Platform),
		http:       &http.Client{Timeout: callTime, Transport: transport},
		dialer:     dialer,
		seen:       newMemory(cfg.Clock),
		signatures: newMemory(cfg.Clock),
		groups:     newGroups(cfg.Groups, cfg.Clock),
		lost:       newLostPosts(cfg.Clock),
	}
	s.client = api.New(string(cfg.BotToken),
		api.OptionAppLevelToken(string(cfg.AppToken)),
		api.OptionAPIURL(cfg.APIURL),
		api.OptionHTTPClient(s.http),
		api.OptionLog(log.New(io.Discard, "", 0)),
	)
	return s, nil
}

// Validate lists all that is missing or wrong, a line each, with what to do. It
// asks nobody.
func (cfg Config) Validate() error {
	var wrong []error
	if !strings.HasPrefix(string(cfg.BotToken), "xoxb-") {
		wrong = append(wrong, fmt.Errorf("SLACK_BOT_TOKEN %s a bot token (xoxb-...): install the app to the workspace, then copy it from OAuth & Permissions", isNot(cfg.BotToken)))
	}
	switch {
	case cfg.SigningSecret != "" && cfg.AppToken != "":
		wrong = append(wrong, errors.New("SLACK_APP_TOKEN and SLACK_SIGNING_SECRET are both set: leave one out. With the first the bot connects to Slack, with the second Slack calls the bot"))
	case cfg.SigningSecret != "":
	case !strings.HasPrefix(string(cfg.AppToken), "xapp-"):
		wrong = append(wrong, fmt.Errorf("SLACK_APP_TOKEN %s an app-level token (xapp-...) with connections:write: make one under Basic Information. (Or set SLACK_SIGNING_SECRET, if Slack shall call the bot)", isNot(cfg.AppToken)))
	}
	if u, err := url.Parse(cfg.APIURL); err != nil || cfg.APIURL != "" && u.Host == "" {
		wrong = append(wrong, fmt.Errorf("SLACK_API_URL: %q is no address", cfg.APIURL))
	}
	for _, t := range cfg.Teams {
		if !strings.HasPrefix(t, "T") && !strings.HasPrefix(t, "E") || strings.ContainsFunc(t, func(r rune) bool { return r < '0' || r > 'Z' || r > '9' && r < 'A' }) {
			wrong = append(wrong, fmt.Errorf("SLACK_TEAMS: %q is no workspace: their ids begin with T, those of organisations with E", t))
		}
	}
	for _, g := range cfg.Groups {
		if !strings.HasPrefix(g, "S") {
			wrong = append(wrong, fmt.Errorf("slack:%s is no user group: their ids begin with S", g))
		}
	}
	return errors.Join(wrong...)
}

// Name implements [bot.Adapter].
func (s *Slack) Name() string { return Platform }

// Pace implements [bot.Adapter]. Slack allows chat.update 50 times a minute in
// a whole workspace; the burst and a minute's refill together stay at that.
func (s *Slack) Pace() bot.Pace {
	return bot.Pace{PerSecond: 0.8, Burst: 2, MinGap: 3 * time.Second}
}

// PageRows implements [bot.Pager].
func (s *Slack) PageRows() int { return 25 }

// Close lets go of idle connections. It is called after Run, and after the
// last call of the other methods.
func (s *Slack) Close() { s.http.CloseIdleConnections() }

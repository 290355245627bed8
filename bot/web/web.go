package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/bot/web/access"
	"pvebot/cluster"
	"pvebot/provision"
)

// Platform is the adapter's name, as actors and conversations carry it.
const Platform = "web"

// Channel is the one conversation that the page shows.
const Channel = "main"

// DefaultAddr is where the page is when nobody says otherwise.
const DefaultAddr = "127.0.0.1:8080"

// MinSecret is how many bytes a Config.Secret has at least.
const MinSecret = 16

const (
	shutdownTime = 5 * time.Second // for requests that are under way
	triageTime   = 5 * time.Second // hard end of an answer that should take one
)

// Config is what a Web stands on. Store must be set and, but for a Bare one,
// Inventory or Sites.
type Config struct {
	// Bare leaves the page away: there are only /healthz, /readyz and /metrics,
	// on whatever address, and Run needs no Handler.
	Bare bool

	Store     provision.Store
	Inventory provision.Inventory
	Fleet     Fleet // nil: nobody knows who owns which VM
	// Sites are the clusters in place of Inventory and Fleet, where there are
	// several.
	Sites bot.Sites
	Clock cluster.Clock // default: the machine's
	Log   *slog.Logger  // default: none

	// Addr is host:port, by default DefaultAddr. An address that is not
	// loopback is refused without a Secret.
	Addr string
	// Listener is served instead of Addr when it is set, and closed by Run.
	// The same rule holds for its address.
	Listener net.Listener
	// AllowHosts are names that the page may be called by in the Host header
	// beside the names of loopback. "*" allows all.
	AllowHosts []string

	// Secret signs login links and sessions; at least MinSecret bytes. Without one
	// nobody needs to log in, and who surely sits at this machine is Actor.
	Secret []byte
	// Actor is who everybody is without a Secret; default web/local.
	Actor provision.Actor

	// Gate says which addresses may come in, and through which proxies; nil:
	// all of them, and no proxy is known.
	Gate *access.Gate
	// MaySee says whether somebody may use a verb that changes nothing, in a
	// cluster where there are several. Without it everybody sees everything
	// where there is no Secret, and nobody anything where there is one.
	MaySee func(by provision.Actor, verb, cluster string) error

	// API answers what is under /api/, /sh/ and /clusters/, nil for none. It guards itself:
	// programs come in by other rules than browsers. Its requests' contexts end
	// with Run.
	API http.Handler
	// Hooks are what chat platforms call, by path. Like API they guard
	// themselves.
	Hooks map[string]http.Handler
	// TLS makes Run serve HTTPS, with the certificates in it.
	TLS *tls.Config

	Version string // of the bot, shown in a corner

	// Checks are what /readyz asks.
	Checks []Check
	// Metrics answers /metrics, nil for none. It does not need a login: who
	// may ask is for it to decide.
	Metrics http.Handler
}

// Fleet knows whose the VMs are, and how long they live. provision.Engine is
// one.
type Fleet interface {
	VMs(ctx context.Context) ([]provision.VM, error)
}

// Web is the page; see the package comment. All methods may be called by many
// goroutines at once; Run once.
type Web struct {
	cfg   Config
	log   *slog.Logger
	room  *room
	serve http.Handler
	panel *panels
	gate  *access.Gate
	login *gatekeeper
	ready readiness

	mu       sync.Mutex
	handler  bot.Handler     // nil: not running
	life     context.Context // of Run
	addr     net.Addr
	handling sync.WaitGroup // Handle calls
}

// New makes the page. It does nothing until Run, except that ServeHTTP
// answers reads.
func New(cfg Config) *Web {
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Addr == "" {
		cfg.Addr = DefaultAddr
	}
	if cfg.Gate == nil {
		cfg.Gate, _ = access.New(access.Config{}) // only origins can be wrong
	}
	if cfg.Actor == (provision.Actor{}) {
		cfg.Actor = provision.Actor{Platform: Platform, ID: "local"}
	}
	w := &Web{cfg: cfg, log: cfg.Log.With("platform", Platform), room: newRoom(cfg.Clock), gate: cfg.Gate}
	w.panel = newPanels(cfg, w.room, w.log)
	w.login = newGatekeeper(cfg)
	w.serve = w.logged(w.front())
	return w
}

// ServeHTTP implements http.Handler, with all guards in place.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.serve.ServeHTTP(rw, r) }

// Name implements bot.Adapter.
func (w *Web) Name() string { return Platform }

// Pace implements bot.Adapter. The page is memory; the gap only keeps
// browsers from redrawing what no eye can follow.
func (w *Web) Pace() bot.Pace {
	return bot.Pace{PerSecond: 200, Burst: 200, MinGap: 200 * time.Millisecond}
}

// URL is where the page is. With a port of 0 it is right only once Run
// listens, or when a Listener was given.
func (w *Web) URL() string {
	w.mu.Lock()
	addr := w.cfg.Addr
	if w.addr != nil {
		addr = w.addr.String()
	} else if w.cfg.Listener != nil {
		addr = w.cfg.Listener.Addr().String()
	}
	w.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if w.cfg.TLS != nil {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Run implements bot.Adapter: it serves until ctx ends, then ends the event
// streams, lets requests that are under way finish, and returns nil once all
// its goroutines, and those of h.Handle, have ended.
func (w *Web) Run(ctx context.Context, h bot.Handler) error {
	l, err := w.listen(ctx)
	if err != nil {
		return err
	}
	life, stop := context.WithCancel(ctx)
	defer stop()
	w.mu.Lock()
	w.handler, w.life, w.addr = h, life, l.Addr()
	w.mu.Unlock()

	var busy sync.WaitGroup // handlers: http.Server does not wait for those it cuts off
	srv := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			busy.Add(1)
			defer busy.Done()
			w.ServeHTTP(rw, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // streams set their own, write by write
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	var watching sync.WaitGroup
	if !w.cfg.Bare {
		watching.Go(func() { w.panel.run(life) })
	}
	served := make(chan error, 1)
	if w.cfg.TLS != nil {
		l = tls.NewListener(l, w.cfg.TLS)
	}
	go func() { served <- srv.Serve(l) }()
	w.log.Info("listening", "url", w.URL(), "page", !w.cfg.Bare)

	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serving HTTP: %w", err)
	}
	stop() // streams end by this
	w.mu.Lock()
	w.handler = nil
	w.mu.Unlock()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close()
	}
	busy.Wait()
	w.handling.Wait()
	watching.Wait()
	return err
}

// listen opens the listener and refuses to show an open page to the world.
func (w *Web) listen(ctx context.Context) (net.Listener, error) {
	l := w.cfg.Listener
	if n := len(w.cfg.Secret); n > 0 && n < MinSecret {
		return nil, errors.Join(closeIf(l), &provision.Error{
			Kind: provision.Invalid,
			Say:  fmt.Sprintf("the page's login secret has %d bytes, %d is the least", n, MinSecret),
		})
	}
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", w.cfg.Addr); err != nil {
			return nil, &provision.Error{
				Kind: provision.Unavailable, Say: "can't listen on " + w.cfg.Addr,
				Try: "choose another port", Err: err,
			}
		}
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	if !w.cfg.Bare && len(w.cfg.Secret) == 0 && err == nil && !at.Addr().Unmap().IsLoopback() {
		return nil, errors.Join(l.Close(), &provision.Error{
			Kind: provision.Invalid,
			Say:  "the page would be open to everybody who reaches " + l.Addr().String(),
			Try:  "set a login secret, or listen on 127.0.0.1",
		})
	}
	return l, nil
}

func closeIf(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// begin returns the handler and a context that lives as long as Run, and
// counts a call that Run has to wait for; done must be called at its end.
// ok is false when nobody runs.
func (w *Web) begin() (ctx context.Context, h bot.Handler, done func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.handler == nil {
		return nil, nil, nil, false
	}
	w.handling.Add(1)
	return w.life, w.handler, w.handling.Done, true
}

// living is r's context, ended early when Run ends.
func (w *Web) living(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	w.mu.Lock()
	life := w.life
	w.mu.Unlock()
	if life == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(life, cancel)
	return ctx, func() { stop(); cancel() }
}

// address is the adapter's own form of a bot.Ref.
type address struct {
	Message string `json:"message"`
}

func refTo(id string) bot.Ref {
	raw, err := json.Marshal(address{id})
	if err != nil {
		panic(err) // a struct of a string has JSON
	}
	return raw
}

// locate reads a Ref; bot.ErrGone when it is none of ours.
func locate(at bot.Ref) (string, error) {
	var a address
	if err := json.Unmarshal(at, &a); err != nil || !wellFormed(a.Message) {
		return "", fmt.Errorf("web: %q is no message: %w", string(at), bot.ErrGone)
	}
	return a.Message, nil
}

// Post implements bot.Adapter.
func (w *Web) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if where.Platform != Platform || where.Channel != "" && where.Channel != Channel {
		return nil, fmt.Errorf("web: no conversation %s/%s: %w", where.Platform, where.Channel, bot.ErrGone)
	}
	return refTo(w.room.post(c, "")), nil
}

// Edit implements bot.Adapter. A message that this process does not know, from
// before a restart, is made anew at its old place.
func (w *Web) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, err := locate(at)
	if err != nil {
		return err
	}
	w.room.edit(id, c)
	return nil
}

// Say implements bot.Adapter.
func (w *Web) Say(ctx context.Context, at bot.Ref, lines []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, err := locate(at)
	if err != nil {
		return err
	}
	w.room.say(id, lines)
	return nil
}

// Whisper implements bot.Adapter.
func (w *Web) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if to.By.Platform != Platform {
		return fmt.Errorf("web: %s is not here: %w", to.By.Key(), bot.ErrGone)
	}
	w.room.post(c, to.By.Key())
	return nil
}

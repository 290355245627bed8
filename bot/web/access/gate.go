package access

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"pvebot/provision"
)

// Platform is the actors' platform.
const Platform = "http"

// The ids of those who need no token.
const (
	localID  = "local"
	legacyID = "legacy"
)

// MaxBody is the most that a request may bring, in bytes.
const MaxBody = 64 << 10

// Config is what a Gate goes by; see the package comment.
type Config struct {
	AllowIPs       Addrs // empty: every address
	TrustedProxies Addrs
	AllowOrigins   []string // of pages in browsers, as ParseOrigins has them
	// AllowHosts are names that the bot may be called by in the Host header
	// of requests without a token, beside addresses and localhost. "*" is any.
	AllowHosts []string
	Tokens     []Token
	LegacyRole string // "" for none
	// Shared says that others than the people of this machine come to the bot's
	// port: it listens elsewhere, too, or lets people in who log in.
	Shared bool
}

// trustsHere: that a request comes from this machine is proof of who sent it.
// Behind a proxy everybody does.
func (c Config) trustsHere() bool { return !c.Shared && len(c.TrustedProxies) == 0 }

// Gate is who may come in. Make it with New.
type Gate struct {
	cfg   Config
	cross *http.CrossOriginProtection
}

// New makes a Gate.
func New(cfg Config) (*Gate, error) {
	g := &Gate{cfg: cfg, cross: http.NewCrossOriginProtection()}
	for _, o := range cfg.AllowOrigins {
		if err := g.cross.AddTrustedOrigin(o); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Refuse answers a request that does not get in; err is an *provision.Error.
// The status is 401, 403 or 421.
type Refuse func(w http.ResponseWriter, r *http.Request, status int, err error)

// Caller is who sent a request.
type Caller struct {
	// Actor is nil for those who may only look.
	Actor *provision.Actor
	Addr  netip.Addr
}

type callerKey struct{}

// CallerOf is who sent the request of ctx; nobody outside of Handler.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Admit lets requests through to next whose address may come in at all. It is
// for what does not stand behind Handler.
func (g *Gate) Admit(next http.Handler, refuse Refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, no := g.admit(r); no != nil {
			refuse(w, r, no.status, no.err())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admit finds out where r comes from, and whether that is allowed.
func (g *Gate) admit(r *http.Request) (addr netip.Addr, hidden bool, no *refusal) {
	addr, hidden, err := g.client(r)
	if err != nil || len(g.cfg.AllowIPs) > 0 && !g.cfg.AllowIPs.has(addr) {
		return addr, hidden, &refusal{http.StatusForbidden, "your address is not allowed here", ""}
	}
	return addr, hidden, nil
}

// Here says whether r surely comes from this machine. The error, which is
// Denied, says why nobody can tell.
func (g *Gate) Here(r *http.Request) error {
	addr, hidden, err := g.client(r)
	switch {
	case err == nil && hidden:
		return errHidden.err()
	case !g.cfg.trustsHere():
		return &provision.Error{Kind: provision.Denied, Say: "others come this way, too, so I can't tell who you are"}
	case err != nil || !addr.IsLoopback():
		return &provision.Error{Kind: provision.Denied, Say: "only this machine comes in without a login", Err: err}
	}
	return nil
}

// From is where r comes from, for the log: the address of a client that a
// known proxy names, else that of the peer.
func (g *Gate) From(r *http.Request) string {
	if addr, _, err := g.client(r); err == nil && g.proxied(r) {
		return addr.String()
	}
	return r.RemoteAddr
}

// Secure says whether the client's own connection is HTTPS: ours, or that to a
// known proxy which says so.
func (g *Gate) Secure(r *http.Request) bool {
	return r.TLS != nil || g.proxied(r) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// proxied: one of TRUSTED_PROXIES sends r.
func (g *Gate) proxied(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && g.cfg.TrustedProxies.has(peer.Addr().Unmap().WithZone(""))
}

// Handler lets requests through to next that may come in, with their Caller in
// the context and a body of at most MaxBody bytes, and answers browsers that
// ask whether they may. The others are told by refuse.
func (g *Gate) Handler(next http.Handler, refuse Refuse) http.Handler {
	deny := func(w http.ResponseWriter, r *http.Request, no *refusal) {
		if no.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pvebot"`)
		}
		refuse(w, r, no.status, no.err())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		addr, hidden, no := g.admit(r)
		if no != nil {
			deny(w, r, no)
			return
		}
		answered, no := g.origin(w, r)
		if answered {
			return
		}
		caller := Caller{Addr: addr}
		if no == nil {
			no = g.name(r, &caller, hidden)
		}
		if no != nil {
			deny(w, r, no)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		next.ServeHTTP(w, r)
	})
}

// refusal is why a request does not get in.
type refusal struct {
	status   int
	say, try string
}

func (r *refusal) err() error {
	return &provision.Error{Kind: provision.Denied, Say: r.say, Try: r.try}
}

// origin decides about pages of other sites. A browser that only asks is
// answered. Programs that are no browsers send no Origin.
func (g *Gate) origin(w http.ResponseWriter, r *http.Request) (answered bool, no *refusal) {
	origin := strings.ToLower(r.Header.Get("Origin"))
	asks := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	h := w.Header()
	if len(g.cfg.AllowOrigins) > 0 {
		h.Add("Vary", "Origin")
	}
	if !slices.Contains(g.cfg.AllowOrigins, origin) {
		if asks || g.cross.Check(r) != nil {
			return false, &refusal{http.StatusForbidden, "pages of other sites may not do this", "add the page's origin to ALLOW_ORIGINS"}
		}
		return false, nil
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if asks {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	}
	return asks, nil
}

// sendToken is what to try without one.
const sendToken = "send Authorization: Bearer with one of API_TOKENS"

// name finds out who c is.
func (g *Gate) name(r *http.Request, c *Caller, hidden bool) *refusal {
	if auth := r.Header.Get("Authorization"); auth != "" {
		scheme, text, _ := strings.Cut(auth, " ")
		if t, ok := match(g.cfg.Tokens, strings.TrimSpace(text)); ok && strings.EqualFold(scheme, "Bearer") {
			c.Actor = &provision.Actor{Platform: Platform, ID: t.Name, Name: t.Name}
			return nil
		}
		return &refusal{http.StatusUnauthorized, "I don't know this token", sendToken}
	}
	if public(r) {
		return nil
	}
	// From here on the address is the only proof. A page whose name was made
	// to point here would come with it (DNS rebinding), but with its own name.
	if !g.knows(r.Host) {
		return &refusal{http.StatusMisdirectedRequest, "this is not the host you are looking for", "ALLOW_HOSTS has the names that I go by; with a token any will do"}
	}
	if hidden && !g.cfg.AllowIPs.Everybody() {
		return errHidden
	}
	here := c.Addr.IsLoopback() && g.cfg.trustsHere()
	switch {
	case g.cfg.LegacyRole != "" && g.cfg.AllowIPs.lists(c.Addr):
		c.Actor = &provision.Actor{Platform: Platform, ID: legacyID, Name: "API client " + c.Addr.String()}
	case len(g.cfg.Tokens) == 0 && here:
		c.Actor = &provision.Actor{Platform: Platform, ID: localID, Name: "local API client"}
	case len(g.cfg.AllowIPs) == 0 && !here:
		return g.needToken(c.Addr)
	}
	return nil
}

// errHidden: the address is that of a proxy that nobody told us of.
var errHidden = &refusal{
	http.StatusUnauthorized, "a proxy that I don't know stands in between, so I can't tell where this comes from",
	"set TRUSTED_PROXIES to the proxy's address, and LOGIN_SECRET for people and API_TOKENS for programs",
}

// needToken is the refusal of somebody at addr whose address is no proof.
func (g *Gate) needToken(addr netip.Addr) *refusal {
	no := &refusal{http.StatusUnauthorized, "from elsewhere a token is needed", sendToken}
	if addr.IsLoopback() {
		no.say = "a token is needed, on this machine, too: LOGIN_SECRET, TRUSTED_PROXIES or LISTEN says that others come this way"
	}
	if len(g.cfg.Tokens) == 0 {
		no.try = "set API_TOKENS=NAME:ROLE:TOKEN, and send Authorization: Bearer TOKEN"
	}
	return no
}

// NeedActor is the refusal of somebody who may only look.
func (g *Gate) NeedActor() (status int, err error) {
	if len(g.cfg.Tokens) > 0 {
		return http.StatusUnauthorized, &provision.Error{Kind: provision.Denied, Say: "a token is needed for this", Try: sendToken}
	}
	if !g.cfg.trustsHere() {
		no := g.needToken(netip.IPv6Loopback())
		return no.status, no.err()
	}
	return http.StatusForbidden, &provision.Error{Kind: provision.Denied, Say: "without any API_TOKENS only this machine may do that", Try: "set API_TOKENS"}
}

// public are the questions that anybody may ask: whether the bot lives, and
// what its scripts and its API look like.
func public(r *http.Request) bool {
	return r.URL.Path == "/api/health" || strings.HasPrefix(r.URL.Path, "/sh/") || strings.HasPrefix(r.URL.Path, "/api/v1/openapi.")
}

func (g *Gate) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	return slices.ContainsFunc(g.cfg.AllowHosts, func(h string) bool { return h == "*" || strings.EqualFold(h, host) })
}

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
}

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

// Handler lets requests through to next that may come in, with their Caller in
// the context and a body of at most MaxBody bytes, and answers browsers that
// ask whether they may. The others are told by refuse.
func (g *Gate) Handler(next http.Handler, refuse Refuse) http.Handler {
	deny := func(w http.ResponseWriter, r *http.Request, no *refusal) {
		if no.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pvebot"`)
		}
		refuse(w, r, no.status, &provision.Error{Kind: provision.Denied, Say: no.say, Try: no.try})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		addr, hidden, err := g.client(r)
		if err != nil || len(g.cfg.AllowIPs) > 0 && !g.cfg.AllowIPs.has(addr) {
			deny(w, r, &refusal{http.StatusForbidden, "your address is not allowed here", ""})
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
	here := c.Addr.IsLoopback() && !hidden
	switch {
	case g.cfg.LegacyRole != "" && g.cfg.AllowIPs.lists(c.Addr):
		c.Actor = &provision.Actor{Platform: Platform, ID: legacyID, Name: "API client " + c.Addr.String()}
	case len(g.cfg.Tokens) == 0 && here:
		c.Actor = &provision.Actor{Platform: Platform, ID: localID, Name: "local API client"}
	case len(g.cfg.AllowIPs) == 0 && !here:
		return &refusal{http.StatusUnauthorized, "from elsewhere a token is needed", sendToken}
	}
	return nil
}

// NeedActor is the refusal of somebody who may only look.
func (g *Gate) NeedActor() (status int, err error) {
	if len(g.cfg.Tokens) > 0 {
		return http.StatusUnauthorized, &provision.Error{Kind: provision.Denied, Say: "a token is needed for this", Try: sendToken}
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

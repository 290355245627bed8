package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

const (
	linkLife    = 10 * time.Minute
	sessionLife = 12 * time.Hour
	cookieName  = "pvebot_session"
)

// LoginLink makes a link that logs a browser in as who, once, within ten
// minutes from now. base is the page's URL, secret the one of Config.
func LoginLink(base string, secret []byte, who provision.Actor, now time.Time) string {
	t := sign(secret, "link", ticket{Who: who, From: now, Until: now.Add(linkLife), Once: rand.Text()})
	return strings.TrimSuffix(base, "/") + "/login?ticket=" + url.QueryEscape(t)
}

// ticket is what links and sessions carry, signed.
type ticket struct {
	Who   provision.Actor `json:"who"`
	From  time.Time       `json:"from"`
	Until time.Time       `json:"until"`
	Once  string          `json:"once,omitempty"`
}

// sign writes t so that open can tell it came from us and for which use.
func sign(secret []byte, use string, t ticket) string {
	raw, err := json.Marshal(t)
	if err != nil {
		panic(err) // plain data
	}
	body := base64.RawURLEncoding.EncodeToString(raw)
	return body + "." + base64.RawURLEncoding.EncodeToString(mac(secret, use, body))
}

func mac(secret []byte, use, body string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(use + "\x00" + body))
	return h.Sum(nil)
}

// gatekeeper knows who sends a request.
type gatekeeper struct {
	secret []byte // empty: who is here is actor
	actor  provision.Actor
	clock  cluster.Clock
	links  links
}

func newGatekeeper(cfg Config) *gatekeeper {
	return &gatekeeper{secret: cfg.Secret, actor: cfg.Actor, clock: cfg.Clock, links: links{cfg.Store, cfg.Clock}}
}

// open reads a ticket for a use; false when it is not ours or too old.
func (g *gatekeeper) open(use, s string) (ticket, bool) {
	var t ticket
	body, sum, _ := strings.Cut(s, ".")
	got, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || len(g.secret) < MinSecret || !hmac.Equal(got, mac(g.secret, use, body)) {
		return t, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(raw, &t) != nil {
		return t, false
	}
	return t, g.clock.Now().Before(t.Until)
}

type actorKey struct{}

func withActor(ctx context.Context, who provision.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// actorOf is who sent a request that came through need.
func actorOf(r *http.Request) provision.Actor {
	who, ok := r.Context().Value(actorKey{}).(provision.Actor)
	if !ok {
		panic("web: a route without login asks who is there")
	}
	return who
}

// need lets only known people through to h.
func (g *gatekeeper) need(w *Web, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		who := g.actor
		if len(g.secret) > 0 {
			cookie, err := r.Cookie(cookieName)
			if err != nil {
				w.askLogin(rw, r)
				return
			}
			t, ok := g.open("session", cookie.Value)
			if !ok {
				w.askLogin(rw, r)
				return
			}
			who = t.Who
		} else if err := w.gate.Here(r); err != nil {
			w.askSecret(rw, r, err)
			return
		}
		h(rw, r.WithContext(withActor(r.Context(), who)))
	})
}

// loginView is what the login template shows.
type loginView struct {
	Title, Text string
	Who         string
	Ticket      string // "" has no button
}

func (w *Web) askLogin(rw http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.showLogin(rw, http.StatusUnauthorized, loginView{
			Title: "Who are you?", Text: "This page opens with a login link. Ask the person who runs the bot for one.",
		})
		return
	}
	writeJSON(rw, http.StatusUnauthorized, map[string]provision.Problem{
		"error": {Kind: provision.Denied, Say: "log in first", Try: "open a login link"},
	})
}

// askSecret tells somebody who may be anybody what is to be set before people
// can log in.
func (w *Web) askSecret(rw http.ResponseWriter, r *http.Request, err error) {
	say, try := provision.Explain(err)
	if try == "" {
		try = "set LOGIN_SECRET, and let people in with `bot login`"
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.showLogin(rw, http.StatusUnauthorized, loginView{Title: "Who are you?", Text: "Nobody can log in here: " + say + ". What helps: " + try + "."})
		return
	}
	writeJSON(rw, http.StatusUnauthorized, map[string]provision.Problem{"error": {Kind: provision.Denied, Say: say, Try: try}})
}

func (w *Web) showLogin(rw http.ResponseWriter, status int, v loginView) {
	writeHTML(rw, status, []byte(render("login", v)))
}

var staleLink = loginView{
	Title: "This link is used up", Text: "Login links work once and for ten minutes. Ask for a new one.",
}

// serveLogin shows what a login link offers. Looking does not use it up: chat
// programs look at links, too.
func (w *Web) serveLogin(rw http.ResponseWriter, r *http.Request) {
	raw := r.URL.Query().Get("ticket")
	t, ok := w.login.open("link", raw)
	if ok {
		var err error
		if ok, err = w.login.links.fresh(r.Context(), t); err != nil {
			w.refuse(rw, r, err)
			return
		}
	}
	if !ok {
		w.showLogin(rw, http.StatusForbidden, staleLink)
		return
	}
	w.showLogin(rw, http.StatusOK, loginView{
		Title: "Welcome", Text: "Open the bot's page on this browser for the next 12 hours.", Who: t.Who.String(), Ticket: raw,
	})
}

// takeLogin uses a login link up and starts a session.
func (w *Web) takeLogin(rw http.ResponseWriter, r *http.Request) {
	t, ok := w.login.open("link", r.PostFormValue("ticket"))
	if ok {
		var err error
		if ok, err = w.login.links.take(r.Context(), t); err != nil {
			w.refuse(rw, r, err)
			return
		}
	}
	if !ok {
		w.showLogin(rw, http.StatusForbidden, staleLink)
		return
	}
	now := w.cfg.Clock.Now()
	http.SetCookie(rw, &http.Cookie{
		Name: cookieName, Path: "/", HttpOnly: true, Secure: w.gate.Secure(r), SameSite: http.SameSiteStrictMode,
		Value:  sign(w.cfg.Secret, "session", ticket{Who: t.Who, From: now, Until: now.Add(sessionLife)}),
		MaxAge: int(sessionLife / time.Second),
	})
	w.log.InfoContext(r.Context(), "login", "who", t.Who.Key(), "peer", w.gate.From(r))
	http.Redirect(rw, r, "/", http.StatusSeeOther)
}

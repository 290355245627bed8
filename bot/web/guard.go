package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"pvebot/bot/web/access"
	"pvebot/provision"
)

//go:embed assets
var assetFiles embed.FS

// maxBody is the most that a request may bring, in bytes.
const maxBody = 64 << 10

// policy lets the page use its own files and nothing else: no inline script,
// no inline style, no frame around it.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// route is a path of the page.
type route struct {
	pattern string
	open    bool // needs no login
	do      http.HandlerFunc
}

// routes are the paths of the page, which its gate stands before.
func (w *Web) routes() []route {
	return []route{
		{"GET /assets/{name}", true, serveAsset},
		{"GET /login", true, w.serveLogin},
		{"POST /login", true, w.takeLogin},

		{"GET /{$}", false, w.servePage},
		{"GET /chat/events", false, w.serveChat},
		{"GET /chat/complete", false, w.serveCompletions},
		{"GET /chat/messages/{id}/thread", false, w.serveThread},
		{"GET /chat/jobs/{id}", false, w.serveCard},
		{"POST /chat/command", false, w.takeCommand},
		{"POST /chat/click", false, w.takeClick},
		{"POST /chat/submit", false, w.takeForm},
	}
}

// page is what people and probes come to. Probes come from anywhere: how the
// bot is says nothing of who works with it.
func (w *Web) page() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", w.serveHealth)
	mux.HandleFunc("GET /readyz", w.serveReady)
	if w.cfg.Metrics != nil {
		mux.Handle("GET /metrics", w.cfg.Metrics)
	}
	if w.cfg.Bare {
		return mux
	}
	guarded := http.NewServeMux()
	for _, r := range w.routes() {
		if r.open {
			guarded.HandleFunc(r.pattern, r.do)
		} else {
			guarded.Handle(r.pattern, w.login.need(w, r.do))
		}
	}
	mux.Handle("/", w.gate.Admit(guarded, func(rw http.ResponseWriter, r *http.Request, _ int, err error) { w.refuse(rw, r, err) }))
	return mux
}

// front parts the page, which is guarded here, from the API, which guards
// itself by the same gate, and the hooks, whose callers sign what they send.
func (w *Web) front() http.Handler {
	mux := http.NewServeMux()
	timely := func(h http.Handler) http.Handler { return access.Timely(h, w.cfg.Clock) }
	mux.Handle("/", timely(w.guard(w.page())))
	for path, hook := range w.cfg.Hooks {
		mux.Handle(path, hook)
	}
	if w.cfg.API != nil {
		api := timely(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ctx, done := w.living(r)
			defer done()
			w.cfg.API.ServeHTTP(rw, r.WithContext(ctx))
		}))
		mux.Handle("/api/", api)
		mux.Handle("/sh/", api)
		mux.Handle("/clusters/", api)
	}
	return mux
}

// logged writes every request to the log.
func (w *Web) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		began := w.cfg.Clock.Now()
		rec := &recorder{ResponseWriter: rw}
		next.ServeHTTP(rec, r)
		w.log.LogAttrs(r.Context(), slog.LevelDebug, "http", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", rec.status), slog.Duration("took", w.cfg.Clock.Now().Sub(began)), slog.String("peer", w.gate.From(r)))
	})
}

// guard is what every request for the page goes through first.
func (w *Web) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.refuse(rw, r, provision.Errorf(provision.Denied, "another site may not do this"))
	}))
	next = cross.Handler(next)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(rw, r.Body, maxBody)
		if w.knows(r.Host) {
			next.ServeHTTP(rw, r)
		} else {
			http.Error(rw, "this is not the host you are looking for", http.StatusMisdirectedRequest)
		}
	})
}

// knows reports whether the page may be called host. A name that an attacker's
// DNS points at us (rebinding) is none of ours.
func (w *Web) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsUnspecified() // an address is nobody's name
	}
	if host == "localhost" {
		return true
	}
	return slices.ContainsFunc(w.cfg.AllowHosts, func(a string) bool { return a == "*" || strings.EqualFold(a, host) })
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// refuse answers with err: the sentence for people, never the cause.
func (w *Web) refuse(rw http.ResponseWriter, r *http.Request, err error) {
	err, late := access.Late(r.Context(), err)
	kind := provision.KindOf(err)
	say, try := provision.Explain(err)
	status := access.StatusOf(kind)
	if late {
		status = http.StatusGatewayTimeout
	}
	if status == http.StatusInternalServerError {
		kind, say, try = provision.Internal, "something went wrong in the bot", ""
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		w.log.ErrorContext(r.Context(), "http", "path", r.URL.Path, "err", err)
	}
	writeJSON(rw, status, map[string]provision.Problem{"error": {Kind: kind, Say: say, Try: try}})
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(rw, "something went wrong in the bot", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.WriteHeader(status)
	_, _ = rw.Write(append(b, '\n')) // a reader that went away needs no answer
}

func writeHTML(rw http.ResponseWriter, status int, html []byte) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(status)
	_, _ = rw.Write(html)
}

// asset is a file of the page with the hash that names its version.
type asset struct {
	body []byte
	mime string
	etag string
}

var assets = loadAssets()

func loadAssets() map[string]asset {
	mimes := map[string]string{".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
	all := map[string]asset{}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		ext := e.Name()[strings.LastIndexByte(e.Name(), '.'):]
		all[e.Name()] = asset{body, mimes[ext] + "; charset=utf-8", `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all
}

// serveAsset answers with a file of the page. Browsers ask each time whether
// theirs is still right, so that a new bot never meets an old script.
func serveAsset(rw http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.PathValue("name")]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	h := rw.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Type", a.mime)
	h.Set("ETag", a.etag)
	if r.Header.Get("If-None-Match") == a.etag {
		rw.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = rw.Write(a.body)
}

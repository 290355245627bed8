package discordfake

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var versionRE = regexp.MustCompile(`^/api/v(9|10)(/.*)$`)

// ServeHTTP implements http.Handler: REST, and the gateway at /gateway.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/gateway" || strings.HasPrefix(r.URL.Path, "/gateway/") {
		f.serveGateway(w, r)
		return
	}
	m := versionRE.FindStringSubmatch(r.URL.Path) // with %40 decoded
	if m == nil {
		http.Error(w, "404: Not Found", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return
	}
	body, files, err := attached(r.Header.Get("Content-Type"), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault := f.fault(r.Method, m[2])
	if fault != nil && fault.Hang > 0 && f.clock.Sleep(r.Context(), fault.Hang) != nil {
		return
	}
	f.mu.Lock()
	var a reply
	if fault != nil && fault.Status != 0 {
		a = fault.reply()
	} else {
		a = f.answer(r, m[2], body, files)
	}
	call := Call{At: f.clock.Now(), Method: r.Method, Path: m[2], Body: body, Status: a.status, Code: a.code}
	if _, text := a.body.(string); !text && a.body != nil {
		call.Answer, _ = json.Marshal(a.body) // maps of what JSON has
	}
	f.journal = append(f.journal, call)
	f.mu.Unlock()
	if fault != nil && fault.Lose {
		panic(http.ErrAbortHandler)
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.status == http.StatusNoContent || a.body == nil {
		// Without a content type: clients would look for JSON.
		w.WriteHeader(a.status)
		return
	}
	if text, ok := a.body.(string); ok {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(call.Answer)
}

func (f *Fake) fault(method, path string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, x := range f.faults {
		if x.Method != "" && x.Method != method || !strings.Contains(path, x.Path) {
			continue
		}
		if x.Times == 1 {
			f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
		}
		x.Times--
		found := *x
		return &found
	}
	return nil
}

func (x *Fault) reply() reply {
	if x.Body != "" {
		return reply{status: x.Status, body: x.Body}
	}
	if x.Status == http.StatusTooManyRequests {
		return limited(time.Duration(x.After*float64(time.Second)), x.Global, x.Code)
	}
	return refuse(x.Status, x.Code, "broken by the test")
}

// answer answers a call; f.mu is held.
func (f *Fake) answer(r *http.Request, path string, body []byte, files []File) reply {
	p := strings.Split(strings.Trim(path, "/"), "/")
	at := func(i int) string {
		if i < len(p) {
			return p[i]
		}
		return ""
	}
	route := func(method string, n int) bool { return r.Method == method && len(p) == n }

	// Whose path holds a token needs no other.
	switch p[0] {
	case "interactions":
		if route("POST", 4) && at(3) == "callback" {
			return f.callback(at(1), at(2), body)
		}
		return refuse(404, 0, "404: Not Found")
	case "webhooks":
		return f.webhook(r.Method, p, body)
	}
	if r.Header.Get("Authorization") != "Bot "+f.cfg.Token {
		return refuse(401, 0, "401: Unauthorized")
	}
	if !f.cfg.Unlimited {
		if b := f.bucket("global", 50, time.Second); !b.take(f.clock.Now()) {
			return limited(b.reset.Sub(f.clock.Now()), true, 0)
		}
	}
	switch {
	case route("GET", 1) && at(0) == "gateway":
		return ok(map[string]any{"url": f.gatewayURL()})
	case route("GET", 2) && at(0) == "gateway":
		return ok(map[string]any{"url": f.gatewayURL(), "shards": 1, "session_start_limit": map[string]any{
			"total": 1000, "remaining": max(0, f.cfg.Sessions-f.identified), "reset_after": 14400000, "max_concurrency": 1,
		}})
	case route("GET", 2) && at(0) == "applications" && at(1) == "@me":
		return ok(map[string]any{"id": App, "name": "pvebot", "description": "", "icon": nil, "flags": 0, "verify_key": "00"})
	case route("GET", 2) && at(0) == "users" && at(1) == "@me":
		return ok(map[string]any{"id": botUser, "username": "pvebot", "discriminator": "0", "bot": true})
	case route("GET", 3) && at(0) == "users" && at(1) == "@me" && at(2) == "guilds":
		return ok(f.guilds(r.URL.Query().Get("after")))
	case at(0) == "applications" && at(1) == App && at(2) == "guilds" && (at(3) != Guild || f.scopeless):
		return refuse(403, 50001, "Missing Access")
	case at(0) == "applications" && at(1) == App && at(len(p)-1) == "commands":
		return f.serveCommands(r.Method, strings.Join(p[2:], "/"), body)
	case route("POST", 3) && at(0) == "users" && at(2) == "channels":
		return f.openDM(body)
	case route("GET", 4) && at(0) == "guilds" && at(2) == "members":
		return f.serveMember(at(1), at(3))
	case at(0) == "channels":
		return f.serveChannel(r.Method, p, body, files)
	}
	f.complain("Discord has no %s %s", r.Method, path)
	return refuse(404, 0, "404: Not Found")
}

// serveChannel answers what is below /channels, within its buckets.
func (f *Fake) serveChannel(method string, p []string, body []byte, files []File) reply {
	name := method + "/" + strings.Join(p[:min(len(p), 3)], "/")
	if len(p) > 3 {
		name += "/*" + strings.Join(p[4:], "/")
	}
	limit := 5
	if f.cfg.Unlimited {
		limit = 1e6
	}
	b := f.bucket(name, limit, 5*time.Second)
	now := f.clock.Now()
	if !b.take(now) {
		a := limited(b.reset.Sub(now), false, 0)
		for k, v := range b.headers(name, now) {
			a.header[k] = v
		}
		return a
	}
	a := f.doChannel(method, p, body, files)
	if a.header == nil {
		a.header = b.headers(name, now)
	}
	return a
}

func (f *Fake) doChannel(method string, p []string, body []byte, files []File) reply {
	switch {
	case method == "POST" && len(p) == 3 && p[2] == "messages":
		return f.createMessage(p[1], body, files)
	case method == "PATCH" && len(p) == 4 && p[2] == "messages":
		return f.editMessage(p[1], p[3], body)
	case method == "POST" && len(p) == 5 && p[4] == "threads":
		return f.startThread(p[1], p[3], body)
	case method == "GET" && len(p) == 2:
		return f.showChannel(p[1])
	case method == "PATCH" && len(p) == 2:
		return f.changeChannel(p[1], body)
	}
	f.complain("Discord has no %s /%s", method, strings.Join(p, "/"))
	return refuse(404, 0, "404: Not Found")
}

func (f *Fake) serveCommands(method, scope string, body []byte) reply {
	switch method {
	case "GET":
		return ok(orEmpty(f.commands[scope]))
	case "PUT":
		var all []map[string]any
		if err := json.Unmarshal(body, &all); err != nil {
			return refuse(400, 50035, "Invalid Form Body")
		}
		ck := &checker{}
		for _, c := range all {
			if n := ck.command("command", c, 0); n > 8000 {
				ck.fail("command: %d characters are too many", n)
			}
			c["id"], c["application_id"], c["version"], c["nsfw"] = f.id(), App, f.id(), false
			c["default_member_permissions"] = nil
			if c["type"] == nil {
				c["type"] = 1
			}
		}
		if len(ck.wrong) > 0 {
			return reply{status: 400, code: 50035, body: map[string]any{"code": 50035, "message": "Invalid Form Body", "errors": map[string]any{"_errors": ck.wrong}}}
		}
		f.commands[scope] = all
		return ok(orEmpty(all))
	}
	return refuse(405, 0, "405: Method Not Allowed")
}

func (f *Fake) openDM(body []byte) reply {
	var to struct {
		ID string `json:"recipient_id"`
	}
	_ = json.Unmarshal(body, &to)
	if _, known := f.roles[to.ID]; !known {
		return refuse(400, 50033, "Invalid Recipient(s)")
	}
	for _, c := range f.channels {
		if c.with == to.ID {
			return ok(map[string]any{"id": c.id, "type": dmRoom})
		}
	}
	c := &channel{id: f.id(), kind: dmRoom, with: to.ID, denied: map[Permission]bool{}}
	f.channels[c.id] = c
	return ok(map[string]any{"id": c.id, "type": dmRoom})
}

func (f *Fake) serveMember(guild, person string) reply {
	roles, known := f.roles[person]
	switch {
	case guild != Guild:
		return refuse(404, 10004, "Unknown Guild")
	case !known:
		return refuse(404, 10007, "Unknown Member")
	}
	return ok(f.member(person, roles))
}

// member is a person in the server; f.mu is held.
func (f *Fake) member(person string, roles []string) map[string]any {
	return map[string]any{
		"user": map[string]any{
			"id": person, "username": nameOf(person), "global_name": nil, "discriminator": "0", "avatar": nil,
			"public_flags": 0, "flags": 0, "primary_guild": nil,
		},
		"roles": append([]string{}, roles...), "nick": nil, "joined_at": "2024-01-01T00:00:00Z", "deaf": false, "mute": false, "flags": 0,
		"avatar": nil, "banner": nil, "communication_disabled_until": nil, "pending": false, "premium_since": nil,
		"permissions": "0",
	}
}

func nameOf(person string) string { return map[string]string{Alice: "alice", Bob: "bob"}[person] }

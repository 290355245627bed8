package slackfake

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// method is one of the Web API.
type method struct {
	tier  tier
	app   bool     // wants the app-level token, in the header
	scope string   // that the bot token must have
	args  []string // that it knows
	// run does it, f.mu held. A code that is not "" is the error.
	run func(f *Fake, args map[string]string) (answer map[string]any, code string)
}

var methods map[string]method

func init() { // a literal would refer to itself through the functions
	chatArgs := []string{"channel", "text", "blocks", "metadata", "parse", "link_names"}
	methods = map[string]method{
		"auth.test":             {tier: tierAuth, run: (*Fake).authTest},
		"bots.info":             {tier: tier3, scope: "users:read", args: []string{"bot"}, run: (*Fake).botInfo},
		"apps.connections.open": {tier: tier3, app: true, run: (*Fake).openSocket},
		"chat.postMessage": {
			tier: tierPost, scope: "chat:write", run: (*Fake).postMessage,
			args: append(slices.Clone(chatArgs), "thread_ts", "reply_broadcast", "unfurl_links", "unfurl_media", "mrkdwn"),
		},
		"chat.update": {tier: tier3, scope: "chat:write", args: append(slices.Clone(chatArgs), "ts"), run: (*Fake).update},
		"chat.delete": {tier: tier3, scope: "chat:write", args: []string{"channel", "ts"}, run: (*Fake).remove},
		"chat.postEphemeral": {
			tier: tier4, scope: "chat:write", args: append(slices.Clone(chatArgs), "user", "thread_ts"), run: (*Fake).postEphemeral,
		},
		"views.open":                   {tier: tier4, args: []string{"trigger_id", "view"}, run: (*Fake).openView},
		"usergroups.users.list":        {tier: tier2, scope: "usergroups:read", args: []string{"usergroup"}, run: (*Fake).groupUsers},
		"conversations.open":           {tier: tier3, scope: "im:write", args: []string{"users", "return_im"}, run: (*Fake).openDM},
		"files.getUploadURLExternal":   {tier: tier4, scope: "files:write", args: []string{"filename", "length"}, run: (*Fake).openUpload},
		"files.completeUploadExternal": {tier: tier4, scope: "files:write", args: []string{"files", "channel_id", "thread_ts"}, run: (*Fake).completeUpload},
		"conversations.history": {
			tier: tier3, scope: "channels:history", run: (*Fake).history,
			args: []string{"channel", "oldest", "latest", "inclusive", "limit", "include_all_metadata", "cursor"},
		},
	}
}

// ServeHTTP implements http.Handler.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/"):
		f.serveAPI(w, r, strings.TrimPrefix(r.URL.Path, "/api/"))
	case strings.HasPrefix(r.URL.Path, "/hook/"):
		f.serveHook(w, r, strings.TrimPrefix(r.URL.Path, "/hook/"))
	case strings.HasPrefix(r.URL.Path, "/upload/"):
		f.serveUpload(w, r, strings.TrimPrefix(r.URL.Path, "/upload/"))
	case r.URL.Path == "/socket":
		f.serveSocket(w, r)
	default:
		f.mu.Lock()
		f.complain("asked for %s", r.URL.Path)
		f.mu.Unlock()
		http.NotFound(w, r)
	}
}

func (f *Fake) serveAPI(w http.ResponseWriter, r *http.Request, name string) {
	args, token, err := arguments(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	answer, code, broken := f.call(name, args, token)
	f.journal = append(f.journal, Call{At: f.clock.Now(), Method: name, Args: args, Error: code})
	scopes := strings.Join(f.cfg.Scopes, ",")
	f.mu.Unlock()
	if name == "auth.test" {
		w.Header().Set("X-OAuth-Scopes", scopes)
	}
	respond(w, answer, code, broken)
}

// respond answers, or breaks as a fault says.
func respond(w http.ResponseWriter, answer map[string]any, code string, broken Fault) {
	switch {
	case broken.Lose:
		panic(http.ErrAbortHandler) // cuts the connection
	case broken.Status != 0:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(broken.Status)
		fmt.Fprint(w, "<html><body>Server Error</body></html>")
		return
	case broken.RetryAfter != 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(broken.RetryAfter.Seconds()))))
		w.WriteHeader(http.StatusTooManyRequests)
	}
	if answer == nil {
		answer = map[string]any{}
	}
	answer["ok"] = code == ""
	if code != "" {
		answer["error"] = code
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// call does a call; f.mu is held.
func (f *Fake) call(name string, args map[string]string, token string) (map[string]any, string, Fault) {
	m, ok := methods[name]
	if !ok {
		f.complain("unknown method %s", name)
		return nil, "unknown_method", Fault{}
	}
	for arg := range args {
		if !slices.Contains(m.args, arg) {
			f.complain("%s does not know the argument %s", name, arg)
		}
	}
	want := f.cfg.BotToken
	if m.app {
		want = f.cfg.AppToken
	}
	switch {
	case token == "":
		return nil, "not_authed", Fault{}
	case token != want && (token == f.cfg.BotToken || token == f.cfg.AppToken):
		return nil, "not_allowed_token_type", Fault{}
	case token != want:
		return nil, "invalid_auth", Fault{}
	case m.scope != "" && !slices.Contains(f.cfg.Scopes, m.scope):
		return map[string]any{"needed": m.scope, "provided": strings.Join(f.cfg.Scopes, ",")}, "missing_scope", Fault{}
	}
	broken, broke := f.faultOf(name)
	if broke && !broken.Lose {
		switch {
		case broken.Code != "":
			return nil, broken.Code, Fault{}
		case broken.RetryAfter != 0:
			return nil, "ratelimited", broken
		}
		return nil, fmt.Sprintf("status %d", broken.Status), broken
	}
	if wait := f.rate(name, m.tier, args["channel"]); wait > 0 {
		return nil, "ratelimited", Fault{RetryAfter: wait}
	}
	answer, code := m.run(f, args)
	return answer, code, broken
}

// rate counts a call. It returns how long to wait when it is one too many;
// f.mu is held.
func (f *Fake) rate(name string, t tier, channel string) time.Duration {
	if f.cfg.Unlimited {
		return 0
	}
	if wait := f.bucket(name, perMinute[t], rateWindow); wait > 0 {
		return wait
	}
	if t == tierPost {
		return f.bucket("post "+channel, postBurst, postBurst*time.Second)
	}
	return 0
}

func (f *Fake) bucket(name string, most int, window time.Duration) time.Duration {
	now := f.clock.Now()
	recent := slices.DeleteFunc(f.calls[name], func(at time.Time) bool { return now.Sub(at) >= window })
	if len(recent) >= most {
		f.calls[name] = recent
		return recent[0].Add(window).Sub(now)
	}
	f.calls[name] = append(recent, now)
	return 0
}

// arguments reads a form or a JSON body, and the token from either of its
// places.
func arguments(r *http.Request) (map[string]string, string, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, "", err
	}
	args := map[string]string{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var fields map[string]json.RawMessage
		if len(body) > 0 {
			if err := json.Unmarshal(body, &fields); err != nil {
				return nil, "", err
			}
		}
		for name, raw := range fields {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				s = string(raw)
			}
			args[name] = s
		}
		return args, token, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "", err
	}
	for name := range form {
		args[name] = form.Get(name)
	}
	if t, ok := args["token"]; ok {
		token = t
		delete(args, "token")
	}
	return args, token, nil
}

func (f *Fake) authTest(map[string]string) (map[string]any, string) {
	return map[string]any{
		"url": "https://fake.slack.com/", "team": "Fake", "user": "pvebot",
		"team_id": Team, "user_id": Bot, "bot_id": botID,
	}, ""
}

func (f *Fake) botInfo(args map[string]string) (map[string]any, string) {
	if args["bot"] != botID {
		return nil, "bot_not_found"
	}
	return map[string]any{"bot": map[string]any{"id": botID, "app_id": f.cfg.BotApp, "user_id": Bot, "name": "pvebot", "deleted": false}}, ""
}

func (f *Fake) groupUsers(args map[string]string) (map[string]any, string) {
	if f.noGroups {
		return nil, "plan_upgrade_required"
	}
	people, ok := f.groups[args["usergroup"]]
	if !ok {
		return nil, "no_such_subteam"
	}
	return map[string]any{"users": people}, ""
}

func (f *Fake) openDM(args map[string]string) (map[string]any, string) {
	user := args["users"]
	if !f.users[user] {
		return nil, "user_not_found"
	}
	return map[string]any{"channel": map[string]any{"id": f.dm(user).id}}, ""
}

// dm is the conversation of a person with the bot; f.mu is held.
func (f *Fake) dm(user string) *channel {
	id := DM(user)
	if f.channels[id] == nil {
		f.channels[id] = &channel{id: id, private: true, members: set(user, Bot)}
	}
	return f.channels[id]
}

// DM is the id of a person's conversation with the bot.
func DM(user string) string { return "D" + strings.TrimPrefix(user, "U") }

package slackfake

import (
	"net/http"
	"slices"
	"time"
)

// hook is a response URL: five uses in thirty minutes.
type hook struct {
	by, channel, ts string
	at              time.Time
	uses            int
}

var hookArgs = []string{
	"text", "blocks", "response_type", "replace_original", "delete_original", "thread_ts",
	"parse", "unfurl_links", "unfurl_media", "mrkdwn",
}

func (f *Fake) serveHook(w http.ResponseWriter, r *http.Request, name string) {
	args, _, err := arguments(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	details, code, broken := f.useHook(name, args)
	f.journal = append(f.journal, Call{At: f.clock.Now(), Method: "hook", Args: args, Error: code})
	f.mu.Unlock()
	if code != "" && broken == (Fault{}) {
		w.WriteHeader(http.StatusNotFound)
	}
	respond(w, details, code, broken)
}

// useHook answers an interaction; f.mu is held.
func (f *Fake) useHook(name string, args map[string]string) (map[string]any, string, Fault) {
	for arg := range args {
		if !slices.Contains(hookArgs, arg) {
			f.complain("a response URL does not know the argument %s", arg)
		}
	}
	broken, broke := f.faultOf("hook")
	if broke && !broken.Lose {
		return nil, "status", broken
	}
	h := f.hooks[name]
	switch {
	case h == nil:
		return nil, "no_service", Fault{}
	case f.clock.Now().Sub(h.at) > hookTime:
		return nil, "expired_url", Fault{}
	case h.uses >= maxHookUses:
		return nil, "used_url", Fault{}
	}
	h.uses++
	v, details, code := f.content("hook", args)
	if code != "" {
		return details, code, Fault{}
	}
	c := f.channels[h.channel]
	switch {
	case args["response_type"] == "in_channel":
		c.messages = append(c.messages, &message{ts: f.ts(), by: "response_url", shown: []Version{v}})
	case args["replace_original"] == "true" && h.ts != "" && c.find(h.ts) != nil:
		m := c.find(h.ts)
		m.shown = append(m.shown, v)
	case args["replace_original"] == "true" && h.ts != "":
		for i := range f.ephemerals {
			if f.ephemerals[i].TS == h.ts && f.ephemerals[i].To == h.by {
				f.ephemerals[i].Version = v
			}
		}
	default:
		f.whisper(h.by, h.channel, v)
	}
	return nil, "", broken
}

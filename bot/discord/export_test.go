package discord

import (
	"encoding/json"

	"pvebot/bot"
)

// Sizes is how much is remembered: buckets and interactions.
func (d *Discord) Sizes() (buckets, interactions int) {
	d.limits.mu.Lock()
	buckets = len(d.limits.buckets)
	d.limits.mu.Unlock()
	d.seen.mu.Lock()
	defer d.seen.mu.Unlock()
	return buckets, len(d.seen.known)
}

// What the tests look into.
var (
	Render = func(c bot.Card) any { return render(c) }
	LineOf = lineOf
	Spoken = spoken
	Ration = ration
	Modal  = modal
	FormOf = formOf

	HeartbeatOf = heartbeatOf
)

// Escape is a text as it is sent.
func Escape(s string, most int) string { p := page{left: most}; return p.shown(s, most) }

// Parse reads an interaction; ok is false when it means nothing.
func (d *Discord) Parse(raw []byte) (in bot.Inbound, ok bool) {
	e, err := d.parse(json.RawMessage(raw))
	if e == nil || err != nil {
		return bot.Inbound{}, false
	}
	return e.in, true
}

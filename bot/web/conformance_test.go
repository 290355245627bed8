package web

import (
	"html"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/provision"
)

var testSecret = []byte("sixteen bytes or more")

// session is a cookie for who.
func session(w *Web, who provision.Actor) string {
	now := w.cfg.Clock.Now()
	t := ticket{Who: who, From: now, Until: now.Add(sessionLife)}
	return cookieName + "=" + sign(testSecret, "session", t)
}

// screen is the page as people read it: the snapshot's HTML without its tags.
type screen struct{ w *Web }

var (
	tags    = regexp.MustCompile(`<[^>]*>`)
	private = `class="private"`
)

func text(fragment string) string { return html.UnescapeString(tags.ReplaceAllString(fragment, " ")) }

func (s screen) cards(viewer string) []string {
	all, _, _ := s.w.room.snapshot(sight{key: viewer, jobs: true})
	var cards []string
	for _, m := range all {
		if strings.Contains(string(m), `class="message bot`) {
			cards = append(cards, string(m))
		}
	}
	return cards
}

func (s screen) Messages(provision.Conversation) []bottest.Message {
	var ms []bottest.Message
	for _, c := range s.cards("nobody") {
		m := bottest.Message{Text: text(c)}
		id := regexp.MustCompile(`id="(m[0-9a-f]+)"`).FindStringSubmatch(c)[1]
		thread, _ := s.w.room.thread(id, sight{jobs: true})
		for _, l := range regexp.MustCompile(`(?s)<p class="line [^>]*>(.*?)</p>`).FindAllStringSubmatch(string(thread), -1) {
			m.Thread = append(m.Thread, text(l[1]))
		}
		ms = append(ms, m)
	}
	return ms
}

func (s screen) Whispers(to provision.Actor) []string {
	var got []string
	for _, c := range s.cards(to.Key()) {
		if strings.Contains(c, private) {
			got = append(got, text(c))
		}
	}
	return got
}

func newRig(t testing.TB) bottest.Rig {
	l := listener(t)
	t.Cleanup(func() { _ = l.Close() })
	w := New(Config{Store: newMemory(), Inventory: threeNodes, Secret: testSecret, Listener: l})
	send := func(by provision.Actor, path, body string) {
		awaitHandler(t, w)
		res := post(t, w.URL()+path, body, "Cookie", session(w, by))
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	button := regexp.MustCompile(`data-button="([^"]*)"[^>]*>([^<]*)<`)
	return bottest.Rig{
		Adapter: w, Screen: screen{w}, Where: provision.Conversation{Platform: Platform, Channel: Channel},
		Type: func(by provision.Actor, id, line string) {
			send(by, "/chat/command", `{"id":"interaction-`+id+`","text":`+strconv.Quote(line)+`}`)
		},
		Press: func(by provision.Actor, id, label string) {
			card := screen{w}.cards("nobody")[0]
			ref := regexp.MustCompile(`id="(m[0-9a-f]+)"`).FindStringSubmatch(card)[1]
			all := button.FindAllStringSubmatch(card, -1)
			i := slices.IndexFunc(all, func(b []string) bool { return b[2] == label })
			send(by, "/chat/click", `{"id":"interaction-`+id+`","message":"`+ref+`","button":"`+html.UnescapeString(all[i][1])+`"}`)
		},
		People: []provision.Actor{{Platform: Platform, ID: "alice"}, {Platform: Platform, ID: "bob"}},
	}
}

func TestConformance(t *testing.T) { bottest.Run(t, bottest.Harness{New: newRig}) }

// TestEditAfterRestart is our promise beyond the suite's: a card from before a
// restart comes back at its old place.
func TestEditAfterRestart(t *testing.T) {
	before := New(Config{Store: newMemory(), Inventory: threeNodes})
	where := provision.Conversation{Platform: Platform}
	ref, err := before.Post(t.Context(), where, bot.Card{Job: 1, Title: "the old one"})
	if err != nil {
		t.Fatal(err)
	}
	after := New(Config{Store: newMemory(), Inventory: threeNodes})
	if _, err := after.Post(t.Context(), where, bot.Card{Job: 2, Title: "the new one"}); err != nil {
		t.Fatal(err)
	}
	if err := after.Say(t.Context(), ref, []string{"a line"}); err != nil {
		t.Fatal(err)
	}
	if err := after.Edit(t.Context(), ref, bot.Card{Job: 1, Title: "the old one, done"}); err != nil {
		t.Fatal(err)
	}
	ms := screen{after}.Messages(where)
	if len(ms) != 2 || !strings.Contains(ms[0].Text, "the old one, done") || len(ms[0].Thread) != 1 {
		t.Errorf("after a restart the page shows %q", ms)
	}
}

func TestForeignRefs(t *testing.T) {
	w := New(Config{Store: newMemory(), Inventory: threeNodes})
	for _, ref := range []string{``, `null`, `{}`, `"m"`, `{"message":"../../x"}`, `{"message":"m0000000000000g"}`, `{"ts":"1"}`} {
		if err := w.Edit(t.Context(), bot.Ref(ref), bot.Card{}); !isGone(err) {
			t.Errorf("Edit at %s: %v", ref, err)
		}
		if err := w.Say(t.Context(), bot.Ref(ref), []string{"x"}); !isGone(err) {
			t.Errorf("Say at %s: %v", ref, err)
		}
	}
	for _, where := range []provision.Conversation{{}, {Platform: "slack", Channel: "C1"}, {Platform: Platform, Channel: "other"}} {
		if _, err := w.Post(t.Context(), where, bot.Card{}); !isGone(err) {
			t.Errorf("Post to %v: %v", where, err)
		}
	}
	if err := w.Whisper(t.Context(), bot.Inbound{By: provision.Actor{Platform: "slack", ID: "U1"}}, bot.Card{}); !isGone(err) {
		t.Errorf("Whisper to Slack: %v", err)
	}
}

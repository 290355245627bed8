package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/console"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/bot/door"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
	"pvebot/bot/web"
	"pvebot/provision"
)

// listen is a listener on loopback that ends with the test.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func slackScene(t *testing.T, h *house) scene {
	fake := slackfake.New(slackfake.Config{})
	fake.Start(listen(t))
	t.Cleanup(fake.Close)
	s, err := slack.New(slack.Config{BotToken: slackfake.BotToken, AppToken: slackfake.AppToken, APIURL: fake.URL(), Clock: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return roomScene(s, fake.Place(), provision.Actor{Platform: slack.Platform, ID: slackfake.Bob})
}

func discordScene(t *testing.T, h *house) scene {
	fake := discordfake.New(discordfake.Config{})
	fake.Start(listen(t))
	t.Cleanup(fake.Close)
	d, err := discord.New(discord.Config{Token: discordfake.Token, APIURL: fake.URL(), GuildID: discordfake.Guild, Clock: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return roomScene(d, fake.Place(), provision.Actor{Platform: discord.Platform, ID: discordfake.Bob})
}

// roomScene is the first room of a simulated chat.
func roomScene(a bot.Adapter, place door.Place, bob provision.Actor) scene {
	room := place.Rooms()[0].ID
	id := func(who string) string {
		people := place.People()
		return people[slices.IndexFunc(people, func(n door.Named) bool { return n.Name == who })].ID
	}
	newest := func(who string, private bool, ok func(door.Message) bool) door.Message {
		for _, m := range slices.Backward(place.Look(id(who), room)) {
			if m.Private == private && ok(m) {
				return m
			}
		}
		return door.Message{}
	}
	any := func(door.Message) bool { return true }
	return scene{
		adapter: a, bob: bob,
		types: func(t *testing.T, who, line string) {
			t.Helper()
			// The bot may not be there yet.
			var err error
			until(t, who+" types "+line, func() bool { err = place.Type(t.Context(), id(who), room, line); return err == nil })
		},
		press: func(t *testing.T, who, label string) {
			t.Helper()
			has := func(m door.Message) bool { return slices.Contains(m.Buttons, label) }
			until(t, "a button "+label, func() bool { return has(newest(who, false, any)) })
			if err := place.Press(t.Context(), id(who), room, newest(who, false, has).ID, label); err != nil {
				t.Fatal(err)
			}
			if sure := newest(who, true, any); has(sure) { // do you mean it?
				if err := place.Press(t.Context(), id(who), room, sure.ID, label); err != nil {
					t.Fatal(err)
				}
			}
		},
		all: func(*testing.T) string { return newest("alice", false, any).Text },
		own: func(_ *testing.T, who string) string { return newest(who, true, any).Text },
	}
}

// webScene is the page in the browsers of two people.
func webScene(t *testing.T, h *house) scene {
	secret := []byte("sixteen bytes or more")
	page := web.New(web.Config{Store: h.store, Inventory: h.engine, Clock: h.clock, Listener: listen(t), Secret: secret, MaySee: h.maySee})
	browsers := map[string]*http.Client{}
	bob := provision.Actor{Platform: web.Platform, ID: "bob", Name: "bob"}
	browser := func(t *testing.T, who string) *http.Client {
		t.Helper()
		if browsers[who] == nil {
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browsers[who] = &http.Client{Jar: jar}
			actor := provision.Actor{Platform: web.Platform, ID: who, Name: who}
			link, err := url.Parse(web.LoginLink(page.URL(), secret, actor, h.clock.Now()))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := browsers[who].PostForm(page.URL()+"/login", link.Query())
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s can't log in: %v, %v", who, resp, err)
			}
			_ = resp.Body.Close()
		}
		return browsers[who]
	}
	serial := 0
	post := func(t *testing.T, who, path string, body map[string]string) {
		t.Helper()
		serial++
		body["id"] = fmt.Sprint("interaction-", serial)
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser(t, who).Post(page.URL()+path, "application/json", bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, resp.Status)
		}
	}
	article := regexp.MustCompile(`(?s)<article class="message bot.*?</article>`)
	articles := func(t *testing.T, who string, private bool) []string {
		t.Helper()
		resp, err := browser(t, who).Get(page.URL())
		all := article.FindAllString(body(t, resp, err), -1)
		return slices.DeleteFunc(all, func(a string) bool { return strings.Contains(a, `class="private"`) != private })
	}
	tags := regexp.MustCompile(`<[^>]*>`)
	last := func(all []string) string {
		if len(all) == 0 {
			return ""
		}
		return html.UnescapeString(tags.ReplaceAllString(all[len(all)-1], ""))
	}
	return scene{
		adapter: page, bob: bob,
		types: func(t *testing.T, who, line string) {
			t.Helper()
			post(t, who, "/chat/command", map[string]string{"text": line})
		},
		press: func(t *testing.T, who, label string) {
			t.Helper()
			button := regexp.MustCompile(`(?s)id="(m[0-9a-f]+)".*data-button="([^"]*)"[^>]*>` + label + `<`)
			until(t, "a button "+label, func() bool {
				all := articles(t, who, false)
				found := button.FindStringSubmatch(all[len(all)-1])
				if found == nil {
					return false
				}
				post(t, who, "/chat/click", map[string]string{"message": found[1], "button": html.UnescapeString(found[2])})
				return true
			})
		},
		all: func(t *testing.T) string { return last(articles(t, "alice", false)) },
		own: func(t *testing.T, who string) string { return last(articles(t, who, true)) },
	}
}

// terminals are two people's terminals: what one of them is told, the other
// one is not.
type terminals struct {
	*console.Console // alice's
	bob              *console.Console
}

func (p terminals) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	if _, err := p.bob.Post(ctx, where, c); err != nil {
		return nil, err
	}
	return p.Console.Post(ctx, where, c)
}

func (p terminals) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	if err := p.bob.Edit(ctx, at, c); err != nil {
		return err
	}
	return p.Console.Edit(ctx, at, c)
}

func (p terminals) Whisper(ctx context.Context, to bot.Inbound, c bot.Card) error {
	if to.By.ID == "bob" {
		return p.bob.Whisper(ctx, to, c)
	}
	return p.Console.Whisper(ctx, to, c)
}

func (p terminals) Run(ctx context.Context, h bot.Handler) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.bob.Run(ctx, h) })
	g.Go(func() error { return p.Console.Run(ctx, h) })
	return g.Wait()
}

func consoleScene(t *testing.T, _ *house) scene {
	outs, ins := map[string]*notes{}, map[string]*io.PipeWriter{}
	terminal := func(who string) *console.Console {
		in, keys := io.Pipe()
		t.Cleanup(func() { _ = keys.Close() })
		outs[who], ins[who] = &notes{}, keys
		return console.New(console.Config{In: in, Out: outs[who], Actor: provision.Actor{Platform: console.Platform, ID: who, Name: who}})
	}
	both := terminals{terminal("alice"), terminal("bob")}
	begun := map[string]int{} // where what was shown since the last step begins
	shown := func(who string) string { return outs[who].String()[begun[who]:] }
	types := func(t *testing.T, who, line string) {
		t.Helper()
		for name, out := range outs {
			begun[name] = len(out.String())
		}
		if _, err := io.WriteString(ins[who], line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	return scene{
		adapter: both, bob: provision.Actor{Platform: console.Platform, ID: "bob"},
		types: types,
		press: func(t *testing.T, who, label string) {
			t.Helper()
			button := regexp.MustCompile(`\((\d+)\) ` + label)
			number := ""
			until(t, "a button "+label, func() bool {
				if all := button.FindAllStringSubmatch(outs[who].String(), -1); len(all) > 0 {
					number = all[len(all)-1][1]
				}
				return number != ""
			})
			types(t, who, number)
			until(t, "an answer to "+label, func() bool { return strings.Contains(shown(who), "\n") })
			if strings.Contains(shown(who), "Type "+number+" again") {
				types(t, who, number)
			}
		},
		all: func(*testing.T) string { return shown("alice") },
		own: func(_ *testing.T, who string) string { return shown(who) },
	}
}

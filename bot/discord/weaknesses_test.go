package discord_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/commands"
	"pvebot/provision"
)

// ask has Alice ask for the list, and wants it to be answered.
func ask(t testing.TB, fake *discordfake.Fake) {
	t.Helper()
	if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "list"); err != nil {
		t.Errorf("a command: %v", err)
	}
}

func card(job provision.JobID, title string) bot.Card {
	return bot.Card{Job: job, Seq: 1, Title: title, Tone: bot.Busy, Text: "it goes on", Buttons: []bot.Button{{ID: "v1.cancel.1.", Label: "Cancel"}}}
}

// weaknesses of discordgo v0.29.0, and for each the test that it can't hurt.
var weaknesses = []struct {
	name string
	test func(t *testing.T)
}{
	{"01 op 7 before READY locks up", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		fake.Next(discordfake.Plan{Reconnect: true}, discordfake.Plan{Reconnect: true}, discordfake.Plan{Reconnect: true})
		running(t, d, fake, &bottest.Script{})
		if n := fake.Links(); n != 1 {
			t.Errorf("%d connections are open", n)
		}
		ask(t, fake)
	}},
	{"02 op 9 after a resume locks up master", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, d, fake, &bottest.Script{})
		fake.Next(discordfake.Plan{Invalid: true}, discordfake.Plan{Invalid: true, Resumable: true})
		fake.Cut()
		time.Sleep(time.Minute)
		ask(t, fake)
	}},
	{"03 no read deadline: no hello hangs", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		fake.Next(discordfake.Plan{NoHello: true}, discordfake.Plan{NoReady: true, Deaf: true})
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, &bottest.Script{}) }()
		for !d.Health().Connected && time.Since(began) < 5*time.Minute {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > 90*time.Second {
			t.Errorf("connected after %v", took)
		}
		cancel()
		<-done
	}},
	{"04 a dead connection is noticed after 5 heartbeats", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		fake.Next(discordfake.Plan{Deaf: true})
		running(t, d, fake, &bottest.Script{})
		time.Sleep(2*41250*time.Millisecond + 5*time.Second)
		if n := len(fake.Dials()); n != 2 {
			t.Errorf("%d connections were made after two heartbeats without an answer", n)
		}
		ask(t, fake)
	}},
	{"05 closing with 1000 ends the session", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, d, fake, &bottest.Script{})
		for range 5 {
			time.Sleep(2 * time.Minute)
			fake.Reconnect()
		}
		time.Sleep(time.Minute)
		if fake.Identified() != 1 || len(fake.Dials()) != 6 {
			t.Errorf("%d sessions on %d connections", fake.Identified(), len(fake.Dials()))
		}
		ask(t, fake)
	}},
	{"06 close codes are ignored", func(t *testing.T) {
		for _, code := range []int{4004, 4010, 4011, 4012, 4013, 4014} {
			d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
			fake.Next(discordfake.Plan{Close: code})
			var fatal *discord.FatalError
			if err := d.Run(t.Context(), &bottest.Script{}); !errors.As(err, &fatal) || len(fake.Dials()) != 1 {
				t.Errorf("%d: Run: %v, after %d connections", code, err, len(fake.Dials()))
			}
		}
	}},
	{"07 Close does not stop the reconnecting", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		stop := running(t, d, fake, &bottest.Script{})
		fake.CloseAll(4000)
		synctest.Wait() // it backs off
		stop()
		before := len(fake.Dials())
		time.Sleep(time.Hour)
		if n := len(fake.Dials()) - before; n != 0 {
			t.Errorf("%d connections were made after the end", n)
		}
	}},
	{"08 a resume goes to the wrong place", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, d, fake, &bottest.Script{})
		fake.Cut()
		time.Sleep(time.Minute)
		dials := fake.Dials()
		if len(dials) != 2 || dials[1].Path != "/gateway/resume" || fake.Identified() != 1 {
			t.Errorf("%+v, %d sessions", dials, fake.Identified())
		}
		ask(t, fake)
	}},
	{"09 op 9 identifies at once, 4007 and 4009 resume for ever", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, d, fake, &bottest.Script{})
		for i, harm := range []func(){
			func() { fake.Invalidate(false) }, func() { fake.CloseAll(4007) }, func() { fake.CloseAll(4009) }, func() { fake.CloseAll(4003) },
		} {
			time.Sleep(5 * time.Minute)
			at := time.Now()
			harm()
			time.Sleep(time.Minute)
			dials := fake.Dials()
			if len(dials) != i+2 || fake.Identified() != i+2 {
				t.Fatalf("case %d: %d connections, %d sessions", i, len(dials), fake.Identified())
			}
			if wait := dials[i+1].At.Sub(at); wait < time.Second || wait > 5*time.Second {
				t.Errorf("case %d: a new session after %v", i, wait)
			}
		}
		ask(t, fake)
	}},
	{"10 Close sleeps with the lock held", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		stop := running(t, d, fake, &bottest.Script{})
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
	}},
	{"11 health is read in races", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{Heartbeat: 100 * time.Millisecond}, discord.Config{})
		running(t, d, fake, &bottest.Script{})
		for range 100 { // -race looks
			fake.Beat()
			time.Sleep(20 * time.Millisecond)
			if d.Health().LastFrame.IsZero() {
				t.Fatal("nothing was heard")
			}
		}
	}},
	{"12 a handler's panic ends the bot, a slow one blocks", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		broken := bot.NewDesk(bot.DeskConfig{Policy: commands.DemoPolicy()}) // it has no store
		h := &bottest.Script{
			OnTriage: func(ctx context.Context, in bot.Inbound) bot.Ack {
				if in.Text == "nodes" {
					return broken.Triage(ctx, in)
				}
				return bot.Ack{}
			},
			OnHandle: func(_ context.Context, in bot.Inbound) {
				if in.Text == "images" {
					time.Sleep(time.Hour)
				}
			},
		}
		running(t, d, fake, h)
		for _, verb := range []string{"nodes", "images", "list"} {
			if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, verb); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
		}
		time.Sleep(2 * time.Hour)
		if got := fake.Whispers(discordfake.Alice); len(got) != 3 || !strings.Contains(got[0].Text, "I made a mistake") {
			t.Errorf("%+v", got)
		}
	}},
	{"13 unknown components break a form", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{}
		running(t, d, fake, h)
		fake.Send(`{"op":0,"t":"INTERACTION_CREATE","s":7,"d":{"id":"1000000000000000077","application_id":"1","type":5,"token":"x","channel_id":"` + discordfake.Ops + `",
			"user":{"id":"5","username":"eve"},"data":{"custom_id":"form?=install","components":[
			{"type":18,"component":{"type":4,"custom_id":"os","value":"ubuntu"}},{"type":99,"what":[1,2]},{"type":1,"components":[{"type":4,"custom_id":"name","value":"web-1"}]}]}}}`)
		fake.Send(`{"op":0,"t":"INTERACTION_CREATE","s":8,"d":{"type":"?","data":null}}`)
		fake.Send(`{"op":77}`)
		fake.Send(`not json`)
		synctest.Wait()
		// Its id says that it is years old, so it is not answered; but it is read.
		in, ok := d.Parse([]byte(`{"id":"1","token":"x","type":5,"user":{"id":"5"},"data":{"custom_id":"form?=install&ttl=7d","components":[
			{"type":18,"component":{"type":4,"custom_id":"os","value":"ubuntu"}},{"type":99,"what":[1,2]},{"type":1,"components":[{"type":4,"custom_id":"name","value":"web-1"}]}]}}`))
		if f := in.Fields; !ok || f["os"] != "ubuntu" || f["name"] != "web-1" || f["ttl"] != "7d" || in.Form != "install" {
			t.Errorf("a form of other components is read as %+v", in)
		}
		if n := d.Health().Dead; n != 1 || len(h.Triaged()) != 0 {
			t.Errorf("%d dead, triaged %v", n, h.Triaged())
		}
		ask(t, fake)
	}},
	{"14 an edit of an answer has no flags", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
			for _, title := range []string{"first", "second"} {
				if err := d.Whisper(ctx, in, bot.Card{Title: title}); err != nil {
					t.Errorf("Whisper: %v", err)
				}
			}
		}}
		running(t, d, fake, h)
		for _, verb := range []string{"list", "extend"} { // deferred in private, and in public
			if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, verb); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if got := fake.Whispers(discordfake.Alice); len(got) != 4 || len(fake.Messages(discordfake.Ops)) != 0 {
			t.Errorf("whispers: %+v, messages: %+v", got, fake.Messages(discordfake.Ops))
		}
	}},
	{"15 no nonce: a lost answer makes two messages", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		fake.Break(discordfake.Fault{Method: "POST", Path: "/messages", Times: 2, Lose: true})
		ref, err := d.Post(t.Context(), ops, card(1, "the title"))
		if err != nil || len(fake.Messages(discordfake.Ops)) != 1 {
			t.Fatalf("Post: %s, %v, %d messages", ref, err, len(fake.Messages(discordfake.Ops)))
		}
		// The same over two calls, since the first one gives up.
		fake.Break(discordfake.Fault{Method: "POST", Path: "/messages", Times: 3, Lose: true})
		if _, err = d.Post(t.Context(), ops, card(2, "another")); err == nil {
			t.Fatal("Post did not notice")
		}
		if _, err = d.Post(t.Context(), ops, card(2, "another")); err != nil || len(fake.Messages(discordfake.Ops)) != 2 {
			t.Errorf("Post: %v, %d messages", err, len(fake.Messages(discordfake.Ops)))
		}
	}},
	{"16 the rate limiter starves, ignores contexts and global limits", limiterIsFair},
	{"17 only 502 is retried, posts too", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		ref, err := d.Post(t.Context(), ops, card(1, "the title"))
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range []int{500, 502, 503, 504} {
			fake.Break(discordfake.Fault{Status: status, Times: 2, Body: "<html>"})
			if err := d.Edit(t.Context(), ref, card(1, fmt.Sprint("after ", status))); err != nil {
				t.Errorf("%d: %v", status, err)
			}
		}
		if n := len(fake.Messages(discordfake.Ops)); n != 1 {
			t.Errorf("%d messages", n)
		}
	}},
	{"18 errors and logs hold tokens", tokensStayHidden},
	{"19 buckets are never forgotten", func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, d, fake, &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) { _ = d.Whisper(ctx, in, bot.Card{Title: "x"}) }})
		for range 300 {
			ask(t, fake)
			if _, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "w", Focused: true}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Hour)
		ask(t, fake)
		synctest.Wait()
		if buckets, interactions := d.Sizes(); buckets > 10 || interactions > 1 {
			t.Errorf("%d buckets and %d interactions are remembered", buckets, interactions)
		}
	}},
	{"20 addresses are globals", func(t *testing.T) {
		one, fakeOne := inMemory(t, discordfake.Config{}, discord.Config{})
		two, fakeTwo := inMemory(t, discordfake.Config{}, discord.Config{})
		running(t, one, fakeOne, &bottest.Script{})
		running(t, two, fakeTwo, &bottest.Script{})
		if _, err := one.Post(t.Context(), ops, card(1, "one")); err != nil {
			t.Error(err)
		}
		if len(fakeOne.Messages(discordfake.Ops)) != 1 || len(fakeTwo.Messages(discordfake.Ops)) != 0 {
			t.Error("a message went to the wrong place")
		}
	}},
}

func TestWeaknesses(t *testing.T) {
	for _, w := range weaknesses {
		t.Run(strings.ReplaceAll(w.name, " ", "_"), func(t *testing.T) { synctest.Test(t, w.test) })
	}
}

func limiterIsFair(t *testing.T) {
	d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
	post := func(channel string) bot.Ref {
		ref, err := d.Post(t.Context(), provision.Conversation{Platform: "discord", Channel: channel}, card(1, "the title"))
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	slow, quick := post(discordfake.Ops), post(discordfake.General)
	time.Sleep(time.Minute)

	// A channel that hangs holds up no other one.
	fake.Break(discordfake.Fault{Method: "PATCH", Path: discordfake.Ops, Times: 1, Hang: 5 * time.Second})
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Edit(t.Context(), slow, card(1, "slow")) })
	time.Sleep(time.Second)
	began := time.Now()
	if err := d.Edit(t.Context(), quick, card(1, "quick")); err != nil || time.Since(began) > time.Second {
		t.Errorf("an edit elsewhere took %v: %v", time.Since(began), err)
	}
	wg.Wait()
	time.Sleep(time.Minute)

	// Twelve edits take ten seconds, and none is refused.
	began = time.Now()
	for i := range 12 {
		if err := d.Edit(t.Context(), slow, card(1, fmt.Sprint("edit ", i))); err != nil {
			t.Errorf("edit %d: %v", i, err)
		}
	}
	if took := time.Since(began); took < 9*time.Second || took > 15*time.Second {
		t.Errorf("twelve edits took %v", took)
	}
	for _, c := range fake.Journal("") {
		if c.Status == http.StatusTooManyRequests {
			t.Errorf("%s %s was too fast", c.Method, c.Path)
		}
	}

	// Who has no time does not wait.
	time.Sleep(time.Minute)
	for range 5 {
		_ = d.Edit(t.Context(), slow, card(1, "full"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	if err := d.Edit(ctx, slow, card(1, "late")); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
		t.Errorf("an edit with no time took %v: %v", time.Since(began), err)
	}

	// A global limit holds for all.
	time.Sleep(time.Minute)
	fake.Break(discordfake.Fault{Method: "PATCH", Path: discordfake.Ops, Times: 1, Status: 429, After: 3, Global: true})
	wg.Go(func() { _ = d.Edit(t.Context(), slow, card(1, "limited")) })
	time.Sleep(time.Second)
	began = time.Now()
	if err := d.Edit(t.Context(), quick, card(1, "waits")); err != nil || time.Since(began) < 1900*time.Millisecond {
		t.Errorf("under a global limit an edit took %v: %v", time.Since(began), err)
	}
	wg.Wait()

	// What is not Discord's own, and what would take too long, is for later.
	for _, f := range []discordfake.Fault{
		{Method: "PATCH", Times: 1, Status: 429, Body: "error code: 1015"},
		{Method: "PATCH", Times: 1, Status: 429, After: 600},
	} {
		fake.Break(f)
		time.Sleep(time.Minute)
		var busy *bot.BusyError
		if err := d.Edit(t.Context(), quick, card(1, "busy")); !errors.As(err, &busy) || busy.After < 20*time.Second {
			t.Errorf("a long wait: %v", err)
		}
	}
}

func tokensStayHidden(t *testing.T) {
	const secret = "MTIz.secret.token"
	var log bytes.Buffer
	sleepToDiscord()
	l, dial := bottest.Pipe()
	fake := discordfake.New(discordfake.Config{Token: secret})
	fake.Start(l)
	defer fake.Close()
	cfg := discord.Config{Token: secret, APIURL: fake.URL(), Dial: dial, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	d, err := discord.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen strings.Builder
	show := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&seen, format, args...)
	}
	show("%v %+v %#v %s\n", cfg, cfg, cfg, cfg.Token)
	stop := running(t, d, fake, &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
		show("%v\n", d.Whisper(ctx, in, bot.Card{Title: "x"}))
	}})
	for _, f := range []discordfake.Fault{{Lose: true}, {Status: 500, Body: "?"}, {Status: 401, Code: 50027}, {Status: 404, Code: 10062}, {Status: 403, Code: 50013}} {
		f.Method = "POST"
		fake.Break(f)
		_, _ = fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "list")
		_, err := d.Post(t.Context(), ops, card(1, "x"))
		show("%v %+v %#v\n", err, err, err)
		fake.Mend()
	}
	fake.CloseAll(4000)
	time.Sleep(time.Minute)
	stop()
	for _, text := range []string{seen.String(), log.String()} {
		if strings.Contains(text, secret) || strings.Contains(text, "token-of-") {
			t.Errorf("a token is shown: %s", text)
		}
	}
	if log.Len() == 0 || !strings.Contains(seen.String(), "50013") {
		t.Errorf("nothing was written: %s", seen.String())
	}
}

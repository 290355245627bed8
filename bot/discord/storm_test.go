package discord_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
)

// A hundred storms of everything that a gateway can do, while people go on
// working: nothing hangs, nothing is done twice, and no goroutine is left. (The
// bubble itself fails when one outlives the test.)
func TestStorms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const storms = 100
		d, fake := inMemory(t, discordfake.Config{Sessions: 10_000}, discord.Config{})
		h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) {
			_ = d.Whisper(ctx, in, bot.Card{Title: in.Text})
		}}
		stop := running(t, d, fake, h)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := runtime.NumGoroutine()

		random := rand.New(rand.NewPCG(5, 1))
		plans := []discordfake.Plan{
			{Reconnect: true},
			{Invalid: true},
			{Invalid: true, Resumable: true},
			{Close: 4000},
			{Close: 4007},
			{Close: 4009},
			{Close: 4003},
			{Close: 4008},
			{Close: 1001},
			{Drop: true},
			{NoHello: true},
			{NoReady: true},
			{Deaf: true},
		}
		harm := []func(){
			fake.Reconnect, fake.Cut, func() { fake.Invalidate(true) }, func() { fake.Invalidate(false) },
			func() { fake.CloseAll(4000) }, func() { fake.CloseAll(4009) }, func() { fake.CloseAll(1000) },
			func() { fake.Reconnect(); fake.Invalidate(true); fake.Cut() },
		}
		var typing sync.WaitGroup
		answered := make([]bool, storms)
		for i := range storms {
			fake.Twice(random.IntN(3))
			if i%2 == 0 {
				fake.Next(plans[random.IntN(len(plans))])
			}
			typing.Go(func() {
				_, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: fmt.Sprint("vm-", i)})
				answered[i] = err == nil
				if err != nil && !errors.Is(err, discordfake.ErrNobody) && !errors.Is(err, discordfake.ErrTimeout) {
					t.Errorf("command %d: %v", i, err)
				}
			})
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			harm[random.IntN(len(harm))]()
			time.Sleep(time.Duration(random.IntN(120)) * time.Second)
		}
		typing.Wait()
		fake.Calm()
		time.Sleep(10 * time.Minute)
		ask(t, fake)
		time.Sleep(time.Minute)
		synctest.Wait()

		counts, shown := h.Counts(), map[string]int{}
		for _, w := range fake.Whispers(discordfake.Alice) {
			shown[w.Text]++
		}
		whole := 0
		for i := range storms {
			line := fmt.Sprint("show vm-", i)
			switch n := counts[line]; {
			case n > 1 || shown[line] > 1:
				t.Errorf("%s was handled %d times, answered %d times", line, n, shown[line])
			case answered[i] && (n != 1 || shown[line] != 1):
				t.Errorf("%s was acknowledged, handled %d times and answered %d times", line, n, shown[line])
			case !answered[i] && n != 0:
				t.Errorf("%s failed for Alice, and was handled", line)
			}
			if answered[i] {
				whole++
			}
		}
		if after := runtime.NumGoroutine(); after > before+3 {
			t.Errorf("%d goroutines before the storms, %d after", before, after)
		}
		if n := fake.Links(); n != 1 {
			t.Errorf("%d connections are open", n)
		}
		if whole < storms/2 {
			t.Errorf("only %d of %d commands were answered", whole, storms)
		}
		t.Logf("%d of %d commands were answered amid %d connections and %d sessions; goroutines %d before, %d after",
			whole, storms, len(fake.Dials()), fake.Identified(), before, runtime.NumGoroutine())
		stop()
	})
}

// A bot that dies and starts in a loop never uses up Discord's sessions: at a
// thousand a day the token would be reset.
func TestCrashLoopKeepsTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleepToDiscord()
		l, dial := bottest.Pipe()
		fake := discordfake.New(discordfake.Config{Sessions: 540}) // of 1000
		fake.Start(l)
		defer fake.Close()
		for range 120 {
			d, err := discord.New(discord.Config{Token: "fake-token", APIURL: fake.URL(), Dial: dial, Log: logTo()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := d.Run(ctx, &bottest.Script{}); err != nil {
				t.Fatal(err)
			}
			cancel()
			d.Close()
		}
		if n := fake.Identified(); n < 30 || n > 50 {
			t.Errorf("%d sessions were used", n)
		}
	})
	for _, tc := range []struct {
		remaining int
		want      time.Duration
	}{{1000, 0}, {501, 0}, {500, 24 * time.Hour / 481}, {21, 12 * time.Hour}, {20, 24 * time.Hour}, {0, 24 * time.Hour}} {
		if got := discord.Ration(1000, tc.remaining, 24*time.Hour); got != tc.want {
			t.Errorf("with %d left the wait is %v, want %v", tc.remaining, got, tc.want)
		}
	}
}

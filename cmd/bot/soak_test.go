package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/cmd/bot/torture"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

var (
	soakFor  = flag.Duration("soak", 0, "for how long connections are reset under a bot that works; 0: not at all")
	soakSeed = flag.Uint64("soak.seed", 1, "of the soak's resets")
)

// soakLatency makes an init script, a migration and a boot with cloud-init take
// longer than a connection lives.
var soakLatency = pvesim.Latency{
	QM: 200 * time.Millisecond, PVESH: 250 * time.Millisecond, Import: 3 * time.Second, Download: 3 * time.Second,
	Start: time.Second, Boot: 2 * time.Second, CloudInit: 2 * time.Second, Init: 12 * time.Second, Shutdown: 2 * time.Second,
	Migrate: 8 * time.Second, Clone: 5 * time.Second, Snapshot: time.Second, Destroy: time.Second,
}

// soakers are how many orders are under way at any time.
const soakers = 6

// TestSoak places mixed orders for as long as it is told to, one after the
// other, while every connection is reset four to nine seconds after the one
// before. No job may fail of that, and at the end everything is as if nothing
// had happened.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("it takes minutes: go test -run TestSoak ./cmd/bot -soak 2m")
	}
	orders := soakOrders(1 + int(*soakFor/(30*time.Second)))
	sim := pvesim.Start(t, pvesim.Options{Guests: guestsOf(orders), Statd: -1, Latency: soakLatency})
	chat := torture.NewChat(t)
	dir := t.TempDir()
	policy, acked := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "acked")
	if err := os.WriteFile(policy, []byte(torturePolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "sqlite:" + dir
	life := serve(t, append(sim.Env(), "STORE_URL="+url, "PORT=0", "POLICY_FILE="+policy, "LOG_LEVEL=error", "WORKERS=8", "HOME="+dir,
		childChat+"="+chat.URL, childName+"=bot", childAcked+"="+acked)...)
	defer func() {
		if t.Failed() {
			t.Log(life.explain())
		}
		life.kill()
	}()

	ctx, cancel := chat.Lively(t.Context(), stillness)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var resets atomic.Int64
	for i, connection := range soakConnections(sim) {
		random := rand.New(rand.NewPCG(*soakSeed, uint64(i)))
		wg.Go(func() {
			for {
				select {
				case <-time.After(4*time.Second + time.Duration(random.Int64N(int64(5*time.Second)))):
					connection()
					resets.Add(1)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Go(func() { decide(ctx, t, chat, orders) })
	wg.Go(func() { rollBack(ctx, t, chat) })
	placed := soak(ctx, t, chat, orders)

	store, err := sqlstore.Open(t.Context(), url, sqlstore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cards := torture.Settled(ctx, t, store, chat, len(placed))
	report := torture.Look(t, store, acked)
	report.Cards, report.Twice = cards, torture.Changes(t, sim)
	leftover(t, sim, store, placed)
	t.Logf("%d resets in %v: %v", resets.Load(), *soakFor, report)
}

// soakConnections are functions that each reset connections of their own: those
// to a node, with what goes through them, and those to the guests alone.
func soakConnections(sim *pvesim.Sim) []func() {
	return []func(){
		func() { sim.Cut("pve1") },
		func() { sim.Cut("pve2") },
		func() { sim.Cut("pve3") },
		sim.CutGuests,
	}
}

// soak places orders while there is time, so many at once, then those that come
// after one that was placed, and returns all when they are over. What comes after
// an order that failed is left out.
func soak(ctx context.Context, t *testing.T, chat *torture.Chat, orders []*tortured) (placed []*tortured) {
	end := time.After(*soakFor)
	places := make(chan struct{}, soakers)
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	late := false
	for _, o := range orders {
		select {
		case <-end:
			late = true
		default:
		}
		mu.Lock()
		goesOn := slices.Contains(placed, o.after)
		mu.Unlock()
		if late && !goesOn {
			continue
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return placed
		}
		mu.Lock()
		placed = append(placed, o)
		mu.Unlock()
		wg.Go(func() {
			defer func() { <-places }()
			if o.after == nil || o.after.over(ctx, chat) && o.after.succeeded(chat) {
				o.place(ctx, t, chat)
				o.over(ctx, chat)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			placed = slices.DeleteFunc(placed, func(p *tortured) bool { return p == o })
		})
	}
	if !late {
		t.Error("there were not enough orders for the time")
	}
	return placed
}

// succeeded reports whether o's card says so.
func (o *tortured) succeeded(chat *torture.Chat) bool {
	cards, _ := chat.Cards()
	return slices.ContainsFunc(cards, func(c bot.Card) bool { return c.Final && o.shownBy(c) && c.Tone == bot.Good })
}

// rollBack decides for jobs that have failed, so that the others are seen too.
func rollBack(ctx context.Context, t *testing.T, chat *torture.Chat) {
	asked := map[string]bool{}
	for {
		cards, changed := chat.Cards()
		for _, c := range cards {
			i := slices.IndexFunc(c.Buttons, func(b bot.Button) bool { return b.Label == "Roll back" })
			parked := slices.ContainsFunc(c.Buttons, func(b bot.Button) bool { return b.Label == "Keep for debugging" })
			if i < 0 || !parked || asked[c.Buttons[i].ID] {
				continue
			}
			asked[c.Buttons[i].ID] = true
			t.Errorf("%s has failed: %s", c.Title, c.Text)
			in := bot.Inbound{ID: "roll-back-" + c.Buttons[i].ID, Kind: bot.Click, By: boss, Button: c.Buttons[i].ID}
			if err := chat.Deliver(ctx, in); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// soakOrders are n rounds of orders of every kind.
func soakOrders(n int) []*tortured {
	const kinds = 12 // of ordersOf
	orders := ordersOf(n * kinds)
	for round := range n {
		of := orders[round*kinds]
		for _, o := range orders[round*kinds : (round+1)*kinds] {
			if o.kind == "set" {
				of = o
			}
		}
		taken := &tortured{
			id: fmt.Sprintf("s%d", round), kind: "snapshot", line: "/vm snapshot " + of.vm + " before", title: "Snapshot",
			vm: of.vm, after: of, end: provision.StateSucceeded,
		}
		back := &tortured{
			id: fmt.Sprintf("r%d", round), kind: "rollback", line: "/vm rollback " + of.vm + " before", title: "Roll",
			vm: of.vm, after: taken, end: provision.StateSucceeded,
		}
		orders = append(orders, taken, back)
	}
	// Each round together, and what comes after something behind it.
	slices.SortStableFunc(orders, func(a, b *tortured) int { return soakRound(a) - soakRound(b) })
	return orders
}

func soakRound(o *tortured) int {
	var n int
	if _, err := fmt.Sscanf(o.id, "%d", &n); err == nil {
		return n / 12
	}
	fmt.Sscanf(o.id[1:], "%d", &n)
	return n
}

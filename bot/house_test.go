package bot_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// inventory is a fixed cluster, or one that does not answer.
type inventory struct{ err error }

func (i inventory) Resources(context.Context) (cluster.Resources, error) {
	return cluster.Resources{
		VMs: []cluster.VM{
			{VMID: 101, Name: "web-1", Node: "pve2", Type: "qemu", Status: "running", Known: true, CPUs: 2, Mem: 1 << 30, MaxMem: 2 << 30, MaxDisk: 16 << 30, Uptime: 90 * time.Minute, Tags: []string{"ubuntu"}},
			{VMID: 102, Name: "web-2", Node: "pve1", Type: "qemu", Status: "stopped", Known: true, CPUs: 4, MaxMem: 8 << 30, MaxDisk: 1536 << 30},
			{VMID: 103, Name: "twin", Node: "pve1", Type: "qemu", Status: "running"},
			{VMID: 104, Name: "twin", Node: "pve3", Type: "qemu", Status: "unknown"},
			{VMID: 105, Name: "box", Node: "pve1", Type: "lxc", Status: "running"},
		},
		Nodes: []cluster.Node{
			{Name: "pve1", Status: "online", CPUs: 16, CPU: 0.123, Mem: 20 << 30, MaxMem: 64 << 30, Uptime: 100 * time.Hour},
			{Name: "pve2", Status: "online", CPUs: 8, CPU: 0.5, Mem: 4 << 30, MaxMem: 32 << 30, Uptime: time.Hour},
			{Name: "pve3", Status: "offline"},
		},
		Storages: []cluster.Storage{{Name: "local-lvm", Node: "pve1"}, {Name: "local-lvm", Node: "pve2"}},
	}, i.err
}

func (i inventory) Baselines(context.Context) ([]cluster.Baseline, error) {
	return []cluster.Baseline{{Type: "x86-64-v2-AES", Nodes: []cluster.NodeCPU{
		{Node: "pve1", Type: "x86-64-v4"},
		{Node: "pve2", Type: "x86-64-v2-AES", Next: "x86-64-v3", Lacks: []string{"avx2", "bmi2"}},
	}}}, i.err
}

func (i inventory) Images(context.Context) ([]provision.Image, error) {
	return []provision.Image{
		{OS: "debian", Version: "12", Title: "Debian 12 (bookworm)", User: "debian", Default: true, CPU: "kvm64", Script: true, End: time.Date(2028, 6, 30, 0, 0, 0, 0, time.UTC)},
		{OS: "debian", Version: "99", Title: "Debian 99", User: "debian", CPU: "x86-64-v3"},
		{OS: "ubuntu", Version: "22.04", Title: "Ubuntu 22.04 LTS", User: "ubuntu", Script: true, End: time.Date(2027, 4, 30, 0, 0, 0, 0, time.UTC), Ended: true},
		{OS: "ubuntu", Version: "24.04", Title: "Ubuntu 24.04 LTS", User: "ubuntu", Default: true, CPU: "kvm64", Script: true},
	}, i.err
}

// house is a desk with everything around it.
type house struct {
	t      *testing.T
	store  *memStore
	engine *memEngine
	chat   *bottest.Memory
	desk   *bot.Desk
	stop   func()
	n      int
}

func newHouse(t *testing.T, change ...func(*bot.DeskConfig)) *house {
	s := newStore()
	h := &house{t: t, store: s, engine: newEngine(s), chat: bottest.NewMemory("memory", bot.Pace{})}
	h.open(change...)
	return h
}

// open starts the desk, and a follower, on what is stored.
func (h *house) open(change ...func(*bot.DeskConfig)) {
	f, stop := follow(h.t, h.store, "a", h.chat)
	cfg := bot.DeskConfig{
		Store: h.store, Engine: h.engine, Inventory: inventory{}, Policy: commands.DemoPolicy(),
		Adapters: []bot.Adapter{h.chat}, Follower: f,
	}
	for _, c := range change {
		c(&cfg)
	}
	h.desk = bot.NewDesk(cfg)
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.chat.Run(ctx, h.desk) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
		stop()
	}
}

func (h *house) send(in bot.Inbound) bot.Ack {
	h.t.Helper()
	if in.ID == "" {
		h.n++
		in.ID = fmt.Sprint("i", h.n)
	}
	in.Platform, in.Where, in.At = "memory", ops, now()
	ack, err := h.chat.Send(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
	return ack
}

func (h *house) say(by provision.Actor, line string) bot.Ack {
	h.t.Helper()
	return h.send(bot.Inbound{Kind: bot.Command, By: by, Text: line})
}

// press presses a button of the newest card.
func (h *house) press(by provision.Actor, label string) {
	h.t.Helper()
	cards := h.chat.Cards()
	for _, b := range cards[len(cards)-1].Buttons {
		if b.Label == label {
			h.send(bot.Inbound{Kind: bot.Click, By: by, Button: b.ID})
			return
		}
	}
	h.t.Fatalf("no button %q on %+v", label, cards[len(cards)-1])
}

// heard is the newest thing that only by was told.
func (h *house) heard(by provision.Actor) string {
	h.t.Helper()
	all := h.chat.Whispered(by)
	if len(all) == 0 {
		h.t.Fatal("nothing was answered")
	}
	return page(all[len(all)-1])
}

func (h *house) hears(by provision.Actor, words ...string) {
	h.t.Helper()
	got := h.heard(by)
	for _, w := range words {
		if !strings.Contains(got, w) {
			h.t.Errorf("the answer lacks %q:\n%s", w, got)
		}
	}
}

func (h *house) state(id provision.JobID) provision.State {
	job, err := h.store.Job(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return job.State
}

// inHouse runs f in a bubble with a running desk.
func inHouse(t *testing.T, f func(*house), change ...func(*bot.DeskConfig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, change...)
		defer func() { h.stop() }()
		f(h)
	})
}

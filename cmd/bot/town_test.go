package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// square is where everybody writes.
var square = provision.Conversation{Platform: "chat", Channel: "square"}

// town is what a script is about: a simulated cluster, a bot that looks after
// it, and a chat where people write to the bot.
type town struct {
	fail  func(format string, a ...any) // ends the script, or the test
	ctx   context.Context
	dir   string
	env   []string
	sim   *pvesim.Sim
	clock *leaps
	chat  *room
	n     int // inbounds so far
	seen  int // commands that ran before the last thing somebody did

	house *house
	desk  *bot.Desk
	stop  func() error
}

type townKey struct{}

// founding is a script's town, once there is one.
type founding struct{ town *town }

// townOf is the script's town, which is founded when it is first spoken of.
func townOf(ts *testscript.TestScript) *town {
	f := ts.Value(townKey{}).(*founding)
	if f.town == nil {
		policy := ts.MkAbs("policy.yaml")
		if _, err := os.Stat(policy); err != nil {
			policy = sharedPolicy
		}
		t, err := newTown(ts.MkAbs(".data"), policy, ts.Getenv)
		ts.Check(err)
		f.town, t.fail = t, ts.Fatalf
	}
	return f.town
}

// found prepares for a script's town, and sees to its end.
func found(e *testscript.Env) {
	f := new(founding)
	e.Values[townKey{}] = f
	e.Defer(func() {
		if t := f.town; t != nil {
			if err := t.end(); err != nil {
				e.T().Fatal(err)
			}
		}
	})
}

// sharedPolicy is who may do what where nothing else is said.
var sharedPolicy = filepath.Join("testdata", "policy.yaml")

// strangers are VMs for tests of what can't be done, beside the usual ones.
var strangers = []pvesim.GuestSpec{
	{VMID: 201, Node: "pve1", Name: "locked", Cores: 1, MemoryMB: 512, Disk: 1 << 30, Running: true},
	{VMID: 202, Node: "pve1", Name: "paused", Cores: 1, MemoryMB: 512, Disk: 1 << 30, Running: true},
	{VMID: 203, Node: "pve1", Name: "protected", Cores: 1, MemoryMB: 512, Disk: 1 << 30},
	{VMID: 204, Node: "pve1", Name: "ha", Cores: 1, MemoryMB: 512, Disk: 1 << 30},
	{VMID: 205, Node: "pve1", Name: "twin", Cores: 1, MemoryMB: 512, Disk: 1 << 30},
	{VMID: 206, Node: "pve2", Name: "twin", Cores: 1, MemoryMB: 512, Disk: 1 << 30},
	{VMID: 207, Node: "pve1", Name: "bot", Cores: 1, MemoryMB: 512, Disk: 1 << 30, Running: true},
}

// newTestTown makes a town that lives as long as a test.
func newTestTown(t *testing.T, more []pvesim.GuestSpec, env map[string]string) *town {
	t.Helper()
	town, err := newTown(t.TempDir(), sharedPolicy, func(name string) string { return env[name] }, more...)
	if err != nil {
		t.Fatal(err)
	}
	town.fail = t.Fatalf
	t.Cleanup(func() {
		if err := town.end(); err != nil {
			t.Error(err)
		}
	})
	return town
}

// newTown makes a town whose bot keeps its data in dir. Of the settings it has
// those that a cluster has no opinion about.
func newTown(dir, policy string, getenv func(string) string, more ...pvesim.GuestSpec) (*town, error) {
	sim, err := pvesim.New(pvesim.Options{Statd: -1, Guests: append(pvesim.DefaultGuests(), more...)})
	if err != nil {
		return nil, err
	}
	t := &town{
		ctx: context.Background(), dir: dir, sim: sim,
		clock: &leaps{leapt: make(chan struct{})}, chat: newRoom(),
	}
	t.env = append(sim.Env(), "STORE_URL=sqlite:"+dir, "POLICY_FILE="+policy)
	for _, name := range []string{"BOT_VMID", "VM_MAX_CPU", "VM_MAX_RAM", "VM_MAX_DISK", "ASSIGN_IP_START", "ASSIGN_IP_END"} {
		if value := getenv(name); value != "" {
			t.env = append(t.env, name+"="+value)
		}
	}
	return t, t.open()
}

// open starts the bot.
func (t *town) open() error {
	c, err := readConfig(t.env, os.DevNull)
	if err != nil {
		return err
	}
	c.clock = t.clock
	policy, err := c.policy()
	if err != nil {
		return err
	}
	if t.house, err = build(t.ctx, c, policy, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	desk, follower := t.house.open(nil, t.chat)
	t.desk = desk
	ctx, cancel := context.WithCancel(t.ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.house.labour(ctx) })
	g.Go(func() error { return follower.Run(ctx) })
	t.stop = func() error { cancel(); return unlessDone(ctx, g.Wait()) }
	return nil
}

// close ends the bot; the cluster stays.
func (t *town) close() error {
	if t.house == nil { // it could not be opened
		return nil
	}
	return errors.Join(t.stop(), t.house.close())
}

// end ends the bot and the cluster.
func (t *town) end() error { return errors.Join(t.close(), t.sim.Close()) }

func (t *town) person(name string) provision.Actor {
	return provision.Actor{Platform: square.Platform, ID: name, Name: name}
}

// ran are the commands since the last thing that somebody did.
func (t *town) ran() []pvesim.Ran { return t.sim.Ran()[t.seen:] }

// send does what somebody did, and returns what they and everybody see of it.
func (t *town) send(in bot.Inbound) string {
	t.n++
	t.seen = len(t.sim.Ran())
	in.Platform, in.ID, in.Where, in.At = square.Platform, strconv.Itoa(t.n), square, t.clock.Now()
	told, cards := len(t.chat.Whispered(in.By)), len(t.chat.Cards())
	var out []string
	ack := t.desk.Triage(t.ctx, in)
	if ack.Whisper != nil {
		out = append(out, text(*ack.Whisper))
	}
	if ack.Form != nil {
		out = append(out, "form "+ack.Form.Title)
	}
	t.desk.Handle(t.ctx, in)
	for _, c := range t.chat.Whispered(in.By)[told:] {
		out = append(out, text(c))
	}
	for _, c := range t.chat.Cards()[cards:] {
		out = append(out, t.card(c.Job, resting...))
	}
	if job := clicked(in.Button); job != 0 {
		out = append(out, t.card(job, resting...))
	}
	return strings.Join(out, "\n")
}

// button finds a button by its label.
func (t *town) button(args []string) string {
	if len(args) == 0 {
		t.fail("which button?")
	}
	for _, c := range slices.Backward(t.chat.Cards()) {
		if len(args) > 1 && c.Job.String() != args[1] {
			continue
		}
		for _, b := range c.Buttons {
			if strings.EqualFold(b.Label, args[0]) {
				return b.ID
			}
		}
	}
	t.fail("no card has a button %s", strings.Join(args, " on job "))
	return ""
}

// clicked is the job that a button is about.
func clicked(button string) provision.JobID {
	parts := strings.Split(button, ".")
	if len(parts) < 3 {
		return 0
	}
	id, _ := strconv.Atoi(parts[2])
	return provision.JobID(id)
}

// resting are the states in which a job waits for people, or is over.
var resting = []provision.State{
	provision.StateWaiting, provision.StateParked, provision.StateSucceeded, provision.StateFailed, provision.StateCancelled,
}

// card waits until a job is in one of states, and its card tells so.
func (t *town) card(id provision.JobID, states ...provision.State) string {
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	for {
		changed := t.chat.changed()
		job, err := t.house.store.Job(ctx, id)
		if err == nil && slices.Contains(states, job.State) {
			for _, c := range t.chat.Cards() {
				if c.Job == id && c.Seq >= job.Seq {
					t.recorded(ctx, job)
					return text(c)
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.fail("no card says that job %d is %v: it is %q, %v", id, states, job.State, err)
		}
	}
}

// recorded waits until the store knows what the card shows, a moment after it is
// shown.
func (t *town) recorded(ctx context.Context, job provision.Job) {
	for {
		ref, known, err := t.house.store.Card(ctx, square.Platform, job.ID)
		if err == nil && known && ref.Shown >= job.Seq {
			return
		}
		if (cluster.SystemClock{}).Sleep(ctx, 5*time.Millisecond) != nil {
			t.fail("the store does not know that the card of job %d is shown: %+v, %v", job.ID, ref, err)
		}
	}
}

// text is a card as the scripts see it.
func text(c bot.Card) string {
	var b strings.Builder
	for _, l := range bot.Text(c) {
		b.WriteString(l.Text + "\n")
	}
	for _, button := range c.Buttons {
		b.WriteString("[" + button.Label + "] ")
	}
	return strings.TrimSpace(b.String()) + "\n"
}

// room is a chat in memory that tells when something is shown.
type room struct {
	*bottest.Memory
	mu   sync.Mutex
	news chan struct{} // is closed at the next change
}

func newRoom() *room {
	return &room{Memory: bottest.NewMemory(square.Platform, bot.Pace{}), news: make(chan struct{})}
}

func (r *room) changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

func (r *room) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.news)
	r.news = make(chan struct{})
}

func (r *room) Post(ctx context.Context, where provision.Conversation, c bot.Card) (bot.Ref, error) {
	defer r.tell()
	return r.Memory.Post(ctx, where, c)
}

func (r *room) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	defer r.tell()
	return r.Memory.Edit(ctx, at, c)
}

// leaps is a clock that goes as the machine's does, and leaps ahead when it is
// told to.
type leaps struct {
	mu    sync.Mutex
	ahead time.Duration
	leapt chan struct{} // is closed at the next leap
}

func (c *leaps) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *leaps) Sleep(ctx context.Context, d time.Duration) error {
	for end := c.Now().Add(d); ; {
		c.mu.Lock()
		leapt := c.leapt
		c.mu.Unlock()
		left := end.Sub(c.Now())
		if left <= 0 {
			return context.Cause(ctx)
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-leapt:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

func (c *leaps) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	close(c.leapt)
	c.leapt = make(chan struct{})
}

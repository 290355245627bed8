package bot

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
)

// DeskConfig is what a Desk needs. All of it but Sites, Channels, OnFailure,
// Follower, Lease, Clock and Log is required; with Sites, Engine and Inventory
// are not.
type DeskConfig struct {
	Store     Store
	Engine    Engine
	Inventory provision.Inventory
	// Sites are the clusters that people can order in, where they have names.
	Sites Sites
	// Channels are the clusters that conversations are about; elsewhere the
	// first one is meant.
	Channels map[provision.Conversation]string
	Policy   Policy
	Adapters []Adapter
	// OnFailure says, by platform, what a failed step leads to; people are
	// asked where it does not.
	OnFailure map[string]provision.OnFailure
	Follower  *Follower // is nudged after posts and clicks
	// Lease is after how long a silent bot is held for dead. What it took is
	// another's after it, or after 10 s where that is less; default: 10 s.
	Lease time.Duration
	Clock cluster.Clock
	Log   *slog.Logger
}

// Desk is where inbounds become orders and answers. It implements [Handler] and
// [Dropper]:
// each interaction is taken once, however often a platform delivers it, and
// one that a dying bot left behind is taken up by Run.
type Desk struct {
	clerk     *Clerk
	store     Store
	sites     Sites
	channels  map[provision.Conversation]string
	policy    Policy
	adapters  map[string]Adapter
	onFailure map[string]provision.OnFailure
	follower  *Follower
	self      string        // owns the desk's roles: no other desk, here or elsewhere, has this name
	ttl       time.Duration // of a seat
	clock     cluster.Clock
	log       *slog.Logger
	opened    time.Time // what was accepted before is an earlier process's

	mu    sync.Mutex
	taken map[string]taken          // triaged here, not handled yet; by inboundKey
	known map[string]commands.Known // what clusters said last, for who types
	own   *seat                     // nil while the desk can't have one
	seats map[*seat]bool            // all that it has
}

// taken is an interaction that this desk is at.
type taken struct {
	seat  *seat // nil: the desk had none
	waits bool  // for Handle
}

// NewDesk makes a Desk.
func NewDesk(cfg DeskConfig) *Desk {
	d := &Desk{
		store: cfg.Store, sites: cfg.Sites, channels: cfg.Channels, policy: cfg.Policy,
		adapters: map[string]Adapter{}, onFailure: cfg.OnFailure, follower: cfg.Follower,
		self: rand.Text(), ttl: min(roleTTL, cmp.Or(cfg.Lease, roleTTL)),
		clock: cfg.Clock, log: cfg.Log, taken: map[string]taken{}, known: map[string]commands.Known{}, seats: map[*seat]bool{},
	}
	if d.clock == nil {
		d.clock = cluster.SystemClock{}
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.clerk = &Clerk{Engine: cfg.Engine, Sites: d.sites, Store: d.store, Policy: d.policy, Clock: d.clock, Log: d.log}
	if len(d.sites) == 0 {
		d.sites = Sites{{Engine: cfg.Engine, Inventory: cfg.Inventory}}
	}
	for _, a := range cfg.Adapters {
		d.adapters[a.Name()] = a
	}
	d.opened = d.clock.Now()
	return d
}

// The times of Triage. Platforms give up after three seconds, of which the
// network has its share. Choices and forms come in time or not at all; an order
// may be stored later than that, since adapters acknowledge without its answer.
const (
	choicesTime = 450 * time.Millisecond
	answerTime  = 900 * time.Millisecond
	acceptTime  = 4 * time.Second
)

// Triage implements [Handler].
func (d *Desk) Triage(ctx context.Context, in Inbound) (ack Ack) {
	defer func() {
		if p := recover(); p != nil {
			c := d.mistaken(ctx, in, p)
			ack = Ack{Whisper: &c}
		}
	}()
	return d.triage(ctx, in)
}

func (d *Desk) triage(ctx context.Context, in Inbound) Ack {
	if in.Kind == Complete {
		return Ack{Choices: d.choices(ctx, in)}
	}
	ack, secret := d.firstAnswer(ctx, in)
	own := d.seated()
	fresh, err := d.accept(ctx, in, secret, own)
	if err != nil {
		d.log.ErrorContext(ctx, "can't store an interaction", "platform", in.Platform, "id", in.ID, "err", err)
		c := unstored(err)
		return Ack{Whisper: &c}
	}
	if !fresh {
		return Ack{}
	}
	if ack.answered() {
		d.handled(ctx, in)
		return ack
	}
	d.mu.Lock()
	d.taken[inboundKey(in)] = taken{own, true}
	d.mu.Unlock()
	return Ack{}
}

// Handle implements [Handler]. Of an interaction that Triage did not take, or
// answered, or that may be another bot's by now, it does nothing.
func (d *Desk) Handle(ctx context.Context, in Inbound) {
	d.mu.Lock()
	mine := d.taken[inboundKey(in)]
	if mine.waits {
		d.taken[inboundKey(in)] = taken{seat: mine.seat}
	}
	lost := mine.seat != nil && !d.fresh(mine.seat)
	d.mu.Unlock()
	if !mine.waits {
		return
	}
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.taken, inboundKey(in))
	}()
	if lost {
		return
	}
	ctx, done := mine.seat.within(ctx)
	defer done()
	d.process(ctx, in)
}

// Drop implements [Dropper].
func (d *Desk) Drop(ctx context.Context, in Inbound) {
	d.mu.Lock()
	mine := d.taken[inboundKey(in)]
	delete(d.taken, inboundKey(in))
	d.mu.Unlock()
	if mine.waits {
		d.handled(ctx, in)
	}
}

func (d *Desk) process(ctx context.Context, in Inbound) {
	d.actSafely(ctx, in)
	if ctx.Err() == nil { // else Recover takes it up
		d.handled(ctx, in)
	}
}

// actSafely is act, of which a defect is answered: left behind, its interaction
// would end the next bot as well.
func (d *Desk) actSafely(ctx context.Context, in Inbound) {
	defer func() {
		if p := recover(); p != nil {
			d.whisper(ctx, in, d.mistaken(ctx, in, p))
		}
	}()
	d.act(ctx, in)
}

// mistaken logs a defect, and answers who found it.
func (d *Desk) mistaken(ctx context.Context, in Inbound, defect any) Card {
	d.log.ErrorContext(ctx, "a defect: please report it", "platform", in.Platform, "kind", in.Kind, "by", in.By.Key(),
		"panic", defect, "stack", string(debug.Stack()))
	return noteCard(Bad, "I made a mistake, which is in my log. Look with /vm jobs what came of it before you try again")
}

// maxStored is more than any line that is read, in bytes.
const maxStored = 64 << 10

// accept stores the interaction; false when it is known. A line with a secret
// in it, or one that is too long to be read, is remembered by its id alone.
func (d *Desk) accept(ctx context.Context, in Inbound, secret bool, s *seat) (bool, error) {
	if secret || len(in.Text) > maxStored {
		in.Text, in.Fields = "", nil
	}
	row := left{Inbound: in}
	if s != nil {
		row.Seat = s.name
	}
	data, err := json.Marshal(row)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	return d.store.Accept(ctx, provision.Inbox{Platform: in.Platform, ID: in.ID, Data: data, At: d.clock.Now()})
}

func (d *Desk) handled(ctx context.Context, in Inbound) {
	if err := d.store.Handled(context.WithoutCancel(ctx), in.Platform, in.ID); err != nil {
		d.log.WarnContext(ctx, "can't mark an interaction as handled", "platform", in.Platform, "id", in.ID, "err", err)
	}
}

func inboundKey(in Inbound) string { return in.Platform + "\x00" + in.ID }

func (a Ack) answered() bool {
	return a.Whisper != nil || a.Update != nil || a.Form != nil || a.Choices != nil || a.Errors != nil
}

// firstAnswer answers what needs no store and no cluster; the zero Ack leaves
// it to act. Secret says that the line holds a secret.
func (d *Desk) firstAnswer(ctx context.Context, in Inbound) (ack Ack, secret bool) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	whisper := func(c Card) Ack { return Ack{Whisper: &c} }
	if in.Kind == Click {
		_, press := pressOf(in.Button)
		if _, page := turnOf(in.Button); !press && !page {
			return whisper(noteCard(Bad, "I don't know this button any more. Look at the newest message of the job")), false
		}
		return Ack{}, false
	}
	req, err := requestOf(in)
	if m, ok := errors.AsType[*commands.Mistake](err); ok {
		return d.mistake(ctx, in, m), m.Secret
	}
	if err != nil {
		return whisper(errorCard(err)), false
	}
	at, req, err := d.counterFor(in, req)
	if err != nil {
		return whisper(errorCard(err)), false
	}
	if help, ok := req.(commands.Help); ok {
		return whisper(at.help(ctx, help.Topic)), false
	}
	if denied := at.mayAsk(ctx, in, req); denied != nil {
		return whisper(*denied), false
	}
	return Ack{}, false
}

// requestOf reads what was typed or filled in. Its errors are
// *commands.Mistake, but for an inbound of a kind that asks for nothing.
func requestOf(in Inbound) (commands.Request, error) {
	switch in.Kind {
	case Command:
		return commands.Parse(in.Text)
	case Submit:
		return commands.Build(in.Form, in.Fields)
	case Click, Complete:
	}
	return nil, provision.Errorf(provision.Invalid, "I don't know what %q means", in.Kind)
}

// mistake answers a wrong line: beside the field of a form, with a form when
// only something is missing, else in words.
func (d *Desk) mistake(ctx context.Context, in Inbound, m *commands.Mistake) Ack {
	if in.Kind == Submit && m.Param != "" {
		return Ack{Errors: map[string]string{m.Param: capital(full(m.Say))}}
	}
	if m.Missing && in.Kind == Command {
		if v, ok := commands.VerbOf(m.Verb); ok && len(v.Flags) > 0 {
			return Ack{Form: d.form(ctx, in, v, m.Fields)}
		}
	}
	c := mistakeCard(m)
	return Ack{Whisper: &c}
}

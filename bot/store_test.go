package bot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/cluster"
	"pvebot/commands"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

var (
	_ bot.Store  = provision.Store(nil)
	_ bot.Engine = (*provision.Engine)(nil)
	_ bot.Policy = commands.Policy{}
)

// storeEngine takes orders for a real store; work is done by hand.
type storeEngine struct {
	memEngine
	store provision.Store
}

func (e *storeEngine) Submit(ctx context.Context, o provision.Order) (provision.Job, error) {
	o.Cluster = "pve"
	var claims []provision.Held
	if s, ok := o.Spec.(provision.VMSpec); ok {
		claims = []provision.Held{{Pool: fmt.Sprintf("vm/pve/%d", s.Target().VMID), Slot: "1"}}
	}
	job, err := e.store.Submit(ctx, o, recipe, claims...)
	if held, ok := errors.AsType[*provision.HeldError](err); ok {
		return job, &provision.Error{
			Kind: provision.Busy, Say: fmt.Sprintf("job %d is busy with this VM", held.By),
			Try: fmt.Sprintf("wait for it, or vm cancel %d", held.By), Err: err,
		}
	}
	return job, err
}

func (e *storeEngine) Cancel(ctx context.Context, id provision.JobID, by provision.Actor) (provision.Job, error) {
	return e.store.Cancel(ctx, id, by)
}

func (e *storeEngine) Vote(ctx context.Context, v provision.Vote) (provision.Job, error) {
	return e.store.Vote(ctx, v)
}

func (e *storeEngine) Resolve(ctx context.Context, r provision.Resolution) (provision.Job, error) {
	return e.store.Resolve(ctx, r)
}

// The desk and the follower keep to what a real store promises: a job is
// ordered, followed to its end and settled, over a restart in the middle.
func TestOnSQLite(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	chat := bottest.NewMemory("memory", bot.Pace{})
	var store provision.Store
	open := func() (stop func()) {
		s, err := sqlstore.Open(ctx, "sqlite:"+dir, sqlstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store = s
		f := bot.NewFollower(bot.FollowerConfig{Store: s, Adapters: []bot.Adapter{chat}, Owner: t.Name()})
		desk := bot.NewDesk(bot.DeskConfig{
			Store: s, Engine: &storeEngine{memEngine: memEngine{vms: fleet()}, store: s}, Inventory: inventory{}, Policy: commands.DemoPolicy(),
			Adapters: []bot.Adapter{chat}, Follower: f,
		})
		ctx, cancel := context.WithCancel(ctx)
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return f.Run(ctx) })
		g.Go(func() error { return chat.Run(ctx, desk) })
		g.Go(func() error { return desk.Run(ctx) })
		return func() {
			cancel()
			if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for range 5000 {
			if ok() {
				return
			}
			if err := (cluster.SystemClock{}).Sleep(ctx, 2*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("never seen: " + what)
	}
	send := func(line string) {
		t.Helper()
		in := bot.Inbound{Platform: "memory", ID: line, Kind: bot.Command, By: alice, Where: ops, Text: line, At: now()}
		if _, err := chat.Send(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	work := func(evs ...provision.Event) {
		t.Helper()
		l, err := store.Claim(ctx, "worker", provision.Wanted{Cluster: "pve"})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs {
			if _, err := store.Append(ctx, l, ev); err != nil {
				t.Fatal(err)
			}
		}
	}

	stop := open()
	send("/vm install ubuntu")
	send("/vm install ubuntu") // the same interaction again
	until("the card", func() bool { return len(chat.Cards()) == 1 })
	work(begun[1:]...) // Claim makes it running
	until("step 4", func() bool { return len(chat.Said(0)) > 0 && chat.Cards()[0].Steps[3].Status == provision.StepRunning })
	in := bot.Inbound{Platform: "memory", ID: "left", Kind: bot.Command, By: alice, Where: ops, Text: "/vm install debian", At: now()}
	left, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Accept(ctx, provision.Inbox{Platform: "memory", ID: "left", Data: left, At: now()}); err != nil {
		t.Fatal(err)
	}
	stop()

	stop = open()
	until("the job that was left over", func() bool { return len(chat.Cards()) == 2 })
	work(step(provision.StepDone, 3, ""), state(provision.StateSucceeded))
	until("the last word", func() bool { return chat.Cards()[0].Final })
	until("the ref at rest", func() bool {
		ref, ok, err := store.Card(ctx, "memory", 1)
		return err == nil && ok && ref.Settled
	})
	if rows, err := store.Unhandled(ctx, "memory"); err != nil || len(rows) != 0 {
		t.Errorf("%d interactions are left over, %v", len(rows), err)
	}
	stop()
}

package discord_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// watched notes which state of a job Discord shows, and since when.
type watched struct {
	*discord.Discord
	mu    sync.Mutex
	shown map[provision.JobID]uint64
	final map[provision.JobID]time.Time
}

func (w *watched) Edit(ctx context.Context, at bot.Ref, c bot.Card) error {
	err := w.Discord.Edit(ctx, at, c)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.shown[c.Job] = c.Seq
		if _, ok := w.final[c.Job]; c.Final && !ok {
			w.final[c.Job] = time.Now()
		}
	}
	return err
}

func (w *watched) shows(id provision.JobID) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown[id]
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(100 * time.Millisecond)
}

// busiest is the most calls in any five seconds.
func busiest(calls []discordfake.Call) int {
	most, from := 0, 0
	for i, c := range calls {
		for c.At.Sub(calls[from].At) >= 5*time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// edits are those of messages in the channel.
func edits(fake *discordfake.Fake) []discordfake.Call {
	return slices.DeleteFunc(fake.Journal("PATCH"), func(c discordfake.Call) bool {
		return !strings.HasPrefix(c.Path, "/channels/"+discordfake.Ops+"/messages/") || c.Status == 503
	})
}

// 200 jobs in one channel for two minutes, an outage of Discord and a run of
// 429s in the middle. What Discord allows there, 5 edits in 5 seconds, is less
// than what happens; so cards are old, but every last word lands.
func TestLoad(t *testing.T) {
	const jobs, window, outage = 200, 2 * time.Minute, 10 * time.Second
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		store := bottest.NewLedger()
		eyes := &watched{Discord: d, shown: map[provision.JobID]uint64{}, final: map[provision.JobID]time.Time{}}
		steps := []provision.StepState{
			{Phase: "VM creation", Name: "creating VM"},
			{Phase: "VM creation", Name: "importing disk image"},
			{Phase: "VM initialization", Name: "waiting for ready"},
			{Phase: "VM initialization", Name: "finalizing"},
		}
		for i := range jobs {
			id := provision.JobID(i + 1)
			o := provision.Order{By: alice, Where: ops, Spec: provision.Install{OS: "ubuntu", Version: "24.04", Name: fmt.Sprintf("vm-%d", id)}}
			job := store.Add(id, provision.Event{Kind: provision.JobAccepted, Order: &o, State: provision.StateQueued, Plan: steps})
			card := bot.Show(job, time.Now())
			ref, err := d.Post(t.Context(), ops, card)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.SetCard(t.Context(), provision.CardRef{Job: id, Platform: "discord", Ref: json.RawMessage(ref), Shown: job.Seq, Said: job.Seq}); err != nil {
				t.Fatal(err)
			}
			eyes.shown[id] = job.Seq
			time.Sleep(time.Second) // what a channel takes
		}

		follower := bot.NewFollower(bot.FollowerConfig{Store: store, Adapters: []bot.Adapter{eyes}, Owner: "load", Log: logTo()})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = follower.Run(ctx) })
		began := time.Now()
		ended := make([]time.Time, jobs+1)
		for i := range jobs {
			all.Go(func() {
				id := provision.JobID(i + 1)
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
				store.Add(id, provision.Event{Kind: provision.JobState, State: provision.StateRunning})
				part := (window - time.Duration(jobs-i)*300*time.Millisecond) / time.Duration(len(steps))
				for _, step := range steps {
					store.Add(id, provision.Event{Kind: provision.StepStarted, Step: step.Name})
					for gone := time.Duration(0); gone < part; gone += 2 * time.Second {
						f := float64(gone) / float64(part)
						store.Add(id, provision.Event{Kind: provision.StepProgress, Step: step.Name, Fraction: &f, Text: gone.String()})
						time.Sleep(min(2*time.Second, part-gone))
					}
					store.Add(id, provision.Event{Kind: provision.StepLog, Step: step.Name, Text: "a line of output\nand another\n"},
						provision.Event{Kind: provision.StepDone, Step: step.Name})
				}
				store.Add(id, provision.Event{Kind: provision.JobState, State: provision.StateSucceeded})
				ended[id] = time.Now()
			})
		}

		var ages []time.Duration
		for second := range int(window / time.Second) {
			switch second {
			case 40:
				fake.Break(discordfake.Fault{Status: 503, Body: "upstream"})
			case 50:
				fake.Mend()
			case 70:
				fake.Break(discordfake.Fault{Method: "PATCH", Status: 429, After: 3, Times: 5})
			}
			time.Sleep(time.Second)
			for id := provision.JobID(1); id <= jobs; id++ {
				age := time.Duration(0)
				if since := store.Unshown(id, eyes.shows(id)); !since.IsZero() {
					age = time.Since(since)
				}
				ages = append(ages, age)
			}
		}
		inWindow := len(edits(fake))
		landed := func() bool { eyes.mu.Lock(); defer eyes.mu.Unlock(); return len(eyes.final) == jobs }
		for deadline := time.Now().Add(4*time.Minute + outage); !landed() && time.Now().Before(deadline); {
			time.Sleep(time.Second)
		}
		var waits []time.Duration
		for id, at := range eyes.final {
			waits = append(waits, at.Sub(ended[id]))
		}
		if !landed() {
			t.Errorf("%d of %d finals landed", len(waits), jobs)
		}
		took := time.Since(began)
		time.Sleep(30 * time.Minute) // threads
		cancel()
		all.Wait()

		for _, m := range fake.Messages(discordfake.Ops) {
			if !strings.Contains(m.Text, "is ready") {
				t.Errorf("a card's last word is %q", m.Text)
			}
			if n := len(m.Thread); n == 0 || !strings.Contains(m.Thread[n-1].Text, "succeeded") {
				t.Error("a thread has no end")
			}
		}
		updates := edits(fake)
		refused, lines, open := 0, 0, 0
		for _, c := range fake.Journal("") {
			if c.Status == 429 {
				refused++
			}
		}
		for _, m := range fake.Messages(discordfake.Ops) {
			lines += len(m.Thread)
			if !m.Archived {
				open++
			}
		}
		if most := busiest(updates); most > 10 { // where two windows meet
			t.Errorf("%d edits in five seconds", most)
		}
		if refused > 10 || open > 0 {
			t.Errorf("Discord refused %d calls, the run of 429s was 5; %d threads are open", refused, open)
		}
		t.Logf("%d jobs, %v of events, %v outage, 5 times 429:", jobs, window, outage)
		t.Logf("edits a minute: %.1f in the window, %d in the busiest five seconds; %d refused with 429", float64(inWindow)/window.Minutes(), busiest(updates), refused)
		t.Logf("age of what a card shows: p50 %v, p99 %v", quantile(ages, 0.5), quantile(ages, 0.99))
		t.Logf("finals: %d of %d landed, p50 %v, p99 %v after the end of the job; the last one %v after the beginning", len(waits), jobs, quantile(waits, 0.5), quantile(waits, 0.99), took)
		t.Logf("messages in threads: %d", lines)
	})
}

// BenchmarkCommandToAck tells how long a command waits for its ack, 200 in a
// second, each stored before it is acknowledged: over real connections.
// -benchtime 1000x makes quantiles of it.
func BenchmarkCommandToAck(b *testing.B) {
	store, err := sqlstore.Open(b.Context(), "sqlite:"+b.TempDir(), sqlstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	d, fake := onSockets(b, discordfake.Config{}, discord.Config{})
	h := &bottest.Script{OnTriage: func(ctx context.Context, in bot.Inbound) bot.Ack {
		raw, err := json.Marshal(in)
		if err == nil {
			_, err = store.Accept(ctx, provision.Inbox{Platform: in.Platform, ID: in.ID, Data: raw, At: in.At})
		}
		if err != nil {
			b.Log(err)
		}
		return bot.Ack{}
	}}
	running(b, d, fake, h)
	took := make([]time.Duration, b.N)
	late := make([]error, b.N)
	var typing sync.WaitGroup
	b.ResetTimer()
	for i := range b.N {
		typing.Go(func() {
			out, err := fake.Command(b.Context(), discordfake.Alice, discordfake.Ops, "show", opt("vm", fmt.Sprint("vm-", i)))
			took[i], late[i] = out.Took, err // three seconds are over
		})
		time.Sleep(time.Second / 200)
	}
	typing.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
	if err := errors.Join(late...); err != nil {
		b.Log("not acknowledged in time:", err)
	}
}

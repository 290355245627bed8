package torture

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// Report is what was seen of an ill-treatment.
type Report struct {
	Jobs, Events int
	Ends         map[provision.State]int
	Reruns       int // steps that were begun again
	Twice        int // commands that change something and ran more than once
	Cards        int // that a bot posted and died before it knew where
}

func (r Report) String() string {
	var ends []string
	for _, s := range slices.Sorted(maps.Keys(r.Ends)) {
		ends = append(ends, fmt.Sprintf("%d %s", r.Ends[s], s))
	}
	return fmt.Sprintf("%d jobs (%s), %d events, %d steps begun again, %d commands run twice, %d cards posted twice",
		r.Jobs, strings.Join(ends, ", "), r.Events, r.Reruns, r.Twice, r.Cards)
}

// Look checks what is left when every job has come to an end: that the events
// of each job have no holes and fold to it, that each ended once, that every
// step of a job that succeeded was done once and of one that did not was
// undone, that no slot was held by two, or still is, and that what the bots
// acknowledged, by the file acked, is there.
func Look(t testing.TB, store provision.Store, acked string) Report {
	t.Helper()
	r := Report{Ends: map[provision.State]int{}}
	last, err := store.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	jobs := map[provision.JobID]*provision.Job{}
	done := map[string]int{} // by job and step
	begun := map[string]int{}
	ids := map[string]string{} // of events, by job and seq
	held := map[provision.Held]provision.JobID{}
	var at provision.Position
	for e, err := range store.Follow(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Pos != at+1 {
			t.Errorf("position %d follows %d", e.Pos, at)
		}
		at = e.Pos
		r.Events++
		ids[fmt.Sprintf("%d %d", e.Job, e.Seq)] = e.ID
		j := jobs[e.Job]
		if j == nil {
			j = &provision.Job{}
			jobs[e.Job] = j
		}
		before := slices.Clone(j.Slots)
		if err := j.Apply(e); err != nil {
			t.Fatal(err)
		}
		for _, h := range before {
			if !slices.Contains(j.Slots, h) {
				delete(held, h)
			}
		}
		for _, h := range j.Slots {
			if by, ok := held[h]; ok && by != j.ID {
				t.Errorf("jobs %d and %d hold %s/%s at once", by, j.ID, h.Pool, h.Slot)
			}
			held[h] = j.ID
		}
		step := fmt.Sprintf("job %d, %s", e.Job, e.Step)
		switch e.Kind {
		case provision.StepStarted:
			begun[step]++
		case provision.StepDone:
			done[step]++
		}
		if at >= last {
			break
		}
	}
	for step, n := range begun {
		r.Reruns += n - 1
		if done[step] > 1 {
			t.Errorf("%s was done %d times", step, done[step])
		}
	}
	for h, by := range held {
		t.Errorf("%s/%s is still held by job %d", h.Pool, h.Slot, by)
	}
	for id, j := range jobs {
		r.Jobs++
		r.Ends[j.State]++
		lookAt(t, store, id, *j)
	}
	lookForAcked(t, acked, ids)
	return r
}

func lookAt(t testing.TB, store provision.Store, id provision.JobID, fold provision.Job) {
	t.Helper()
	stored, err := store.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Seq != fold.Seq || stored.State != fold.State {
		t.Errorf("job %d is stored as %s at %d, its events say %s at %d", id, stored.State, stored.Seq, fold.State, fold.Seq)
	}
	if !stored.State.Final() {
		t.Errorf("job %d (%s) is %s: %+v", id, stored.Order.Text, stored.State, stored.Problem)
	}
	for _, s := range stored.Steps {
		switch {
		case stored.State == provision.StateSucceeded && s.Status != provision.StepOK:
			t.Errorf("job %d succeeded, but its step %s is %q", id, s.Name, s.Status)
		case s.Status == provision.StepUndoes:
			t.Errorf("job %d is over, but its step %s is half undone", id, s.Name)
		}
	}
	for _, h := range fold.Claims {
		held, err := store.Held(t.Context(), h.Pool)
		if err != nil || held[h.Slot] != 0 {
			t.Errorf("%s/%s is held by job %d: %v", h.Pool, h.Slot, held[h.Slot], err)
		}
	}
}

func lookForAcked(t testing.TB, acked string, ids map[string]string) {
	t.Helper()
	text, err := os.ReadFile(acked)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var job, seq int
		var id string
		if n, _ := fmt.Sscan(line, &job, &seq, &id); n < 3 {
			continue // its writer died
		}
		if ids[fmt.Sprintf("%d %d", job, seq)] != id {
			t.Errorf("event %d of job %d was acknowledged and is gone", seq, job)
		}
	}
}

// Changes counts the commands that changed something and ran more than once,
// and tells them. Those that live on the node as tasks may not.
func Changes(t testing.TB, sim *pvesim.Sim) (twice int) {
	t.Helper()
	changing := []string{"create", "set", "resize", "start", "stop", "shutdown", "reboot", "migrate", "destroy"}
	ran := map[string]int{}
	for _, r := range sim.Ran() {
		if len(r.Argv) > 1 && r.Argv[0] == "qm" && slices.Contains(changing, r.Argv[1]) {
			ran[r.String()]++
		}
	}
	for _, c := range slices.Sorted(maps.Keys(ran)) {
		if ran[c] > 1 {
			twice += ran[c] - 1
			t.Logf("ran %d times: %.100s", ran[c], c)
			if strings.HasPrefix(c, "qm create") || strings.HasPrefix(c, "qm migrate") {
				t.Errorf("it is a node task, and ran %d times", ran[c])
			}
		}
	}
	return twice
}

// Settled waits until the card of every job that is over says so, and counts
// cards that nobody knows of: a bot posted them and died.
func Settled(ctx context.Context, t testing.TB, store provision.Store, chat *Chat, n int) (lost int) {
	t.Helper()
	for {
		cards, changed := chat.Cards()
		final := map[provision.JobID]bool{}
		var wrong []string
		for _, c := range cards {
			job, err := store.Job(t.Context(), c.Job)
			if err != nil {
				t.Fatal(err)
			}
			if job.State == provision.StateParked {
				t.Fatalf("job %d (%s) waits for people, and nobody is there: %+v", job.ID, job.Order.Text, job.Problem)
			}
			want := bot.Show(job, c.Ended)
			if job.State.Final() && c.Final && c.Seq == want.Seq && c.Tone == want.Tone && c.Text == want.Text {
				final[c.Job] = true
			} else {
				wrong = append(wrong, fmt.Sprintf("job %d (%s) is %s at %d; its card shows %d: %s", job.ID, job.Order.Text, job.State, job.Seq, c.Seq, c.Text))
			}
		}
		if len(final) == n {
			return len(cards) - n
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d of %d jobs have their last word on a card:\n%s", len(final), n, strings.Join(wrong, "\n"))
		}
	}
}

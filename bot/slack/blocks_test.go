package slack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack/slackfake"
	"pvebot/provision"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// wire is a rendering as it is sent.
func wire(t testing.TB, r rendering) slackfake.Version {
	t.Helper()
	raw, err := json.Marshal(r.blocks)
	if err != nil {
		t.Fatal(err)
	}
	return slackfake.Version{Text: r.text, Blocks: raw}
}

// indented is JSON to be read, without the escapes that Go writes for pages.
func indented(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var born = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// jobs are jobs in every state that a card can show.
func jobs() map[string]provision.Job {
	alice := provision.Actor{Platform: Platform, ID: "U0ALICE", Name: "alice"}
	bob := provision.Actor{Platform: Platform, ID: "U0BOB", Name: "bob"}
	step := func(phase, name string, status provision.Status, from, to int) provision.StepState {
		s := provision.StepState{Phase: phase, Name: name, Status: status}
		if status != provision.StepPending {
			s.Started = born.Add(time.Duration(from) * time.Second)
		}
		if to > 0 {
			s.Ended = born.Add(time.Duration(to) * time.Second)
		}
		return s
	}
	job := func(state provision.State, statuses ...provision.Status) provision.Job {
		j := provision.Job{
			ID: 12, State: state, Seq: 9, Created: born, Started: born.Add(time.Second),
			Order: provision.Order{By: alice, Spec: provision.Install{OS: "ubuntu", Version: "24.04", Name: "web-1"}},
		}
		for i, name := range []string{"checking VMID", "creating VM", "importing disk image", "waiting for ready"} {
			s := step([]string{"preparation", "VM creation", "VM creation", "VM initialization"}[i], name, provision.StepPending, 0, 0)
			if i < len(statuses) {
				s = step(s.Phase, name, statuses[i], 2*i+1, 2*i+2)
				if statuses[i] == provision.StepRunning {
					s.Ended = time.Time{}
				}
			}
			j.Steps = append(j.Steps, s)
		}
		if state.Final() || state == provision.StateParked {
			j.Ended = born.Add(83 * time.Second)
		}
		return j
	}
	ok, bad, reverted := provision.StepOK, provision.StepBad, provision.StepReverted
	problem := &provision.Problem{
		Kind: provision.Full, Say: "storage local-lvm on pve2 has no space left", Try: "/vm install ubuntu --disk 16G",
		Output: "exit status 255\nqemu-img: error while writing\nno space left on device\n",
	}
	facts := provision.Facts{VMID: 101, IP: netip.MustParseAddr("192.168.0.101"), Name: "web-1", Node: "pve2", User: "ubuntu"}
	gate := &provision.Gate{Need: 2, Of: []string{"ops", "admins"}, Reason: "alice has 5 VMs and may have 5", Digest: "d1", Expires: born.Add(24 * time.Hour)}

	all := map[string]provision.Job{
		"waiting":           job(provision.StateWaiting),
		"queued":            job(provision.StateQueued),
		"running":           job(provision.StateRunning, ok, ok, provision.StepRunning),
		"cancel-asked":      job(provision.StateRunning, ok, provision.StepRunning),
		"parked":            job(provision.StateParked, ok, ok, bad),
		"undoing":           job(provision.StateUndoing, ok, provision.StepUndoes, reverted),
		"failed-and-undone": job(provision.StateFailed, reverted, reverted, reverted),
		"failed-and-kept":   job(provision.StateFailed, ok, ok, bad),
		"cancelled":         job(provision.StateCancelled, reverted, reverted),
		"rejected":          job(provision.StateCancelled),
		"succeeded":         job(provision.StateSucceeded, ok, ok, ok, ok),
	}
	for name, change := range map[string]func(j *provision.Job){
		"waiting": func(j *provision.Job) {
			j.Order.Gate, j.Started = gate, time.Time{}
			j.Votes = []provision.Vote{{Job: 12, By: bob, Yes: true}}
		},
		"running": func(j *provision.Job) {
			j.Facts, j.Steps[2].Fraction, j.Steps[2].Text = facts, 0.6, "1.2 GiB of 2.0 GiB"
		},
		"cancel-asked":      func(j *provision.Job) { j.CancelAsked = &bob },
		"parked":            func(j *provision.Job) { j.Problem = problem },
		"undoing":           func(j *provision.Job) { j.Problem = problem },
		"failed-and-undone": func(j *provision.Job) { j.Problem = problem },
		"failed-and-kept":   func(j *provision.Job) { j.Problem = problem },
		"cancelled": func(j *provision.Job) {
			j.Problem = &provision.Problem{Kind: provision.Cancelled, Say: "bob did not want it any more"}
		},
		"rejected": func(j *provision.Job) {
			j.Order.Gate = gate
			j.Problem = &provision.Problem{Kind: provision.Cancelled, Say: "bob rejected it"}
		},
		"succeeded": func(j *provision.Job) { j.Facts = facts },
	} {
		j := all[name]
		change(&j)
		all[name] = j
	}
	return all
}

func TestJobCards(t *testing.T) {
	for name, job := range jobs() {
		t.Run(name, func(t *testing.T) { pin(t, "card/"+name, bot.Show(job, born.Add(90*time.Second))) })
	}
}

func TestOtherCards(t *testing.T) {
	table := &bot.Table{Head: []string{"VMID", "name", "node"}}
	for i := range 200 {
		table.Rows = append(table.Rows, []string{fmt.Sprint(100 + i), fmt.Sprintf("web-%d", i), "pve1"})
	}
	for name, c := range map[string]bot.Card{
		"empty":    {},
		"note":     {Tone: bot.Good, Text: "Job 12 is cancelled."},
		"refusal":  {Title: "Not allowed", Tone: bot.Bad, Text: "web-1 belongs to alice.", Fields: []bot.Field{{Name: "try", Value: "/vm list", Code: true}}},
		"table":    {Title: "VMs", Table: &bot.Table{Head: table.Head, Rows: table.Rows[:3]}, Footer: "3 VMs"},
		"too-long": {Title: "VMs", Table: table, Footer: "200 VMs"},
	} {
		t.Run(name, func(t *testing.T) { pin(t, "answer/"+name, c) })
	}
}

// pin holds a card's rendering to its golden file, and to Slack's limits.
func pin(t *testing.T, name string, c bot.Card) {
	t.Helper()
	r := render(c)
	v := wire(t, r)
	if wrong := slackfake.CheckMessage(v.Blocks); wrong != nil {
		t.Errorf("Slack would refuse it: %q", wrong)
	}
	if acts := v.Acts(); acts != nil {
		t.Errorf("something in it acts: %q", acts)
	}
	golden(t, name, r.text+"\n"+indented(t, r.blocks))
}

// attacks are texts that must be read, not obeyed.
var attacks = []string{
	bottest.Nasty,
	"<!channel> <!here> <!everyone> <@U0ALICE> <#C0OPS|ops> <!subteam^S1|ops>",
	"<https://evil.example|your bank> https://evil.example www.evil.example mailto:a@b.c",
	"*bold* _italic_ ~gone~ `code` ```block``` > quote\n> quote\n* list\n1. list",
	":tada: :party-parrot: &lt;!channel&gt; &amp;lt;@U0ALICE&amp;gt;",
	"<!date^1392734382^{date}|x> @channel @here @alice #ops",
	"\u202egnp.exe \u2066\u2069\u200b\ufeff \x00\x1b[31m",
	strings.Repeat("<!channel>", 700),
	strings.Repeat("\U0001F469\u200d\U0001F680\u0301", 1500),
}

// hostile is a card that has s wherever a card has text.
func hostile(s string) bot.Card {
	c := bot.Card{
		Job: 1, Title: s, Tone: bot.Asking, Text: s, Footer: s, Lines: []string{s, s},
		Fields:  []bot.Field{{Name: s, Value: s}, {Name: s, Value: s, Code: true}},
		Table:   &bot.Table{Head: []string{s, s}, Rows: [][]string{{s, s}, {s, s}}},
		Buttons: []bot.Button{{ID: "v1.cancel.1.", Label: s, Style: bot.Danger, Confirm: s}, {ID: "v1.retry.1.", Label: s, Confirm: s}},
	}
	for range 80 {
		c.Steps = append(c.Steps, bot.CardStep{Phase: s, Title: s, Text: s, Status: provision.StepRunning, Fraction: 0.5, Elapsed: time.Minute})
		c.Fields = append(c.Fields, bot.Field{Name: s, Value: s})
		c.Lines = append(c.Lines, s)
		c.Buttons = append(c.Buttons, bot.Button{ID: fmt.Sprint("b", len(c.Buttons)), Label: s, Confirm: s})
	}
	return c
}

func harmless(t testing.TB, s string, r rendering) {
	t.Helper()
	v := wire(t, r)
	if wrong := slackfake.CheckMessage(v.Blocks); wrong != nil {
		t.Errorf("Slack would refuse %q: %q", bot.Cut(s, 60), wrong)
	}
	if acts := v.Acts(); acts != nil {
		t.Errorf("something in %q acts: %q", bot.Cut(s, 60), acts)
	}
	for _, text := range []string{r.text, v.Plain()} {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\a\u202e") {
			t.Errorf("%q is shown with control characters", bot.Cut(s, 60))
		}
	}
	// One character becomes five at most.
	if utf8.RuneCountInString(r.text) > 5*maxFallback {
		t.Errorf("the text is %d characters long", utf8.RuneCountInString(r.text))
	}
}

func TestAttacksAreText(t *testing.T) {
	for _, s := range attacks {
		harmless(t, s, render(hostile(s)))
		harmless(t, s, render(bot.Card{Text: s}))
		harmless(t, s, plainer(hostile(s)))
		for _, r := range spoken([]string{s, "", s}) {
			harmless(t, s, r)
		}
		v, err := modal(hostileForm(s), reply{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := slackfake.CheckView(raw); wrong != nil {
			t.Errorf("Slack would refuse the form: %q", wrong)
		}
	}
}

func hostileForm(s string) bot.Form {
	f := bot.Form{ID: "install", Title: s}
	for i := range 20 {
		field := bot.FormField{Name: fmt.Sprint("f", i), Label: s, Hint: s, Value: s}
		if i%2 == 0 {
			for j := range 15 {
				field.Options = append(field.Options, bot.Choice{Label: s, Value: fmt.Sprint(j)})
			}
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

func TestLongTextIsMarked(t *testing.T) {
	long := strings.Repeat("\u00e4\u4e16", 20_000)
	c := bot.Card{Title: long, Text: long, Footer: long, Lines: []string{long}, Fields: []bot.Field{{Name: long, Value: long}}}
	v := wire(t, render(c))
	for _, part := range strings.Split(strings.TrimSpace(v.Plain()), "\n") {
		if part != "" && !strings.Contains(part, bot.Ellipsis) {
			t.Errorf("nothing says that this was cut: %q", bot.Cut(part, 40))
		}
	}
}

// A log is not cut, however long.
func TestThreadKeepsEveryLine(t *testing.T) {
	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%90)))
	}
	var all strings.Builder
	for _, r := range spoken(lines) {
		v := wire(t, r)
		if wrong := slackfake.CheckMessage(v.Blocks); wrong != nil {
			t.Errorf("Slack would refuse it: %q", wrong)
		}
		all.WriteString(v.Plain())
	}
	if got := strings.Split(strings.TrimSuffix(all.String(), "\n"), "\n"); !cmp.Equal(got, lines) {
		t.Error(cmp.Diff(lines, got))
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range attacks {
		if len(s) < 500 { // Go's fuzzer spends its time on shortening long ones
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		harmless(t, s, render(hostile(s)))
		harmless(t, s, plainer(hostile(s)))
		for _, r := range spoken([]string{s, s}) {
			harmless(t, s, r)
		}
	})
}

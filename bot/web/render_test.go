package web

import (
	"bytes"
	"flag"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pvebot/bot"
	"pvebot/provision"
)

var rewrite = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// golden compares with testdata/NAME.html.
func golden(t *testing.T, name string, got template.HTML) {
	t.Helper()
	file := filepath.Join("testdata", name+".html")
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := []byte(got); !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}

// states are cards of a job in every state.
func states() map[string]bot.Card {
	failed := run(moment(noon, 7), noon, 7, 0, "no space left on device")
	failed.Steps[7].Status = provision.StepBad
	failed.Tone, failed.Text = bot.Asking, "importing disk image failed: the storage is full. Somebody must decide what happens now."
	failed.Lines = []string{"transferred 1.4 GiB of 3.5 GiB", "qemu-img: error while writing: No space left on device"}
	failed.Buttons = []bot.Button{
		{ID: "retry:1", Label: "Retry", Style: bot.Primary}, {ID: "undo:1", Label: "Roll back", Style: bot.Danger, Confirm: "Roll back?"},
		{ID: "keep:1", Label: "Keep"},
	}
	undoing := failed
	undoing.Tone, undoing.Buttons, undoing.Steps = bot.Busy, nil, append([]bot.CardStep(nil), failed.Steps...)
	undoing.Steps[6].Status, undoing.Steps[7].Status = provision.StepUndoes, provision.StepReverted
	undone := undoing
	undone.Tone, undone.Final, undone.Ended, undone.Steps = bot.Bad, true, noon, append([]bot.CardStep(nil), undoing.Steps...)
	for i := range 8 {
		undone.Steps[i].Status = provision.StepReverted
	}
	waiting := moment(noon, 0)
	waiting.Tone, waiting.Text = bot.Asking, "Waits for one approval of ops."
	waiting.Buttons = []bot.Button{{ID: "yes:1", Label: "Approve", Style: bot.Primary}, {ID: "no:1", Label: "Reject", Style: bot.Danger}}
	cancelled := undone
	cancelled.Tone, cancelled.Text = bot.Plain, "Cancelled by you."
	return map[string]bot.Card{
		"waiting": waiting, "queued": moment(noon, 0), "running": run(moment(noon, 7), noon, 7, .4, "1.4 of 3.5 GiB"),
		"between": moment(noon, 7), "parked": failed, "undoing": undoing, "failed": undone, "cancelled": cancelled,
		"succeeded": finished(noon),
		"table":     {Title: "Nodes", Table: &bot.Table{Head: []string{"Node", "CPU"}, Rows: [][]string{{"pve1", "12%"}, {"pve2", "80%"}}}},
		"text":      {Text: "two\nlines"},
		"empty":     {},
	}
}

func TestCards(t *testing.T) {
	for name, c := range states() {
		m := &message{id: "m0660edf5f61c7b", at: noon, card: &c}
		if name == "running" {
			m.lines, m.missed = []line{{n: 8}, {n: 9}}, 7
		}
		if name == "table" {
			m.only = "web/alice"
		}
		golden(t, "card-"+name, renderMessage(m))
	}
	golden(t, "said", renderMessage(&message{id: "m0660edf5f61c7b", at: noon, by: provision.Actor{Platform: Platform, ID: "a", Name: "alice"}, said: "/vm install ubuntu"}))
}

func TestThread(t *testing.T) {
	m := &message{id: "m0660edf5f61c7b", card: &bot.Card{Title: "Install"}, missed: 2}
	golden(t, "thread-empty", renderThread(&message{id: m.id}))
	for i, text := range []string{"job 1 waits", "[+] creating VM (1.9s)", "    a detail", "[-] importing disk image: full", "[~] creating VM undone"} {
		m.lines = append(m.lines, line{n: 3 + i, text: text, version: uint64(i)})
	}
	golden(t, "thread", renderThread(m))
	golden(t, "lines", renderLines(m, m.linesAfter(2)))
}

func TestForm(t *testing.T) {
	golden(t, "form", render("form", formView(&bot.Form{ID: "install", Title: "Install a VM", Fields: []bot.FormField{
		{Name: "os", Label: "Os", Hint: "what to install", Value: "debian", Required: true, Options: []bot.Choice{{Label: "Ubuntu", Value: "ubuntu"}, {Label: "Debian", Value: "debian"}}},
		{Name: "node", Label: "Node", Value: "pve9", Options: []bot.Choice{{Label: "pve1", Value: "pve1"}}},
		{Name: "cpu", Label: "Cpu", Value: "2"},
	}})))
	golden(t, "choices", render("choices", []bot.Choice{{Label: "Ubuntu", Value: "/vm install ubuntu"}, {Label: "same", Value: "same"}}))
}

func TestPanels(t *testing.T) {
	vms := viewVMs(threeNodes.res, map[int]owner{101: {"alice", noon.Add(7 * 24 * time.Hour)}})
	job := provision.Job{
		ID: 1, State: provision.StateRunning, Created: noon, Steps: []provision.StepState{{Name: "a", Status: provision.StepOK}, {Name: "b"}},
		Order: provision.Order{Text: "/vm install ubuntu", Cluster: "taipei", By: provision.Actor{Platform: Platform, ID: "a", Name: "alice"}},
	}
	over := job
	over.ID, over.State, over.Ended, over.Order.Text = 2, provision.StateFailed, noon.Add(75*time.Second), ""
	over.Order.Spec = provision.Install{}
	jobs := []provision.Job{over, job}
	asking := job
	asking.ID, asking.State = 3, provision.StateWaiting
	asking.Order.Spec = provision.Migrate{VM: provision.VMRef{VMID: 101, Name: "web-1"}, To: "pve2"}
	asking.Order.Gate = &provision.Gate{Need: 1, Of: []string{"ops"}, Reason: "it is bob's", Expires: noon.Add(time.Hour)}
	for name, v := range map[string]panelView{
		"jobs":         {Name: "jobs", Jobs: viewJobs(jobs, false), Count: countLive(jobs)},
		"jobs-none":    {Name: "jobs"},
		"vms":          {Name: "vms", VMs: vms, Count: len(vms)},
		"vms-none":     {Name: "vms"},
		"nodes":        {Name: "nodes", Nodes: wireNodes(threeNodes.res, threeNodes.groups), Count: 3},
		"asks":         {Name: "asks", Asks: viewAsks([]provision.Job{asking}, noon), Count: 1},
		"asks-none":    {Name: "asks"},
		"nodes-silent": {Name: "nodes", Nodes: wireNodes(threeNodes.res, nil), Err: "no node answers"},
		"loading":      {Name: "vms", Loading: true},

		// One of several clusters.
		"jobs-several": {Name: "jobs", Jobs: viewJobs(jobs, true), Count: countLive(jobs)},
		"vms-taipei":   {Name: "vms", Cluster: "taipei"},
		"nodes-taipei": {Name: "nodes", Cluster: "taipei", Err: "no bot works for cluster taipei"},
	} {
		golden(t, "panel-"+name, render("panel", v))
	}
}

// element finds what could act in HTML: whatever hostile text says, templates
// have no script, no picture but the bot's, no handler and no style.
var (
	element = regexp.MustCompile(`(?i)<\s*(script|img|svg|iframe|object|style|link|a\s)|\son\w+\s*=\s*["']|\sstyle\s*=`)
	values  = regexp.MustCompile(`="[^"]*"`)
)

// actsIn takes the values of attributes out, which hold anything but quotes, and
// returns what acts in the rest, "" when nothing does.
func actsIn(html template.HTML) string {
	return element.FindString(values.ReplaceAllString(string(html), `=""`))
}

func hostileViews(s string) map[string]template.HTML {
	card := hostileCard(s)
	by := provision.Actor{Platform: s, ID: s, Name: s}
	job := provision.Job{ID: 1, State: provision.State(s), Order: provision.Order{Text: s, By: by}, Facts: provision.Facts{Name: s, Node: s}}
	views := map[string]template.HTML{
		"card":    renderMessage(&message{id: "m0660edf5f61c7b", card: &card, only: s}),
		"said":    renderMessage(&message{id: "m0660edf5f61c7b", said: s, by: by}),
		"thread":  renderThread(&message{id: "m0660edf5f61c7b", card: &card, lines: []line{{1, s, 1}}}),
		"choices": render("choices", []bot.Choice{{Label: s, Value: s}}),
		"form": render("form", formView(&bot.Form{ID: s, Title: s, Fields: []bot.FormField{
			{Name: s, Label: s, Hint: s, Value: s}, {Name: s, Label: s, Options: []bot.Choice{{Label: s, Value: s}}},
		}})),
		"jobs":  render("panel", panelView{Name: "jobs", Err: s, Jobs: viewJobs([]provision.Job{job}, false)}),
		"vms":   render("panel", panelView{Name: "vms", VMs: []vmView{{vmWire{Name: s, Node: s, Status: s, Owner: s}, true}}}),
		"nodes": render("panel", panelView{Name: "nodes", Nodes: []nodeWire{{Name: s, Status: s}}}),
	}
	return views
}

func TestHostileText(t *testing.T) {
	for name, html := range hostileViews(hostile) {
		if bad := actsIn(html); bad != "" {
			t.Errorf("%s has %q in it:\n%s", name, bad, html)
		}
		// The values of attributes travel as they are: an id must come back
		// unchanged. What people read is clean.
		shown := values.ReplaceAllString(string(html), "")
		if strings.ContainsAny(shown, "\x00\x1b\r\u202e") {
			t.Errorf("%s shows control characters:\n%q", name, shown)
		}
	}
}

func FuzzHostileText(f *testing.F) {
	f.Add(hostile)
	f.Add(`" autofocus onfocus="alert(1)`)
	f.Add("javascript:alert(1)//</textarea>--><!--")
	f.Fuzz(func(t *testing.T, s string) {
		c := bot.Card{
			Title: s, Tone: bot.Tone(s), Fields: []bot.Field{{Name: s, Value: s, Code: true}},
			Buttons: []bot.Button{{ID: s, Label: s, Style: bot.Style(s), Confirm: s}},
		}
		if html := renderMessage(&message{id: "m0660edf5f61c7b", card: &c}); actsIn(html) != "" {
			t.Errorf("%q in:\n%s", actsIn(html), html)
		}
		if got := clean(20, s); !utf8.ValidString(got) || utf8.RuneCountInString(got) > 21 || strings.ContainsAny(got, "\x00\x1b\r\u202e") {
			t.Errorf("clean: %q", got)
		}
	})
}

func TestDur(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0.0s", 1950 * time.Millisecond: "1.9s", 10 * time.Second: "10s", 59900 * time.Millisecond: "59s",
		time.Minute: "1m 00s", 65 * time.Second: "1m 05s", 2*time.Hour + 7*time.Minute: "2h 07m",
	} {
		if got := dur(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{-1: "0 B", 0: "0 B", 900 << 20: "900 MiB", 1536 << 20: "1.5 GiB", 2 << 30: "2 GiB", 11<<30 + 1: "11 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

package discord_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/commands"
	"pvebot/provision"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// cards are what the golden files pin.
var cards = map[string]bot.Card{
	"running": {
		Job: 12, Seq: 40, Title: "Install ubuntu 24.04: web-1", Tone: bot.Busy, Text: "Step 3 of 4: importing disk image",
		Fields: []bot.Field{{Name: "VMID", Value: "101"}, {Name: "IP", Value: "192.168.0.101"}, {Name: "node", Value: "pve1"}},
		Steps: []bot.CardStep{
			{Phase: "preparation", Title: "checking VMID", Status: provision.StepOK, Elapsed: 300 * time.Millisecond, Started: noon},
			{Phase: "VM creation", Title: "creating VM", Status: provision.StepOK, Elapsed: 4 * time.Second, Started: noon},
			{Phase: "VM creation", Title: "importing disk image", Status: provision.StepRunning, Fraction: 0.45, Text: "7.2 of 16 GiB", Elapsed: 20 * time.Second, Started: noon.Add(5 * time.Second)},
			{Phase: "VM initialization", Title: "waiting for ready"},
		},
		Buttons: []bot.Button{{ID: "v1.cancel.12.", Label: "Cancel", Style: bot.Danger, Confirm: "Cancel this job and undo what it did?"}},
		Footer:  "job 12, asked by alice", Started: noon, Elapsed: 25 * time.Second,
	},
	"parked": {
		Job: 13, Title: "Install debian 12: db-1", Tone: bot.Asking, Text: "Creating VM failed: no space left on device. Somebody must decide what happens now.",
		Fields: []bot.Field{{Name: "try", Value: "another storage: /vm install debian --storage big"}},
		Steps: []bot.CardStep{
			{Phase: "VM creation", Title: "creating VM", Status: provision.StepBad, Elapsed: 4 * time.Second, Started: noon},
			{Phase: "VM creation", Title: "resizing disk", Status: provision.StepReverted},
		},
		Lines:   []string{"unable to create VM 101 - lvcreate 'pve/vm-101-disk-0' error:", "  ```rm -rf``` no space left"},
		Buttons: []bot.Button{{ID: "v1.retry.13.a", Label: "Retry", Style: bot.Primary}, {ID: "v1.keep.13.a", Label: "Keep"}},
		Footer:  "job 13, asked by alice", Started: noon,
	},
	"succeeded": {
		Job: 12, Title: "Install ubuntu 24.04: web-1", Tone: bot.Good, Text: "web-1 is ready: VMID 101, IP 192.168.0.101, user ubuntu, installed in 1m05s.",
		Fields: []bot.Field{{Name: "ssh", Value: "ssh ubuntu@192.168.0.101", Code: true}},
		Footer: "job 12, asked by alice", Started: noon, Ended: noon.Add(65 * time.Second), Final: true,
	},
	"list": {Title: "VMs", Table: &bot.Table{
		Head: []string{"VMID", "name", "status"}, Rows: [][]string{{"101", "web-1", "running"}, {"102", "*db*", "stopped"}},
	}},
	"note":  {Title: "Not allowed", Tone: bot.Bad, Text: "You may not destroy web-1."},
	"empty": {},
	"nasty": {
		Job: 1, Title: "title " + bottest.Nasty, Text: "text " + bottest.Nasty, Fields: []bot.Field{{Name: bottest.Nasty, Value: bottest.Nasty}, {Name: "code", Value: bottest.Nasty, Code: true}},
		Steps: []bot.CardStep{{Phase: bottest.Nasty, Title: bottest.Nasty, Text: bottest.Nasty}}, Lines: []string{bottest.Nasty}, Footer: bottest.Nasty,
		Buttons: []bot.Button{{ID: "v1.x.1.", Label: bottest.Nasty}},
	},
}

func TestGolden(t *testing.T) {
	for name, c := range cards {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(discord.Render(c)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "card", name+".golden")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got, -update writes it anew):\n%s", path, diff)
			}
		})
	}
}

// What comes from outside does nothing, and can be read.
func TestUntrustedTextIsInert(t *testing.T) {
	for _, s := range []string{
		"<@123> <@&4> <#5> </vm install:6> <t:0:R> <:x:7>", "@everyone @here", "*b* **bb** _i_ __u__ ~~s~~ ||spoiler||", "`code` ```block```",
		"# heading", "  ## heading", "> quote", ">>> quote", "- item", "* item", "+ item", "-# small", "[text](https://evil.example)",
		"https://evil.example http://x steam://run", ":skull: a:b_c:", `back\slash \* \\* \`, "one\n# two\n> three", bottest.Nasty,
	} {
		sent := discord.Escape(s, 10_000)
		if acts := discordfake.Acts(sent); len(acts) > 0 {
			t.Errorf("%q is sent as %q, where %q act", s, sent, acts)
		}
	}
	if acts := discordfake.Acts("<@1> *x* [a](b) @everyone http://x\n# y :z: `"); len(acts) < 7 {
		t.Errorf("the fake sees only %q", acts)
	}
	for _, s := range []string{"Install ubuntu 24.04: web-1", "a - b: #3 (ok) 50%"} {
		if sent := discord.Escape(s, 100); sent != s {
			t.Errorf("%q is sent as %q", s, sent)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a_b", bottest.Nasty, "\\", "a\n\n# b", "\u00e4:\u4e16:", "@everyone", "x\u200by"} {
		f.Add(s, uint8(20))
	}
	f.Fuzz(func(t *testing.T, s string, most uint8) {
		sent := discord.Escape(s, int(most))
		if n := utf8.RuneCountInString(sent); n > int(most) || !utf8.ValidString(sent) {
			t.Errorf("%q is sent as %q: %d of %d characters", s, sent, n, most)
		}
		if acts := discordfake.Acts(sent); len(acts) > 0 {
			t.Errorf("%q is sent as %q, where %q act", s, sent, acts)
		}
		// A field or a block after it is as it was meant.
		if acts := discordfake.Acts(sent + "\nend"); len(acts) > 0 {
			t.Errorf("%q spoils what follows", sent)
		}
	})
}

func FuzzSpoken(f *testing.F) {
	f.Add("a line", "```")
	f.Add(strings.Repeat("`", 3000), bottest.Nasty)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, text := range discord.Spoken([]string{a, b, a}) {
			if n := utf8.RuneCountInString(text); n > 2000 {
				t.Errorf("a message of %d characters", n)
			}
			if acts := discordfake.Acts(text); len(acts) > 0 {
				t.Errorf("%q acts: %q", text, acts)
			}
		}
	})
}

// Whatever the gateway sends, nothing breaks, and what is read has an owner.
func FuzzInteraction(f *testing.F) {
	for _, data := range []string{
		`{"options":[{"type":1,"name":"show","options":[{"name":"vm","type":3,"value":"web-1","focused":true}]}]}`,
		`{"custom_id":"ask:v1.cancel.1."}`, `{"custom_id":"form?=install&ttl=7d","components":[{"type":18,"component":{"custom_id":"os","value":"x"}}]}`,
		`{"options":[{"name":"x","value":{"a":[1]}}],"components":7}`, `null`,
	} {
		for kind := range 6 {
			f.Add(fmt.Appendf(nil, `{"id":"1","token":"t","type":%d,"member":{"user":{"id":"5"},"roles":["1"]},"channel":{"type":11},"app_permissions":"1024","data":%s}`, kind, data))
		}
	}
	d, err := discord.New(discord.Config{Token: "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if in, ok := d.Parse(raw); ok && (in.ID == "" || in.By.ID == "" || len(in.Reply) == 0 || in.Kind == "") {
			t.Errorf("%s is read as %+v", raw, in)
		}
	})
}

// Whatever the gateway begins with, heartbeats are sent at a pace that both
// can live with, or not at all.
func FuzzHello(f *testing.F) {
	for _, interval := range []string{"41250", "0", "-1", "9223372036854775807", "1e3", `"1"`, "null"} {
		f.Add([]byte(`{"op":10,"d":{"heartbeat_interval":` + interval + `}}`))
	}
	f.Add([]byte(`{"op":11}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if every, err := discord.HeartbeatOf(raw); err == nil && (every < time.Millisecond || every > time.Hour) {
			t.Errorf("%s: a heartbeat every %v", raw, every)
		}
	})
}

// Options become a line that asks for the same.
func FuzzLine(f *testing.F) {
	f.Add("install", "ubuntu", "web-1", "4")
	f.Add("show", "we\"b", "", "")
	f.Add("snapshot", "web-1", "--name", "-x")
	f.Add("audit", "", `a\ b`, "")
	f.Add("show", "web-1", "taipei", "")
	f.Fuzz(func(t *testing.T, verb, a, b, c string) {
		v, ok := commands.VerbOf(verb)
		if !ok {
			return
		}
		fields := commands.Fields{}
		for i, p := range v.Params() {
			text := []string{a, b, c}[i%3]
			if p.Type == commands.TypeBool && text != "" {
				text = "true"
			}
			if text = commands.Normalise(text); text != "" {
				fields[p.Name] = text
			}
		}
		if v.Sited && b == "taipei" {
			fields["cluster"] = b
		}
		want, wrong := commands.Build(v.Name, fields)
		got, err := commands.Parse(discord.LineOf(v.Name, fields))
		if wrong == nil && err != nil {
			t.Fatalf("%v is right as fields, as %q it is not: %v", fields, discord.LineOf(v.Name, fields), err)
		}
		if wrong == nil && commands.Format(got) != commands.Format(want) {
			t.Errorf("%q is %q, as fields %q", discord.LineOf(v.Name, fields), commands.Format(got), commands.Format(want))
		}
	})
}

func TestLineOf(t *testing.T) {
	for fields, want := range map[*commands.Fields]string{
		{"os": "ubuntu", "version": "24.04", "dry-run": "true"}: "install ubuntu 24.04 --dry-run",
		{"version": "24.04"}: "install --version 24.04",
		{"os": "-x y"}:       `install "-x y"`,
		{}:                   "install",
	} {
		if got := discord.LineOf("install", *fields); got != want {
			t.Errorf("%v is %q, want %q", *fields, got, want)
		}
	}
	for verb, want := range map[string]string{"show": "show web-1 --cluster taipei", "cancel": "cancel"} {
		if got := discord.LineOf(verb, commands.Fields{"vm": "web-1", "cluster": "taipei"}); got != want {
			t.Errorf("%s in a cluster is %q, want %q", verb, got, want)
		}
	}
	if got := discord.LineOf("what; is this", nil); got != `"what; is this"` {
		t.Errorf("%q", got)
	}
}

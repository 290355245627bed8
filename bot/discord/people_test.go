package discord_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/discord"
	"pvebot/bot/discord/discordfake"
	"pvebot/commands"
	"pvebot/provision"
)

// A bare install opens a form as its first answer; what is sent comes as the
// fields of the verb, those that had no room in the form among them.
func TestForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		form := bot.Form{ID: "install", Title: strings.Repeat("Make and set up a new VM ", 3), Fields: []bot.FormField{
			{Name: "version", Label: "Version"},
			{Name: "name", Label: "Name"},
			{Name: "cpu", Label: "Cpu", Value: "4"},
			{Name: "ram", Label: "Ram"},
			{Name: "disk", Label: "Disk", Value: "32G"},
			{Name: "node", Label: "Node", Value: "pve1"},
			{Name: "ttl", Label: "Ttl", Value: "7d"},
			{Name: "key", Label: "Key", Value: "a b"},
			{Name: "os", Label: "Os", Required: true, Options: []bot.Choice{{Value: "debian"}, {Value: "ubuntu"}}},
		}}
		h := &bottest.Script{OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			if in.Kind == bot.Submit && in.Fields["os"] == "beos" {
				return bot.Ack{Errors: map[string]string{"os": "There is no beos."}}
			}
			if in.Kind == bot.Submit {
				return bot.Ack{}
			}
			return bot.Ack{Form: &form}
		}}
		running(t, d, fake, h)
		out, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install", opt("node", "pve1"))
		if err != nil || out.Kind != "modal" {
			t.Fatalf("%+v, %v", out, err)
		}
		var names []string
		for _, f := range out.Modal.Fields {
			names = append(names, f.ID)
		}
		if want := []string{"os", "cpu", "disk", "node", "ttl"}; !slices.Equal(names, want) {
			t.Errorf("the form has %v, want %v", names, want)
		}
		if _, err := fake.Submit(t.Context(), discordfake.Alice, discordfake.Ops, *out.Modal, map[string]string{"os": "beos"}); err != nil {
			t.Error(err)
		}
		if got := fake.Whispers(discordfake.Alice); len(got) != 1 || !strings.Contains(got[0].Text, "There is no beos.") {
			t.Errorf("whispers: %+v", got)
		}
		sent, err := fake.Submit(t.Context(), discordfake.Alice, discordfake.Ops, *out.Modal, map[string]string{"os": "ubuntu", "cpu": ""})
		if err != nil || sent.Kind != "deferred" {
			t.Errorf("%+v, %v", sent, err)
		}
		in := h.Last(t)
		want := map[string]string{"os": "ubuntu", "disk": "32G", "node": "pve1", "ttl": "7d", "key": "a b"}
		if in.Kind != bot.Submit || in.Form != "install" || len(in.Fields) != len(want) {
			t.Errorf("%+v", in)
		}
		for k, v := range want {
			if in.Fields[k] != v {
				t.Errorf("%s is %q, want %q", k, in.Fields[k], v)
			}
		}

		// Without room for what was given, there is no form, and an answer.
		form.Fields[7].Value = strings.Repeat("ssh-ed25519 AAAA", 20)
		form.Fields = append(form.Fields, bot.FormField{Name: "x", Value: strings.Repeat("y", 200)})
		if out, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install"); err != nil || out.Kind != "message" {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// A button that must be confirmed asks the one who pressed it.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{OnHandle: func(ctx context.Context, in bot.Inbound) { _ = d.Whisper(ctx, in, bot.Card{Title: "Cancelled"}) }}
		running(t, d, fake, h)
		c := card(1, "the title")
		c.Buttons = []bot.Button{
			{ID: "v1.retry.1.x", Label: "Retry", Style: bot.Primary},
			{ID: "v1.cancel.1.", Label: "Cancel", Style: bot.Danger, Confirm: "Cancel this job?"},
			{ID: "v1.retry.1.x", Label: "Twice"},
			{ID: strings.Repeat("x", 100), Label: "Too long"},
		}
		if _, err := d.Post(t.Context(), ops, c); err != nil {
			t.Fatal(err)
		}
		m := only(t, fake, discordfake.Ops)
		if !slices.Equal(m.Buttons, []string{"Retry", "Cancel"}) {
			t.Errorf("buttons: %q", m.Buttons)
		}
		click := func(by, id, label string) discordfake.Outcome {
			t.Helper()
			out, err := fake.Click(t.Context(), by, discordfake.Ops, id, label)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Second)
			return out
		}
		click(discordfake.Alice, m.ID, "Cancel")
		asked := fake.Whispers(discordfake.Alice)
		if len(h.Triaged()) != 0 || len(asked) != 1 || !strings.Contains(asked[0].Text, "Cancel this job?") {
			t.Fatalf("triaged %v, asked %+v", h.Triaged(), asked)
		}
		if out := click(discordfake.Alice, asked[0].ID, "Cancel"); out.Kind != "update" {
			t.Errorf("%+v", out)
		}
		if in := h.Last(t); in.Kind != bot.Click || in.Button != "v1.cancel.1." {
			t.Errorf("%+v", in)
		}
		if got := fake.Whispers(discordfake.Alice); len(got) != 1 || got[0].Text != "Cancelled" || len(got[0].Buttons) != 0 {
			t.Errorf("%+v", got)
		}
		// Others are done at once, and answered beside the card.
		if out := click(discordfake.Bob, m.ID, "Retry"); out.Kind != "later" || h.Last(t).Button != "v1.retry.1.x" {
			t.Errorf("%+v, %+v", out, h.Last(t))
		}
		if got := fake.Whispers(discordfake.Bob); len(got) != 1 || only(t, fake, discordfake.Ops).Edits != 0 {
			t.Errorf("%+v", got)
		}
		// After a restart the question is a plainer one.
		again, err := discord.New(discord.Config{Token: "fake-token", APIURL: "http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

// An update that comes with the ack replaces the whole card.
func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack {
			return bot.Ack{Update: &bot.Card{Job: 1, Title: "approved"}}
		}}
		running(t, d, fake, h)
		if _, err := d.Post(t.Context(), ops, card(1, "the title")); err != nil {
			t.Fatal(err)
		}
		m := only(t, fake, discordfake.Ops)
		if out, err := fake.Click(t.Context(), discordfake.Alice, discordfake.Ops, m.ID, "Cancel"); err != nil || out.Kind != "update" {
			t.Errorf("%+v, %v", out, err)
		}
		if m := only(t, fake, discordfake.Ops); m.Text != "approved" || len(m.Buttons) != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		known := commands.Known{
			Nodes: []string{"pve1", "pve2"}, Storages: []string{"local-lvm"},
			VMs:    []commands.KnownVM{{ID: 101, Name: "web-1", Node: "pve1"}, {ID: 102, Name: "web-2", Node: "pve2"}},
			Images: []provision.Image{{OS: "ubuntu", Version: "24.04", Title: "Ubuntu 24.04"}, {OS: "ubuntu", Version: "22.04", Title: "Ubuntu 22.04"}, {OS: "debian", Version: "12", Title: "Debian 12"}},
		}
		h := &bottest.Script{OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			var out []bot.Choice
			for _, c := range commands.Complete(in.Text, known) {
				out = append(out, bot.Choice(c))
			}
			return bot.Ack{Choices: out}
		}}
		running(t, d, fake, h)
		focus := func(name string, value any) discordfake.Option {
			return discordfake.Option{Name: name, Value: value, Focused: true}
		}
		for _, tc := range []struct {
			verb string
			opts []discordfake.Option
			want []string
		}{
			{"show", []discordfake.Option{focus("vm", "we")}, []string{"web-1", "web-2"}},
			{"show", []discordfake.Option{focus("vm", "")}, []string{"web-1", "web-2"}},
			{"show", []discordfake.Option{focus("vm", "no such thing; rm")}, nil},
			{"install", []discordfake.Option{focus("os", "")}, []string{"ubuntu", "debian"}},
			{"install", []discordfake.Option{opt("os", "ubuntu"), focus("version", "2")}, []string{"24.04", "22.04"}},
			{"install", []discordfake.Option{opt("os", "ubuntu"), opt("cpu", 4), focus("node", "pve")}, []string{"pve1", "pve2"}},
			{"install", []discordfake.Option{focus("ram", "")}, []string{"1G", "2G", "4G", "8G", "16G", "32G"}},
			{"migrate", []discordfake.Option{focus("node", "pve2"), opt("vm", "web-1")}, []string{"pve2"}},
			{"set", []discordfake.Option{focus("disk", "+2"), opt("vm", "web-1")}, []string{"+20G"}},
			{"no-such-verb", []discordfake.Option{focus("vm", 3.5)}, nil},
		} {
			out, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, tc.verb, tc.opts...)
			if err != nil && tc.verb != "no-such-verb" {
				t.Errorf("%s %v: %v", tc.verb, tc.opts, err)
			}
			var got []string
			for _, c := range out.Choices {
				got = append(got, c.Value)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s %v: %q, want %q (%q)", tc.verb, tc.opts, got, tc.want, h.Last(t).Text)
			}
		}
	})
}

// What takes too long is deferred, and answered after all.
func TestSlowTriage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack {
			time.Sleep(4 * time.Second)
			return bot.Ack{Whisper: &bot.Card{Title: "better late"}, Choices: nil}
		}}
		running(t, d, fake, h)
		out, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "help")
		if err != nil || out.Kind != "deferred" || out.Took > 2*time.Second {
			t.Errorf("%+v, %v", out, err)
		}
		if out, err := fake.Typing(t.Context(), discordfake.Alice, discordfake.Ops, "show", discordfake.Option{Name: "vm", Value: "x", Focused: true}); err != nil || out.Kind != "choices" {
			t.Errorf("%+v, %v", out, err)
		}
		time.Sleep(10 * time.Second)
		if got := fake.Whispers(discordfake.Alice); len(got) != 1 || got[0].Text != "better late" || d.Health().LateAcks != 1 {
			t.Errorf("%+v, %+v", got, d.Health())
		}
	})
}

func TestRegistersWhatChanged(t *testing.T) {
	for _, guild := range []string{"", discordfake.Guild} {
		synctest.Test(t, func(t *testing.T) {
			d, fake := inMemory(t, discordfake.Config{}, discord.Config{GuildID: guild})
			for range 3 {
				stop := running(t, d, fake, &bottest.Script{})
				time.Sleep(time.Minute)
				stop()
			}
			puts := fake.Journal(http.MethodPut)
			if len(puts) != 1 {
				t.Fatalf("registered %d times", len(puts))
			}
			if strings.Contains(puts[0].Path, "/guilds/") != (guild != "") || puts[0].Status != 200 {
				t.Errorf("%s: %d", puts[0].Path, puts[0].Status)
			}
			var sent []struct {
				Name    string
				Options []struct {
					Name    string
					Options []struct{ Name string }
				}
			}
			if err := json.Unmarshal(puts[0].Body, &sent); err != nil || len(sent) != 1 || sent[0].Name != "vm" || len(sent[0].Options) != len(commands.Verbs()) {
				t.Errorf("%s, %v", puts[0].Body, err)
			}
			if n := len(puts[0].Body); n > 40_000 {
				t.Errorf("%d bytes", n)
			}
		})
	}
}

// TestRegistersClusters: where there are several, Discord takes an option for
// them, and has it completed.
func TestRegistersClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{Clusters: []string{"taipei", "berlin"}})
		stop := running(t, d, fake, &bottest.Script{})
		time.Sleep(time.Minute)
		stop()
		puts := fake.Journal(http.MethodPut)
		if len(puts) != 1 || puts[0].Status != 200 {
			t.Fatalf("registered %d times: %+v", len(puts), puts)
		}
		sited := 0
		for _, v := range commands.Verbs() {
			if v.Sited {
				sited++
			}
		}
		if n := strings.Count(string(puts[0].Body), `"name":"cluster"`); n != sited {
			t.Errorf("%d commands ask for the cluster, want %d", n, sited)
		}
	})
}

func TestPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{}
		running(t, d, fake, h)
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "can",
			discordfake.Option{Name: "who", Value: discordfake.Bob, Person: true}, opt("verb", "destroy"), opt("node", "pve 1\" --x")); err != nil {
			t.Fatal(err)
		}
		in := h.Last(t)
		if want := []string{"discord:" + discordfake.Admins, "discord:" + discordfake.Guild}; !slices.Equal(in.Roles, want) || in.By != alice || in.Where != ops {
			t.Errorf("%+v", in)
		}
		if want := `can @` + discordfake.Bob + ` destroy --node "pve 1\" --x"`; in.Text != want {
			t.Errorf("text is %q, want %q", in.Text, want)
		}
		fake.Grant(discordfake.Alice, "77")
		if got, err := d.RolesOf(t.Context(), alice, ops); err != nil || !slices.Equal(got, []string{"discord:77", "discord:" + discordfake.Guild}) {
			t.Errorf("%q, %v", got, err)
		}
		if got, err := d.RolesOf(t.Context(), provision.Actor{Platform: "discord", ID: "5"}, ops); err != nil || len(got) != 0 {
			t.Errorf("a stranger has the roles %q, %v", got, err)
		}
		if _, err := d.RolesOf(t.Context(), alice, provision.Conversation{Channel: "5"}); err == nil {
			t.Error("a channel that is not there has roles")
		}
	})
}

// Where the bot can't show a card, nothing is started.
func TestNothingStartsUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{}
		running(t, d, fake, h)
		fake.Deny(discordfake.General, discordfake.SendMessages)
		for _, channel := range []string{discordfake.Private, discordfake.General} {
			if _, err := fake.Command(t.Context(), discordfake.Alice, channel, "install", opt("os", "ubuntu")); err != nil {
				t.Error(err)
			}
		}
		got := fake.Whispers(discordfake.Alice)
		if len(h.Triaged()) != 0 || len(got) != 2 || !strings.Contains(got[0].Text, "View Channel") || !strings.Contains(got[1].Text, "Send Messages") {
			t.Errorf("triaged %v, told %+v", h.Triaged(), got)
		}
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Private, "list"); err != nil || len(h.Triaged()) != 1 {
			t.Errorf("what shows no card is refused: %v", err)
		}
		if _, err := d.Post(t.Context(), provision.Conversation{Platform: "discord", Channel: discordfake.Private}, card(1, "x")); !errors.Is(err, bot.ErrGone) {
			t.Errorf("Post where the bot can't see: %v", err)
		}
	})
}

// An interaction that died before its answer starts nothing: who was told that
// it failed will try again.
func TestDeadInteractionStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, fake := inMemory(t, discordfake.Config{}, discord.Config{})
		h := &bottest.Script{}
		running(t, d, fake, h)
		fake.Break(discordfake.Fault{Path: "/callback", Status: 404, Code: 10062})
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install", opt("os", "ubuntu")); !errors.Is(err, discordfake.ErrTimeout) {
			t.Error(err)
		}
		fake.Mend()
		// Delivered by a resume, long after.
		fake.Next(discordfake.Plan{NoHello: true})
		fake.Cut()
		if _, err := fake.Command(t.Context(), discordfake.Alice, discordfake.Ops, "install", opt("os", "debian")); !errors.Is(err, discordfake.ErrTimeout) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if len(h.Handled()) != 0 || d.Health().Dead != 1 || d.Health().LostAcks != 1 {
			t.Errorf("handled %v, %+v", h.Handled(), d.Health())
		}
		ask(t, fake)
	})
}

func TestWrongSettings(t *testing.T) {
	for _, cfg := range []discord.Config{
		{}, {Token: "a b"}, {Token: "x", APIURL: "nonsense"}, {Token: "x", GatewayURL: "http://x"}, {Token: "x", AppID: "pvebot"}, {Token: "x", Leader: &leader{}},
	} {
		if _, err := discord.New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		for name, harm := range map[string]func(*discordfake.Fake, *discord.Config){
			"DISCORD_TOKEN": func(f *discordfake.Fake, _ *discord.Config) { f.Break(discordfake.Fault{Status: 401}) },
			"DISCORD_API_URL": func(f *discordfake.Fake, _ *discord.Config) {
				f.Break(discordfake.Fault{Status: 404, Body: "not here"})
			},
			"DISCORD_APP_ID": func(_ *discordfake.Fake, cfg *discord.Config) { cfg.AppID = "5" },
		} {
			cfg := discord.Config{}
			if name == "DISCORD_APP_ID" {
				harm(nil, &cfg)
			}
			d, fake := inMemory(t, discordfake.Config{}, cfg)
			if name != "DISCORD_APP_ID" {
				harm(fake, &cfg)
			}
			var fatal *discord.FatalError
			if err := d.Run(t.Context(), &bottest.Script{}); !errors.As(err, &fatal) || !strings.Contains(err.Error(), name) {
				t.Errorf("Run: %v, want a FatalError with %s", err, name)
			}
			if _, err := d.Post(t.Context(), ops, card(1, "x")); err == nil && cfg.AppID == "" {
				t.Error("it goes on calling")
			}
		}
	})
}

func TestInviteURL(t *testing.T) {
	got, err := discord.InviteURL(discordfake.App, "")
	// View, send, embed, attach, read history, create public threads, send in threads.
	if want := "https://discord.com/oauth2/authorize?client_id=" + discordfake.App + "&integration_type=0&permissions=309237763072&scope=bot+applications.commands"; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if got, err := discord.InviteURL("12", "34"); err != nil || !strings.Contains(got, "guild_id=34") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := discord.InviteURL("my bot", ""); err == nil {
		t.Error("a name is taken for an id")
	}
	if n := len(discord.Permissions()); n != 7 {
		t.Errorf("%d permissions", n)
	}
}

package slack_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pvebot/bot"
	"pvebot/bot/bottest"
	"pvebot/bot/slack"
	"pvebot/bot/slack/slackfake"
)

// installForm is what a desk makes of the grammar's install.
func installForm() bot.Form {
	return bot.Form{ID: "install", Title: "Make and set up a new VM", Fields: []bot.FormField{
		{Name: "os", Label: "OS", Hint: "The operating system", Required: true, Options: []bot.Choice{{Label: "Ubuntu", Value: "ubuntu"}, {Label: "Debian", Value: "debian"}}, Value: "debian"},
		{Name: "name", Label: "Name", Hint: "The VM's name", Value: "web-1"},
		{Name: "cpu", Label: "Cpu"},
		{Name: "node", Label: "Node", Hint: "The node that runs it"},
		{Name: "key", Label: "Key"},
	}}
}

// formed opens a form for Alice, in a channel that the bot is not in.
func formed(t *testing.T, triage func(bot.Inbound) bot.Ack, handle func(*slack.Slack, bot.Inbound)) (*slack.Slack, *slackfake.Fake, slackfake.View, *bottest.Script) {
	t.Helper()
	s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
	h := &bottest.Script{
		OnTriage: func(_ context.Context, in bot.Inbound) bot.Ack {
			if in.Kind == bot.Command {
				f := installForm()
				return bot.Ack{Form: &f}
			}
			return triage(in)
		},
		OnHandle: func(_ context.Context, in bot.Inbound) { handle(s, in) },
	}
	running(t, s, fake, 2, h)
	if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Private, "install", ""); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	views := fake.Views(slackfake.Alice)
	if len(views) != 1 {
		t.Fatalf("%d forms are open: %v", len(views), fake.Journal("views.open"))
	}
	return s, fake, views[0], h
}

func TestForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fake, view, h := formed(t,
			func(in bot.Inbound) bot.Ack {
				if in.Fields["cpu"] == "lots" {
					return bot.Ack{Errors: map[string]string{"cpu": "cpu wants a number", "line": "and the rest is odd"}}
				}
				return bot.Ack{}
			},
			func(s *slack.Slack, in bot.Inbound) {
				if in.Kind != bot.Submit || in.Fields["cpu"] == "lots" {
					return
				}
				if err := s.Whisper(context.Background(), in, bot.Card{Text: "taken."}); err != nil {
					t.Errorf("Whisper: %v", err)
				}
			})
		fields := view.Fields()
		kinds := map[string]string{}
		for name, e := range fields {
			kinds[name] = fmt.Sprint(e["type"])
		}
		want := map[string]string{"os": "static_select", "name": "plain_text_input", "cpu": "plain_text_input", "node": "external_select", "key": "plain_text_input"}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
		if fields["name"]["initial_value"] != "web-1" || fields["os"]["initial_option"].(map[string]any)["value"] != "debian" {
			t.Errorf("what was understood is not filled in: %v", fields)
		}

		time.Sleep(10 * time.Minute) // people think
		values := map[string]string{"os": "ubuntu", "cpu": "lots", "key": "ssh-ed25519 AAAA <alice@home> & co"}
		out, err := fake.Submit(t.Context(), slackfake.Alice, view.ID, values)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"cpu": "cpu wants a number", "os": "and the rest is odd"}, out.Errors); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
		values["cpu"] = "4"
		if out, err = fake.Submit(t.Context(), slackfake.Alice, view.ID, values); err != nil || out.Errors != nil {
			t.Fatalf("%v, %v", out.Errors, err)
		}
		synctest.Wait()
		if n := len(fake.Views(slackfake.Alice)); n != 0 {
			t.Errorf("%d forms stay open", n)
		}
		// Handlers run side by side, so the good form need not be the last.
		i := slices.IndexFunc(h.Handled(), func(in bot.Inbound) bool { return in.Fields["cpu"] == "4" })
		if i < 0 {
			t.Fatalf("the form did not arrive: %+v", h.Handled())
		}
		in := h.Handled()[i]
		if diff := cmp.Diff(values, in.Fields); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
		if in.Form != "install" || in.By.ID != slackfake.Alice || in.Where.Channel != slackfake.Private {
			t.Errorf("%+v", in)
		}
		if got := fake.Ephemerals(slackfake.Alice); len(got) != 1 || !strings.Contains(got[0].Plain(), "taken.") || got[0].Channel != slackfake.Private {
			t.Errorf("the sender sees %v", got)
		}
	})
}

func TestFormAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fake, view, _ := formed(t, func(bot.Inbound) bot.Ack {
			f := installForm()
			f.Fields = f.Fields[:1]
			return bot.Ack{Form: &f}
		}, func(*slack.Slack, bot.Inbound) {})
		if _, err := fake.Submit(t.Context(), slackfake.Alice, view.ID, map[string]string{"os": "ubuntu"}); err != nil {
			t.Fatal(err)
		}
		if views := fake.Views(slackfake.Alice); len(views) != 1 || len(views[0].Fields()) != 1 {
			t.Errorf("open: %v", views)
		}
	})
}

func TestSuggestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		many := false
		_, fake, view, _ := formed(t, func(in bot.Inbound) bot.Ack {
			lines = append(lines, in.Text)
			var out []bot.Choice
			for _, n := range []string{"pve1", "pve2", "pve10"} {
				if line := "install ubuntu --node " + n; strings.HasPrefix(line, in.Text) {
					out = append(out, bot.Choice{Label: n, Value: line})
				}
			}
			for i := 0; many && i < 300; i++ {
				out = append(out, bot.Choice{Label: strings.Repeat("<", 200), Value: fmt.Sprintf("install ubuntu --node %s%d", strings.Repeat("n", 120), i)})
			}
			return bot.Ack{Choices: out}
		}, func(*slack.Slack, bot.Inbound) {})
		given := map[string]string{"os": "ubuntu"}
		ask := func(typed string) []string {
			got, err := fake.Suggest(t.Context(), slackfake.Alice, view.ID, "node", typed, given)
			if err != nil {
				t.Errorf("%q: %v", typed, err)
			}
			return got
		}
		for typed, want := range map[string][]string{"": {"pve1", "pve2", "pve10"}, "pve1": {"pve1", "pve10"}, "new": {"new"}} {
			if got := ask(typed); !slices.Equal(got, want) {
				t.Errorf("%q suggests %q, want %q", typed, got, want)
			}
		}
		if !slices.Contains(lines, "install ubuntu --node pve1") {
			t.Errorf("the desk was asked %q", lines)
		}
		many = true // more than an ack can hold
		if got := ask(""); len(got) < 10 || len(got) > 100 {
			t.Errorf("%d suggestions", len(got))
		}
	})
}

// A trigger works once and for three seconds. Who gets no form gets a line.
func TestFormThatCantBeOpened(t *testing.T) {
	for name, harm := range map[string]func(*slackfake.Fake){
		"slow":    func(*slackfake.Fake) { time.Sleep(3500 * time.Millisecond) },
		"refused": func(f *slackfake.Fake) { f.Break(slackfake.Fault{Method: "views.open", Code: "exchanged_trigger_id"}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
				running(t, s, fake, 2, &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack {
					harm(fake)
					f := installForm()
					return bot.Ack{Form: &f}
				}})
				if _, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "install", ""); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if got := fake.Ephemerals(slackfake.Alice); len(got) != 1 || !strings.Contains(got[0].Plain(), "/vm help install") {
					t.Errorf("Alice sees %v", got)
				}
			})
		})
	}
}

func TestClick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		answer := bot.Ack{}
		h := &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack { return answer }}
		running(t, s, fake, 2, h)
		mustPost(t, s, slackfake.Ops, jobCard(1, "one"))
		ts := fake.Messages(slackfake.Ops)[0].TS

		answer = bot.Ack{Whisper: &bot.Card{Text: "too late."}}
		if _, err := fake.Click(t.Context(), slackfake.Bob, slackfake.Ops, ts, "Cancel", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := fake.Ephemerals(slackfake.Bob); len(got) != 1 || !strings.Contains(got[0].Plain(), "too late.") {
			t.Errorf("Bob sees %v", got)
		}

		answer = bot.Ack{Update: &bot.Card{Text: "Bob approved it."}}
		if _, err := fake.Click(t.Context(), slackfake.Bob, slackfake.Ops, ts, "Cancel", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := fake.Messages(slackfake.Ops)[0].Plain(); !strings.Contains(got, "Bob approved it.") {
			t.Errorf("the card shows %q", got)
		}
		in := h.Handled()[0]
		if in.Kind != bot.Click || in.Button != "v1.cancel.1." || in.By.ID != slackfake.Bob || in.Where != ops {
			t.Errorf("%+v", in)
		}
	})
}

// A long answer does not fit into an ack; Slack would drop it silently.
func TestLongAnswerComesBesideTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{})
		running(t, s, fake, 2, &bottest.Script{OnTriage: func(context.Context, bot.Inbound) bot.Ack {
			c := bot.Card{Title: "long", Footer: "the end"}
			for range 100 {
				c.Lines = append(c.Lines, strings.Repeat("\u4e16", 60))
				c.Fields = append(c.Fields, bot.Field{Name: strings.Repeat("<", 60), Value: strings.Repeat("<", 400)})
			}
			return bot.Ack{Whisper: &c}
		}})
		out, err := fake.Command(t.Context(), slackfake.Alice, slackfake.Ops, "help", "")
		if err != nil || len(out.Payload) > 0 {
			t.Fatalf("%d bytes of ack, %v", len(out.Payload), err)
		}
		synctest.Wait()
		if got := fake.Ephemerals(slackfake.Alice); len(got) != 1 || !strings.Contains(got[0].Plain(), "the end") {
			t.Errorf("Alice sees %d answers", len(got))
		}
	})
}

func TestGroupsAreRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{Groups: []string{"S1", "S2", "SGONE"}})
		fake.Group("S1", slackfake.Alice)
		fake.Group("S2", slackfake.Alice, slackfake.Bob)
		h := &bottest.Script{}
		running(t, s, fake, 2, h)
		roles := func(who string) []string {
			t.Helper()
			if _, err := fake.Command(t.Context(), who, slackfake.Ops, "list", ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return h.Triaged()[len(h.Triaged())-1].Roles
		}
		time.Sleep(time.Minute)
		if got := roles(slackfake.Alice); !slices.Equal(got, []string{"slack:S1", "slack:S2"}) {
			t.Errorf("Alice has %q", got)
		}
		if got := roles(slackfake.Bob); !slices.Equal(got, []string{"slack:S2"}) {
			t.Errorf("Bob has %q", got)
		}
		fake.Group("S2", slackfake.Bob)
		// What is asked for anew is told at once.
		if got, err := s.RolesOf(t.Context(), alice, ops); err != nil || !slices.Equal(got, []string{"slack:S1"}) {
			t.Errorf("asked anew, Alice has %q, %v", got, err)
		}
		time.Sleep(5 * time.Minute)
		if got := roles(slackfake.Alice); !slices.Equal(got, []string{"slack:S1"}) {
			t.Errorf("Alice left S2 and has %q", got)
		}
		// When Slack can't be asked for long, nobody has a role by group.
		fake.Break(slackfake.Fault{Method: "usergroups.users.list", Code: "internal_error", Times: 1000})
		time.Sleep(time.Hour)
		if got := roles(slackfake.Alice); len(got) != 0 {
			t.Errorf("after an hour without news Alice has %q", got)
		}
		for _, c := range fake.Journal("usergroups.users.list") {
			if c.Error == "ratelimited" {
				t.Fatal("groups are asked for too often")
			}
		}
	})
}

func TestFreePlanHasNoGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := inMemory(t, slackfake.Config{}, slack.Config{Groups: []string{"S1"}})
		fake.NoGroups()
		running(t, s, fake, 2, &bottest.Script{})
		time.Sleep(time.Hour)
		if n := len(fake.Journal("usergroups.users.list")); n != 1 {
			t.Errorf("a plan without groups was asked %d times", n)
		}
	})
}

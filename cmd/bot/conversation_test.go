package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
)

// scene is a platform with alice and bob on it.
type scene struct {
	adapter bot.Adapter
	bob     provision.Actor
	// types and press do as somebody; press takes the newest button of that
	// name, and says yes when it asks whether they mean it.
	types func(t *testing.T, who, line string)
	press func(t *testing.T, who, label string)
	// all is the newest card, own the newest private answer to somebody. Where
	// what was shown stays, it is all that was shown since the last step.
	all func(t *testing.T) string
	own func(t *testing.T, who string) string
}

// TestConversation holds testdata/conversation.txt on each platform. Its words:
//
//	WHO types LINE    WHO presses BUTTON
//	all see TEXT      in the newest card
//	WHO sees TEXT     in their newest private answer
//	hold COMMAND      keeps the next such command on a node from beginning
//	release           ends that
//	jobs              the rest is what the store must have at the end
func TestConversation(t *testing.T) {
	text, err := os.ReadFile("testdata/conversation.txt")
	if err != nil {
		t.Fatal(err)
	}
	talk, jobs, ok := strings.Cut(string(text), "\njobs\n")
	if !ok {
		t.Fatal("the conversation names no jobs")
	}
	for name, open := range map[string]func(t *testing.T, h *house) scene{
		"slack": slackScene, "discord": discordScene, "web": webScene, "console": consoleScene,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			converse(t, open, talk, jobs)
		})
	}
}

func converse(t *testing.T, open func(*testing.T, *house) scene, talk, jobs string) {
	sim := pvesim.Start(t, pvesim.Options{})
	c, err := readConfig(append(sim.Env(), "STORE_URL=sqlite:"+t.TempDir()), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	h, err := build(t.Context(), c, commands.Policy{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	s := open(t, h)
	policy, err := os.ReadFile("testdata/conversation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if h.policy, err = commands.ParsePolicy([]byte(strings.ReplaceAll(string(policy), "BOB", s.bob.Key()))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.run(ctx, s.adapter) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})

	release := func() {}
	for line := range strings.Lines(talk) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		who, rest, _ := strings.Cut(line, " ")
		do, what, _ := strings.Cut(rest, " ")
		switch {
		case who == "all":
			sees(t, line, what, func() string { return s.all(t) })
		case do == "sees":
			sees(t, line, what, func() string { return s.own(t, who) })
		case do == "types":
			s.types(t, who, what)
		case do == "presses":
			s.press(t, who, what)
		case who == "hold":
			release = sim.Hold(rest)
		case who == "release":
			release()
		default:
			t.Fatalf("nobody knows what %q means", line)
		}
	}
	if got := told(t, h.store); got != jobs {
		t.Errorf("the jobs are\n%s\nwant\n%s", got, jobs)
	}
	if orphans := sim.Orphans(); len(orphans) > 0 {
		t.Errorf("left behind: %v", orphans)
	}
}

func sees(t *testing.T, line, words string, shown func() string) {
	t.Helper()
	t.Log(line)
	defer func() {
		if t.Failed() {
			t.Logf("what is shown:\n%s", shown())
		}
	}()
	until(t, line, func() bool { return strings.Contains(shown(), words) })
}

// told are all jobs, in words that are the same on every platform.
func told(t *testing.T, store provision.Store) string {
	t.Helper()
	jobs, err := store.Jobs(t.Context(), provision.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(jobs))
	for _, job := range jobs {
		name := job.Facts.Name
		switch s := job.Order.Spec.(type) {
		case provision.Install:
			name = s.Name
		case provision.VMSpec:
			name = s.Target().Name
		}
		line := fmt.Sprintf("%s %s: %s, asked by %s", job.Order.Spec.Kind(), name, job.State, job.Order.By)
		for _, v := range job.Votes {
			if !v.By.Same(job.Order.By) {
				line += fmt.Sprintf(", approved by %s", v.By)
			}
		}
		lines[job.ID-1] = line + "\n"
	}
	return strings.Join(lines, "")
}

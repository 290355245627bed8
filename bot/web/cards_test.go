package web

import (
	"time"

	"pvebot/bot"
	"pvebot/provision"
)

// plan are the steps of an install, as cards show them.
var plan = [][2]string{
	{"Preparation", "assigning IP"},
	{"Preparation", "validating CPU and RAM"},
	{"Preparation", "checking storage pool"},
	{"OS preparation", "getting OS image"},
	{"OS preparation", "validating OS image"},
	{"SSH preparation", "checking SSH key"},
	{"VM creation", "creating VM"},
	{"VM creation", "importing disk image"},
	{"VM initialization", "starting VM"},
	{"VM initialization", "waiting for ready"},
	{"VM initialization", "SSH initialization"},
	{"VM initialization", "finalizing"},
}

// act is a moment of an install.
type act struct {
	card  func() bot.Card
	lines []string
}

// moment is a card with the first n steps done.
func moment(now time.Time, n int) bot.Card {
	c := bot.Card{
		Job: 1, Seq: uint64(3 + 2*n), Tone: bot.Busy, Title: "Installing Ubuntu 24.04 as web-1",
		Started: now.Add(-time.Duration(n) * 2300 * time.Millisecond), Footer: "job 1, asked by you",
		Buttons: []bot.Button{{ID: "cancel:1", Label: "Cancel", Style: bot.Danger, Confirm: "Cancel the install of web-1 and remove what was made so far?"}},
	}
	at := c.Started
	for i, p := range plan {
		s := bot.CardStep{Phase: p[0], Title: p[1]}
		if i < n {
			s.Status, s.Started, s.Elapsed = provision.StepOK, at, time.Duration(300+i*420)*time.Millisecond
			at = at.Add(s.Elapsed)
		}
		c.Steps = append(c.Steps, s)
	}
	if n > 0 {
		c.Steps[0].Text = "192.168.0.103, VMID 103"
	}
	if n > 3 {
		c.Steps[3].Text = "noble-server-cloudimg-amd64.img is there"
	}
	return c
}

// run makes the step after the done ones run.
func run(c bot.Card, now time.Time, n int, fraction float64, text string) bot.Card {
	s := &c.Steps[n]
	s.Status, s.Started, s.Elapsed = provision.StepRunning, now.Add(-3*time.Second), 3*time.Second
	s.Fraction, s.Text = fraction, text
	return c
}

func finished(now time.Time) bot.Card {
	c := moment(now, len(plan))
	c.Tone, c.Title, c.Final, c.Ended = bot.Good, "web-1 is ready", true, now
	c.Fields = []bot.Field{
		{Name: "VMID", Value: "103"},
		{Name: "IP", Value: "192.168.0.103"},
		{Name: "User", Value: "ubuntu"},
		{Name: "Node", Value: "pve3"},
		{Name: "Log in", Value: "ssh ubuntu@192.168.0.103", Code: true},
	}
	c.Buttons = []bot.Button{{ID: "extend:1", Label: "Keep 7 days more", Confirm: "Keep web-1 until 14 March?"}}
	return c
}

// acts are an install as the browser tests play it.
var acts = []act{
	{card: func() bot.Card { return run(moment(time.Now(), 0), time.Now(), 0, 0, "") }, lines: []string{"job 1: /vm install ubuntu --name web-1"}},
	{card: func() bot.Card { return run(moment(time.Now(), 7), time.Now(), 7, .4, "1.4 of 3.5 GiB") }, lines: []string{
		"VMID 103, 192.168.0.103 on pve3", "image noble-server-cloudimg-amd64.img is there, 612 MiB",
		"qm create 103 --name web-1 ... done in 1.9s", "transferred 1.4 GiB of 3.5 GiB (40.00%)",
	}},
	{card: func() bot.Card { return run(moment(time.Now(), 10), time.Now(), 10, 0, "apt-get upgrade") }, lines: []string{
		"started; waiting for SSH at 192.168.0.103", "boot id 5a0c, cloud-init: done",
	}},
	{card: func() bot.Card { return finished(time.Now()) }, lines: []string{"initialised", "ready after 27.6s"}},
}

const hostile = "</p><script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">'\"`{{.}}&amp;\u202egnp\x00\x1b[31m\r\nevent: close\r\ndata: {}\r\n\r\n"

// hostileCard has s wherever a card has text.
func hostileCard(s string) bot.Card {
	now := time.Now()
	return bot.Card{
		Job: 7, Seq: 9, Title: s, Tone: bot.Tone(s), Text: s, Footer: s,
		Fields: []bot.Field{{Name: s, Value: s}, {Name: s, Value: s, Code: true}},
		Steps: []bot.CardStep{
			{Phase: s, Title: s, Status: provision.StepRunning, Text: s, Fraction: .5, Elapsed: time.Second, Started: now},
			{Phase: s, Title: s, Status: provision.Status(s), Text: s},
		},
		Table:   &bot.Table{Head: []string{s}, Rows: [][]string{{s}}},
		Lines:   []string{s},
		Buttons: []bot.Button{{ID: s, Label: s, Style: bot.Style(s), Confirm: s}},
		Started: now,
	}
}

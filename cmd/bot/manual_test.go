package main

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pvebot/bot"
	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// The words that the manual's scripts have beside testscript's own. A script
// that uses one of them has a bot on a simulated cluster, which people write
// to; its policy is the script's policy.yaml, or testdata/policy.yaml.
var manual = map[string]func(*testscript.TestScript, bool, []string){
	// as NAME vm ...: somebody writes a line. What they are told, and the card
	// of each job that it led to once it rests, is the output.
	// as NAME click BUTTON [JOB]: somebody presses a button of the newest card
	// that has it, or of the job's.
	"as": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: as NAME LINE, as NAME click BUTTON [JOB]")
		}
		t := townOf(ts)
		in := bot.Inbound{Kind: bot.Command, By: t.person(args[0]), Text: strings.Join(args[1:], " ")}
		if args[1] == "click" {
			in.Kind, in.Text, in.Button = bot.Click, "", t.button(args[2:])
		}
		io.WriteString(ts.Stdout(), t.send(in))
	},
	// card JOB STATE: the job's card, once it is in that state.
	"card": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: card JOB STATE")
		}
		io.WriteString(ts.Stdout(), townOf(ts).card(provision.JobID(number(ts, args[0])), provision.State(args[1])))
	},
	// ran COMMAND: such a command ran on a node since the last thing that
	// somebody did. ! ran: nothing that changes something did.
	"ran": func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) > 1 || len(args) == 0 && !neg {
			ts.Fatalf("usage: ran COMMAND, ! ran, ! ran COMMAND")
		}
		var all []string
		found := false
		for _, r := range townOf(ts).ran() {
			if len(args) == 0 && r.Changes() || len(args) == 1 && strings.HasPrefix(r.String()+" ", args[0]+" ") {
				found = true
			}
			if r.Changes() {
				all = append(all, r.Node+": "+r.String())
			}
		}
		if found == neg {
			ts.Fatalf("these commands changed something:\n  %s", strings.Join(all, "\n  "))
		}
	},
	// pass TIME: time passes, like 36h.
	"pass": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: pass TIME")
		}
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		t := townOf(ts)
		t.seen = len(t.sim.Ran())
		t.clock.pass(d)
	},
	// restart: the bot ends and is started again.
	"restart": func(ts *testscript.TestScript, _ bool, _ []string) {
		t := townOf(ts)
		ts.Check(t.close())
		ts.Check(t.open())
	},
	// owns NAME VMID: the VM is somebody's.
	"owns": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: owns NAME VMID")
		}
		t := townOf(ts)
		vm, err := t.house.engine.FindVM(t.ctx, args[1])
		ts.Check(err)
		ts.Check(t.house.store.SaveVM(t.ctx, provision.VMRecord{
			Cluster: "sim", VMID: vm.VMID, UUID: vm.UUID, Name: vm.Name, Owner: t.person(args[0]), Where: square,
			Cores: vm.Cores, MemoryMB: vm.MemoryMB, DiskMB: vm.DiskMB, Created: t.clock.Now(),
		}))
	},
	// pve WHAT ...: what happens on the cluster, behind the bot's back.
	"pve": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 || happenings[args[0]] == nil {
			ts.Fatalf("usage: pve WHAT ON [HOW...]")
		}
		happenings[args[0]](ts, townOf(ts).sim, args[1:])
	},
}

// happenings are what pve knows.
var happenings = map[string]func(ts *testscript.TestScript, sim *pvesim.Sim, args []string){
	"detach":      onVM((*pvesim.Sim).Detach),
	"ha":          onVM((*pvesim.Sim).HAManaged),
	"iso":         onVM((*pvesim.Sim).AttachISO),
	"passthrough": onVM((*pvesim.Sim).Passthrough),
	"recycle":     onVM((*pvesim.Sim).Recycle),
	"fail":        func(_ *testscript.TestScript, sim *pvesim.Sim, args []string) { sim.FailOnce(args[0], 255, args[1]) },
	"down":        func(_ *testscript.TestScript, sim *pvesim.Sim, args []string) { sim.Down(args[0]) },
	"set": func(ts *testscript.TestScript, sim *pvesim.Sim, args []string) {
		sim.SetOption(number(ts, args[0]), args[1], args[2])
	},
	"full": func(_ *testscript.TestScript, sim *pvesim.Sim, args []string) { sim.Fill(args[0], 0) },
}

func onVM(f func(*pvesim.Sim, int)) func(*testscript.TestScript, *pvesim.Sim, []string) {
	return func(ts *testscript.TestScript, sim *pvesim.Sim, args []string) { f(sim, number(ts, args[0])) }
}

func number(ts *testscript.TestScript, word string) int {
	n, err := strconv.Atoi(word)
	ts.Check(err)
	return n
}

package legacy

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"pvebot/provision"
)

// frame is one event of an old stream.
type frame struct {
	Step    string `json:"step"`
	Status  string `json:"status"` // processing, success, error, info
	Message string `json:"message"`
	VMID    int    `json:"vm_id,omitempty"`
	IP      string `json:"ip,omitempty"`
}

// The statuses of frames, and what their messages begin with.
const (
	processing = "processing"
	success    = "success"
	failure    = "error"
	info       = "info"
)

var signs = map[string]string{processing: "[*]", success: "[+]", failure: "[-]", info: "[*]"}

// narrator tells a job's events as the old system told its stages. It is pure:
// frames depend on the events alone.
type narrator struct {
	notes map[string][]string // said when the step of that name begins
	named bool                // the client named the node
	// address is where a VM is that nobody knows the address of.
	address func(vmid int) netip.Addr

	job     provision.Job // as far as told
	loading bool          // the image's stage has begun, and not been told yet
	out     []frame
}

// The steps of the engine that the old system did not have, or told otherwise.
const (
	stepImage   = "downloading OS image"
	stepConfig  = "initializing configuration"
	stepScript  = "SSH initialization"
	finalizing  = "finalizing"
	migrating   = "migrating"
	stageUseOS  = "OS preparation > using OS image"
	stageMoving = "VM initialization > migrating VM"
)

// alias names the stage of a step that the old system did not have; its frames
// are only for information.
var alias = map[string]string{
	"starting VM":        "VM initialization > waiting for ready",
	"noting boot id":     "rebooting VM",
	"checking migration": migrating,
}

// stage is the old name of a step. A plain start has the step "starting VM"
// too, under its own name.
func (n *narrator) stage(step string) (stage string, extra bool) {
	install := n.job.Order.Spec != nil && n.job.Order.Spec.Kind() == "install"
	if as, ok := alias[step]; ok && (install || step != "starting VM") {
		return as, true
	}
	if s := n.job.Step(step); s != nil && install {
		return s.Phase + " > " + s.Name, false
	}
	return step, false
}

// tell is what ev is to a client. over: nothing comes after it.
func (n *narrator) tell(ev provision.Event) (frames []frame, over bool) {
	if err := n.job.Apply(ev); err != nil {
		return nil, false // an event from a later version, or a gap: the next ones tell
	}
	n.out = nil
	switch ev.Kind {
	case provision.JobAccepted:
		n.gate()
	case provision.GateVoted:
		if ev.By != nil && ev.Yes {
			n.say(n.first(), info, "approved by "+ev.By.String())
		}
	case provision.JobState:
		over = n.state(ev)
	case provision.StepStarted, provision.StepProgress, provision.StepLog, provision.StepDone, provision.StepFailed,
		provision.StepUndoing, provision.StepUndone:
		n.step(ev)
	case provision.FactsSet, provision.SlotTaken, provision.SlotFreed:
	}
	for i := range n.out {
		n.out[i].Message += fmt.Sprintf(" (%.2fs)", max(0, ev.At.Sub(n.job.Created)).Seconds())
	}
	return n.out, over
}

func (n *narrator) say(stage, status, text string) {
	n.out = append(n.out, frame{Step: stage, Status: status, Message: signs[status] + " " + text})
}

// first is the stage that a job begins with.
func (n *narrator) first() string {
	if len(n.job.Steps) == 0 {
		return finalizing
	}
	stage, _ := n.stage(n.job.Steps[0].Name)
	return stage
}

func (n *narrator) gate() {
	if g := n.job.Order.Gate; g != nil && n.job.State == provision.StateWaiting {
		n.say(n.first(), info, fmt.Sprintf("job %d waits for %s", n.job.ID, approval(*g)))
	}
}

// approval is what a gate waits for.
func approval(g provision.Gate) string { return g.String() + ": " + g.Reason }

func (n *narrator) state(ev provision.Event) (over bool) {
	switch ev.State {
	case provision.StateWaiting:
		n.gate()
	case provision.StateUndoing:
		if n.job.Problem != nil {
			n.say(n.worst(), info, n.job.Problem.Say+"; what was done is undone now")
		}
	case provision.StateSucceeded:
		n.finale()
		return true
	case provision.StateFailed, provision.StateCancelled, provision.StateParked:
		say, try := provision.Explain(verdict(n.job))
		if try != "" {
			say += "; try: " + try
		}
		n.say(n.worst(), failure, say)
		return true
	case provision.StateQueued, provision.StateRunning:
	}
	return false
}

// worst is the stage at which it went wrong: the one that failed, else the
// last that began.
func (n *narrator) worst() string {
	last := n.first()
	for _, s := range n.job.Steps {
		if s.Started.IsZero() {
			continue
		}
		last, _ = n.stage(s.Name)
		if s.Status == provision.StepBad {
			break
		}
	}
	return last
}

// finale is the last success, with what the client came for.
func (n *narrator) finale() {
	text := "done"
	if s := n.job.Step(finalizing); s != nil && s.Text != "" {
		text = s.Text
	}
	stage := finalizing
	if len(n.job.Steps) > 0 {
		stage, _ = n.stage(n.job.Steps[len(n.job.Steps)-1].Name)
	}
	f := frame{Step: stage, Status: success, Message: signs[success] + " " + text, VMID: n.job.Facts.VMID}
	if s, ok := n.job.Order.Spec.(provision.VMSpec); ok && f.VMID == 0 {
		f.VMID = s.Target().VMID
	}
	if ip := n.job.Facts.IP; ip.IsValid() {
		f.IP = ip.String()
	} else if n.address != nil {
		if ip := n.address(f.VMID); ip.IsValid() {
			f.IP = ip.String()
		}
	}
	n.out = append(n.out, f)
}

func (n *narrator) step(ev provision.Event) {
	stage, extra := n.stage(ev.Step)
	say := func(status, text string) {
		if extra && status != failure {
			status = info
		}
		if text = strings.TrimSpace(text); text == "" {
			text = ev.Step
		}
		n.say(stage, status, text)
	}
	if ev.Step == stepImage && n.image(ev) {
		return
	}
	switch ev.Kind {
	case provision.StepStarted:
		for _, note := range n.notes[ev.Step] {
			n.say(stage, info, note)
		}
		say(processing, ev.Step)
	case provision.StepProgress:
		if ev.Step == stepScript {
			return // its lines come as logs, all of them
		}
		text := ev.Text
		if ev.Fraction != nil && *ev.Fraction >= 0 {
			text = fmt.Sprintf("%s %d%%", text, int(*ev.Fraction*100))
		}
		say(processing, text)
	case provision.StepLog:
		for line := range strings.SplitSeq(strings.TrimRight(ev.Text, "\n"), "\n") {
			say(processing, strings.TrimRight(line, "\r"))
		}
	case provision.StepDone:
		if ev.Step != finalizing { // that one is told when all is over
			say(success, ev.Text)
		}
		if ev.Step == stepConfig && n.named {
			n.say(stageMoving, processing, "migrating VM")
			n.say(stageMoving, success, "it was made on "+n.job.Facts.Node+" at once")
		}
	case provision.StepFailed:
		n.say(stage, info, ev.Text)
	case provision.StepUndoing:
		n.say(stage, info, "undoing "+ev.Step)
	case provision.StepUndone:
		n.say(stage, info, "undone: "+ev.Step)
	}
}

// image holds the stage's beginning back until it is known whether the image
// is downloaded or was there: the stage is called after it. true: told.
func (n *narrator) image(ev provision.Event) bool {
	switch {
	case ev.Kind == provision.StepStarted:
		n.loading = true
		return true
	case !n.loading:
		return false
	}
	n.loading = false
	if ev.Kind == provision.StepDone && strings.HasPrefix(ev.Text, "using") {
		n.say(stageUseOS, processing, "using OS image")
		n.say(stageUseOS, success, ev.Text)
		return true
	}
	stage, _ := n.stage(stepImage)
	n.say(stage, processing, stepImage)
	return false
}

// still is f again, for clients and proxies that get impatient.
func still(f frame, took time.Duration) frame {
	if i := strings.LastIndex(f.Message, " ("); i >= 0 {
		f.Message = f.Message[:i]
	}
	_, text, _ := strings.Cut(f.Message, " ")
	text = strings.TrimPrefix(text, "still: ")
	return frame{Step: f.Step, Status: info, Message: fmt.Sprintf("%s still: %s (%.2fs)", signs[info], text, took.Seconds())}
}

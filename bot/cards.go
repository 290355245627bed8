package bot

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pvebot/provision"
)

// Show is the card of a job: a pure function of the job and the time, so that
// every replica, and every restart, shows the same.
func Show(job provision.Job, now time.Time) Card {
	c := Card{
		Job:     job.ID,
		Seq:     job.Seq,
		By:      job.Order.By,
		Title:   titleOf(job),
		Steps:   cardSteps(job, now),
		Fields:  jobFields(job),
		Buttons: jobButtons(job),
		Footer:  whose(job),
		Elapsed: job.Elapsed(now),
		Started: job.Created,
		Ended:   job.Ended,
		Final:   job.State.Final(),
	}
	if cluster := orderedIn(job.Order); cluster != "" {
		c.Footer += ", in " + cluster
	}
	c.Tone, c.Text = mood(job)
	if g := job.Order.Gate; job.State == provision.StateWaiting && g != nil && g.Plan != nil {
		c.Fields = append(c.Fields, planFields(*g.Plan)...)
		c.Lines = g.Plan.Lines
	}
	if _, reminder := job.Order.Spec.(provision.Remind); reminder && job.State == provision.StateSucceeded {
		c.Steps = nil
	}
	if p := job.Problem; p != nil && job.State != provision.StateSucceeded {
		if p.Try != "" {
			c.Fields = append(c.Fields, Field{Name: "try", Value: typed(p.Try)})
		}
		if last := lastLines(p.Output, 6); len(last) > 1 || !strings.Contains(p.Say, p.Output) {
			c.Lines = last
		}
	}
	return c
}

// whose names the people of a job: who asked, who agreed, who decided. What
// nobody asked for says why it is done.
func whose(job provision.Job) string {
	text := fmt.Sprintf("job %d, asked by %s", job.ID, job.Order.By)
	if job.Order.By.Platform == systemPlatform && job.Order.Text != "" {
		text += ", " + job.Order.Text
	}
	var agreed []string
	for _, v := range job.Votes {
		// Without anybody to ask it is the asker's own confirmation.
		if g := job.Order.Gate; v.Yes && g != nil && len(g.Of) > 0 {
			by := v.By.String()
			if v.Grants != "" {
				by += " (" + v.Grants + ")"
			}
			agreed = append(agreed, by)
		}
	}
	if len(agreed) > 0 {
		text += ", approved by " + strings.Join(agreed, " and ")
	}
	if job.Decided != "" {
		text += ", " + job.Decided
	}
	return text
}

func cardSteps(job provision.Job, now time.Time) []CardStep {
	var out []CardStep
	for _, s := range job.Steps {
		step := CardStep{
			Phase: s.Phase, Title: s.Name, Status: s.Status, Text: s.Text,
			Elapsed: s.Elapsed(now), Started: s.Started,
		}
		if p := job.Problem; p != nil && s.Status == provision.StepBad && s.Text == p.Say {
			step.Text = "" // the card's sentence says it
		}
		if s.Status == provision.StepRunning {
			step.Fraction = s.Fraction
		} else if s.Ended.IsZero() {
			// Undone before it came to an end: no clock ticks for it.
			step.Elapsed, step.Started = 0, time.Time{}
		}
		out = append(out, step)
	}
	return out
}

// mood is the card's colour and its one sentence, which is also what a
// notification shows.
func mood(job provision.Job) (Tone, string) {
	why := sentence(job.Problem)
	switch job.State {
	case provision.StateWaiting:
		return Asking, waitingText(job)
	case provision.StateQueued:
		if job.CancelAsked != nil {
			return Busy, fmt.Sprintf("%s cancelled it.", job.CancelAsked)
		}
		return Busy, "Waiting for a free worker."
	case provision.StateRunning:
		if job.CancelAsked != nil {
			return Busy, fmt.Sprintf("%s cancelled it; it stops at the next safe place.", job.CancelAsked)
		}
		return Busy, progressText(job)
	case provision.StateParked:
		return Asking, failure(job) + " Somebody must decide what happens now."
	case provision.StateUndoing:
		if cancelled(job) {
			return Busy, "Undoing what was done: " + cmp.Or(why, "it was cancelled.")
		}
		return Busy, "Undoing what was done. " + failure(job)
	case provision.StateSucceeded:
		if _, reminder := job.Order.Spec.(provision.Remind); reminder {
			return Asking, successText(job)
		}
		return Good, successText(job)
	case provision.StateFailed:
		if undone(job) {
			return Bad, failure(job) + " What was done is undone."
		}
		return Bad, failure(job)
	case provision.StateCancelled:
		return Plain, "Cancelled: " + cmp.Or(why, "nobody says why.")
	default:
		return Plain, full("This job " + stateWords(job.State))
	}
}

func progressText(job provision.Job) string {
	for i, s := range job.Steps {
		if s.Status == provision.StepRunning {
			return fmt.Sprintf("Step %d of %d: %s", i+1, len(job.Steps), s.Name)
		}
	}
	return "Working."
}

// successText is what came of a job.
func successText(job provision.Job) string {
	f := job.Facts
	took := "in " + Took(ranFor(job)) + "."
	switch s := job.Order.Spec.(type) {
	case provision.Install, nil:
		return strings.Join(madeText(f, "is ready"), ", ") + ", installed " + took
	case provision.Clone:
		return strings.Join(madeText(f, "is made"), ", ") + ", cloned " + took + " It is not started yet."
	case provision.Remind:
		if s.Over {
			return fmt.Sprintf("Its life was over at %s. It is destroyed a day from now, unless somebody extends it.", moment(s.Until))
		}
		return fmt.Sprintf("Its life ends at %s. It is stopped then, and destroyed a day later.", moment(s.Until))
	}
	text := "Done " + took
	for _, s := range slices.Backward(job.Steps) {
		if s.Status == provision.StepOK { // the last one says what came of it all
			return strings.TrimSpace(text + " " + capital(full(s.Text)))
		}
	}
	return text
}

// madeText is a new VM in a few words.
func madeText(f provision.Facts, is string) []string {
	first := cmp.Or(f.Name, "The VM") + " " + is
	if f.VMID != 0 {
		first += fmt.Sprintf(": VMID %d", f.VMID)
	}
	all := []string{first}
	if f.IP.IsValid() {
		all = append(all, "IP "+f.IP.String())
	}
	if f.User != "" {
		all = append(all, "user "+f.User)
	}
	return all
}

// ranFor is how long a job worked, without its wait for votes and workers.
func ranFor(job provision.Job) time.Duration {
	if job.Started.IsZero() {
		return 0
	}
	return max(0, job.Ended.Sub(job.Started))
}

func waitingText(job provision.Job) string {
	gate := job.Order.Gate
	if gate == nil {
		return "Waiting for approval."
	}
	text := "Waiting for approval by " + awaited(job)
	if gate.Reason != "" {
		text += ": " + gate.Reason
	}
	if len(gate.Of) == 0 {
		text = fmt.Sprintf("%s, do you really want this? %s", job.Order.By, gate.Reason)
	}
	text = full(text)
	if !gate.Expires.IsZero() {
		text += " It expires at " + moment(gate.Expires) + "."
	}
	return text
}

// awaited is who still has to approve, and of several groups those who have.
func awaited(job provision.Job) string {
	var missing, met []string
	for _, t := range job.Tallies() {
		of := strings.Join(t.Of, " or ")
		if t.Met() {
			met = append(met, of)
			continue
		}
		missing = append(missing, fmt.Sprintf("%s (%d of %d)", of, t.Yes, t.Need))
	}
	text := strings.Join(missing, " and by ")
	if len(met) > 0 {
		text += ", " + strings.Join(met, " and ") + " approved"
	}
	return text
}

// votedText tells a voter what became of the job, and what they gave away.
func votedText(job provision.Job) string {
	text := fmt.Sprintf("Your vote counts: job %d %s", job.ID, stateWords(job.State))
	if missing := job.Missing(); job.State == provision.StateWaiting && len(missing) > 0 {
		text = fmt.Sprintf("Your vote counts: job %d waits for %s", job.ID, provision.Waits(missing))
	}
	if last := len(job.Votes) - 1; last >= 0 && job.Votes[last].Grants != "" {
		text += "; " + job.Votes[last].Grants
	}
	return text
}

// cancelled: people, or a clock, ended it; no step failed.
func cancelled(job provision.Job) bool {
	return job.Problem != nil && job.Problem.Kind == provision.Cancelled
}

// failure is what went wrong, and where.
func failure(job provision.Job) string {
	step, why := failedStep(job), sentence(job.Problem)
	switch {
	case step == "":
		return capital(cmp.Or(why, "It failed."))
	case why == "":
		return capital(full(step + " failed"))
	case namesWhat(why):
		return capital(why)
	default:
		return capital(step) + " failed: " + why
	}
}

// namesWhat reports whether a sentence says what failed, so that the step need
// not be named before it.
func namesWhat(why string) bool {
	return slices.ContainsFunc([]string{" failed: ", " could not begin: ", " was cut off: ", " broke during "}, func(s string) bool {
		return strings.Contains(why, s)
	})
}

// failedStep is the step that failed: once it is undone, the last one that
// began.
func failedStep(job provision.Job) string {
	last := ""
	for _, s := range job.Steps {
		if s.Status == provision.StepBad {
			return s.Name
		}
		if !s.Started.IsZero() {
			last = s.Name
		}
	}
	if job.Problem == nil || cancelled(job) {
		return ""
	}
	return last
}

func undone(job provision.Job) bool {
	return slices.ContainsFunc(job.Steps, func(s provision.StepState) bool { return s.Status == provision.StepReverted })
}

// sentence is a problem in plain words, with its final stop.
func sentence(p *provision.Problem) string {
	if p == nil {
		return ""
	}
	return full(p.Say)
}

func full(s string) string {
	if s = strings.TrimSpace(s); s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

func jobFields(job provision.Job) []Field {
	// Of a VM that is gone again nothing is left to be told.
	_, destroys := job.Order.Spec.(provision.Destroy)
	if undone(job) || job.State == provision.StateCancelled || destroys && job.State == provision.StateSucceeded {
		return nil
	}
	f := job.Facts
	var out []Field
	add := func(name, value string) {
		if value != "" {
			out = append(out, Field{Name: name, Value: value})
		}
	}
	if f.VMID != 0 {
		add("VMID", strconv.Itoa(f.VMID))
	}
	if f.IP.IsValid() {
		add("IP", f.IP.String())
	}
	add("node", f.Node)
	if job.State == provision.StateSucceeded {
		add("user", f.User)
		if f.User != "" && f.IP.IsValid() {
			out = append(out, Field{Name: "ssh", Value: sshLine(f.User, f.IP), Code: true})
		}
	}
	return out
}

func jobButtons(job provision.Job) []Button {
	cancel := button(job, actCancel, "Cancel", Danger, "Cancel this job and undo what it did?")
	switch job.State {
	case provision.StateWaiting:
		if g := job.Order.Gate; g != nil && len(g.Of) == 0 {
			return []Button{
				button(job, actApprove, confirmLabel(job.Order.Spec), Danger, ""),
				button(job, actReject, "Never mind", Neutral, ""),
			}
		}
		return []Button{
			button(job, actApprove, "Approve", Primary, ""),
			button(job, actReject, "Reject", Danger, ""),
			cancel,
		}
	case provision.StateQueued, provision.StateRunning:
		if job.CancelAsked == nil {
			return []Button{cancel}
		}
	case provision.StateParked:
		return []Button{
			button(job, actRetry, "Retry", Primary, ""),
			button(job, actRollBack, "Roll back", Danger, "Undo everything that this job did?"),
			button(job, actKeep, "Keep for debugging", Neutral, ""),
		}
	case provision.StateFailed:
		return []Button{button(job, actRetry, "Retry", Neutral, "")}
	case provision.StateSucceeded:
		if _, reminder := job.Order.Spec.(provision.Remind); reminder {
			return []Button{button(job, actExtend, "Extend 7d", Primary, "")}
		}
	case provision.StateUndoing, provision.StateCancelled:
	}
	return nil
}

// confirmLabel is what somebody who means it presses.
func confirmLabel(spec provision.Spec) string {
	switch spec.(type) {
	case nil:
		return "Do it"
	case provision.Rollback:
		return "Roll back"
	}
	return capital(spec.Kind())
}

// lastLines are the last n lines of text that are not blank.
func lastLines(text string, n int) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-n):]
}

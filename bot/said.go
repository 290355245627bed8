package bot

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"pvebot/provision"
)

// The size of one batch of thread lines: what every platform takes as one
// message.
const (
	batchLines = 30
	batchBytes = 2500
)

// batch is what is said to a thread in one go.
type batch struct {
	lines []string
	upTo  uint64  // everything up to this seq is said with it
	told  partial // of the event after upTo
	more  bool    // there is more to say
}

// partial: the first lines of event seq are told already, and so many lines of
// log in all. It is not stored: a restart in the middle of a long log event
// repeats a part of it, loses none.
type partial struct {
	seq    uint64
	lines  int
	logged int
}

// restInFile is said in place of the rest of a long log.
const restInFile = "    " + Ellipsis + " the log goes on; all of it comes in a file at the end"

// nextBatch reads the next lines from the events that were not told yet. Of the
// log at most so many lines are told, 0 being all.
func nextBatch(events iter.Seq2[provision.Event, error], job provision.Job, told partial, most int) (batch, error) {
	b := batch{told: partial{logged: told.logged}}
	size := 0
	for ev, err := range events {
		if err != nil {
			return batch{}, err
		}
		lines := sayings(ev, job)
		from := 0
		if told.seq == ev.Seq {
			from = told.lines
		}
		log := ev.Kind == provision.StepLog
		if log {
			lines = bounded(lines, b.told.logged-from, most)
		}
		from = min(from, len(lines))
		for i := from; i < len(lines); i++ {
			if len(b.lines) > 0 && (len(b.lines) == batchLines || size+len(lines[i]) > batchBytes) {
				b.more = true
				if i > 0 {
					b.told.seq, b.told.lines = ev.Seq, i
				}
				return b, nil
			}
			b.lines = append(b.lines, lines[i])
			size += len(lines[i])
			if log {
				b.told.logged++
			}
		}
		b.upTo = ev.Seq
	}
	return b, nil
}

// bounded are the lines of a log event that are told, when so many were before
// it.
func bounded(lines []string, before, most int) []string {
	left := most - before
	switch {
	case most <= 0 || len(lines) <= left:
		return lines
	case left < 0:
		return nil // that it goes on was told
	}
	return append(slices.Clip(lines[:left]), restInFile)
}

// sayings are an event's lines in the job's thread: milestones and details.
// What only moves a number is the card's business.
func sayings(ev provision.Event, job provision.Job) []string {
	switch ev.Kind {
	case provision.StepLog:
		var out []string
		for line := range strings.Lines(ev.Text) {
			if line = strings.TrimRight(line, " \r\n"); line != "" {
				out = append(out, "    "+line)
			}
		}
		return out
	case provision.StepDone:
		took := ""
		if s := job.Step(ev.Step); s != nil && s.Ended.Equal(ev.At) {
			took = " (" + Took(s.Ended.Sub(s.Started)) + ")"
		}
		return []string{joined("[+] "+ev.Step+took, ev.Text)}
	case provision.StepFailed:
		return []string{joined("[-] "+ev.Step, reason(ev))}
	case provision.StepUndone:
		return []string{joined("[~] "+ev.Step+" undone", ev.Text)}
	case provision.GateVoted:
		if ev.By == nil {
			return nil
		}
		if ev.Yes {
			return []string{fmt.Sprintf("%s approved", ev.By)}
		}
		return []string{fmt.Sprintf("%s rejected", ev.By)}
	case provision.JobState:
		if ev.State == provision.StateRunning {
			return nil // the steps tell
		}
		head := fmt.Sprintf("job %d %s", ev.Job, stateWords(ev.State))
		if ev.State.Final() {
			head = fmt.Sprintf("job %d, asked by %s, %s", ev.Job, job.Order.By, stateWords(ev.State))
		}
		return []string{joined(head, reason(ev))}
	case provision.JobAccepted, provision.StepStarted, provision.StepProgress, provision.StepUndoing,
		provision.FactsSet, provision.SlotTaken, provision.SlotFreed:
	}
	return nil
}

func reason(ev provision.Event) string {
	if ev.Err != nil {
		return ev.Err.Say
	}
	return ev.Text
}

func joined(head, text string) string {
	if text == "" {
		return head
	}
	return head + ": " + text
}

// stateWords is a state as the end of a sentence about a job.
func stateWords(s provision.State) string {
	switch s {
	case provision.StateWaiting:
		return "waits for approval"
	case provision.StateQueued:
		return "waits for a worker"
	case provision.StateRunning:
		return "runs"
	case provision.StateParked:
		return "waits for a decision"
	case provision.StateUndoing:
		return "is being undone"
	case provision.StateSucceeded:
		return "succeeded"
	case provision.StateFailed:
		return "failed"
	case provision.StateCancelled:
		return "was cancelled"
	default:
		return "is " + cmp.Or(string(s), "unknown")
	}
}

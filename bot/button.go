package bot

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"pvebot/provision"
)

// action is what a button of a job's card does.
type action string

// The actions. They are part of button ids, which live as long as the
// messages they were posted in.
const (
	actCancel   action = "cancel"
	actRetry    action = "retry"
	actRollBack action = "rollback"
	actKeep     action = "keep"
	actApprove  action = "approve"
	actReject   action = "reject"
	actExtend   action = "extend"
)

// press is what a button's id says: an action on a job as it was shown. Shown
// is a mark of what the presser looked at; a press of an older card is
// answered, not obeyed.
type press struct {
	Do    action
	Job   provision.JobID
	Shown string
}

// buttonPrefix carries the codec's version.
const buttonPrefix = "v1"

// id is at most 40 bytes of [a-z0-9.], well inside every platform's limit.
func (p press) id() string {
	return fmt.Sprintf("%s.%s.%d.%s", buttonPrefix, p.Do, p.Job, p.Shown)
}

// pressOf reads a button's id; false for one that is not ours.
func pressOf(id string) (press, bool) {
	parts := strings.Split(id, ".")
	if len(parts) != 4 || parts[0] != buttonPrefix {
		return press{}, false
	}
	job, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || job <= 0 {
		return press{}, false
	}
	p := press{Do: action(parts[1]), Job: provision.JobID(job), Shown: parts[3]}
	switch p.Do {
	case actRetry, actRollBack, actKeep, actApprove, actReject:
		return p, p.id() == id
	case actCancel, actExtend: // they remember nothing
		return p, p.id() == id && p.Shown == ""
	}
	return press{}, false
}

// shownMark is what a button of this action remembers of the job: of a rest
// its place in the sequence (a job at rest gets no events), of a gate the
// digest of the plan (votes are events and change no plan), of a cancel
// nothing.
func shownMark(do action, job provision.Job) string {
	switch do {
	case actRetry, actRollBack, actKeep:
		return strconv.FormatUint(job.Seq, 36)
	case actApprove, actReject:
		if job.Order.Gate == nil {
			return ""
		}
		h := fnv.New64a()
		h.Write([]byte(job.Order.Gate.Digest))
		return strconv.FormatUint(h.Sum64(), 36)
	default:
		return ""
	}
}

func button(job provision.Job, do action, label string, style Style, confirm string) Button {
	return Button{
		ID:      press{Do: do, Job: job.ID, Shown: shownMark(do, job)}.id(),
		Label:   label,
		Style:   style,
		Confirm: confirm,
	}
}

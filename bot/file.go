package bot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"pvebot/provision"
)

// Filer is an Adapter that can put a file into the thread of a card. There a
// long log is said in part, and whole in a file at the end.
type Filer interface {
	// File adds a text file to the thread of the card at ref. ErrGone when
	// that can't be done, *BusyError when the platform wants us to wait.
	File(ctx context.Context, at Ref, name string, text []byte) error
}

const (
	// saidLog is how many lines of a job's log are said where the whole can be
	// a file: enough for a job that goes well.
	saidLog = 150
	// maxFile bounds the file, in bytes: what every platform takes.
	maxFile = 8 << 20
	// fileTries is how often a file is tried that a platform does not take.
	fileTries = 5
)

// file puts the log of a job that has come to its end into its thread, if it is
// longer than what is said of it.
func (w *writer) file(ctx context.Context, r *result, job provision.Job) error {
	f, ok := w.adapter.(Filer)
	if !ok || r.live.mute {
		return nil
	}
	text, lines, err := wholeLog(w.store.Events(ctx, job.ID, 0), job)
	if errors.Is(err, provision.ErrPruned) {
		w.log.WarnContext(ctx, "a job's log is not kept any more; its thread gets no file", "job", job.ID)
		return nil
	}
	if err != nil || lines <= saidLog {
		return err
	}
	r.wrote = true
	err = f.File(ctx, Ref(r.ref.Ref), fmt.Sprintf("job-%d.log", job.ID), text)
	_, busy := errors.AsType[*BusyError](err)
	if errors.Is(err, ErrGone) || err != nil && !busy && r.lane.failures+1 >= fileTries {
		w.log.WarnContext(ctx, "a job's log can't be put into its thread", "job", job.ID, "err", err)
		return nil
	}
	return err
}

// wholeLog is all that a job's thread can tell, with times, and how many lines
// of it are log.
func wholeLog(events iter.Seq2[provision.Event, error], job provision.Job) (text []byte, lines int, err error) {
	var b bytes.Buffer
	for ev, err := range events {
		if err != nil {
			return nil, 0, err
		}
		said := sayings(ev, job)
		if ev.Kind == provision.StepLog {
			lines += len(said)
		}
		for _, line := range said {
			if b.Len()+len(line) < maxFile {
				fmt.Fprintf(&b, "%s  %s\n", ev.At.UTC().Format(time.DateTime), strings.ToValidUTF8(line, "\uFFFD"))
			}
		}
	}
	return b.Bytes(), lines, nil
}

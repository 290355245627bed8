package provision

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"pvebot/cluster"
)

// work takes a leased job as far as it goes: forward to its end, or back.
// When the lease ends it returns without a word, and when the program does it
// puts the job down; the events tell the next worker where to go on.
func (e *Engine) work(ctx context.Context, l *Lease) {
	h, forget := e.hold(l)
	defer forget()
	program := ctx
	ctx = cluster.WithFence(ctx, h.fence)
	ctx = cluster.WithWitness(ctx, func(r cluster.Ran) { h.ran(ctx, r) })
	ctx, lost := context.WithCancelCause(ctx)
	beating := make(chan struct{})
	go func() { defer close(beating); h.beat(ctx, lost) }()
	defer func() { lost(nil); <-beating }()

	plan, err := e.planOf(l.Job.Order.Spec)
	if err != nil {
		err = h.park(ctx, err)
	} else if l.Job.State == StateUndoing {
		err = h.undo(ctx, plan)
	} else {
		err = h.forward(ctx, plan)
	}
	if err != nil && program.Err() != nil {
		h.putDown(program)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrFenced) {
		h.about().Error("job was put down", "err", err)
	}
	if job := h.job(); err == nil && job.State.Final() {
		h.about().Info("job ended", "state", job.State, "took", job.Elapsed(job.Ended))
	} else if err == nil && job.State == StateParked && job.Problem != nil {
		h.about().Warn("job is parked", "why", job.Problem.Say)
	}
}

// putDownTime is how long a program that ends waits for the store.
const putDownTime = 2 * time.Second

// putDown gives a job back, so that nobody has to wait for the lease to run
// out. One that is being undone stays with us for as long as a command of the
// undo may still run on its node: nobody looks before an undo.
func (h *holder) putDown(ctx context.Context) {
	e := Event{Kind: JobState, State: StateQueued, Text: "the bot ends; another one goes on"}
	switch state := h.job().State; {
	case h.fence() != nil:
		return
	case state == StateUndoing && !h.adrift():
		e.State = StateUndoing
	case state != StateRunning:
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putDownTime)
	defer cancel()
	if err := h.append(ctx, e); err != nil {
		h.about().Warn("the job waits for its lease to run out", "err", err)
	}
}

// forward runs the steps that are not done. Its error is about the engine, not
// the job: the lease is lost, the store is broken, the program ends.
func (h *holder) forward(ctx context.Context, plan plan) error {
	for _, s := range h.job().Steps {
		if s.Status == StepOK {
			continue
		}
		if by := h.cancelled(); by != nil {
			return h.turnBack(ctx, plan, cancelledBy(*by))
		}
		step, err := plan.step(s.Name)
		if err != nil {
			return h.park(ctx, err)
		}
		if err := h.take(ctx, step, s.Status == StepRunning); err != nil {
			failed, ok := errors.AsType[*stepError](err)
			changed, asks := errors.AsType[*changedPlan](err)
			switch {
			case !ok:
				return err
			case h.cancelled() != nil:
				return h.turnBack(ctx, plan, cancelledBy(*h.cancelled()))
			case asks:
				return h.askAgain(ctx, changed.now)
			case h.job().Order.OnFailure == OnFailureAsk && KindOf(failed.err) != Cancelled:
				return h.park(ctx, failed.err)
			}
			return h.turnBack(ctx, plan, failed.err)
		}
	}
	return h.append(ctx, Event{Kind: JobState, State: StateSucceeded})
}

// askAgain takes the job back to its gate with the plan as it is now: those who
// agreed to another one are asked anew, and have as much time as they had.
func (h *holder) askAgain(ctx context.Context, now Plan) error {
	job := h.job()
	order, gate := job.Order, *job.Order.Gate
	gate.Plan, gate.Digest = &now, now.Digest
	if !gate.Expires.IsZero() {
		gate.Expires = h.clock.Now().Add(gate.Expires.Sub(job.Created)).UTC()
	}
	order.Gate = &gate
	h.leave(ctx, "")
	switch s := order.Spec.(type) {
	case Migrate:
		s.Digest = now.Digest
		order.Spec = s
	case Drain:
		s.Digest = now.Digest
		order.Spec = s
	}
	return h.append(ctx, Event{Kind: JobState, State: StateWaiting, Order: &order, Text: "the plan changed"})
}

func cancelledBy(by Actor) *Error { return Errorf(Cancelled, "cancelled by %s", by) }

// stepError is a step's failure, already stored as its step.failed event.
type stepError struct{ err error }

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// take runs one step between its started and done events. resumed says that
// an earlier worker began it: then it looks before it acts.
func (h *holder) take(ctx context.Context, step Step, resumed bool) error {
	w := &Work{h: h, step: step.Name, resumed: resumed}
	if resumed && step.Done != nil {
		done, err := step.Done(ctx, w)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return h.failed(ctx, w, err)
		case done:
			return h.done(ctx, step, w)
		}
	}
	if err := h.append(ctx, Event{Kind: StepStarted, Step: step.Name}); err != nil {
		return err
	}
	began := h.clock.Now()
	err := h.run(ctx, step, w)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	log := h.about().With("step", step.Name, "took", h.clock.Now().Sub(began).Round(time.Millisecond))
	if err != nil {
		log.Warn("step failed", "err", err)
		return h.failed(ctx, w, err)
	}
	log.Info("step done")
	return h.done(ctx, step, w)
}

func (h *holder) done(ctx context.Context, step Step, w *Work) error {
	if !step.Keeps {
		h.leave(ctx, "")
	}
	return h.append(ctx, Event{Kind: StepDone, Step: step.Name, Text: w.result})
}

// beginTries is how often a step is begun on a node that does not answer, and
// lostTries how often it is gone on with when the connection broke under it.
const (
	beginTries = 3
	lostTries  = 8
)

// run brings a step's effect about. What could not begin changed nothing and is
// tried again: a lease that was renewed too late is renewed, and a node that
// does not answer may be back in a moment. Where the connection broke, it looks
// before it acts again, as after a crash.
func (h *holder) run(ctx context.Context, step Step, w *Work) error {
	run, over := ctx, func() {}
	if step.Interrupt {
		run, over = h.interruptible(ctx)
	}
	defer over()
	begun, lost := 0, 0
	for {
		err := runSafely(run, step.Run, w)
		if errors.Is(err, cluster.ErrLost) && step.Done != nil {
			if done, lookErr := step.Done(ctx, w); lookErr == nil && done {
				return nil // it happened; only the answer got lost
			}
		}
		why, pause := "trying again", time.Duration(0)
		switch {
		case run.Err() != nil || h.cancelled() != nil:
			return err
		case errors.Is(err, errStale):
			if err := h.append(ctx); err != nil {
				return err
			}
			continue
		case brokeOff(err):
			lost++
			if lost == lostTries {
				return err
			}
			w.resumed = true
			why, pause = "looking again", min(time.Duration(lost)*time.Second, 5*time.Second)
		case errors.Is(err, cluster.ErrNotStarted):
			begun++
			if begun == beginTries {
				return err
			}
			pause = time.Duration(begun) * time.Second
		default:
			return err
		}
		say, _ := Explain(err)
		w.Log(ctx, why+": "+say)
		if h.clock.Sleep(run, pause) != nil {
			return err
		}
	}
}

// brokeOff reports whether err is of a connection that broke. Of a command that
// took too long there is no use in waiting as long again.
func brokeOff(err error) bool {
	return errors.Is(err, cluster.ErrLost) && !errors.Is(err, context.DeadlineExceeded)
}

func (h *holder) failed(ctx context.Context, w *Work, err error) error {
	problem := ProblemOf(err)
	if err := h.append(ctx, Event{Kind: StepFailed, Step: w.step, Text: problem.Say, Err: problem}); err != nil {
		return err
	}
	return &stepError{err}
}

// park stores evs, and why people have to decide now. That may take long, so that
// others get the job's places.
func (h *holder) park(ctx context.Context, why error, evs ...Event) error {
	h.leave(ctx, "")
	return h.append(ctx, append(evs, Event{Kind: JobState, State: StateParked, Err: ProblemOf(why)})...)
}

// turnBack stores why, and undoes.
func (h *holder) turnBack(ctx context.Context, plan plan, why error) error {
	if err := h.append(ctx, Event{Kind: JobState, State: StateUndoing, Err: ProblemOf(why)}); err != nil {
		return err
	}
	return h.undo(ctx, plan)
}

// undo takes back, newest first, every step that was begun, then ends the job.
// A step that can't be undone now parks the job: people see what is left.
func (h *holder) undo(ctx context.Context, plan plan) error {
	steps := h.job().Steps
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if !s.Touched() {
			continue
		}
		step, err := plan.step(s.Name)
		if err != nil {
			return h.park(ctx, err)
		}
		if step.Undo == nil {
			continue
		}
		if err := h.append(ctx, Event{Kind: StepUndoing, Step: s.Name}); err != nil {
			return err
		}
		w := &Work{h: h, step: s.Name, resumed: s.Status == StepUndoes}
		if err := h.undoStep(ctx, step, w); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			say, try := Explain(err)
			err = &Error{Kind: KindOf(err), Say: fmt.Sprintf("%s could not be undone: %s", s.Name, say), Try: try, Err: err}
			return h.park(ctx, err, Event{Kind: StepFailed, Step: s.Name, Text: say, Err: ProblemOf(err)})
		}
		if err := h.append(ctx, Event{Kind: StepUndone, Step: s.Name, Text: w.result}); err != nil {
			return err
		}
	}
	end := StateFailed
	if p := h.job().Problem; h.cancelled() != nil || p != nil && p.Kind == Cancelled {
		end = StateCancelled
	}
	return h.append(ctx, Event{Kind: JobState, State: end})
}

// undoTries is how often an undo is tried before people are asked: a node
// that reboots is back within these.
const undoTries = 5

func (h *holder) undoStep(ctx context.Context, step Step, w *Work) error {
	pause := time.Second
	for try := 1; ; try++ {
		err := runSafely(ctx, step.Undo, w)
		if err == nil || ctx.Err() != nil || try == undoTries || !passing(err) {
			return err
		}
		w.Log(ctx, fmt.Sprintf("undo of %s failed, trying again: %v", step.Name, err))
		if err := h.clock.Sleep(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// passing reports whether err may be gone after a while.
func passing(err error) bool {
	return KindOf(err) == Unavailable || errors.Is(err, cluster.ErrNotStarted) || errors.Is(err, cluster.ErrLost)
}

// runSafely turns a panic into an error: one broken step must not take the
// other jobs down.
func runSafely(ctx context.Context, f func(context.Context, *Work) error, w *Work) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = defect("in this step", p)
		}
	}()
	return f(ctx, w)
}

// defect is the error of a panic, which is being recovered from.
func defect(where string, p any) error {
	return &Error{
		Kind: Internal, Say: fmt.Sprintf("the bot has a defect %s; please report it", where),
		Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack()),
	}
}

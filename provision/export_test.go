package provision

import (
	"context"
	"time"
)

// SetPlan makes steps the recipe of every order, so that tests see the engine
// without a cluster.
func (e *Engine) SetPlan(steps ...Step) {
	e.planOf = func(Spec) (plan, error) { return steps, nil }
}

// PlanOf is the real recipe for a spec.
func (e *Engine) PlanOf(s Spec) ([]Step, error) { return e.kit.planOf(s) }

// EndOfLife orders what is due, once, by a clock that is relied upon.
func (e *Engine) EndOfLife(ctx context.Context) error { return e.endOfLife(ctx, time.Time{}, true) }

// Resumed says that an earlier worker began the step, or its undo.
func (w *Work) Resumed() bool { return w.resumed }

// Prune deletes old events, once.
func (e *Engine) Prune(ctx context.Context) { e.pruneOnce(ctx) }

// EndOfLifeUnsure is EndOfLife by a clock that is not relied upon.
func (e *Engine) EndOfLifeUnsure(ctx context.Context) error {
	return e.endOfLife(ctx, time.Time{}, false)
}

// Clocks looks at the clocks, each time that it is called.
func (e *Engine) Clocks() func(context.Context) (even, sure bool) {
	return (&steadiness{e: e}).look
}

// Sweep sweeps once, as an engine does that runs since began.
func (e *Engine) Sweep(ctx context.Context, began time.Time) { e.sweepOnce(ctx, began) }

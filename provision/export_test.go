package provision

import "context"

// SetPlan makes steps the recipe of every order, so that tests see the engine
// without a cluster.
func (e *Engine) SetPlan(steps ...Step) {
	e.planOf = func(Spec) (plan, error) { return steps, nil }
}

// PlanOf is the real recipe for a spec.
func (e *Engine) PlanOf(s Spec) ([]Step, error) { return e.kit.planOf(s) }

// EndOfLife orders what is due, once.
func (e *Engine) EndOfLife(ctx context.Context) error { return e.endOfLife(ctx) }

// Resumed says that an earlier worker began the step, or its undo.
func (w *Work) Resumed() bool { return w.resumed }

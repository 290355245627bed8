package provision

import (
	"context"
	"fmt"
)

// Step is one named part of a plan. Names are stored; renaming one strands
// jobs, so a plan only ever changes together with its spec's version.
type Step struct {
	Phase, Name string
	// Run brings the effect about. It holds at most one command that changes
	// something, so that a crash leaves at most one question open.
	Run func(context.Context, *Work) error
	// Done tells whether the effect is there already. It is asked when a job
	// is resumed in the middle of the step. A step that Changes something
	// must have it; of the others Run is simply called again.
	Done func(context.Context, *Work) (bool, error)
	// Undo takes the effect back, newest step first, also of a step that only
	// began or failed. It looks before it acts; twice is harmless.
	Undo func(context.Context, *Work) error
	// Changes says that Run changes something outside the store.
	Changes bool
	// Interrupt says that a cancel request may end Run's context. Without it
	// the step is waited for and then undone.
	Interrupt bool
	// Keeps says that the next step goes on with the places that this one
	// queued for. Else the job leaves them when the step is done; and in any
	// case when people are asked, or the job is over.
	Keeps bool
}

// plan is a recipe: the steps of one kind of spec, in order.
type plan []Step

// states are the steps as a job stores them.
func (p plan) states() []StepState {
	states := make([]StepState, len(p))
	for i, s := range p {
		states[i] = StepState{Phase: s.Phase, Name: s.Name}
	}
	return states
}

// step returns the step called name.
func (p plan) step(name string) (Step, error) {
	for _, s := range p {
		if s.Name == name {
			return s, nil
		}
	}
	return Step{}, &Error{
		Kind: Internal,
		Say:  fmt.Sprintf("this version of the bot does not know the step %q", name),
		Try:  "run the version that began the job, or roll it back by hand",
	}
}

// planOf is the recipe for a spec.
func (k *kit) planOf(spec Spec) (plan, error) {
	switch s := spec.(type) {
	case Install:
		return k.installPlan(), nil
	case Power:
		return k.powerPlan(s.Do), nil
	case Set:
		return k.setPlan(), nil
	case Destroy:
		return k.destroyPlan(), nil
	case Migrate:
		return k.migratePlan(), nil
	case Drain:
		return k.drainPlan(s), nil
	case Snapshot:
		return k.snapshotPlan(), nil
	case Rollback:
		return k.rollbackPlan(), nil
	case Clone:
		return k.clonePlan(), nil
	case Extend:
		return plan{{Phase: "record", Name: "extending", Run: k.extend, Done: never, Changes: true}}, nil
	case Adopt:
		return plan{{Phase: "record", Name: "adopting", Run: k.adopt, Done: never, Changes: true}}, nil
	case Trust:
		return plan{{Phase: "record", Name: "trusting host key", Run: k.trust, Done: never, Changes: true}}, nil
	case Remind:
		return plan{{Phase: "record", Name: "reminding", Run: k.remind}}, nil
	}
	return nil, Errorf(Internal, "there is no plan for %q", spec.Kind())
}

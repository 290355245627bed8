package provision

import (
	"context"
	"time"
)

// submitTime is how long an order may take to be stored.
const submitTime = 8 * time.Second

// submit stores o as a job, with its plan.
func (k *kit) submit(ctx context.Context, o Order, planOf func(Spec) (plan, error)) (Job, error) {
	if err := o.Spec.Validate(); err != nil {
		return Job{}, err
	}
	if s, ok := o.Spec.(Install); ok && s.Several != nil {
		return Job{}, Errorf(Invalid, "an order is for one VM: several are several orders")
	}
	plan, err := planOf(o.Spec)
	if err != nil {
		return Job{}, err
	}
	o.Cluster = k.cluster.Name()
	if ctx.Err() != nil {
		return Job{}, unreachable("the cluster", context.Cause(ctx))
	}
	// From here on whoever orders hears whether it is taken, and no longer whether
	// they have waited too long.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), submitTime)
	defer cancel()
	job, err := k.store.Submit(ctx, o, plan.states(), k.claims(o.Spec)...)
	return job, busy(err)
}

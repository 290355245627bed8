package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pvebot/cluster"
)

// Remote is a cluster that another bot works for, as seen from here: what
// there is to know about it is asked there, through the store, and its orders
// wait for that bot in the store. It has the methods of an Engine, but for
// Run. All methods may be called concurrently.
type Remote struct {
	store Store
	kit   *kit // makes plans; its cluster can't be reached
}

var _ Inventory = (*Remote)(nil)

// NewRemote returns the cluster called name, which an Engine on the same store
// must work for.
func NewRemote(store Store, name string) *Remote {
	out := cluster.New(nil, nil, cluster.Config{Name: name})
	return &Remote{store: store, kit: newKit(Config{Store: store, Cluster: out, Clock: cluster.SystemClock{}})}
}

// FindVM is Engine.FindVM.
func (r *Remote) FindVM(ctx context.Context, word string) (VM, error) {
	return ask[VM](ctx, r, inquiry{About: askVM, Word: word})
}

// VMs is Engine.VMs.
func (r *Remote) VMs(ctx context.Context) ([]VM, error) {
	return ask[[]VM](ctx, r, inquiry{About: askVMs})
}

// Snapshots is Engine.Snapshots.
func (r *Remote) Snapshots(ctx context.Context, vm VMRef) ([]cluster.VMSnapshot, error) {
	return ask[[]cluster.VMSnapshot](ctx, r, inquiry{About: askSnapshots, VM: &vm})
}

// Resources implements Inventory.
func (r *Remote) Resources(ctx context.Context) (cluster.Resources, error) {
	return ask[cluster.Resources](ctx, r, inquiry{About: askResources})
}

// Images implements Inventory.
func (r *Remote) Images(ctx context.Context) ([]Image, error) {
	return ask[[]Image](ctx, r, inquiry{About: askImages})
}

// Baselines implements Inventory.
func (r *Remote) Baselines(ctx context.Context) ([]cluster.Baseline, error) {
	return ask[[]cluster.Baseline](ctx, r, inquiry{About: askBaselines})
}

// Prepare is Engine.Prepare: the other bot checks the spec against the cluster.
func (r *Remote) Prepare(ctx context.Context, spec Spec) (Spec, error) {
	raw, err := MarshalSpec(spec)
	if err != nil {
		return nil, err
	}
	if raw, err = ask[json.RawMessage](ctx, r, inquiry{About: askPrepare, Spec: raw}); err != nil {
		return nil, err
	}
	return UnmarshalSpec(raw)
}

// Preview is Engine.Preview.
func (r *Remote) Preview(ctx context.Context, spec Spec) (Plan, error) {
	raw, err := MarshalSpec(spec)
	if err != nil {
		return Plan{}, err
	}
	return ask[Plan](ctx, r, inquiry{About: askPreview, Spec: raw})
}

// Submit is Engine.Submit. An order that nobody is there for is refused.
func (r *Remote) Submit(ctx context.Context, o Order) (Job, error) {
	if err := r.attended(ctx); err != nil {
		return Job{}, err
	}
	return r.kit.submit(ctx, o, r.kit.planOf)
}

// attended is an error when nobody works for the cluster.
func (r *Remote) attended(ctx context.Context) error {
	until, now, err := r.store.Attended(ctx, r.kit.cluster.Name())
	if err == nil && !until.After(now) {
		err = r.unattended(ctx)
	}
	return err
}

// Cancel is Engine.Cancel: whoever runs the job learns it by its next
// heartbeat.
func (r *Remote) Cancel(ctx context.Context, id JobID, by Actor) (Job, error) {
	return r.store.Cancel(ctx, id, by)
}

// Vote is Engine.Vote.
func (r *Remote) Vote(ctx context.Context, v Vote) (Job, error) { return r.store.Vote(ctx, v) }

// Resolve is Engine.Resolve. Trying again is refused when nobody is there to;
// the other decisions wait for somebody.
func (r *Remote) Resolve(ctx context.Context, d Resolution) (Job, error) {
	if d.Do == Retry {
		if err := r.attended(ctx); err != nil {
			return Job{}, err
		}
	}
	job, err := r.store.Resolve(ctx, d)
	return job, busy(err)
}

// askFor is how long an answer is waited for. It is made of a few calls to
// PVE, of a second each.
const askFor = 20 * time.Second

// ask puts q to the bot that works for r and reads its answer.
func ask[T any](ctx context.Context, r *Remote, q inquiry) (v T, err error) {
	question, err := json.Marshal(q)
	if err != nil {
		return v, err
	}
	patience, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	answer, err := r.store.Ask(patience, r.kit.cluster.Name(), question)
	switch {
	case errors.Is(err, ErrUnattended):
		return v, r.unattended(ctx)
	case err != nil && ctx.Err() == nil && patience.Err() != nil:
		return v, &Error{Kind: Unavailable, Say: fmt.Sprintf("the bot of cluster %s does not answer", r.kit.cluster.Name()), Try: "ask again in a minute", Err: err}
	case err != nil:
		return v, err
	}
	var a reply
	if err := json.Unmarshal(answer, &a); err != nil {
		return v, fmt.Errorf("the bot of cluster %s answered %.80q: %w", r.kit.cluster.Name(), answer, err)
	}
	if a.Problem != nil {
		return v, a.Problem.err()
	}
	if err := json.Unmarshal(a.Value, &v); err != nil {
		return v, fmt.Errorf("the bot of cluster %s answered %.80q: %w", r.kit.cluster.Name(), a.Value, err)
	}
	return v, nil
}

// unattended says that nobody works for the cluster, and since when.
func (r *Remote) unattended(ctx context.Context) error {
	name := r.kit.cluster.Name()
	e := &Error{
		Kind: Unavailable, Say: "nobody works for cluster " + name + " at the moment",
		Try: "start a bot there: bot serve --cluster " + name, Err: ErrUnattended,
	}
	until, now, err := r.store.Attended(ctx, name)
	switch {
	case err != nil:
	case until.IsZero():
		e.Say += ", and nobody ever did"
	default:
		e.Say += fmt.Sprintf("; the last bot left %s ago", max(0, now.Sub(until)).Round(time.Second))
	}
	return e
}

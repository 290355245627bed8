package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"pvebot/cluster"
)

// migratePlan moves one VM.
func (k *kit) migratePlan() plan {
	return plan{
		{Phase: "migration", Name: "checking migration", Run: k.checkMigration, Interrupt: true},
		{Phase: "migration", Name: "migrating", Run: k.migrate, Done: k.hasMigrated, Changes: true},
		{Phase: "migration", Name: "finalizing", Run: k.tellMigration},
	}
}

func (k *kit) prepareMigrate(ctx context.Context, s Migrate) (Spec, error) {
	ref, _, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	p, err := k.previewMigrate(ctx, s)
	if err != nil {
		return nil, err
	}
	s.Digest = p.Digest
	return s, p.refusal()
}

// refusal is the plan's blockers as an error, nil when there are none.
func (p Plan) refusal() error {
	if len(p.Blockers) == 0 {
		return nil
	}
	return Errorf(Conflict, "can't %s: %s", p.Title, strings.Join(p.Blockers, "; "))
}

// checkMigration looks once more: what was shown must be what is run.
func (k *kit) checkMigration(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Migrate)
	f, err := k.preflight(ctx, s)
	if err != nil {
		return err
	}
	p := f.plan(ctx)
	if err := w.agreed(p, s.Digest); err != nil {
		return err
	}
	w.Result("%s", p.Verdict)
	return w.Learn(ctx, Facts{VMID: s.VM.VMID, Name: s.VM.Name, Node: f.ref.Node, Bytes: f.travels()})
}

// agreed holds a plan to the one that people agreed to. Where nobody was asked
// it only has to be possible.
func (w *Work) agreed(p Plan, digest string) error {
	if err := p.refusal(); err != nil {
		return err
	}
	if w.Job().Order.Gate != nil && digest != "" && p.Digest != digest {
		return &changedPlan{p}
	}
	return nil
}

// changedPlan says that a plan is not the one that was agreed to.
type changedPlan struct{ now Plan }

func (e *changedPlan) Error() string {
	return strings.Join(append([]string{"the plan changed since it was shown; now it is " + e.now.Verdict}, e.now.Warnings...), "; ")
}

func (e *changedPlan) As(target any) bool {
	p, ok := target.(**Error)
	if ok {
		*p = &Error{Kind: Conflict, Say: e.Error()}
	}
	return ok
}

func (k *kit) migrate(ctx context.Context, w *Work) error {
	return k.move(ctx, w, w.Job().Order.Spec.(Migrate))
}

// move runs one migration as a node task and judges it by where the VM is.
func (k *kit) move(ctx context.Context, w *Work, s Migrate) error {
	if moved, err := k.hasMoved(ctx, s); err != nil || moved {
		w.Result("%s is on %s", s.VM, s.To)
		return err
	}
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return err
	}
	tasks := k.cluster.Tasks()
	key := fmt.Sprintf("migrate-%s-%d-%s", cmp.Or(ref.UUID, "vm"), w.Job().ID, s.To)
	task, err := tasks.Find(ctx, ref.Node, key)
	if err == nil && !w.resumed { // of an earlier try, which failed
		err = errors.Join(tasks.Forget(ctx, task), cluster.ErrNoTask)
	}
	if errors.Is(err, cluster.ErrNoTask) {
		if err := k.free(ctx, ref, c); err != nil {
			return err
		}
		check, err := k.cluster.MigrationCheck(ctx, ref.Node, ref.VMID, s.To)
		if err != nil {
			return unreachable(ref.String(), err)
		}
		if err := w.Queue(ctx, "migrate/"+k.cluster.Name()+"/"+s.To, 1, "waiting for another migration to "+s.To); err != nil {
			return err
		}
		task, err = k.cluster.StartMigrate(ctx, ref.Node, key, cluster.Migration{
			VMID: ref.VMID, Target: s.To, Online: check.Running, LocalDisks: len(check.LocalDisks) > 0, Storage: s.Storage,
		})
		if err != nil {
			return failed("the migration", ref.Node, err)
		}
	} else if err != nil {
		return unreachable("node "+ref.Node, err)
	}
	return k.followMove(ctx, w, s, task)
}

func (k *kit) followMove(ctx context.Context, w *Work, s Migrate, task cluster.Task) error {
	var reason string
	for line, err := range k.cluster.Tasks().Follow(ctx, task, 0) {
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			if moved, lookErr := k.hasMoved(ctx, s); lookErr == nil && moved {
				break // the answer got lost, the VM did not
			}
			if reason != "" {
				return &Error{Kind: Failed, Say: fmt.Sprintf("the migration to %s failed: %s", s.To, reason), Err: err}
			}
			return failed("the migration", task.Node, err)
		}
		if why, ok := cluster.MigrationError(line.Text); ok {
			reason = why
		}
		if fraction, ok := cluster.MigrationProgress(line.Text); ok {
			w.Progress(ctx, fraction, s.VM.String())
		} else {
			w.Log(ctx, line.Text)
		}
	}
	moved, err := k.hasMoved(ctx, s)
	if err != nil {
		return err
	}
	if !moved {
		return Errorf(Failed, "the migration ended, but %s is not on %s", s.VM, s.To)
	}
	w.Result("%s is on %s", s.VM, s.To)
	return k.forget(ctx, w, task)
}

func (k *kit) hasMigrated(ctx context.Context, w *Work) (bool, error) {
	return k.hasMoved(ctx, w.Job().Order.Spec.(Migrate))
}

// hasMoved reports whether the VM is on its target and free of the
// migration's lock.
func (k *kit) hasMoved(ctx context.Context, s Migrate) (bool, error) {
	ref, c, err := k.same(ctx, s.VM)
	return err == nil && ref.Node == s.To && c.Lock() == "", err
}

func (k *kit) tellMigration(ctx context.Context, w *Work) error {
	ref, _, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	w.Result("%s is on %s", ref, ref.Node)
	return w.Learn(ctx, Facts{Node: ref.Node})
}

package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plan is what an order would do, for people to see before they approve it.
type Plan struct {
	Title    string        `json:"title"`
	Verdict  string        `json:"verdict,omitempty"` // how it would be done, in a few words
	Lines    []string      `json:"lines,omitempty"`   // facts
	Warnings []string      `json:"warnings,omitempty"`
	Blockers []string      `json:"blockers,omitempty"` // with one of these it can't be done
	Volumes  []string      `json:"volumes,omitempty"`  // that go
	Estimate time.Duration `json:"estimate,omitempty"` // 0: not known
	// Digest stands for what matters in the plan, and not for what merely
	// fluctuates. It is compared again when the plan is run.
	Digest string `json:"digest,omitempty"`
}

// Preview says what spec would do, now. Its errors are *Error.
func (e *Engine) Preview(ctx context.Context, spec Spec) (Plan, error) {
	return e.kit.preview(ctx, spec)
}

func (k *kit) preview(ctx context.Context, spec Spec) (Plan, error) {
	switch s := spec.(type) {
	case Migrate:
		return k.previewMigrate(ctx, s)
	case Drain:
		return k.previewDrain(ctx, s)
	case Destroy:
		return k.previewDestroy(ctx, s)
	case Install:
		return k.previewInstall(ctx, s)
	case Trust:
		return k.previewTrust(ctx, s)
	case Rollback:
		return k.previewRollback(ctx, s)
	case VMSpec:
		ref, _, err := k.same(ctx, s.Target())
		p := Plan{Title: fmt.Sprintf("%s %s", spec.Kind(), ref), Lines: []string{"on " + ref.Node}}
		p.Digest = digest(k.cluster.Name(), ref.VMID, ref.UUID, spec.Kind())
		return p, err
	}
	return Plan{}, Errorf(Internal, "%q can't be previewed", spec.Kind())
}

// digest is a short hash of what a plan consists of.
func digest(parts ...any) string {
	data, err := json.Marshal(parts)
	if err != nil {
		panic("a plan has no JSON form: " + err.Error()) // numbers, strings and lists of them
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

func (k *kit) previewDestroy(ctx context.Context, s Destroy) (Plan, error) {
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return Plan{}, err
	}
	s.VM = ref
	attached, loose := volumes(c)
	p := Plan{Title: "destroy " + ref.String(), Volumes: append(attached, loose...)}
	p.Lines = append(p.Lines, "on "+ref.Node, fmt.Sprintf("%s, gone for good: %s", count(len(p.Volumes), "volume"), strings.Join(p.Volumes, ", ")))
	if status, err := k.cluster.Status(ctx, ref.Node, ref.VMID); err == nil && status != "stopped" {
		p.Warnings = append(p.Warnings, "it runs now, and is switched off hard")
	}
	if err := k.mayDestroy(ctx, s, c); err != nil {
		say, _ := Explain(err)
		p.Blockers = append(p.Blockers, say)
	}
	p.Digest = digest(k.cluster.Name(), ref.VMID, ref.UUID, "destroy", p.Volumes)
	return p, nil
}

func (k *kit) previewInstall(ctx context.Context, s Install) (Plan, error) {
	prepared, err := k.prepareInstall(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	s = prepared.(Install)
	img, err := k.images.Find(s.OS, s.Version)
	if err != nil {
		return Plan{}, err
	}
	net, err := k.settings.network(s.Network)
	if err != nil {
		return Plan{}, err
	}
	around, err := k.lookAround(ctx, 0, net.Bridge)
	if err != nil {
		return Plan{}, err
	}
	at, err := around.choose(s, img)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Title: fmt.Sprintf("install %s %s", s.OS, s.Version)}
	p.Lines = []string{
		fmt.Sprintf("on %s: %s", at.node, at.why),
		"storage " + s.Storage,
		fmt.Sprintf("%d CPUs of type %s, %s of memory, disk of %s, user %s", s.Cores, at.cpu, size(int64(s.MemoryMB)), size(s.DiskMB), s.User),
	}
	if at.warn != "" {
		p.Warnings = append(p.Warnings, at.warn)
	}
	p.Warnings = append(p.Warnings, k.aboutImage(img)...)
	p.Digest = digest(k.cluster.Name(), "install", s.OS, s.Version, s.Cores, s.MemoryMB, s.DiskMB, s.Node, s.Storage)
	p.Estimate = k.usual(ctx, "install")
	return p, nil
}

// succeeded are the jobs that ended well of late.
func (k *kit) succeeded(ctx context.Context) []Job {
	jobs, err := k.store.Jobs(ctx, Filter{Cluster: k.cluster.Name(), States: []State{StateSucceeded}, Limit: 200})
	if err != nil {
		return nil // an estimate is not worth a failure
	}
	return jobs
}

// usual is how long jobs of a kind took of late: the median, 0 when there are
// none.
func (k *kit) usual(ctx context.Context, kind string) time.Duration {
	var took []time.Duration
	for _, j := range k.succeeded(ctx) {
		if j.Order.Spec.Kind() == kind && !j.Started.IsZero() {
			took = append(took, j.Ended.Sub(j.Started))
		}
	}
	return median(took)
}

// median is the middle one, 0 of none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pvebot/cluster"
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
		return k.previewOther(ctx, s)
	}
	return Plan{}, Errorf(Internal, "%q can't be previewed", spec.Kind())
}

// previewOther is the plan of what needs no more words than its order: all that
// speaks against the order speaks against the plan.
func (k *kit) previewOther(ctx context.Context, s VMSpec) (Plan, error) {
	ready, err := k.prepare(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	ref := ready.(VMSpec).Target()
	p := Plan{Title: fmt.Sprintf("%s %s", s.Kind(), ref), Lines: []string{"on " + ref.Node}}
	p.Warnings, err = k.remarks(ctx, ready)
	p.Digest = digest(k.cluster.Name(), ref.VMID, ref.UUID, s.Kind())
	return p, err
}

// remarks are what people should know before they order a change or a copy.
func (k *kit) remarks(ctx context.Context, spec Spec) (warnings []string, err error) {
	switch spec.(type) {
	case Set, Clone:
	default:
		return nil, nil
	}
	ref, c, err := k.same(ctx, spec.(VMSpec).Target())
	if err != nil {
		return nil, err
	}
	r, err := k.view.resources(ctx)
	if err != nil {
		return nil, err
	}
	need := disksOf(c)
	if s, ok := spec.(Set); ok {
		storage, _, _ := strings.Cut(c.Options[s.disk(c)], ":")
		need = map[string]int64{storage: s.GrowMB}
		warnings = append(warnings, crowded(r, ref, s.MemoryMB-option(c, "memory", 512)))
	} else if err := k.canRun(ctx, ref, c); err != nil {
		say, _ := Explain(err)
		warnings = append(warnings, say+"; the copy will not start there")
	}
	for _, storage := range slices.Sorted(maps.Keys(need)) {
		warnings = append(warnings, k.promised(ctx, r, ref.Node, storage, need[storage]))
	}
	return slices.DeleteFunc(warnings, func(w string) bool { return w == "" }), nil
}

// crowded warns of a node that has too little memory left for what a VM gets.
func crowded(r cluster.Resources, ref VMRef, more int) string {
	for _, n := range r.Nodes {
		if left := (n.MaxMem - n.Mem) >> 20; n.Name == ref.Node && n.MaxMem > 0 && int64(more) > left {
			return fmt.Sprintf("%s has %s of memory free, and %s gets %s more", n.Name, size(max(0, left)), ref, size(int64(more)))
		}
	}
	return ""
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
	n, err := k.planInstall(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	s = n.spec
	p := Plan{Title: fmt.Sprintf("install %s %s", s.OS, s.Version)}
	if s.Many() > 1 {
		p.Title = fmt.Sprintf("install %d times %s %s", s.Many(), s.OS, s.Version)
		p.Verdict = fmt.Sprintf("%s of memory and %s of disk for all", size(int64(s.Many()*s.MemoryMB)), size(int64(s.Many())*s.DiskMB))
		if s.Several.Names != nil {
			p.Verdict = strings.Join(s.Several.Names, ", ") + ": " + p.Verdict
		}
	}
	nodes := map[string]int{}
	cpus := map[string]bool{}
	for _, at := range n.places {
		if nodes[at.node]++; nodes[at.node] == 1 {
			p.Lines = append(p.Lines, fmt.Sprintf("on %s: %s", at.node, at.why))
		}
		cpus[at.cpu] = true
		if at.warn != "" && !slices.Contains(p.Warnings, at.warn) {
			p.Warnings = append(p.Warnings, at.warn)
		}
	}
	p.Lines = append(p.Lines, "storage "+s.Storage, fmt.Sprintf("%d CPUs of type %s, %s of memory, disk of %s, user %s",
		s.Cores, strings.Join(slices.Sorted(maps.Keys(cpus)), " or "), size(int64(s.MemoryMB)), size(s.DiskMB), s.User))
	for i, node := range slices.Sorted(maps.Keys(nodes)) {
		if s.Many() > 1 {
			p.Lines = slices.Insert(p.Lines, i, fmt.Sprintf("%s on %s", count(nodes[node], "VM"), node))
		}
		if warn := k.promised(ctx, n.around.Resources, node, s.Storage, int64(nodes[node])*s.DiskMB); warn != "" {
			p.Warnings = append(p.Warnings, warn)
		}
	}
	p.Warnings = append(p.Warnings, k.aboutImage(n.img)...)
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

package bot

import (
	"context"
	"fmt"

	"pvebot/commands"
	"pvebot/provision"
)

// installs makes the orders for Count VMs. All are checked before the first
// is handed in, and quotas are counted for all together.
func (c *Clerk) installs(ctx context.Context, a Asker, req commands.Install) ([]Draft, error) {
	var drafts []Draft
	var wants commands.Resources
	key := a.Key
	prepared, err := c.Engine.Prepare(ctx, allOf(req))
	if err != nil {
		return nil, err
	}
	for i := range max(1, req.Count) {
		if req.Count > 1 {
			a.Key = keyOf(key, i)
		}
		m, err := c.ofSpec(ctx, a, oneOf(prepared, req, i))
		if err != nil {
			return nil, err
		}
		wants = wants.Plus(m.q.Wants)
		m.q.Wants = wants
		v, err := c.decide(ctx, a, m, c.text(req))
		if err != nil {
			return nil, err
		}
		d, err := c.draft(ctx, a, m, c.text(req), v)
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, d)
	}
	return drafts, nil
}

// allOf is the spec of all VMs of a request, which are planned as one.
func allOf(req commands.Install) provision.Install {
	if req.Count > 1 {
		req.Spec.Several = &provision.Several{Count: req.Count}
	}
	return req.Spec
}

// oneOf is the spec of the VM i, from 0 on, of those that were prepared together.
func oneOf(prepared provision.Spec, req commands.Install, i int) provision.Spec {
	spec, ok := prepared.(provision.Install)
	if !ok || req.Count <= 1 {
		return prepared
	}
	switch several := spec.Several; {
	case several != nil && i < len(several.Names):
		spec.Name = several.Names[i]
	case spec.Name != "" && !spec.NumberName: // a bot of another version prepared it
		spec.Name = fmt.Sprintf("%s-%d", spec.Name, i+1)
	}
	spec.Several = nil
	return spec
}

// keyOf is the key of the order for the VM i, from 0 on, of many.
func keyOf(key string, i int) string { return fmt.Sprintf("%s/%d", key, i+1) }

package bot

import (
	"cmp"
	"context"
	"slices"

	"pvebot/commands"
	"pvebot/provision"
)

// choices completes what is being typed, from memory: of a cluster that says
// nothing in time, by what it said last. Whatever is chosen is looked up again
// when it is used.
func (d *Desk) choices(ctx context.Context, in Inbound) []Choice {
	ctx, cancel := context.WithTimeout(ctx, choicesTime)
	defer cancel()
	live := []provision.State{provision.StateWaiting, provision.StateQueued, provision.StateRunning, provision.StateParked}
	var ids []provision.JobID
	if jobs, err := d.store.Jobs(ctx, provision.Filter{States: live, Limit: commands.MaxChoices}); err == nil {
		for _, job := range jobs {
			ids = append(ids, job.ID)
		}
	}
	at, err := d.counterAt(cmp.Or(commands.ClusterOf(in.Text), d.channels[in.Where]))
	if err != nil {
		at, _ = d.counterAt("") // its name is still being typed
	}
	known := d.knownOf(ctx, at)
	known.Clusters, known.Jobs = d.sites.Names(), ids
	known = at.seen(in, known)
	var out []Choice
	for _, c := range commands.Complete(in.Text, known) {
		out = append(out, Choice(c))
	}
	return out
}

// seen is what of known the asker may see: completions show what verbs would
// answer.
func (c counter) seen(in Inbound, known commands.Known) commands.Known {
	may := func(verb string) bool { return c.policy.Decide(c.clerk.question(c.asker(in), verb)).Allow }
	if !may("list") {
		known.VMs = nil
	}
	if !may("jobs") {
		known.Jobs = nil
	}
	if !may("nodes") {
		known.Nodes, known.Storages = nil, nil
		if known.VMs == nil { // then there is nothing either that clusters are named for
			known.Clusters = nil
		}
	}
	if !may("images") {
		known.Images = nil
	}
	return known
}

// knownOf is what a cluster has, as it says now, or said last.
func (d *Desk) knownOf(ctx context.Context, at counter) commands.Known {
	d.mu.Lock()
	known := d.known[at.cluster]
	d.mu.Unlock()
	if images, err := at.inventory.Images(ctx); err == nil {
		known.Images = images
	}
	if r, err := at.inventory.Resources(ctx); err == nil {
		known.Nodes, known.Storages, known.VMs = nil, nil, nil
		for _, n := range r.Nodes {
			known.Nodes = append(known.Nodes, n.Name)
		}
		for _, s := range r.Storages {
			if !slices.Contains(known.Storages, s.Name) {
				known.Storages = append(known.Storages, s.Name)
			}
		}
		for _, vm := range r.VMs {
			known.VMs = append(known.VMs, commands.KnownVM{ID: vm.VMID, Name: vm.Name, Node: vm.Node})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[at.cluster] = known
	return known
}

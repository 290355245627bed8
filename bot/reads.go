package bot

import (
	"context"
	"strconv"

	"pvebot/commands"
	"pvebot/provision"
)

// answer answers the requests that start no job.
func (d counter) answer(ctx context.Context, in Inbound, req commands.Request) (*Card, error) {
	c, err := d.read(ctx, in, req)
	if err == nil {
		c = paged(c, d.clerk.text(req), 1, d.pageRows(in.Platform))
	}
	return &c, err
}

// newest is how many of what was done last are listed: where lists have pages,
// more.
func (d *Desk) newest(platform string) int {
	if d.pageRows(platform) > 0 {
		return 100
	}
	return 20
}

func (d counter) read(ctx context.Context, in Inbound, req commands.Request) (Card, error) {
	switch req := req.(type) {
	case commands.List:
		vms, err := d.engine.VMs(ctx)
		return d.titled(listCard(vms)), err
	case commands.Show:
		return d.showVM(ctx, in, req)
	case commands.Snapshots:
		return d.showSnapshots(ctx, in, req)
	case commands.Nodes:
		return d.showNodes(ctx)
	case commands.Images:
		images, err := d.inventory.Images(ctx)
		return imagesCard(images), err
	case commands.Jobs:
		jobs, err := d.store.Jobs(ctx, provision.Filter{Limit: d.newest(in.Platform)})
		return jobsCard(jobs, d.clock.Now(), d.several()), err
	case commands.Help:
		return d.help(ctx, req.Topic), nil
	case commands.Cancel:
		return d.cancel(ctx, in, req.Job)
	case commands.Can:
		return d.can(ctx, in, req)
	case commands.Audit:
		return d.audit(ctx, in, req)
	default:
		return Card{}, provision.Errorf(provision.Invalid, "I can't do %q here", req.Verb())
	}
}

// see finds a VM that the asker may look at.
func (d counter) see(ctx context.Context, in Inbound, req commands.VMRequest) (provision.VM, error) {
	vm, err := d.engine.FindVM(ctx, req.NamesVM())
	if err != nil {
		return vm, err
	}
	q := d.clerk.question(d.asker(in), req.Verb())
	q.Target, q.Nodes = targetOf(vm), []string{vm.Node}
	if v := d.policy.Decide(q); !v.Allow {
		return vm, &provision.Error{Kind: provision.Denied, Say: v.Say}
	}
	return vm, nil
}

func (d counter) showVM(ctx context.Context, in Inbound, req commands.Show) (Card, error) {
	vm, err := d.see(ctx, in, req)
	if err != nil {
		return Card{}, err
	}
	jobs, err := d.store.Jobs(ctx, provision.Filter{Cluster: d.narrow(), VMID: vm.VMID, Limit: 10})
	if err != nil {
		return Card{}, err
	}
	return d.titled(vmCard(vm, jobs, d.clock.Now())), nil
}

// showNodes shows the nodes even when one of them does not say what its CPU can
// do.
func (d counter) showNodes(ctx context.Context) (Card, error) {
	r, err := d.inventory.Resources(ctx)
	if err != nil {
		return Card{}, err
	}
	groups, err := d.inventory.Baselines(ctx)
	c := d.titled(nodesCard(r, groups))
	if err != nil {
		say, _ := provision.Explain(err)
		c.Text = "What the CPUs can run is not known: " + full(say)
	}
	return c, nil
}

func (d counter) showSnapshots(ctx context.Context, in Inbound, req commands.Snapshots) (Card, error) {
	vm, err := d.see(ctx, in, req)
	if err != nil {
		return Card{}, err
	}
	list, err := d.engine.Snapshots(ctx, vm.VMRef)
	return d.titled(snapshotsCard(vm, list)), err
}

// can tells what the policy would answer somebody, and by which rule.
func (d counter) can(ctx context.Context, in Inbound, req commands.Can) (Card, error) {
	who, err := commands.PersonOf(in.Platform, req.Who)
	if err != nil {
		return Card{}, err
	}
	a := Asker{By: who}
	if who.Same(in.By) {
		a.By, a.Groups = in.By, in.Roles
	}
	q := d.clerk.question(a, req.Do)
	about := ""
	switch {
	case req.VM == "":
	case req.Do == "cancel":
		id, err := strconv.ParseInt(req.VM, 10, 64)
		if err != nil {
			return Card{}, &provision.Error{Kind: provision.Invalid, Say: "to cancel is about a job, and " + req.VM + " is no job's number", Try: "/vm jobs"}
		}
		job, err := d.store.Job(ctx, provision.JobID(id))
		if err != nil {
			return Card{}, err
		}
		q, about = d.clerk.aboutJob(ctx, a, req.Do, job), "job "+job.ID.String()
	default:
		vm, err := d.engine.FindVM(ctx, req.VM)
		if err != nil {
			return Card{}, err
		}
		q.Target, q.Nodes, about = targetOf(vm), []string{vm.Node}, vm.String()
	}
	if req.Node != "" {
		q.Nodes = append(q.Nodes, req.Node)
		if req.Do == "drain" {
			var err error
			if q.Target, err = d.clerk.together(ctx, who, req.Node); err != nil {
				return Card{}, err
			}
		}
	}
	return canCard(req, about, d.policy.RolesOf(a.By, a.Groups), d.policy.Decide(q), who.Same(in.By)), nil
}

// audit shows what was done. Who may look at their own only, is shown that.
func (d counter) audit(ctx context.Context, in Inbound, req commands.Audit) (Card, error) {
	f := provision.AuditFilter{Cluster: d.narrow(), Limit: d.newest(in.Platform)}
	q := d.clerk.question(d.asker(in), req.Verb())
	q.Target = &commands.Target{}
	about := "everything"
	switch {
	case req.VM != "":
		vm, err := d.auditedVM(ctx, req.VM)
		if err != nil {
			return Card{}, err
		}
		f.VMID, q.Target, about = vm.VMID, targetOf(vm), vm.String()
		if vm.Node != "" {
			q.Nodes = []string{vm.Node}
		}
	case req.Who != "":
		who, err := commands.PersonOf(in.Platform, req.Who)
		if err != nil {
			return Card{}, err
		}
		f.By, q.Target.Owner, about = &who, &who, who.Key()
	}
	v := d.policy.Decide(q)
	if !v.Allow && req == (commands.Audit{}) {
		f.By, q.Target.Owner, about = &in.By, &in.By, in.By.Key()
		v = d.policy.Decide(q)
	}
	if !v.Allow {
		return Card{}, &provision.Error{Kind: provision.Denied, Say: v.Say}
	}
	var rows []provision.AuditRow
	for row, err := range d.store.AuditRows(ctx, f) {
		if err != nil {
			return Card{}, err
		}
		rows = append(rows, row)
	}
	return d.titled(auditCard(about, rows)), nil
}

// auditedVM is the VM that word names; of one that is gone only its number
// is left, and it belongs to nobody.
func (d counter) auditedVM(ctx context.Context, word string) (provision.VM, error) {
	vm, err := d.engine.FindVM(ctx, word)
	if id, number := strconv.Atoi(word); number == nil && provision.KindOf(err) == provision.NotFound {
		return provision.VM{VMRef: provision.VMRef{VMID: id}}, nil
	}
	return vm, err
}

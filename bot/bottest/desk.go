package bottest

import (
	"context"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// TakesOrders is an engine that takes orders for a store; work is done by hand.
type TakesOrders struct {
	bot.Engine // what is not asked for here panics
	Store      provision.Store
}

var recipe = []provision.StepState{{Phase: "VM creation", Name: "creating VM"}, {Phase: "VM initialization", Name: "waiting for ready"}}

// Prepare implements bot.Engine.
func (e TakesOrders) Prepare(_ context.Context, spec provision.Spec) (provision.Spec, error) {
	return spec, nil
}

// VMs implements bot.Engine.
func (e TakesOrders) VMs(context.Context) ([]provision.VM, error) { return nil, nil }

// Submit implements bot.Engine.
func (e TakesOrders) Submit(ctx context.Context, o provision.Order) (provision.Job, error) {
	o.Cluster = "pve"
	return e.Store.Submit(ctx, o, recipe)
}

// Catalogue knows one system, one node and no VM.
type Catalogue struct{}

// Resources implements provision.Inventory.
func (Catalogue) Resources(context.Context) (cluster.Resources, error) {
	return cluster.Resources{Nodes: []cluster.Node{{Name: "pve1"}}}, nil
}

// Baselines implements provision.Inventory.
func (Catalogue) Baselines(context.Context) ([]cluster.Baseline, error) { return nil, nil }

// Images implements provision.Inventory.
func (Catalogue) Images(context.Context) ([]provision.Image, error) {
	return []provision.Image{{OS: "ubuntu", Version: "24.04", Title: "Ubuntu 24.04", User: "ubuntu", Default: true}}, nil
}

package web

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// memory is a provision.Store of the parts that the page reads.
type memory struct {
	provision.Store
	mu      sync.Mutex
	events  []provision.Event
	jobs    map[provision.JobID]*provision.Job
	inbox   map[string]provision.Inbox // what was not handled
	handled map[string]bool
	// forgetful: Accept takes another's interaction for the one that is asked for.
	forgetful bool
	broken    error
	changed   chan struct{}
}

func newMemory() *memory {
	return &memory{jobs: map[provision.JobID]*provision.Job{}, inbox: map[string]provision.Inbox{}, handled: map[string]bool{}, changed: make(chan struct{})}
}

// append folds an event into its job and returns the job.
func (m *memory) append(t testing.TB, ev provision.Event) provision.Job {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[ev.Job]
	if j == nil {
		j = &provision.Job{}
		m.jobs[ev.Job] = j
	}
	ev.Seq, ev.Pos = j.Seq+1, provision.Position(len(m.events)+1)
	if ev.At.IsZero() {
		ev.At = time.Now().UTC()
	}
	if err := j.Apply(ev); err != nil {
		t.Fatal(err)
	}
	m.events = append(m.events, ev)
	close(m.changed)
	m.changed = make(chan struct{})
	return *j
}

// accept begins a job with a plan.
func (m *memory) accept(t testing.TB, id provision.JobID, steps ...string) provision.Job {
	t.Helper()
	var plan []provision.StepState
	for _, s := range steps {
		plan = append(plan, provision.StepState{Phase: "VM creation", Name: s})
	}
	m.append(t, provision.Event{
		Job: id, Kind: provision.JobAccepted, State: provision.StateQueued, Plan: plan,
		Order: &provision.Order{
			Key: "k" + id.String(), Cluster: "taipei", Text: "/vm install ubuntu",
			By:   provision.Actor{Platform: Platform, ID: "local"},
			Spec: provision.Install{OS: "ubuntu", Version: "24.04", Cores: 2, MemoryMB: 2048, DiskMB: 16384},
		},
	})
	return m.append(t, provision.Event{Job: id, Kind: provision.JobState, State: provision.StateRunning})
}

func (m *memory) Position(context.Context) (provision.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return provision.Position(len(m.events)), m.broken
}

func (m *memory) Job(_ context.Context, id provision.JobID) (provision.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		return *j, nil
	}
	return provision.Job{}, provision.Errorf(provision.NotFound, "there is no job %d", id)
}

func (m *memory) Jobs(_ context.Context, f provision.Filter) ([]provision.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var jobs []provision.Job
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.jobs))) {
		if j := m.jobs[id]; len(f.States) == 0 || slices.Contains(f.States, j.State) {
			jobs = append(jobs, *j)
		}
	}
	return jobs, m.broken
}

func (m *memory) Events(_ context.Context, id provision.JobID, after uint64) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		m.mu.Lock()
		all := slices.Clone(m.events)
		m.mu.Unlock()
		for _, ev := range all {
			if ev.Job == id && ev.Seq > after && !yield(ev, nil) {
				return
			}
		}
	}
}

func (m *memory) Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error] {
	return func(yield func(provision.Event, error) bool) {
		for {
			m.mu.Lock()
			changed := m.changed
			news := slices.Clone(m.events[min(int(after), len(m.events)):])
			m.mu.Unlock()
			for _, ev := range news {
				if !yield(ev, nil) {
					return
				}
				after = ev.Pos
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(provision.Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

func (m *memory) Accept(_ context.Context, in provision.Inbox) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := in.Platform + "/" + in.ID
	if _, known := m.inbox[id]; known || m.handled[id] || m.broken != nil {
		return false, m.broken
	}
	if m.forgetful {
		in.Data = []byte(`{"by":"another","until":"2100-01-01T00:00:00Z"}`)
	}
	m.inbox[id] = in
	return true, nil
}

func (m *memory) Handled(_ context.Context, platform, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.inbox, platform+"/"+id)
	m.handled[platform+"/"+id] = true
	return m.broken
}

func (m *memory) Unhandled(_ context.Context, platform string) ([]provision.Inbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []provision.Inbox
	for _, in := range m.inbox {
		if in.Platform == platform {
			all = append(all, in)
		}
	}
	return all, m.broken
}

// still is an Inventory that never changes.
type still struct {
	res    cluster.Resources
	groups []cluster.Baseline
	err    error
}

func (s still) Resources(context.Context) (cluster.Resources, error)  { return s.res, s.err }
func (s still) Baselines(context.Context) ([]cluster.Baseline, error) { return s.groups, s.err }
func (s still) Images(context.Context) ([]provision.Image, error)     { return nil, s.err }

var threeNodes = still{res: cluster.Resources{
	VMs: []cluster.VM{
		{VMID: 101, Name: "ubuntu-101", Node: "pve1", Type: "qemu", Status: "running", Known: true, CPUs: 2, CPU: .12, Mem: 900 << 20, MaxMem: 2 << 30},
		{VMID: 102, Name: "build-runner", Node: "pve2", Type: "qemu", Status: "running", Known: true, CPUs: 8, CPU: .71, Mem: 11 << 30, MaxMem: 16 << 30},
		{VMID: 140, Name: "db-staging", Node: "pve2", Type: "qemu", Status: "stopped", Known: true, CPUs: 4, MaxMem: 8 << 30},
		{VMID: 9000, Name: "golden", Node: "pve1", Type: "qemu", Template: true},
	},
	Nodes: []cluster.Node{
		{Name: "pve1", Status: "online", CPUs: 16, CPU: .23, Mem: 21 << 30, MaxMem: 64 << 30},
		{Name: "pve2", Status: "online", CPUs: 16, CPU: .78, Mem: 52 << 30, MaxMem: 64 << 30},
		{Name: "pve3", Status: "offline", CPUs: 16, MaxMem: 64 << 30},
	},
}, groups: []cluster.Baseline{{Type: "x86-64-v3", Nodes: []cluster.NodeCPU{{Node: "pve1", Type: "x86-64-v4"}, {Node: "pve2", Type: "x86-64-v3"}}}}}

// script is a bot.Handler made of two functions; nil ones do nothing.
type script struct {
	triage func(context.Context, bot.Inbound) bot.Ack
	handle func(context.Context, bot.Inbound)
}

func (s script) Triage(ctx context.Context, in bot.Inbound) bot.Ack {
	if s.triage == nil {
		return bot.Ack{}
	}
	return s.triage(ctx, in)
}

func (s script) Handle(ctx context.Context, in bot.Inbound) {
	if s.handle != nil {
		s.handle(ctx, in)
	}
}

func isGone(err error) bool { return errors.Is(err, bot.ErrGone) }

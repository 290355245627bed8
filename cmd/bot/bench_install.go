package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pvebot/cluster/pvesim"
	"pvebot/commands"
	"pvebot/provision"
)

// stage is a simulated cluster and a bot without a page that works on it.
type stage struct {
	*house
	sim  *pvesim.Sim
	stop func() error
}

// stage opens one; stop ends both.
func (b *bench) stage(ctx context.Context, o pvesim.Options) (*stage, error) {
	sim, err := pvesim.New(o)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(append(sim.Env(), "ADMINS=web:local"), os.DevNull)
	if err != nil {
		return nil, errors.Join(err, sim.Close())
	}
	data, err := os.MkdirTemp(b.dir, "data")
	if err != nil {
		return nil, errors.Join(err, sim.Close())
	}
	c.StoreURL = "sqlite:" + filepath.Join(data, "d")
	h, err := build(ctx, c, commands.DemoPolicy(), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(err, sim.Close())
	}
	work, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return h.labour(work) })
	return &stage{house: h, sim: sim, stop: func() error {
		cancel()
		return errors.Join(g.Wait(), h.close(), sim.Close())
	}}, nil
}

// order submits n installs of Ubuntu, as a chat would.
func (s *stage) order(ctx context.Context, round string, n int) ([]provision.JobID, error) {
	spec, err := s.engine.Prepare(ctx, provision.Install{OS: "ubuntu"})
	if err != nil {
		return nil, err
	}
	var ids []provision.JobID
	for i := range n {
		job, err := s.engine.Submit(ctx, provision.Order{
			Key: fmt.Sprint("bench/", round, i), By: provision.Actor{Platform: "web", ID: "local"}, Spec: spec, OnFailure: provision.OnFailureUndo,
		})
		if err != nil {
			return nil, err
		}
		ids = append(ids, job.ID)
	}
	return ids, nil
}

// settle waits until all jobs rest, and returns them; one that failed is an
// error.
func (s *stage) settle(ctx context.Context, ids []provision.JobID) ([]provision.Job, error) {
	open := map[provision.JobID]bool{}
	for _, id := range ids {
		open[id] = true
	}
	for ev, err := range s.store.Follow(ctx, 0) {
		if err != nil {
			return nil, err
		}
		if ev.Kind == provision.JobState && ev.State.Final() {
			delete(open, ev.Job)
		}
		if len(open) == 0 {
			break
		}
	}
	var jobs []provision.Job
	for _, id := range ids {
		job, err := s.store.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		if job.State != provision.StateSucceeded {
			return nil, fmt.Errorf("job %d %s: %+v", id, job.State, job.Problem)
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// calls are the runs of PVE's tools on the nodes so far.
func (s *stage) calls() []pvesim.Ran {
	return slices.DeleteFunc(s.sim.Ran(), func(r pvesim.Ran) bool {
		return r.Argv[0] != "qm" && r.Argv[0] != "pvesh" && r.Argv[0] != "pvesm"
	})
}

// namesOf are the commands in a few words each.
func namesOf(calls []pvesim.Ran) string {
	var names []string
	for _, c := range calls {
		names = append(names, "`"+strings.Join(c.Argv[:min(len(c.Argv), 3)], " ")+"`")
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

// chain is the time that an install takes however it is done: what has to
// happen one after the other.
func chain(job provision.Job) time.Duration {
	l := benchLatency
	d := l.QM + l.Import + // create
		l.QM + // resize
		l.QM + // start
		l.Boot + l.Init
	if job.Facts.Reboot {
		d += l.Boot
	}
	return d
}

// install measures an install on an idle cluster that has the image.
func (b *bench) install(ctx context.Context) (err error) {
	s, err := b.stage(ctx, pvesim.Options{Latency: benchLatency})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	first, err := s.order(ctx, "first", 1) // brings the image, and asks what is asked once
	if err == nil {
		_, err = s.settle(ctx, first)
	}
	if err != nil {
		return err
	}
	before := len(s.calls())
	ids, err := s.order(ctx, "second", 1)
	if err != nil {
		return err
	}
	accepted := len(s.calls())
	jobs, err := s.settle(ctx, ids)
	if err != nil {
		return err
	}
	job, calls := jobs[0], s.calls()
	wall, least := job.Elapsed(job.Ended), chain(job)
	t := b.out.add("An install",
		"Of Ubuntu, on an idle cluster that has the image. The chain is what has to happen one after the other, however it is done: create with import, resize, start, boot, init script, and the "+
			"reboot where the script asks for one. What is over it is the bot's: choosing, probing addresses, looking whether it worked, SSH.",
		"what", "measured", "aim")
	t.row("wall time", wall, "")
	t.row("the chain", least, "")
	t.row("over it", wall-least, "< 2 s")
	t.row("runs of qm, pvesh and pvesm", len(calls)-accepted, "<= 6")
	t.row("these are", namesOf(calls[accepted:]), "")
	t.row("before that, to check the order", namesOf(calls[before:accepted]), "")

	t = b.out.add("Where an install's time goes", "Steps that take a tenth of a second or more.", "step", "took")
	for _, st := range job.Steps {
		if d := st.Elapsed(job.Ended); d >= 100*time.Millisecond {
			t.row(st.Name, d)
		}
	}
	return nil
}

// fifty measures many installs at once.
func (b *bench) fifty(ctx context.Context) (err error) {
	const n = 50
	s, err := b.stage(ctx, pvesim.Options{Latency: benchLatency})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	began := b.clock.Now()
	ids, err := s.order(ctx, "all", n)
	if err != nil {
		return err
	}
	jobs, err := s.settle(ctx, ids)
	if err != nil {
		return err
	}
	wall := b.clock.Now().Sub(began)
	onNode := map[string]int{}
	var each spread
	for _, job := range jobs {
		onNode[job.Facts.Node]++
		each = append(each, job.Elapsed(job.Ended))
	}
	most := 0
	for _, k := range onNode {
		most = max(most, k)
	}
	// On the fullest node two disks are imported at a time, one pair after the
	// other; what follows the last import is the rest of its chain.
	imports := time.Duration((most+1)/2) * (benchLatency.QM + benchLatency.Import)
	best := imports + chain(jobs[0]) - benchLatency.QM - benchLatency.Import
	t := b.out.add("Fifty installs at once",
		"Three nodes. Two disks are imported on a node at a time, since more only fight for its disks; the best schedule is that of the node with "+
			"the most VMs, its imports back to back. Every command is a process on this one machine.",
		"what", "measured", "best possible")
	t.row("wall time until the last one is ready", wall, best)
	t.row("one install, median / slowest", each.pair(.5, 1), "")
	t.row("VMs on the nodes", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(onNode), "map["), "]"), "")
	t.row("failed", 0, 0)
	return nil
}

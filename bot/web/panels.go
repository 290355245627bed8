package web

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

const (
	pollEvery = 5 * time.Second        // the cluster, while somebody looks
	settle    = 300 * time.Millisecond // events that come together are shown together
	retryFeed = 2 * time.Second
	panelJobs = 20
)

var panelTitles = map[string]string{"asks": "Waiting for people", "jobs": "Jobs", "vms": "Virtual machines", "nodes": "Nodes"}

// site is a cluster of the page. Where there is only one it has no name.
type site struct {
	cluster   string
	inventory provision.Inventory
	fleet     Fleet
	due       chan struct{} // has an element when its panels are to be asked for
}

func (c Config) sites() []*site {
	if len(c.Sites) == 0 {
		return []*site{{"", c.Inventory, c.Fleet, make(chan struct{}, 1)}}
	}
	var all []*site
	for _, s := range c.Sites {
		all = append(all, &site{s.Name, s.Inventory, s.Engine, make(chan struct{}, 1)})
	}
	return all
}

// panels are all panels of the page, from top to bottom, before anything is
// known.
func (w *Web) panels() []panelView {
	all := []panelView{{Name: "asks"}, {Name: "jobs"}}
	for _, s := range w.panel.sites {
		all = append(all, panelView{Name: "vms", Cluster: s.cluster}, panelView{Name: "nodes", Cluster: s.cluster})
	}
	for i := range all {
		all[i].Loading = true
	}
	return all
}

// panelView is what the panel template shows.
type panelView struct {
	Name    string
	Cluster string // that it is about; "": all, or the only one
	Loading bool
	Err     string // why what is shown may be old
	Count   int
	Asks    []bot.Card
	Jobs    []jobView
	VMs     []vmView
	Nodes   []nodeWire
}

// Key tells the panel from all others.
func (v panelView) Key() string {
	if v.Cluster == "" {
		return v.Name
	}
	return v.Name + "-" + v.Cluster
}

// Title is what stands above it.
func (v panelView) Title() string {
	if v.Cluster == "" {
		return panelTitles[v.Name]
	}
	return panelTitles[v.Name] + " in " + v.Cluster
}

// jobView is a job as a row.
type jobView struct {
	jobWire
	Done, Total int
	Live        bool
	Took        time.Duration
	What        string
	Cluster     string // where there are several
}

// vmView is a VM as a row.
type vmView struct {
	vmWire
	Known bool
}

// panels keeps the page's panels fresh while somebody looks at them: jobs
// with every event, VMs and nodes also from time to time.
type panels struct {
	cfg   Config
	sites []*site
	room  *room
	log   *slog.Logger
	news  chan struct{} // has an element after an event

	mu   sync.Mutex
	last map[string]panelView // what was shown when all was well, by key
}

func newPanels(cfg Config, r *room, log *slog.Logger) *panels {
	return &panels{
		cfg: cfg, sites: cfg.sites(), room: r, log: log,
		news: make(chan struct{}, 1), last: map[string]panelView{},
	}
}

// run refreshes until ctx ends. It costs nothing while nobody looks.
func (p *panels) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.listen(ctx) })
	for _, s := range p.sites { // each by itself: one that is slow holds up nobody
		wg.Go(func() {
			for {
				select {
				case <-s.due:
					p.refreshSite(ctx, s)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for ctx.Err() == nil {
		if !p.room.watched() {
			select {
			case <-p.room.arrived:
			case <-ctx.Done():
			}
			continue
		}
		p.refresh(ctx)
		if p.cfg.Clock.Sleep(ctx, settle) != nil {
			return
		}
		p.wait(ctx, pollEvery)
	}
}

// wait returns with the next event or reader, at the latest after d.
func (p *panels) wait(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		_ = p.cfg.Clock.Sleep(ctx, d)
	})
	select {
	case <-p.news:
	case <-p.room.arrived:
	case <-ctx.Done():
	}
	cancel()
	wg.Wait()
}

// listen tells run of events.
func (p *panels) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.follow(ctx); err != nil && !errors.Is(err, provision.ErrPruned) && ctx.Err() == nil {
			p.log.WarnContext(ctx, "the page lost the feed of events", "err", err)
		}
		if p.cfg.Clock.Sleep(ctx, retryFeed) != nil {
			return
		}
	}
}

func (p *panels) follow(ctx context.Context) error {
	pos, err := p.cfg.Store.Position(ctx)
	if err != nil {
		return err
	}
	for _, err := range p.cfg.Store.Follow(ctx, pos) {
		if err != nil {
			return err
		}
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// refresh shows the newest state in the panels of all clusters, and has those
// of each refreshed.
func (p *panels) refresh(ctx context.Context) {
	for _, s := range p.sites {
		select {
		case s.due <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*pollEvery)
	defer cancel()
	asking := []provision.State{provision.StateWaiting, provision.StateParked}
	asks, err := p.cfg.Store.Jobs(ctx, provision.Filter{States: asking, Limit: panelJobs})
	p.show(ctx, panelView{Name: "asks", Asks: viewAsks(asks, p.cfg.Clock.Now()), Count: len(asks)}, err)

	jobs, err := p.cfg.Store.Jobs(ctx, provision.Filter{Limit: panelJobs})
	p.show(ctx, panelView{Name: "jobs", Jobs: viewJobs(jobs, len(p.sites) > 1), Count: countLive(jobs)}, err)
}

// refreshSite shows the newest state of a cluster.
func (p *panels) refreshSite(ctx context.Context, s *site) {
	soon, cancel := context.WithTimeout(ctx, 2*pollEvery)
	defer cancel()
	res, err := s.inventory.Resources(soon)
	if err != nil { // then nobody knows the rest either
		p.show(ctx, panelView{Name: "vms", Cluster: s.cluster}, err)
		p.show(ctx, panelView{Name: "nodes", Cluster: s.cluster}, err)
		return
	}
	own, err := s.owners(soon)
	if err != nil {
		p.log.WarnContext(ctx, "the page can't tell who owns what", "cluster", s.cluster, "err", err)
	}
	groups, err := s.inventory.Baselines(soon)
	if err != nil {
		p.log.DebugContext(ctx, "the page can't tell what the nodes' CPUs can run", "cluster", s.cluster, "err", err)
	}
	vms := viewVMs(res, own)
	p.show(ctx, panelView{Name: "vms", Cluster: s.cluster, VMs: vms, Count: len(vms)}, nil)
	p.show(ctx, panelView{Name: "nodes", Cluster: s.cluster, Nodes: wireNodes(res, groups), Count: len(res.Nodes)}, nil)
}

// show renders v, or, after err, what was known before with a word about it.
func (p *panels) show(ctx context.Context, v panelView, err error) {
	if ctx.Err() != nil && err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.log.DebugContext(ctx, "panel", "name", v.Key(), "err", err)
		old := p.last[v.Key()]
		old.Name, old.Cluster = v.Name, v.Cluster
		old.Err, _ = provision.Explain(err)
		v = old
	} else {
		p.last[v.Key()] = v
	}
	p.room.setPanel(v.Key(), render("panel", v))
}

// viewAsks are jobs that wait for people, each with its question and what can
// be answered.
func viewAsks(jobs []provision.Job, now time.Time) []bot.Card {
	cards := make([]bot.Card, 0, len(jobs))
	for _, j := range jobs {
		cards = append(cards, bot.Show(j, now))
	}
	return cards
}

// viewJobs are jobs as rows; several says that there are several clusters.
func viewJobs(jobs []provision.Job, several bool) []jobView {
	rows := make([]jobView, 0, len(jobs))
	for _, j := range jobs {
		v := jobView{jobWire: wireJob(j), Live: !j.State.Final(), Total: len(j.Steps), What: j.Order.Text}
		if !strings.HasPrefix(v.What, "/vm ") { // nobody typed it
			v.What = bot.Show(j, j.Created).Title
		}
		for _, s := range j.Steps {
			if s.Status == provision.StepOK {
				v.Done++
			}
		}
		if several {
			v.Cluster = j.Order.Cluster
		}
		if !v.Live {
			v.Took = j.Elapsed(j.Ended)
		}
		rows = append(rows, v)
	}
	return rows
}

func countLive(jobs []provision.Job) int {
	var n int
	for _, j := range jobs {
		if !j.State.Final() {
			n++
		}
	}
	return n
}

func viewVMs(res cluster.Resources, own map[int]owner) []vmView {
	known := map[int]bool{}
	for _, v := range res.VMs {
		known[v.VMID] = v.Known
	}
	wire := wireVMs(res, own)
	rows := make([]vmView, 0, len(wire))
	for _, v := range wire {
		rows = append(rows, vmView{v, known[v.VMID]})
	}
	return rows
}

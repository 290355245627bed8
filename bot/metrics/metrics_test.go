package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// clock stands still until it is moved.
type clock struct {
	cluster.SystemClock
	now time.Time
}

func (c *clock) Now() time.Time { return c.now }

// scene is a bot with a bit of everything: jobs in all kinds of states, a
// platform that writes slowly, a node that was called.
type scene struct {
	*Metrics
	store provision.Store
	clock *clock
	lease *provision.Lease
}

func (scene) Status() provision.EngineStatus {
	return provision.EngineStatus{
		Cluster: "pve", Workers: 8, Busy: 1, Renewed: begin.Add(-4 * time.Second), Lease: 30 * time.Second, Slots: "vmid/pve", Room: 155,
	}
}

// begin is long after the events of the test, which the store's clock dates.
var begin = time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)

type follower struct{}

func (follower) Status() []bot.PlatformStatus {
	return []bot.PlatformStatus{{
		Platform: "slack", Leads: true, Cards: 3, Behind: 1, Oldest: begin.Add(-7 * time.Second), Budget: 1.5,
		Quiet: begin.Add(2 * time.Second), Writes: 40, Refused: 2, Failures: 1,
	}}
}

// chat is an adapter with a connection.
type chat struct {
	bot.Adapter
	name string
	link bot.Link
}

func (c chat) Name() string   { return c.name }
func (c chat) Link() bot.Link { return c.link }

// heard tells when its feed is being followed: what comes before is not counted.
type heard struct {
	provision.Store
	once     sync.Once
	followed chan struct{}
}

func (h *heard) Position(ctx context.Context) (provision.Position, error) {
	defer h.once.Do(func() { close(h.followed) })
	return h.Store.Position(ctx)
}

func setUp(t *testing.T) *scene {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+t.TempDir(), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{store: store, clock: &clock{now: begin}}
	s.Metrics = New("v1.2.3", s.clock, nil)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	submit(t, store, "before") // was there before the metrics
	listener := &heard{Store: store, followed: make(chan struct{})}
	go func() {
		over <- s.Run(ctx, Sources{Store: listener, Engines: []Engine{s}, Follower: follower{}, Adapters: []bot.Adapter{
			chat{name: "slack", link: bot.Link{Up: true, Since: begin.Add(-time.Minute)}},
			chat{name: "discord", link: bot.Link{Problem: "no route"}},
			chat{name: "standby", link: bot.Link{Standby: true}},
		}})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	<-listener.followed
	return s
}

func submit(t *testing.T, store provision.Store, key string) provision.Job {
	t.Helper()
	job, err := store.Submit(t.Context(), provision.Order{
		Key: key, Cluster: "pve", By: provision.Actor{Platform: "web", ID: "1"}, Spec: provision.Install{OS: "ubuntu"},
	}, []provision.StepState{{Name: "creating VM"}, {Name: "starting VM"}})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// play runs a job to the given end.
func (s *scene) play(t *testing.T, evs ...provision.Event) {
	t.Helper()
	lease, err := s.store.Claim(t.Context(), "test", provision.Wanted{Cluster: "pve"})
	if err != nil {
		t.Fatal(err)
	}
	s.lease = lease
	for _, ev := range evs {
		if _, err := s.store.Append(t.Context(), lease, ev); err != nil {
			t.Fatal(err)
		}
	}
}

// scrape is what Prometheus gets.
func (s *scene) scrape(t *testing.T) string {
	t.Helper()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// see scrapes until the text matches re: the feed takes a moment.
func (s *scene) see(t *testing.T, re string) {
	t.Helper()
	want := regexp.MustCompile(`(?m)^` + re + `$`)
	var text string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text = s.scrape(t); want.MatchString(text) {
			return
		}
	}
	var ours []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "pvebot_") && !strings.Contains(line, "_bucket") {
			ours = append(ours, line)
		}
	}
	t.Fatalf("nothing matches %s in\n%s", re, strings.Join(ours, ""))
}

func step(kind provision.EventKind, name string) provision.Event {
	return provision.Event{Kind: kind, Step: name}
}

func rest(s provision.State) provision.Event {
	return provision.Event{Kind: provision.JobState, State: s}
}

// What happens is counted once, also of jobs that began before.
func TestFeed(t *testing.T) {
	s := setUp(t)
	s.see(t, `pvebot_jobs\{cluster="pve",state="queued",verb="install"\} 1`)
	s.play(t, step(provision.StepStarted, "creating VM"), step(provision.StepDone, "creating VM"),
		step(provision.StepStarted, "starting VM"), step(provision.StepFailed, "starting VM"),
		rest(provision.StateUndoing), step(provision.StepUndoing, "creating VM"), step(provision.StepUndone, "creating VM"),
		rest(provision.StateFailed))
	s.see(t, `pvebot_jobs_total\{cluster="pve",result="failed",verb="install"\} 1`)
	s.see(t, `pvebot_step_duration_seconds_count\{cluster="pve",result="done",step="creating VM",verb="install"\} 1`)
	s.see(t, `pvebot_step_duration_seconds_count\{cluster="pve",result="failed",step="starting VM",verb="install"\} 1`)
	s.see(t, `pvebot_step_duration_seconds_count\{cluster="pve",result="undone",step="creating VM",verb="install"\} 1`)

	submit(t, s.store, "after")
	s.play(t, step(provision.StepStarted, "creating VM"))
	s.see(t, `pvebot_jobs\{cluster="pve",state="running",verb="install"\} 1`)
	s.see(t, `pvebot_jobs_oldest_seconds\{cluster="pve",state="running"\} \S*[1-9]\S*`)
	s.see(t, `pvebot_jobs_oldest_seconds\{cluster="pve",state="queued"\} 0`)
	if _, err := s.store.Append(t.Context(), s.lease, step(provision.StepDone, "creating VM"), rest(provision.StateSucceeded)); err != nil {
		t.Fatal(err)
	}
	s.see(t, `pvebot_jobs_total\{cluster="pve",result="succeeded",verb="install"\} 1`)
	s.see(t, `pvebot_job_duration_seconds_count\{cluster="pve",result="succeeded",verb="install"\} 1`)
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if len(s.feed.live) != 0 {
		t.Errorf("jobs that rest are remembered: %v", s.feed.live)
	}
}

// How things are is asked at the moment of the scrape.
func TestMoment(t *testing.T) {
	s := setUp(t)
	for _, want := range []string{
		`pvebot_store_up 1`,
		`pvebot_build_info\{go="[^"]+",version="v1\.2\.3"\} 1`,
		`pvebot_workers\{cluster="pve"\} 8`, `pvebot_workers_busy\{cluster="pve"\} 1`, `pvebot_lease_age_seconds\{cluster="pve"\} 4`, `pvebot_lease_term_seconds\{cluster="pve"\} 30`,
		`pvebot_slots_size\{cluster="pve"\} 155`, `pvebot_slots\{cluster="pve",state="taken"\} 0`,
		`pvebot_cards\{platform="slack"\} 3`, `pvebot_cards_behind\{platform="slack"\} 1`, `pvebot_cards_lag_seconds\{platform="slack"\} 7`,
		`pvebot_cards_leader\{platform="slack"\} 1`, `pvebot_chat_budget\{platform="slack"\} 1\.5`, `pvebot_chat_quiet_seconds\{platform="slack"\} 2`,
		`pvebot_chat_writes_total\{platform="slack",result="refused"\} 2`,
		`pvebot_chat_connected\{platform="slack"\} 1`, `pvebot_chat_connection_age_seconds\{platform="slack"\} 60`,
		`pvebot_chat_connected\{platform="discord"\} 0`, `pvebot_chat_connected\{platform="standby"\} 1`,
	} {
		s.see(t, want)
	}
	s.play(t)
	if _, err := s.store.Reserve(t.Context(), s.lease, "vmid/pve", "101"); err != nil {
		t.Fatal(err)
	}
	s.see(t, `pvebot_slots\{cluster="pve",state="taken"\} 1`)
	if _, err := s.store.Reserve(t.Context(), s.lease, "vmid/pve", "102"); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Release(t.Context(), s.lease, "vmid/pve", "101", time.Hour); err != nil {
		t.Fatal(err)
	}
	s.see(t, `pvebot_slots\{cluster="pve",state="cooling"\} 1`)

	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.see(t, `pvebot_store_up 0`)
	s.see(t, `pvebot_workers\{cluster="pve"\} 8`) // the rest is told all the same
}

// node answers as it is told.
type node struct {
	err       error
	connected time.Time
}

func (n node) Run(context.Context, cluster.Cmd) (cluster.Result, error) {
	return cluster.Result{}, n.err
}
func (n node) Connected() time.Time { return n.connected }

type cabinet struct {
	cluster.Nodes
	nodes map[string]node
}

func (c cabinet) Names() []string { return []string{"pve1", "pve2"} }

func (c cabinet) Node(name string) (cluster.Runner, error) {
	if n, ok := c.nodes[name]; ok {
		return n, nil
	}
	return nil, cluster.ErrNoNode
}

func TestNodes(t *testing.T) {
	s := setUp(t)
	exit := &cluster.ExitError{Argv: []string{"qm", "start", "101"}, Status: 255}
	nodes := s.Nodes("pve", cabinet{nodes: map[string]node{
		"pve1": {connected: begin.Add(-90 * time.Second)},
		"pve2": {err: fmt.Errorf("%w: %w", cluster.ErrNotStarted, errors.New("no route"))},
		"pve3": {err: exit},
	}})
	run := func(name string, argv ...string) error {
		t.Helper()
		r, err := nodes.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Run(t.Context(), cluster.Cmd{Argv: argv})
		return err
	}
	if err := run("pve1", "qm", "start", "101"); err != nil {
		t.Error(err)
	}
	if err := run("pve3", "qm", "start", "101"); !errors.Is(err, exit) {
		t.Errorf("the error did not pass through: %v", err)
	}
	if err := run("pve2", "cat", "--", "/etc/pve/.vmlist"); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("the error did not pass through: %v", err)
	}
	if _, err := nodes.Node("pve9"); !errors.Is(err, cluster.ErrNoNode) {
		t.Errorf("an unknown node: %v", err)
	}
	s.see(t, `pvebot_pve_call_duration_seconds_count\{cluster="pve",command="qm start",node="pve1"\} 1`)
	s.see(t, `pvebot_pve_call_failures_total\{cluster="pve",command="qm start",node="pve3",reason="refused"\} 1`)
	s.see(t, `pvebot_pve_call_failures_total\{cluster="pve",command="cat",node="pve2",reason="not_started"\} 1`)
	s.see(t, `pvebot_node_connected\{cluster="pve",node="pve1"\} 1`)
	s.see(t, `pvebot_node_connection_age_seconds\{cluster="pve",node="pve1"\} 90`)
	s.see(t, `pvebot_node_connected\{cluster="pve",node="pve2"\} 0`)

	s.Nodes("taipei", cabinet{nodes: map[string]node{"pve1": {}}})
	s.see(t, `pvebot_node_connected\{cluster="taipei",node="pve1"\} 0`)
}

func TestCommandOf(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"qm", "start", "101"}, "qm start"},
		{[]string{"pvesh", "get", "/cluster/resources", "--output-format", "json"}, "pvesh get"},
		{[]string{"sh", "-c", "echo", "task-start", "/run"}, "task-start"},
		{[]string{"cat", "--", "/etc/pve/.vmlist"}, "cat"},
		{[]string{"rm", "/tmp/x"}, "rm"},
		{nil, ""},
	} {
		if got := commandOf(c.argv); got != c.want {
			t.Errorf("%q: %q, want %q", c.argv, got, c.want)
		}
	}
}

// Help and names keep to Prometheus' conventions.
func TestLint(t *testing.T) {
	s := setUp(t)
	s.everything(t)
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// everything lets each metric have a value.
func (s *scene) everything(t *testing.T) {
	t.Helper()
	s.play(t, step(provision.StepStarted, "creating VM"), step(provision.StepDone, "creating VM"), rest(provision.StateSucceeded))
	submit(t, s.store, "another")
	nodes := s.Nodes("pve", cabinet{nodes: map[string]node{"pve1": {err: cluster.ErrLost}}})
	r, err := nodes.Node("pve1")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.Run(t.Context(), cluster.Cmd{Argv: []string{"qm", "list"}})
	s.see(t, `pvebot_jobs_total\{cluster="pve",result="succeeded",verb="install"\} 1`)
	s.see(t, `pvebot_jobs\{cluster="pve",state="queued",verb="install"\} 1`)
}

// names are all names that queries may use.
func (s *scene) names(t *testing.T) []string {
	t.Helper()
	s.everything(t)
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		name := f.GetName()
		for _, l := range f.GetMetric()[0].GetLabel() {
			if strings.HasPrefix(name, "pvebot_") && name != "pvebot_build_info" && !slices.Contains(words, l.GetName()) {
				t.Errorf("%s has the label %s, which is not among words", name, l.GetName())
			}
		}
		if f.GetType().String() == "HISTOGRAM" {
			names = append(names, name+"_bucket", name+"_count", name+"_sum")
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pvebot/bot"
	"pvebot/cluster"
	"pvebot/provision"
)

// Upper ends of the histograms' buckets, in seconds: steps take from nothing
// to a migration's hour, commands from a file's milliseconds to a start's
// minutes.
var (
	stepBuckets = []float64{.05, .2, .5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600}
	callBuckets = []float64{.005, .02, .05, .1, .25, .5, .75, 1, 1.5, 2.5, 5, 10, 30, 120, 600}
)

// Metrics is everything that is exported. All methods may be called by many
// goroutines at once; Run once.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	clock    cluster.Clock
	log      *slog.Logger

	jobs      *prometheus.CounterVec   // cluster, verb, result
	jobTime   *prometheus.HistogramVec // cluster, verb, result
	stepTime  *prometheus.HistogramVec // cluster, verb, step, result
	callTime  *prometheus.HistogramVec // cluster, node, command
	callFails *prometheus.CounterVec   // cluster, node, command, reason

	feed  feed
	nodes []*measured // before Run
}

// New makes the metrics of a bot of the given version.
func New(version string, clock cluster.Clock, log *slog.Logger) *Metrics {
	if clock == nil {
		clock = cluster.SystemClock{}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(), clock: clock, log: log,
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pvebot_jobs_total", Help: "Jobs that came to rest.",
		}, []string{"cluster", "verb", "result"}),
		jobTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pvebot_job_duration_seconds", Help: "From the order of a job to its rest, waiting for approvals included.", Buckets: stepBuckets,
		}, []string{"cluster", "verb", "result"}),
		stepTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pvebot_step_duration_seconds", Help: "From the start of a step to its end.", Buckets: stepBuckets,
		}, []string{"cluster", "verb", "step", "result"}),
		callTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pvebot_pve_call_duration_seconds", Help: "Commands that were run on nodes, whatever became of them.", Buckets: callBuckets,
		}, []string{"cluster", "node", "command"}),
		callFails: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pvebot_pve_call_failures_total", Help: "Commands on nodes that failed: refused, not_started, or lost on the way.",
		}, []string{"cluster", "node", "command", "reason"}),
		feed: feed{live: map[provision.JobID]*life{}},
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pvebot_build_info", Help: "Which bot this is.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.jobs, m.jobTime, m.stepTime, m.callTime, m.callFails, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
	return m
}

// ServeHTTP implements http.Handler: what a scrape gets.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Sources are whom a scrape asks. Store must be set.
type Sources struct {
	Store    Store
	Engines  []Engine // one for each cluster that this bot works for
	Follower interface{ Status() []bot.PlatformStatus }
	Adapters []bot.Adapter
}

// Engine is what metrics need of a provision.Engine.
type Engine interface{ Status() provision.EngineStatus }

// Store is what metrics need of a provision.Store.
type Store interface {
	Follower
	Jobs(ctx context.Context, f provision.Filter) ([]provision.Job, error)
	Held(ctx context.Context, pool string) (map[string]provision.JobID, error)
	Probe(ctx context.Context) error
}

// Run counts what happens until ctx ends, and lets scrapes ask the sources
// meanwhile.
func (m *Metrics) Run(ctx context.Context, s Sources) error {
	now := &moment{m: m, Sources: s, ctx: ctx}
	m.registry.MustRegister(now)
	defer m.registry.Unregister(now)
	m.count(ctx, s.Store)
	return nil
}
